"""Evaluation: sizes, seeds, confidence intervals, cost. One record format for every paper, policy and baseline.

Tasks are drawn from (seed, size) alone, so every policy is asked the same questions, and any seed and any size work.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Sequence

from memlab.episode import Trajectory
from memlab.memory import contents
from memlab.papers import Paper
from memlab.policies.base import Policy
from memlab.rollout import play


def draw_tasks(paper: Paper, size: int, n: int, seed: int, world=None) -> list:
    """`n` tasks of one size. The same arguments give the same tasks on every machine."""
    rng = random.Random(f"evaluation/{seed}/{size}")
    return [(world or paper.world).make(rng, size) for _ in range(n)]


class Results(list):
    """Records of an evaluation, one dict a size: a list that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        from memlab.views.tables import results_table

        return results_table(self)._repr_html_()


def evaluate(paper: Paper, policy: Policy, sizes: Sequence[int], n: int, seed: int, episode=None, world=None) -> Results:
    """One `summary` per size. episode: the paper's own loop unless a baseline's is given."""
    results = Results()
    for size in sizes:
        trajectories, seconds = run(paper, policy, size, n, seed, episode, world)
        results.append({"size": size} | summary(trajectories, seconds))
    return results


def run(paper: Paper, policy: Policy, size: int, n: int, seed: int, episode=None, world=None):
    """Play `n` tasks of one size. Returns (trajectories, wall-clock seconds)."""
    tasks = draw_tasks(paper, size, n, seed, world)
    started = time.perf_counter()
    trajectories = play([(episode or paper.episode)(t) for t in tasks], policy, tasks)
    return trajectories, time.perf_counter() - started


def summary(trajectories: Sequence[Trajectory], seconds: float | None = None) -> dict:
    """Means over tasks. accuracy: share of tasks with the full reward, and ci95 (Wilson), in [0, 1]; tokens a task, but
    largest_context_tokens of any; latency_s: batch wall time over tasks. What an outcome measures besides comes with the 95 %
    interval of its mean, as NAME_ci95.
    """
    n = len(trajectories)
    right = sum(t.reward == 1.0 for t in trajectories)
    mean = lambda values: round(statistics.fmean(values), 4)  # noqa: E731
    record = {
        "accuracy": round(right / n, 4),
        "ci95": [round(x, 4) for x in wilson(right, n)],
        "f1": mean([t.outcome.metrics.get("f1", t.reward) for t in trajectories]),
        "peak_context_tokens": mean([t.peak_context_tokens for t in trajectories]),
        "largest_context_tokens": max(t.peak_context_tokens for t in trajectories),
        "total_tokens": mean([t.total_tokens for t in trajectories]),
        "generated_tokens": mean([t.generated_tokens for t in trajectories]),
        "latency_s": None if seconds is None else round(seconds / n, 5),
    }
    for name in trajectories[0].outcome.metrics:
        values = [t.outcome.metrics[name] for t in trajectories]
        half = 1.959964 * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.inf
        record |= {name: mean(values), f"{name}_ci95": [round(mean(values) - half, 4), round(mean(values) + half, 4)]}
    return record


def wilson(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion: honest at 0 and at 1, where the usual one has no width."""
    if n == 0:
        return (0.0, 1.0)
    p, zz = right / n, z * z
    centre = (p + zz / (2 * n)) / (1 + zz / n)
    half = z * math.sqrt(p * (1 - p) / n + zz / (4 * n * n)) / (1 + zz / n)
    return (0.0 if right == 0 else max(0.0, centre - half), 1.0 if right == n else min(1.0, centre + half))


T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # Student's t, 2.5 % each side, 1 to 9 degrees of freedom


def across_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over training seeds and its 95 % t interval, clipped to [0, 1]. Ten seeds at most."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = T975[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def survival(trajectories: Sequence[Trajectory], longest: int) -> dict[str, list]:
    """How long a gold fact stays: for lag 0..longest sections after it was read, the share of trajectories that still hold it.

    Counts the first gold fact of each task; a lag past the document's end is not observed. Returns lags, probability, lo, hi, n.
    """
    held, seen = [0] * (longest + 1), [0] * (longest + 1)
    for t in trajectories:
        start = t.task.gold_sections[0]
        for lag in range(min(longest, len(t.task.sections) - 1 - start) + 1):
            seen[lag] += 1
            held[lag] += t.task.gold[0] in contents(t.outcome.events, start + lag)
    lags = [lag for lag in range(longest + 1) if seen[lag]]
    bounds = [wilson(held[lag], seen[lag]) for lag in lags]
    return {
        "lags": lags,
        "probability": [held[lag] / seen[lag] for lag in lags],
        "lo": [b[0] for b in bounds],
        "hi": [b[1] for b in bounds],
        "n": [seen[lag] for lag in lags],
    }


def by_position(trajectories: Sequence[Trajectory], bins: int = 5) -> list[dict]:
    """Accuracy by where the first gold fact stands: `position` is the centre of its bin, 0 the start and 1 the end."""
    groups: list[list[Trajectory]] = [[] for _ in range(bins)]
    for t in trajectories:
        groups[min(bins - 1, int(bins * t.task.gold_sections[0] / len(t.task.sections)))].append(t)
    return [
        {"position": (i + 0.5) / bins, "n": len(g)} | {k: v for k, v in summary(g).items() if k in ("accuracy", "ci95")}
        for i, g in enumerate(groups)
        if g
    ]
