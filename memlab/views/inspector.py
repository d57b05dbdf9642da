"""The memory inspector: what the agent saw, wrote, kept, changed and deleted, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets

from memlab.episode import Trajectory
from memlab.views.steps import Replay
from memlab.views.tables import table, trajectory_table
from memlab.views.widget import View, heading, module

CELLS = 64  # steps of the static timeline
ROWS = 40  # facts of the static timeline


class Inspector(View):
    """Shows one trajectory, or several of the same task beside each other (before and after training, two papers).

        Inspector([before, after], names=["before", "after"], advantages=[-0.5, 0.5], tokenizer=tokenizer)

    advantages: one per trajectory, as training credited it. names: one per trajectory. tokenizer: names the sampled tokens when
    their probabilities are shown. `step` (from 0) and `filter` ("all", "lost", "deletions") can be set from Python as well.

    The page gets an overview once and then each step as it is asked for. Raises ValueError if the arguments do not match.
    """

    _esm = module("inspector.js")

    tracks = traitlets.List().tag(sync=True)
    first = traitlets.List().tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    filter = traitlets.Enum(("all", "lost", "deletions"), "all").tag(sync=True)

    def __init__(
        self,
        trajectories: Trajectory | Sequence[Trajectory],
        advantages: Sequence[float] | None = None,
        names: Sequence[str] | None = None,
        tokenizer: Any = None,
        step: int = 0,
    ):
        trajectories = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
        for what, given in (("advantages", advantages), ("names", names)):
            if given is not None and len(given) != len(trajectories):
                raise ValueError(f"{len(given)} {what} for {len(trajectories)} trajectories; give one each")
        if not trajectories or not any(t.turns or t.outcome.events for t in trajectories):
            raise ValueError("there is no step to inspect; pass at least one trajectory that was played")
        if len({getattr(t.task, "question", None) for t in trajectories}) > 1:
            raise ValueError("the trajectories are of different tasks; give each task its own Inspector")
        if names is None:
            names = [""] if len(trajectories) == 1 else [f"trajectory {i}" for i in range(len(trajectories))]
        advantages = [None] * len(trajectories) if advantages is None else [float(a) for a in advantages]
        self.replays = [Replay(*each, tokenizer) for each in zip(trajectories, names, advantages, strict=True)]
        last = max(r.length for r in self.replays) - 1
        if not 0 <= step <= last:
            raise ValueError(f"there is no step {step}; the steps are 0 to {last}")
        super().__init__(tracks=[r.overview() for r in self.replays], first=self._records(step), step=step)
        self.on_msg(lambda _, message, __: self._answer(message))

    def _records(self, step: int) -> list[dict | None]:
        return [r.step(step) if step < r.length else None for r in self.replays]

    def _answer(self, message: Any) -> None:
        """Send the step, or its token probabilities, that the page asks for. What is no such question is ignored."""
        ask, step = (message.get("ask"), message.get("step")) if isinstance(message, dict) else (None, None)
        if not isinstance(step, int) or not 0 <= step < max(r.length for r in self.replays):
            return
        if ask == "step":
            self.send({"reply": "step", "step": step, "tracks": self._records(step)})
        elif ask == "tokens":
            self.send({"reply": "tokens", "step": step, "tracks": [r.probabilities(step) for r in self.replays]})

    def plain(self) -> str:
        parts = [f"{t['name'] or 'trajectory'}: {t['steps']} steps, reward {t['reward']}" for t in self.tracks]
        return "Memory inspector. " + "; ".join(parts)

    def fallback(self) -> str:
        """The trajectories side by side in numbers, then for each its timeline and its steps."""
        results = table(
            [
                {
                    "trajectory": t["name"] or str(i),
                    "reward": t["reward"],
                    **({"advantage": t["advantage"]} if any(t["advantage"] for t in self.tracks) else {}),
                    "answer": t["answer"],
                    "steps": t["steps"],
                    "largest context (tokens)": max(t["tokens"], default=0),
                    "if nothing ever left it": max(t["full"], default=0),
                }
                for i, t in enumerate(self.tracks)
            ],
            caption=f"Memory inspector: {self.tracks[0]['question'] or 'one task'}",
        )
        parts = [results._repr_html_()]
        for replay, track in zip(self.replays, self.tracks, strict=True):
            parts += [heading(track["name"])] if track["name"] else []
            parts += [static_timeline(track)._repr_html_(), trajectory_table(replay.trajectory)]
        return "\n".join(parts)


def static_timeline(track: dict) -> Any:
    """The timeline of `Replay.overview` as a Table: a row a fact, and a character a step.

    Letters: # in memory, x deleted, ~ rewritten, o in sight but not kept, . neither. Up to CELLS steps and ROWS facts.
    """
    steps = min(track["steps"], CELLS)
    rows = []
    for fact in (track["golds"] + track["facts"])[:ROWS]:
        cells = ["."] * track["steps"]
        for step in fact.get("seen", ()):
            cells[step] = "o"
        for start, stop in fact["spans"]:
            cells[start:stop] = "#" * (stop - start)
        for mark, where in (("~", fact["rewritten"]), ("x", fact["deleted"])):
            for step in where:
                cells[step] = mark
        rows.append({"fact": ("★ " if fact["gold"] else "") + fact["text"], "steps": "".join(cells[:steps])})
    left = len(track["golds"]) + len(track["facts"]) - len(rows)
    more = (f"; {left} more facts" if left else "") + (
        f"; steps from {steps} on are not shown" if steps < track["steps"] else ""
    )
    return table(rows, caption=f"Facts by step: # in memory, ~ rewritten, x deleted, o in sight and not kept{more}")
