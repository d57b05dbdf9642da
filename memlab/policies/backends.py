"""A model ready to be trained with LoRA: by Unsloth where it can be used, else by transformers and PEFT, on a GPU or a CPU.

Call `memlab.accelerator.decide` before anything imports transformers; then `load_trainable` gives the model and its sampler.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from memlab.accelerator import Accelerator
from memlab.policies.base import Completion, Policy, Prompt

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VLLM_SHARE = 0.5  # of the GPU's memory for vLLM's weights and KV cache; the weights are shared with training


class Trainable(NamedTuple):
    """model, tokenizer, the backend's name, and `sampler` for `memlab.training.train.train` (None: memlab's own)."""

    model: Any
    tokenizer: Any
    backend: str
    sampler: Callable | None

    def frozen(self) -> Policy:
        """The model as an agent that is asked and not trained: greedy."""
        if self.backend == "unsloth":
            return GreedyPolicy(self.model, self.tokenizer)
        from memlab.policies.model import ModelPolicy

        return ModelPolicy(self.model, self.tokenizer, temperature=0)


def load_trainable(
    source: str,
    accelerator: Accelerator,
    lora_rank: int = 16,
    four_bit: bool = False,
    window: int = 2048,
    adapter: str | Path | None = None,
    seed: int = 0,
) -> Trainable:
    """`source` (as `pretrained.load` takes it) with new LoRA adapters on all seven projections of every layer.

    lora_rank 0: no adapters, all weights are trained, in float32; always plain transformers.
    window: longest row in tokens. four_bit: NF4 weights, on a GPU with bitsandbytes. adapter: start from this saved one.
    Raises FileNotFoundError and ValueError with one sentence and one command.
    """
    import torch

    from memlab.policies import pretrained

    if lora_rank == 0:
        model, tokenizer = pretrained.load(source)
        return Trainable(model, tokenizer, "trl" if accelerator.device == "cuda" else "cpu", None)
    path, tokenizer = resolve(source)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[accelerator.precision]
    if four_bit and accelerator.device == "cpu":
        raise ValueError("4-bit weights need a GPU with bitsandbytes; leave out --four-bit")
    load = _unsloth if accelerator.backend == "unsloth" else _peft
    model = load(path, dtype, lora_rank, four_bit, window, seed, accelerator.fast_inference)
    for config in (model.config, model.generation_config):
        config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    if adapter:
        load_adapter(model, adapter)
    sampler = TrainerPolicy if accelerator.backend == "unsloth" else None
    return Trainable(model, tokenizer, accelerator.backend, sampler)


def resolve(source: str):
    """(path or hub id, tokenizer) of a model that `pretrained.load` knows; SmolLM2 is converted on its first use.

    A hub that cannot be reached, or does not have the model, is one sentence.
    """
    from transformers import AutoTokenizer

    from memlab.policies import pretrained

    if not source.startswith("hub:"):
        model, tokenizer = pretrained.load(source)  # verified against its manifest
        return model.name_or_path, tokenizer
    name = source.removeprefix("hub:")
    try:
        return name, AutoTokenizer.from_pretrained(name, padding_side="left")
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{name} is neither in the local cache nor to be had from the hub ({type(error).__name__}); "
            "train a model that needs no hub: --model smollm2"
        ) from error


def load_adapter(model, directory: str | Path) -> None:
    """Put the saved LoRA weights of `directory` into `model`, which has adapters of the same shape."""
    from peft import load_peft_weights, set_peft_model_state_dict

    if not (Path(directory) / "adapter_config.json").exists():
        raise FileNotFoundError(f"{directory} holds no adapter; begin with: --start warmstart")
    wrong = set_peft_model_state_dict(model, load_peft_weights(str(directory), device="cpu"))
    if wrong.unexpected_keys:
        raise ValueError(f"the adapter in {directory} does not fit this model; start from another with --start")


def _peft(path, dtype, lora_rank, four_bit, window, seed, fast_inference):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    extra = {}
    if four_bit:
        from transformers import BitsAndBytesConfig

        extra["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, **extra)
    torch.manual_seed(seed)
    config = LoraConfig(r=lora_rank, lora_alpha=lora_rank, lora_dropout=0.0, target_modules=TARGETS, task_type="CAUSAL_LM")
    return get_peft_model(model, config)  # the adapters are float32, whatever the weights are


def _unsloth(path, dtype, lora_rank, four_bit, window, seed, fast_inference):
    from transformers import AutoConfig
    from unsloth import FastLanguageModel

    longest = AutoConfig.from_pretrained(path).max_position_embeddings
    with contextlib.redirect_stdout(io.StringIO()):  # its banner
        model, _ = FastLanguageModel.from_pretrained(
            model_name=path,
            max_seq_length=min(window, longest),  # beyond it, positions are rescaled: another model
            dtype=dtype,
            load_in_4bit=four_bit,
            fast_inference=fast_inference,
            gpu_memory_utilization=VLLM_SHARE,
            max_lora_rank=lora_rank,
            use_exact_model_name=True,  # or another repository's 4-bit copy is taken for the one that was asked for
            fix_tokenizer=False,  # we bring our own, with a pad token that never occurs
            random_state=seed,
        )
        return FastLanguageModel.get_peft_model(
            model,
            r=lora_rank,
            lora_alpha=lora_rank,
            lora_dropout=0.0,
            target_modules=TARGETS,
            use_gradient_checkpointing="unsloth",
            random_state=seed,
        )


def longest_row(model) -> int:
    """Tokens of prompt and completion together. Unsloth cuts off what is longer than it was loaded for, after a warning."""
    return min(model.config.max_position_embeddings, getattr(model, "max_seq_length", math.inf))


class TrainerPolicy(Policy):
    """Samples through the trainer's own generation: vLLM with the trained weights in it, or Unsloth's `generate`.

    Unsloth's decoder keeps its cache in buffers of its own, so memlab's sampler, which regroups rows, cannot drive it.
    `_generate_single_turn` is TRL's entry for one turn; it syncs weights, switches to inference and back. It reports no
    log-probabilities. On several processes all must call it equally often: use one.
    """

    name = "model"

    def __init__(self, trainer, tokenizer, temperature: float = 1.0):
        super().__init__(tokenizer)
        if temperature != trainer.temperature:
            raise ValueError(f"the trainer samples at temperature {trainer.temperature}, not {temperature}")
        self.trainer, self.window = trainer, longest_row(trainer.model)

    def reseed(self, seed: int) -> None:
        import torch

        torch.manual_seed(seed % 2**63)

    def complete(self, prompts: list[Prompt]) -> list[Completion]:
        done = [Completion("", overflow=len(p.ids) + p.ask.max_tokens > self.window) for p in prompts]
        fits = [i for i, d in enumerate(done) if not d.overflow]
        if fits:
            set_limit(self.trainer, max(prompts[i].ask.max_tokens for i in fits))
            sampled, _ = self.trainer._generate_single_turn([prompts[i].ids for i in fits], None, {}, 1)
            for i, ids in zip(fits, sampled, strict=True):
                done[i] = self.completion(list(ids), prompts[i].ask.max_tokens)
        return done


class GreedyPolicy(Policy):
    """The model's own `generate`, without chance: Unsloth switches to its decoder there, and back to training afterwards."""

    name = "model"

    def __init__(self, model, tokenizer, batch_tokens: int = 24_576):
        super().__init__(tokenizer)
        self.model, self.batch_tokens, self.window = model, batch_tokens, longest_row(model)

    def complete(self, prompts: list[Prompt]) -> list[Completion]:
        import torch

        done = [Completion("", overflow=len(p.ids) + p.ask.max_tokens > self.window) for p in prompts]
        left = sorted((i for i, d in enumerate(done) if not d.overflow), key=lambda i: len(prompts[i].ids))
        while left:
            longest = max(len(prompts[i].ids) + prompts[i].ask.max_tokens for i in left)
            rows = max(1, self.batch_tokens // longest)
            batch, left = left[:rows], left[rows:]
            limit, width = max(prompts[i].ask.max_tokens for i in batch), max(len(prompts[i].ids) for i in batch)
            padded = self.tokenizer.pad({"input_ids": [prompts[i].ids for i in batch]}, padding_side="left", return_tensors="pt")
            with torch.no_grad():
                written = self.model.generate(**padded.to(self.model.device), max_new_tokens=limit, do_sample=False)
            for i, ids in zip(batch, written[:, width:].tolist(), strict=True):
                if (eos := self.tokenizer.eos_token_id) in ids:  # the rest is padding
                    ids = ids[: ids.index(eos) + 1]
                done[i] = self.completion(ids, prompts[i].ask.max_tokens)
        return done


def set_limit(trainer, tokens: int) -> None:
    """Let the trainer's next generation write at most `tokens`. TRL fixes the limit when it is made; turns differ here."""
    if trainer.use_vllm:
        trainer.vllm_generation.max_completion_length = tokens
    else:
        trainer.generation_config.max_new_tokens = trainer.generation_kwargs["max_new_tokens"] = tokens
