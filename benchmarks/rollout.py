"""Rollouts: ours against `model.generate`, on the same episodes in one run. `python -m benchmarks.rollout`

Work: MemAgent with the warm-started tiny model, groups of 8 rollouts, 4 sections, sampling at temperature 1. All three play the
same tasks through the same `play`; only the policy's `complete` differs. A completion is one policy turn.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time

import torch

from memlab import contenders, papers
from memlab.policies import pretrained
from memlab.policies.base import Completion
from memlab.policies.model import ModelPolicy
from memlab.rollout import play
from memlab.views.tables import table


class GeneratePolicy(ModelPolicy):
    """The plain path: `model.generate` a turn, `rows` prompts a call (1 is TRL's loop for custom multi-turn rollouts)."""

    def __init__(self, *args, rows: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.rows = rows

    @torch.no_grad()
    def complete(self, prompts):
        return [done for i in range(0, len(prompts), self.rows) for done in self._generate(prompts[i : i + self.rows])]

    def _generate(self, prompts) -> list[Completion]:
        batch = self.tokenizer.pad({"input_ids": [p.ids for p in prompts]}, return_tensors="pt", padding_side="left")
        out = self.model.generate(
            **batch,
            max_new_tokens=max(p.ask.max_tokens for p in prompts),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        done = []
        for row in out[:, batch["input_ids"].size(1) :].tolist():
            ids = row[: row.index(self.tokenizer.eos_token_id) + 1] if self.tokenizer.eos_token_id in row else row
            done.append(Completion(self.tokenizer.decode(ids, skip_special_tokens=True), ids))
        return done


def measure(tasks: int = 8, group: int = 8, sections: int = 4, repeats: int = 3, seed: int = 0) -> list[dict]:
    """One record a path: completions per second (median of `repeats`), and how often ours is that many times faster."""
    torch.set_num_threads(1)
    paper = papers.get("memagent")
    model, tokenizer = pretrained.load(contenders.weights_of(paper, "warmstart"))
    rng = random.Random(seed)
    drawn = [task for task in (paper.world.make(rng, sections) for _ in range(tasks)) for _ in range(group)]
    paths = {
        "memlab: play + ModelPolicy": ModelPolicy(model, tokenizer),
        "model.generate, one call a turn (batched)": GeneratePolicy(model, tokenizer, rows=tasks * group),
        "model.generate, one row a call": GeneratePolicy(model, tokenizer, rows=1),
    }
    rates = {name: [] for name in paths}
    for _ in range(repeats):
        for name, policy in paths.items():  # interleaved, so that a busy machine hits all alike
            started = time.perf_counter()
            played = play([paper.episode(t) for t in drawn], policy, drawn)
            rates[name].append(sum(len(t.turns) for t in played) / (time.perf_counter() - started))
    ours = statistics.median(next(iter(rates.values())))
    return [
        {"path": name, "completions_per_s": round(rate, 1), "ours_is_faster_by": round(ours / rate, 2)}
        for name, rate in ((name, statistics.median(r)) for name, r in rates.items())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare memlab's rollouts with model.generate on the same work.")
    parser.add_argument("--tasks", type=int, default=8, help="different tasks (default 8)")
    parser.add_argument("--group", type=int, default=8, help="rollouts of each task (default 8)")
    parser.add_argument("--sections", type=int, default=4, help="sections of a document (default 4)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    records = measure(args.tasks, args.group, args.sections)
    caption = f"Rollouts, {args.tasks} x {args.group} episodes of {args.sections} sections, one thread"
    print(json.dumps(records) if args.json else table(records, caption))


if __name__ == "__main__":
    main()
