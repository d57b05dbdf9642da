"""One module a paper: its prompts, its memory, its episode, and the scripted rules that write its format."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from memlab.episode import Episode
from memlab.policies.scripted import Rule

NAMES = ("memagent", "mem1", "memact", "memory_r1", "agemem")


class World(Protocol):
    """Where tasks come from. The same `rng` state and size give the same task."""

    name: str

    def make(self, rng: random.Random, size: int) -> Any: ...


@dataclass(frozen=True)
class Stage:
    """One policy that a paper trains. Most papers have one stage; Memory-R1 trains a manager and then an answer agent.

    folder: where its run goes, inside the paper's run: "" is the run itself.
    prepare: (weights -> a frozen policy, weights that training starts from, the paper's run) -> the world and the episode for
        `memlab.training.train.train`.
    """

    folder: str = ""
    prepare: Callable[[Callable, Any, Any], dict[str, Any]] = lambda freeze, start, out: {}


@dataclass(frozen=True)
class Paper:
    """What the trainer, the evaluation, the CLI and the views need to know of one paper.

    name, title, notebook: "memagent", "MemAgent", "03".
    world: its default task family; `size` means what `size_unit` says.
    worlds: others that the same policies can be asked in, by name, and were not trained for.
    episode: task -> Episode, the paper's loop.
    random_valid: writes the format with choices made at random: the warm start's data, never better than chance on purpose.
    oracle: reads the answer key; proves that the environment can be solved.
    baselines: name -> (task -> Episode), contenders with another context. They run with the untrained model.
    learned: except these, whose turns have to be learned: name -> the recorded policy that they run with. NAME-0 is one that was
        warm-started and trained in the baseline's own episode.
    ablations: name -> what `memlab.training.train.train` is told otherwise; asked in the paper's own episode.
    stages: what is trained, one after the other, each from the same start.
    variants: the stages of a learned baseline or an ablation, where it has its own.
    warmstart: how the warm start differs from the defaults of `memlab.training.warmstart.finetune`.
    baseline_warmstart: how that of a learned baseline differs from it; "base": the recorded policy that it goes on from, if not
        from the tiny model.
    train_sizes: sizes of the training tasks. train_steps: at most so many.
    tasks_scale: tasks of a step, in multiples of the preset's: fewer where one task takes many turns, more where it takes one.
    eval_sizes: sizes that `memlab eval` asks when it is not told which.
    record_sizes: sizes of the recorded results.
    """

    name: str
    title: str
    notebook: str
    world: World
    size_unit: str
    episode: Callable[[Any], Episode]
    random_valid: Rule
    oracle: Rule
    worlds: dict[str, World] = field(default_factory=dict)
    baselines: dict[str, Callable[[Any], Episode]] = field(default_factory=dict)
    learned: dict[str, str] = field(default_factory=dict)
    ablations: dict[str, dict[str, Any]] = field(default_factory=dict)
    stages: tuple[Stage, ...] = (Stage(),)
    variants: dict[str, tuple[Stage, ...]] = field(default_factory=dict)
    warmstart: dict[str, Any] = field(default_factory=dict)
    baseline_warmstart: dict[str, Any] = field(default_factory=dict)
    train_sizes: tuple[int, ...] = (1, 2, 3, 4)
    tasks_scale: float = 1.0
    train_steps: int = 300
    eval_sizes: tuple[int, ...] = (4, 64)
    record_sizes: tuple[int, ...] = (1, 4, 16, 64, 256)


def get(name: str) -> Paper:
    """The paper called `name`. Raises ValueError, naming those there are."""
    if name not in NAMES:
        raise ValueError(f"there is no paper {name!r}; choose one of: {', '.join(NAMES)}")
    return importlib.import_module(f"memlab.papers.{name}").PAPER
