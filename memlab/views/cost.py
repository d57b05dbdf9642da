"""What a conversation costs as it grows, and the dial that shows it.

A turn adds `tokens` tokens. An agent that resends everything reads turn 1 T times and turn T once: T (T + 1) / 2 turns in all,
so its bill grows with the square of the turns. A window or a trained memory reads a bounded context each turn, so its bill grows
with the turns. Prices are dollars for a million tokens read; written tokens are few here and left out.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import traitlets

from memlab.views.tables import Table, table
from memlab.views.widget import View, module

# One setting that costs 0.14 dollars a conversation: 7 turns of 2,000 tokens are 56,000 tokens read, at 2.50 dollars a million.
DEFAULT = {"turns": 7, "tokens": 2000, "price": 2.5, "window": 4000, "employees": 3000, "a_day": 10, "days": 30}
DIALS = {  # name -> (label, lowest, highest, step)
    "turns": ("Turns a conversation", 1, 200, 1),
    "tokens": ("Tokens a turn", 50, 10_000, 50),
    "price": ("Dollars a million tokens", 0.05, 20, 0.05),
    "window": ("Window (tokens)", 500, 64_000, 500),
    "employees": ("Employees", 1, 20_000, 1),
    "a_day": ("Conversations a day, each", 1, 100, 1),
    "days": ("Days a month", 1, 31, 1),
}


def tokens_read(turns: int, tokens: float, most: float = math.inf) -> float:
    """Tokens read in a conversation of `turns` turns that add `tokens` each, when a context holds `most` at the most.

    `most` infinite is full context: tokens * turns * (turns + 1) / 2.
    """
    return sum(min(turn * tokens, most) for turn in range(1, turns + 1))


def dollars(tokens: float, price: float) -> float:
    """The price of reading `tokens` at `price` dollars a million."""
    return tokens * price / 1e6


def monthly(conversation: float, employees: int = 3000, a_day: float = 10, days: int = 30) -> float:
    """Dollars a month: 0.14 a conversation, 3,000 employees and ten conversations a day each are 126,000."""
    return round(conversation * employees * a_day * days, 2)


def bill(measured: Mapping[str, float] | None = None, **dials: float) -> list[dict[str, Any]]:
    """One row per policy: `policy`, `tokens` read, dollars a `conversation` and a `month`, `share` of full context's bill.

    measured: memory system -> tokens of its context at one turn, beside the turn's own `tokens` (what it keeps: measured, not
    guessed). dials: see DIALS; those not given are DEFAULT. Raises ValueError for a dial outside its range or without a name.
    """
    if unknown := dials.keys() - DIALS.keys():
        raise ValueError(f"there is no dial {', '.join(sorted(unknown))}; the dials are: {', '.join(DIALS)}")
    for name, value in dials.items():
        if not DIALS[name][1] <= value <= DIALS[name][2]:
            raise ValueError(f"{name} is {value}; it goes from {DIALS[name][1]} to {DIALS[name][2]:,}")
    d = DEFAULT | dials
    turns = int(d["turns"])
    read = {
        "full context": tokens_read(turns, d["tokens"]),
        f"window of {d['window']:,.0f}": tokens_read(turns, d["tokens"], d["window"]),
    } | {name: turns * (d["tokens"] + kept) for name, kept in (measured or {}).items()}
    rows = []
    for policy, tokens in read.items():
        each = dollars(tokens, d["price"])
        month = monthly(each, d["employees"], d["a_day"], d["days"])
        share = tokens / read["full context"]
        rows.append({"policy": policy, "tokens": tokens, "conversation": each, "month": month, "share": share})
    return rows


def bill_table(rows: Sequence[Mapping[str, Any]], dials: Mapping[str, float]) -> Table:
    """`bill` as a table, with the dials in its caption."""
    words = ", ".join(f"{DIALS[name][0].lower()} {value:,g}" for name, value in dials.items())
    shown = [{"policy": r["policy"], "tokens read": f"{r['tokens']:,.0f}", "a conversation": f"${r['conversation']:,.4g}",
              "a month": f"${r['month']:,.0f}", "of full context": f"{r['share']:.0%}"} for r in rows]  # fmt: skip
    return table(shown, caption=f"What it costs: {words}")


class CostDial(View):
    """Sliders for turns, tokens, price and use; a row per policy with what it costs.

        CostDial({"MemAgent, trained": 22})

    measured: memory system -> tokens its memory adds to the context of a turn. dials: where the sliders stand at first.
    """

    _esm = module("cost.js")

    spec = traitlets.Dict().tag(sync=True)
    dials = traitlets.Dict().tag(sync=True)
    rows = traitlets.List().tag(sync=True)

    def __init__(self, measured: Mapping[str, float] | None = None, **dials: float):
        self.measured = dict(measured or {})
        rows = bill(self.measured, **dials)
        super().__init__(spec={k: list(v) for k, v in DIALS.items()}, dials=DEFAULT | dials, rows=rows)
        self.on_msg(lambda _, message, __: self._turn(message))

    def _turn(self, message: Any) -> None:
        """The page moved a dial. What is not a dial, or out of its range, changes nothing."""
        dials = message.get("dials") if isinstance(message, dict) else None
        try:
            self.rows = bill(self.measured, **{k: float(v) for k, v in dials.items()})
            self.dials = DEFAULT | dials
        except (AttributeError, TypeError, ValueError):
            return

    def plain(self) -> str:
        return str(bill_table(self.rows, self.dials))

    def fallback(self) -> str:
        doubled = bill(self.measured, **self.dials | {"turns": min(200, 2 * self.dials["turns"])})
        ratio = doubled[0]["tokens"] / self.rows[0]["tokens"]
        note = f"Twice the turns cost full context {ratio:.2g} times as much: its bill grows with their square."
        return bill_table(self.rows, self.dials)._repr_html_() + f"<p>{html.escape(note)}</p>"
