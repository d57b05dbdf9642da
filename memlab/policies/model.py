"""A policy that is any transformers causal language model, and the three ways to get one: `tiny`, `smollm2`, a directory.

Sampling is plain transformers `forward` with a cache, so PEFT and quantised models work unchanged. Two things make it fast for
memory rollouts: every distinct prompt is prefilled once however many rollouts share it, and rows that are done leave the batch.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import DynamicCache

from memlab.policies.base import Completion, Policy, Prompt


class ModelPolicy(Policy):
    """Samples from `model` at `temperature` (0 is greedy), without top-k and top-p, so that training sees the same distribution.

    window: longest prompt plus completion, in tokens (default: the model's `max_position_embeddings`). A prompt that does not
        fit gets an empty completion marked `overflow`: a serving engine refuses it likewise.
    batch_tokens: most tokens (prompts and completions, padding included) in one forward batch; bounds memory.
    seed: of the sampler's own generator; `reseed` sets it again, e.g. from (seed, step) so that a resumed run repeats itself.
    """

    def __init__(self, model, tokenizer, temperature=1.0, seed=0, window=None, batch_tokens=24_576, name="model"):
        super().__init__(tokenizer)
        self.model, self.temperature, self.batch_tokens, self.name = model, temperature, batch_tokens, name
        self.window = window or model.config.max_position_embeddings
        self.generator = torch.Generator(device=model.device)  # its own: noise for 150k words a row is slow to move to a GPU
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        self.generator.manual_seed(seed % 2**63)  # torch takes no other

    @torch.no_grad()
    def complete(self, prompts: list[Prompt]) -> list[Completion]:
        done = [Completion("", overflow=len(p.ids) + p.ask.max_tokens > self.window) for p in prompts]
        groups: dict[tuple, list[int]] = {}  # rollouts that share a prompt share its prefill
        for i, prompt in enumerate(prompts):
            if not done[i].overflow:
                groups.setdefault((tuple(prompt.ids), prompt.ask.max_tokens), []).append(i)
        was_training = self.model.training
        self.model.eval()
        for batch in self._batches(groups):
            copies = [len(groups[key]) for key in batch]
            sampled = iter(self._sample([list(ids) for ids, _ in batch], copies, max(limit for _, limit in batch)))
            for key in batch:
                for i in groups[key]:
                    ids, logprobs = next(sampled)
                    done[i] = self.completion(ids, key[1], logprobs)
        self.model.train(was_training)
        return done

    def _batches(self, groups):
        """Prompts of similar length together, each batch at most `batch_tokens`."""
        batch, rows = [], 0
        for key in sorted(groups, key=lambda k: len(k[0]) + k[1]):
            rows += len(groups[key])
            if batch and rows * (len(key[0]) + key[1]) > self.batch_tokens:
                yield batch
                batch, rows = [], len(groups[key])
            batch.append(key)
        if batch:
            yield batch

    def _sample(self, prompts: list[list[int]], copies: list[int], limit: int) -> list[tuple[list[int], list[float]]]:
        """Prefill each prompt once, decode `copies` of it. Returns sum(copies) pairs (ids, log-probabilities)."""
        device, pad, eos = self.model.device, self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        width = max(map(len, prompts))
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
        attention = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        position = (attention.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self.model.config)
        out = self.model(
            input_ids=ids,
            attention_mask=attention,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        spread = torch.repeat_interleave(torch.arange(len(prompts)), torch.tensor(copies)).to(device)
        if len(spread) > len(prompts):
            cache.batch_select_indices(spread)
        logits, attention, position = out.logits[spread, -1], attention[spread], position[spread, -1:]
        alive = torch.arange(len(spread), device=device)  # which rollout each row of the batch is
        tokens, logprobs = [[] for _ in alive], [[] for _ in alive]
        for step in range(limit):
            picked, logprob = self._pick(logits)
            open_rows = []
            for row, (i, token, lp) in enumerate(zip(alive.tolist(), picked.tolist(), logprob.tolist(), strict=True)):
                if tokens[i] and tokens[i][-1] == eos:
                    continue  # already done, waiting for the next compaction
                tokens[i].append(token)
                logprobs[i].append(lp)
                if token != eos:
                    open_rows.append(row)
            if not open_rows or step == limit - 1:
                break
            if len(open_rows) <= 0.8 * len(alive):  # dropping rows copies the cache: do it when it pays
                keep = torch.tensor(open_rows, device=device)
                cache.batch_select_indices(keep)
                alive, picked, attention, position = alive[keep], picked[keep], attention[keep], position[keep]
            attention = torch.cat([attention, attention.new_ones(len(alive), 1)], 1)
            position = position + 1
            logits = self.model(
                input_ids=picked[:, None],
                attention_mask=attention,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        return list(zip(tokens, logprobs, strict=True))

    def _pick(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Next ids and their log-probabilities, both (B,). Greedy log-probabilities are those at temperature 1."""
        logp = torch.log_softmax(logits.float() / (self.temperature or 1.0), -1)
        if self.temperature == 0:
            picked = logp.argmax(-1)
        else:
            uniform = torch.rand(logp.shape, generator=self.generator, device=logp.device)
            picked = (logp - torch.log(-torch.log(uniform))).argmax(-1)  # Gumbel: one draw per row
        return picked, logp.gather(-1, picked[:, None]).squeeze(-1)
