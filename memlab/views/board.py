"""The live board: training curves as they come, over the recorded band, with the health signals below.

board = LiveBoard(out / "log.jsonl", band, steps=settings.steps)
board.show()
train(paper, model, tokenizer, settings, out, on_step=board)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import traitlets

from memlab.views.figures import HEALTH, Band
from memlab.views.tables import table, visible
from memlab.views.widget import View, module

PERIOD = 0.5  # seconds between two updates of the page, at least
POINTS = 300  # of one curve
TAIL = 12  # records of the static table

# name in the log -> (limit, what it means to be at it or above)
ALARMS = {
    "zero_spread_share": (0.9, "nearly all groups have equal rewards: little to learn from"),
    "clipped_share": (0.2, "many turns are cut off at the token limit: the policy no longer ends them"),
    "overflow_share": (0.1, "contexts do not fit the window"),
}


class LiveBoard(View):
    """A callback for `train(..., on_step=board)` that draws at most two updates a second.

    log_path: the run's log.jsonl. What it holds already is drawn at once: after a kernel restart the board comes back from it,
    and `refresh` reads it again while another process trains. band: (steps, low, high) of recorded runs. steps: of the run.
    """

    _esm = module("board.js")

    state = traitlets.Dict().tag(sync=True)

    def __init__(self, log_path: str | Path, band: Band | None = None, steps: int | None = None):
        self.path, self.band, self.steps = Path(log_path), band, steps
        self.records: list[dict] = []
        self._drawn, self._handle = 0.0, None
        super().__init__()
        self.refresh()

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Take one log record. A step that was there before (a resumed run) replaces it and all later ones."""
        self.records = (
            [r for r in self.records if r["step"] < record["step"]] if self._goes_back(record) else self.records
        )
        self.records.append(dict(record))
        last = self.steps is not None and record["step"] >= self.steps
        if last or time.monotonic() - self._drawn >= PERIOD:
            self.draw()
        if last:
            self.finish()

    def _goes_back(self, record: Mapping[str, Any]) -> bool:
        return bool(self.records) and record["step"] <= self.records[-1]["step"]

    def draw(self) -> None:
        """Send what is known to the page now."""
        self.state = board_state(self.records, self.band, self.steps)
        self._drawn = time.monotonic()

    def refresh(self) -> None:
        """Read the log again and draw. A log that is not there yet is an empty one."""
        from memlab.training.train import read_log

        self.records = [r for r in read_log(self.path) if "step" in r] if self.path.exists() else []
        self.draw()

    def show(self) -> None:
        """Display the board in this cell, so that `finish` can put the final table into the saved notebook."""
        from IPython.display import display

        self._handle = display(self, display_id=True)

    def finish(self) -> None:
        """Draw the last records, and renew the static table of a board that `show` displayed."""
        self.draw()
        if self._handle is not None:
            data, metadata = self._repr_mimebundle_()
            self._handle.update(data, raw=True, metadata=metadata)

    def plain(self) -> str:
        return str(self._table())

    def fallback(self) -> str:
        return self._table()._repr_html_()

    def _table(self):
        every = max(1, -(-len(self.records) // TAIL))
        shown = self.records[::every]
        shown += self.records[-1:] if self.records and shown[-1] is not self.records[-1] else []
        rows = [
            {"step": r["step"], "reward": r.get("reward")}
            | (
                {"recorded runs": "{:.2f} to {:.2f}".format(*between)}
                if (between := band_at(self.band, r["step"]))
                else {}
            )
            | {title: value for title, names, _ in HEALTH if (value := first(r, names)) is not None}
            for r in shown
        ]
        return table(rows, caption=f"Training: {self.state['note']}")


def board_state(records: Sequence[Mapping[str, Any]], band: Band | None = None, steps: int | None = None) -> dict:
    """What the page draws: at most POINTS points a curve, None where a value is missing.

    reward: {x, raw, mean}, the mean running over a twentieth of the run; band: {x, low, high}; health: a curve each.
    """
    kept = [r for r in records if r.get("reward") is not None]
    rewards = [float(r["reward"]) for r in kept]
    window = max(1, (steps or len(kept)) // 20)
    means = [sum(part) / len(part) for i in range(len(rewards)) for part in [rewards[max(0, i + 1 - window) : i + 1]]]
    some = thinned(range(len(kept)))
    health = []
    for title, names, share in HEALTH:
        points = [(r["step"], value) for r in records if (value := first(r, names)) is not None]
        if points:
            picked = [points[i] for i in thinned(range(len(points)))]
            health.append({"title": title, "share": share, "x": [p[0] for p in picked], "y": [p[1] for p in picked]})
    ends = [
        *([steps] if steps else []),
        *(r["step"] for r in records[-1:]),
        *(list(band[0])[-1:] if band and not steps else []),
    ]
    picked = thinned(range(len(band[0]))) if band else []
    return {
        "last": max(ends, default=1),
        "reward": {
            "x": [kept[i]["step"] for i in some],
            "raw": [rewards[i] for i in some],
            "mean": [means[i] for i in some],
        },
        "window": window,
        "band": {k: [float(values[i]) for i in picked] for k, values in zip(("x", "low", "high"), band)}
        if band
        else None,
        "health": health,
        "note": note(records, band, steps, means),
        "alarms": [
            visible(text) for name, (limit, text) in ALARMS.items() if records and (records[-1].get(name) or 0) >= limit
        ],
    }


def note(records: Sequence[Mapping[str, Any]], band: Band | None, steps: int | None, means: Sequence[float]) -> str:
    """One sentence: where the run stands, and where the recorded runs stood at that step."""
    if not records:
        return "no step yet"
    step, seconds = records[-1]["step"], sum(r.get("seconds") or 0 for r in records)
    text = f"step {step}" + (f" of {steps}" if steps else "") + (f", {seconds:.0f} s" if seconds else "")
    if means:
        text += f", mean reward {means[-1]:.2f}"
        if between := band_at(band, step):
            text += " (recorded runs: {:.2f} to {:.2f})".format(*between)
    return text


def band_at(band: Band | None, step: int) -> tuple[float, float] | None:
    """Low and high of the recorded runs at the last step that they share with `step`; None outside the band."""
    if not band:
        return None
    at = [i for i, x in enumerate(band[0]) if x <= step]
    return (band[1][at[-1]], band[2][at[-1]]) if at and step <= band[0][-1] else None


def thinned(indices: Sequence[int]) -> list[int]:
    """At most POINTS of `indices`, evenly, with the last one."""
    if len(indices) <= POINTS:
        return list(indices)
    return [indices[round(i * (len(indices) - 1) / (POINTS - 1))] for i in range(POINTS)]


def first(record: Mapping[str, Any], names: Sequence[str]) -> float | None:
    """The first of `names` that `record` holds as a finite number."""
    for name in names:
        value = record.get(name)
        if isinstance(value, int | float) and value - value == 0:
            return float(value)
    return None
