"""Make the tiny model from nothing: `python -m memlab.training.pretrain` writes data/tiny. One command, seeded, one core.

Four phases, each of which fails to learn, or learns slowly, without the one before:

1. rotations: a block of random words, then the block again three times, each from a random start. The only way to predict the
   copies is to find the earlier occurrence of what was just read and say what followed it: this forms induction.
2. recall: facts, then the same facts twice more in random order. A sentence has fixed words between its subject and its value
   ("rex lives in oslo ."), too far apart for plain induction. So sentences begin as bare pairs ("rex oslo .")
   and get their fixed words back one by one as the phase goes on; the loss is on what is determined, the values.
3. reading: questions with the facts in sight, one hop and two; the answer says the facts that it rests on ("mira adopted rex .
   rex lives in oslo ."), so that a hop is the next sentence and not a computation in the dark.
4. formats: the rows of every paper in `TAUGHT`, played by its random-valid rule: how memory is written, never what to keep.

The result can read, copy and write those formats, and chooses what to keep at random.

The vocabulary is the words of the synthetic world, of every prompt that a paper in `TAUGHT` was seen to write, and
`FURTHER_WORDS`. A new paper that needs no other words is taught by its own warm start; one that does is added to `TAUGHT`, and
the command run again.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from importlib.metadata import version
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from memlab import papers
from memlab.episode import Row
from memlab.manifest import write_manifest
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.training.loop import pad_rows, token_logprobs
from memlab.worlds.documents import Documents
from memlab.worlds.sentences import CITIES, PEOPLE, PETS, RELATIONS, TWO_HOP_QUESTION, Fact

TAUGHT = ("memagent",)  # papers whose words and formats the model is made with
PAD, END, UNKNOWN = "<pad>", "<end>", "<unknown>"
WINDOW = 512  # tokens; documents of 32 sections and more do not fit, which is the point
# phase -> (optimiser steps, how often each kind of batch is drawn in it: nothing may be forgotten)
PHASES = {
    "rotations": (600, {"rotations": 1.0}),
    "recall": (1600, {"recall": 0.8, "rotations": 0.2}),
    "reading": (1600, {"reading": 0.8, "recall": 0.2}),
    "formats": (2400, {"formats": 0.5, "reading": 0.35, "recall": 0.15}),
}
# words of operations and of talk that papers to come may write; a word nobody was taught costs 64 numbers
FURTHER_WORDS = (
    "questions question search results result found state think answer answers context records record note notes memory id "
    "prune keep drop add update delete noop retrieve filter summary clear done tool call new old first then and also no not now "
    "user assistant session day today said says told asked hello thanks good morning evening nice weather how are you i am my "
    "your it is was moved to from left visited likes loves bought sold friend of with after before again never always "
    "none yes , = ( ) [ ] " + " ".join(map(str, range(64)))
).split()
LEARNING_RATE = 3e-3
GATE = 0.99  # copy and reading accuracy below which no reinforcement learning should start from this model


def build_tokenizer(words) -> PreTrainedTokenizerFast:
    """One word, one token. `words` keep their order; the three special tokens come first."""
    vocabulary = {w: i for i, w in enumerate([PAD, END, UNKNOWN, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([PAD, END, UNKNOWN])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, padding_side="left"
    )


def vocabulary() -> list[str]:
    """Every word of the world's language and of what `TAUGHT` papers read and write, each once, in a fixed order."""
    texts = [*PEOPLE, *PETS, *CITIES, TWO_HOP_QUESTION.format("")]
    texts += [text.format("", "") for *_, statement, asked in RELATIONS.values() for text in (statement, asked)]
    seen = dict.fromkeys(word for text in texts for word in text.split())
    for name in TAUGHT:  # a first rollout with a tokenizer that knows nothing only collects words
        for paper_text in _texts_of(papers.get(name)):
            seen |= dict.fromkeys(paper_text.split())
    return list(seen | dict.fromkeys(FURTHER_WORDS))


def _texts_of(paper) -> list[str]:
    rng, texts = random.Random(0), []
    for episode in [paper.episode, *paper.baselines.values()]:
        run = episode(paper.world.make(rng, 2))
        ask = next(run)
        try:
            while True:
                text = paper.random_valid(ask, rng)
                texts += [ask.prompt, text]
                ask = run.send(text)
        except StopIteration:
            continue
    return texts


def build_model(tokenizer) -> Qwen3ForCausalLM:
    """Qwen3 architecture, 3 layers, width 64, head_dim 64 (which every fast backend knows): 0.2 M parameters, float32."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config).float()


class Curriculum:
    """Draws the batches of each phase: lists of Row, whose mask says where the loss is."""

    def __init__(self, tokenizer, seed: int):
        self.rng, self.tokenizer = random.Random(seed), tokenizer
        self.words = [self.id(w) for w in (*PEOPLE, *PETS, *CITIES)]
        self.stop = self.id(".")
        self.shelf: list[Row] = []

    def id(self, word: str) -> int:
        return self.tokenizer.convert_tokens_to_ids(word)

    def rotations(self, progress: float) -> list[Row]:
        length, rows = self.rng.randint(6, 20), []
        for _ in range(32):
            block, copies = self.rng.sample(self.words, length), []
            for _ in range(3):
                start = self.rng.randrange(length)
                copies += block[start:] + block[:start]
            rows.append(Row(block, copies, [0] + [1] * (len(copies) - 1), []))
        return rows

    def recall(self, progress: float) -> list[Row]:
        """progress in [0, 1]: at 0 sentences are bare pairs, from 0.7 on they are whole, in one batch in five earlier."""
        count, rows = self.rng.randint(2, 3 + int(7 * progress)), []
        drop = max(0.0, 1 - 1.4 * progress) if self.rng.random() < 0.8 else self.rng.random() * (1 - progress)
        for _ in range(32):
            keep = lambda w: w in ("{}", ".") or self.rng.random() >= drop  # noqa: E731
            shapes = {name: [w for w in r[2].split() if keep(w)] for name, r in RELATIONS.items()}
            facts = self.facts(count)

            def ids(facts, shapes=shapes):
                return [t for f in facts for t in self.tokenizer.encode(" ".join(shapes[f.relation]).format(f.subject, f.value))]

            again = ids(self.rng.sample(facts, len(facts))) + ids(self.rng.sample(facts, len(facts)))
            values = [float(b == self.stop) + 0.1 * (a == self.stop) for a, b in zip(again, [*again[1:], -1], strict=True)]
            rows.append(Row(ids(facts), again, values, []))
        return rows

    def facts(self, count: int) -> list[Fact]:
        """Facts with different keys; some reuse a word of an earlier one, as the two hops of a question do."""
        found: dict[tuple, Fact] = {}
        while len(found) < count:
            relation = self.rng.choice(list(RELATIONS))
            subject, value = self.rng.choice(RELATIONS[relation][0]), self.rng.choice(RELATIONS[relation][1])
            if found and self.rng.random() < 0.3:
                other = self.rng.choice(list(found.values()))
                subject = other.value if other.value in RELATIONS[relation][0] else subject
            found.setdefault((relation, subject), Fact(relation, subject, value))
        return list(found.values())

    def reading(self, progress: float) -> list[Row]:
        """From one fact to as many as the window holds, mostly few."""
        kind = self.rng.random()
        if kind < 0.55:
            return self.read(64, 1, 4)
        return self.read(20, 5, 16) if kind < 0.85 else self.read(8, 17, 100)

    def read(self, count: int, fewest: int, most: int) -> list[Row]:
        """`count` questions, each over `fewest` to `most` facts, answered from them by rule."""
        paper = papers.get("memagent")
        sizes = [self.rng.randint(fewest, most) for _ in range(count)]
        tasks = [Documents(facts=n, two_hop=0.5 if n > 1 else 0.0).make(self.rng, 1) for n in sizes]
        policy = ScriptedPolicy(paper.random_valid, self.tokenizer, self.rng.randrange(2**31))
        played = play([paper.baselines["full-context"](t) for t in tasks], policy, tasks)
        return [row for t in played for row in t.rows]

    def formats(self, progress: float) -> list[Row]:
        if len(self.shelf) < 64:
            for paper in map(papers.get, TAUGHT):
                seed = self.rng.randrange(2**31)
                self.shelf += format_rows(paper, paper.random_valid, self.tokenizer, 256, seed, sizes=(1, 2, 3, 4))
            self.rng.shuffle(self.shelf)
        batch, self.shelf = self.shelf[:48], self.shelf[48:]
        return batch


def format_rows(paper, rule, tokenizer, tasks: int, seed: int, sizes=None, episode=None, right=False) -> list[Row]:
    """The training rows of `tasks` episodes of `paper`, of `sizes` (default: its training sizes), played by `rule`.

    episode: the paper's own loop unless a baseline's is given. right: only of trajectories that were rewarded with 1.
    """
    rng = random.Random(seed)
    drawn = [paper.world.make(rng, rng.choice(sizes or paper.train_sizes)) for _ in range(tasks)]
    played = play([(episode or paper.episode)(t) for t in drawn], ScriptedPolicy(rule, tokenizer, seed), drawn)
    return [row for t in played for row in t.rows if t.reward == 1.0 or not right]


@torch.no_grad()
def accuracies(model, tokenizer, seed: int = 1) -> dict[str, float]:
    """Greedy, held out. copy: values of recalled sentences, two to ten facts. read: whole answers right, with one to four facts
    in sight; read_long: with 17 to 60."""
    curriculum = Curriculum(tokenizer, seed)
    model.eval()

    def right(rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T - 1): which tokens would be written as they stand, and their weights."""
        ids, attention, mask = pad_rows(rows, tokenizer.pad_token_id)
        logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, :-1]
        return logits.argmax(-1) == ids[:, 1:], mask[:, 1:]

    hit, weight = right([row for _ in range(8) for row in curriculum.recall(1.0)])
    scores = {"copy": hit[weight == 1.0].float().mean().item()}
    for name, rows in {"read": curriculum.read(400, 1, 4), "read_long": curriculum.read(60, 17, 60)}.items():
        hit, weight = right(rows)
        scores[name] = (hit | (weight == 0)).all(1).float().mean().item()
    return {name: round(score, 4) for name, score in scores.items()}


def pretrain(out: Path, seed: int = 0, phases=PHASES) -> dict:
    """Run the phases and write model, tokenizer and provenance.json (command, seed, versions, loss curve, sha256) to `out`."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(vocabulary())
    model = build_model(tokenizer)
    curriculum = Curriculum(tokenizer, seed)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.1, betas=(0.9, 0.95))
    total, step, tokens, started, curve = sum(steps for steps, _ in phases.values()), 0, 0, time.perf_counter(), []
    for phase, (steps, mix) in phases.items():
        for i in range(steps):
            step += 1
            [kind] = curriculum.rng.choices(list(mix), list(mix.values()))
            rows = getattr(curriculum, kind)(i / steps if kind == phase else 1.0)
            for g in optimizer.param_groups:
                g["lr"] = LEARNING_RATE * min(1.0, step / 100) * min(1.0, max(0.02, (total - step) / (0.4 * total)))
            ids, attention, mask = pad_rows(rows, tokenizer.pad_token_id)
            model.train()
            weight = mask[:, 1:].float()
            loss = -(token_logprobs(model, ids, attention) * weight).sum() / weight.sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            tokens += ids.numel()
            if step % 200 == 0 or step == total:
                record = {"step": step, "phase": phase, "loss": round(loss.item(), 4), "tokens": tokens}
                curve.append(record | accuracies(model, tokenizer))
                print(json.dumps(curve[-1] | {"seconds": round(time.perf_counter() - started)}), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    record = {
        "command": f"python -m memlab.training.pretrain --seed {seed}",
        "seed": seed,
        "phases": phases,
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(time.perf_counter() - started),
        "threads": 1,
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "papers": list(TAUGHT),
        **accuracies(model, tokenizer),
        "curve": curve,
    }
    write_manifest(out, name="provenance.json", **record)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the tiny model from nothing and write it to --out.")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and data (default 0)")
    parser.add_argument("--out", type=Path, default=Path("data/tiny"), help="where to write it (default data/tiny)")
    args = parser.parse_args()
    record = pretrain(args.out, args.seed)
    if min(record["copy"], record["read"]) < GATE:
        raise SystemExit(f"copy {record['copy']} or read {record['read']} is below {GATE}: try another --seed or more steps")


if __name__ == "__main__":
    main()
