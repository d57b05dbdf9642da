"""The dial: how large a run is. The same cells run at every setting; a notebook reads its numbers from here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """One setting of the dial.

    model: what `memlab.policies.pretrained.load` takes.
    device: "cpu" or "cuda". smoke and cpu stay on the CPU even beside a GPU, so that their numbers can be compared.
    train_steps: optimiser steps of one training run.
    tasks_per_step, group_size: different tasks in a step, and trajectories played of each (the group of GRPO).
    train_seeds: independent training runs, with seeds SEED, SEED + 1, ...
    eval_n: tasks at each size of an evaluation.
    eval_sizes: sizes of the evaluation's tasks, in the paper's own unit (MemAgent: sections).
    processes: processes of one training run, one GPU each; 1 on a CPU.
    """

    name: str
    description: str
    model: str
    device: str
    train_steps: int
    tasks_per_step: int
    group_size: int
    train_seeds: int
    eval_n: int
    eval_sizes: tuple[int, ...]
    processes: int = 1

    @property
    def needs_gpu(self) -> bool:
        return self.device == "cuda"


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="smoke",
            description="does every cell run? under a minute, and too short to learn anything",
            model="tiny",
            device="cpu",
            train_steps=3,
            tasks_per_step=4,
            group_size=4,
            train_seeds=1,
            eval_n=16,
            eval_sizes=(1, 4),
        ),
        Preset(
            name="cpu",
            description="the experiment itself, with the tiny model on two CPU cores, in minutes",
            model="tiny",
            device="cpu",
            train_steps=300,
            tasks_per_step=16,
            group_size=8,
            train_seeds=1,
            eval_n=100,
            eval_sizes=(1, 2, 4, 8, 16, 32, 64),
        ),
        Preset(
            name="gpu",
            description="a real model on one NVIDIA GPU, with Unsloth",
            model="hub:Qwen/Qwen2.5-1.5B-Instruct",
            device="cuda",
            train_steps=200,
            tasks_per_step=16,
            group_size=8,
            train_seeds=1,
            eval_n=128,
            eval_sizes=(4, 8, 16, 32),
        ),
        Preset(
            name="node",
            description="the paper's model size on a node of eight GPUs",
            model="hub:Qwen/Qwen2.5-7B-Instruct",
            device="cuda",
            train_steps=200,
            tasks_per_step=64,
            group_size=16,
            train_seeds=1,
            eval_n=128,
            eval_sizes=(4, 8, 16, 32, 64),
            processes=8,
        ),
    )
}


def get(name: str) -> Preset:
    """The preset called `name`. Raises ValueError, naming those there are."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose one of: {', '.join(PRESETS)}")
    return PRESETS[name]
