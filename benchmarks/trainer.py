"""One optimiser step: SegmentGRPOTrainer against the plain loop, on the same trajectories. `python -m benchmarks.trainer`

The trajectories are played once, before the clock starts; a step is advantages, forward, backward and AdamW. The third line is
the same loop with one row a forward pass, as when the turns of a trajectory are trained one by one.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from memlab import contenders, papers
from memlab.policies import pretrained
from memlab.policies.model import ModelPolicy
from memlab.rollout import play
from memlab.training.grpo import GRPOSettings, grpo_config, make_segment_trainer
from memlab.training.loop import backward
from memlab.views.tables import table


class _Clock(TrainerCallback):
    def __init__(self):
        self.seconds: list[float] = []

    def on_step_begin(self, *args, **kwargs):
        self.started = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        self.seconds.append(time.perf_counter() - self.started)


def trainer_steps(model, tokenizer, trajectories, settings: GRPOSettings) -> list[float]:
    """Seconds of each step of SegmentGRPOTrainer on `trajectories`, the same in every step."""
    clock = _Clock()
    count = settings.steps * settings.tasks
    with tempfile.TemporaryDirectory() as out:
        trainer = make_segment_trainer()(
            model=model,
            args=grpo_config(settings, out, save_strategy="no"),
            train_dataset=Dataset.from_dict({"prompt": [""] * count, "index": range(count)}),
            processing_class=tokenizer,
            rollout=lambda inputs, trainer: trajectories,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.seconds


def loop_steps(model, tokenizer, trajectories, settings: GRPOSettings, batch: int = 128) -> list[float]:
    """Seconds of each step of the plain loop."""
    optimizer, seconds = torch.optim.AdamW(model.parameters(), settings.learning_rate), []
    model.train()
    for _ in range(settings.steps):
        started = time.perf_counter()
        backward(model, trajectories, settings.group, tokenizer.pad_token_id, batch=batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return seconds


def measure(tasks: int = 16, group: int = 8, steps: int = 8, seed: int = 0) -> list[dict]:
    """One record a path: median seconds a step, first step left out, and that over the plain loop's."""
    torch.set_num_threads(1)
    paper = papers.get("memagent")
    source = contenders.weights_of(paper, "warmstart")
    model, tokenizer = pretrained.load(source)
    rng = random.Random(seed)
    drawn = [t for t in (paper.world.make(rng, rng.choice(paper.train_sizes)) for _ in range(tasks)) for _ in range(group)]
    trajectories = play([paper.episode(t) for t in drawn], ModelPolicy(model, tokenizer, seed=seed), drawn)
    settings = GRPOSettings(steps=steps, tasks=tasks, group=group, learning_rate=0.0, micro_batches=4)
    seconds = {
        "plain loop": loop_steps(model, tokenizer, trajectories, settings),
        "SegmentGRPOTrainer": trainer_steps(pretrained.load(source)[0], tokenizer, trajectories, settings),
        "plain loop, one row a pass": loop_steps(pretrained.load(source)[0], tokenizer, trajectories, settings, batch=1),
    }
    medians = {name: statistics.median(s[1:]) for name, s in seconds.items()}
    return [
        {"path": name, "seconds_a_step": round(s, 3), "times_the_loop": round(s / medians["plain loop"], 3)}
        for name, s in medians.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare one training step of SegmentGRPOTrainer with the plain loop.")
    parser.add_argument("--tasks", type=int, default=16, help="different tasks (default 16)")
    parser.add_argument("--group", type=int, default=8, help="trajectories of each task (default 8)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    records = measure(args.tasks, args.group)
    caption = f"One step on {args.tasks} x {args.group} trajectories, one thread"
    print(json.dumps(records) if args.json else table(records, caption))


if __name__ == "__main__":
    main()
