"""Tables that read well in a notebook, in a terminal and through a screen reader; the plain view of a trajectory.

Text that a model wrote is hostile until shown otherwise: it is made visible, clipped and escaped, in that order.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from memlab.episode import Trajectory
from memlab.memory import Event, replay
from memlab.worlds.scoring import normalise

CLIP = 400  # characters of one text that are shown
MAX_TURNS = 60  # turns of one trajectory that are shown: the first and the last half
MAX_ITEMS = 40  # memory items of one turn that are shown


def visible(text: Any, limit: int = CLIP) -> str:
    r"""`text` as one harmless line: control and other invisible characters are written out (`\x1b`, `\u202e`).

    Longer texts are cut to `limit` characters and end in a note of how many were left out. Not yet escaped for HTML.
    """
    text = str(text)
    shown = "".join(_written_out(c) for c in text[:limit])
    return shown if len(text) <= limit else f"{shown} [... {len(text) - limit:,} more characters]"


def _written_out(c: str) -> str:
    if c in " \u200c\u200d" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return c  # the two joiners are needed to spell Persian, and emoji
    return c.encode("unicode_escape").decode("ascii")


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of strings under named columns. The first column names its row. Renders as HTML, Markdown and text."""

    columns: list[str]
    rows: list[list[str]]
    caption: str = ""
    numeric: frozenset[str] = field(default_factory=frozenset)  # columns set flush right

    def _repr_html_(self) -> str:
        def cell(tag: str, text: str, column: str, scope: str = "") -> str:
            align = "right" if column in self.numeric else "left"
            return f'<{tag}{scope} style="text-align:{align}">{_isolated(text)}</{tag}>'

        head = "".join(cell("th", c, c, ' scope="col"') for c in self.columns)
        body = ""
        for row in self.rows:
            first, *rest = zip(row, self.columns, strict=True)
            scope = ' scope="row"'
            body += f"<tr>{cell('th', *first, scope)}{''.join(cell('td', *pair) for pair in rest)}</tr>\n"
        caption = f"<caption>{_isolated(self.caption)}</caption>\n" if self.caption else ""
        return f"<table>\n{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"

    def __repr__(self) -> str:  # what a notebook shows where there is no HTML, and `memlab run` prints
        return str(self)

    def _repr_markdown_(self) -> str:
        def safe(text: str) -> str:
            return re.sub(r"([\\`*_\[\]|~#!$])", r"\\\1", html.escape(text, quote=False))

        rows = [[safe(text) for text in row] for row in self.rows]
        columns = [safe(c) for c in self.columns]
        rule = [("-" * max(2, len(c) - 1) + ":" if name in self.numeric else "-" * max(3, len(c)))
                for c, name in zip(columns, self.columns, strict=True)]  # fmt: skip
        lines = ["| " + " | ".join(cells) + " |" for cells in (columns, rule, *rows)]
        return "\n".join([*([safe(self.caption), ""] if self.caption else []), *lines])

    def __str__(self) -> str:
        grid = [self.columns, *self.rows]
        widths = [max(len(row[i]) for row in grid) for i in range(len(self.columns))]

        def line(cells: list[str]) -> str:
            padded = [c.rjust(w) if name in self.numeric else c.ljust(w)
                      for c, w, name in zip(cells, widths, self.columns, strict=True)]  # fmt: skip
            return "  ".join(padded).rstrip()

        rule = "  ".join("-" * w for w in widths)
        return "\n".join([*([self.caption] if self.caption else []), line(self.columns), rule, *map(line, self.rows)])


def table(
    rows: Sequence[Mapping[str, Any]],
    caption: str = "",
    formats: Mapping[str, str | Callable[[Any], str]] | None = None,
) -> Table:
    """A Table of `rows`, one dictionary per row; columns are the keys as they first appear, missing values are empty.

    formats: column -> format specification (".2f", ".0%", ",") or a function from the value to its text.
    """
    formats = formats or {}
    columns = list(dict.fromkeys(key for row in rows for key in row))
    unknown = set(formats) - set(columns)
    if rows and unknown:
        raise ValueError(f"formats names columns that no row has: {', '.join(sorted(map(str, unknown)))}")

    def text(column: str, value: Any) -> str:
        how = formats.get(column)
        if value is None:
            return ""
        if callable(how):
            return visible(how(value))
        if how:
            return visible(format(value, how))
        if isinstance(value, float):
            return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
        return visible(value)

    numeric = {c for c in columns if all(isinstance(row.get(c), int | float | None) for row in rows)}
    return Table(
        [visible(c) for c in columns],
        [[text(c, row.get(c)) for c in columns] for row in rows],
        visible(caption),
        frozenset(visible(c) for c in numeric),
    )


def results_table(results: Sequence[Mapping[str, Any]], caption: str = "") -> Table:
    """The records of `memlab.evaluation.evaluate`, a row a size: tokens and seconds are those of one task.

    What has an interval NAME_ci95 is shown with its half width.
    """
    rows = []
    for r in results:
        row = {name: value for name, value in r.items() if not name.endswith("_ci95")}
        for name in row:
            if low_high := r.get(f"{name}_ci95"):
                row[name] = f"{r[name]:.3f} ±{r[name] - low_high[0]:.3f}"
        rows.append(row | {"ci95": "{:.3f} to {:.3f}".format(*r["ci95"])})
    return table(rows, caption, {"accuracy": ".3f"} if rows else None)


# ---------------------------------------------------------------- one trajectory, turn by turn

# op -> (shape and word, background). Black on these grounds has a contrast of 5:1 or more, so one badge serves light
# and dark themes; word and shape carry the meaning without the colour (the Okabe-Ito set, safe for colour-blind
# readers).
BADGES = {
    "keep": ("= kept", "#bbbbbb"),
    "write": ("+ written", "#56b4e9"),
    "rewrite": ("~ rewritten", "#e69f00"),
    "delete": ("- deleted", "#d55e00"),
}
GOLD = ("★ gold", "#f0e442")


def _badge_of(op: str) -> tuple[str, str]:
    return BADGES.get(op) or (f"? {visible(op, 40)}", "#ffffff")


class _Item(NamedTuple):
    op: str  # key of BADGES
    text: str
    previous: str  # only of a rewrite
    gold: str  # "", "★ gold" (held), "★ gold lost", "★ gold, held elsewhere" (this copy went)


class _Turn(NamedTuple):
    number: int
    read: int | None  # tokens of the context; None when the log has events at a turn that was not recorded
    written: int | None  # tokens of the completion
    gold_held: str  # "1 of 2" after this turn, or "" when the task names no gold or nothing was logged
    items: list[_Item]
    hidden: int  # items left out
    text: str  # what the policy wrote, if no item of memory changed
    notes: list[str]


def trajectory_table(trajectory: Trajectory) -> str:
    """HTML: what memory kept, gained and lost at each turn, with its cost in tokens, and the reward.

    Reads only `turns`, `outcome` and, when the task has them, `task.gold` and `task.answers`: it serves every paper.
    """
    turns, skipped = _turns(trajectory)
    with_gold = any(t.gold_held for t in turns)
    heads = ["Turn", "Tokens read", "Tokens written", *(["Gold held"] if with_gold else []), "Memory"]
    body = []
    for turn in turns:
        if turn.number == skipped.stop and skipped:
            body.append(f'<tr><td colspan="{len(heads)}">{_isolated(_skip_note(skipped))}</td></tr>')
        numbers = [turn.read, turn.written, *([turn.gold_held] if with_gold else [])]
        cells = "".join(
            f'<td style="text-align:right">{"" if n is None else html.escape(str(n))}</td>' for n in numbers
        )
        body.append(
            f'<tr><th scope="row">{turn.number}</th>{cells}<td style="text-align:left">{_memory_html(turn)}</td></tr>'
        )
    head = "".join(f'<th scope="col" style="text-align:{"left" if h == "Memory" else "right"}">{h}</th>' for h in heads)
    question = getattr(trajectory.task, "question", None)
    caption = "What memory kept and dropped, turn by turn" + (f": {visible(question)}" if question else "")
    foot = "<br>".join(_isolated(line) for line in _ending(trajectory))
    return (
        f'<table class="memlab-trajectory">\n<caption>{_isolated(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody>\n"
        f'<tfoot><tr><td colspan="{len(heads)}" style="text-align:left">{foot}</td></tr></tfoot>\n</table>'
    )


def trajectory_text(trajectory: Trajectory) -> str:
    """The same view as `trajectory_table` for a terminal."""
    turns, skipped = _turns(trajectory)
    lines = []
    for turn in turns:
        if turn.number == skipped.stop and skipped:
            lines.append(_skip_note(skipped))
        cost = "" if turn.read is None else f"  read {turn.read}, wrote {turn.written} tokens"
        lines.append(f"turn {turn.number}{cost}" + (f"  gold held: {turn.gold_held}" if turn.gold_held else ""))
        width = max(len(badge) for badge, _ in BADGES.values())
        for item in turn.items:
            was = f"  (was: {item.previous})" if item.previous else ""
            lines.append(
                f"    {_badge_of(item.op)[0].ljust(width)}  {f'[{item.gold}] ' if item.gold else ''}{item.text}{was}"
            )
        lines += [f"    {note}" for note in _more(turn)]
        if turn.text:
            lines.append(f"    wrote: {turn.text}")
    return "\n".join(lines + _ending(trajectory))


def _turns(trajectory: Trajectory) -> tuple[list[_Turn], range]:
    """The turns to show, and the range of those left out of the middle."""
    by_turn: dict[int, list[Event]] = {}
    for event in trajectory.outcome.events:
        by_turn.setdefault(event.turn, []).append(event)
    golds = [g for g in (normalise(str(g)) for g in getattr(trajectory.task, "gold", None) or ()) if g]
    numbers = sorted({*range(len(trajectory.turns)), *by_turn})
    half = MAX_TURNS // 2
    left_out = numbers[half:-half] if len(numbers) > MAX_TURNS else []
    memory: dict[int, str] = {}
    shown, held = [], ""
    for number in numbers:
        events = by_turn.get(number, [])
        replay(memory, events)
        now = [normalise(text) for text in memory.values()] if golds else []
        if golds and events:
            held = f"{sum(any(within(g, text) for text in now) for g in golds)} of {len(golds)}"
        if left_out and left_out[0] <= number <= left_out[-1]:
            continue
        turn = trajectory.turns[number] if 0 <= number < len(trajectory.turns) else None
        notes = []
        if turn is None:
            notes.append("before the first turn" if number < 0 else "no exchange was recorded for this turn")
        elif turn.overflow:
            notes.append("the context did not fit the window: nothing was written")
        elif turn.truncated:
            notes.append("cut off at the token limit")
        shown.append(
            _Turn(
                number,
                turn and turn.prompt_tokens,
                turn and turn.completion_tokens,
                held,
                [item_of(e, golds, now) for e in events[:MAX_ITEMS]],
                max(0, len(events) - MAX_ITEMS),
                visible(turn.text) if turn and not events else "",
                notes,
            )
        )
    return shown, range(left_out[0], left_out[-1] + 1) if left_out else range(0)


def item_of(event: Event, golds: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> _Item:
    """golds: words of each gold sentence. now: words of every item held after this turn."""
    before = normalise(event.previous or event.text)
    after = [] if event.op == "delete" else normalise(event.text)
    gone = [g for g in golds if within(g, before) and not within(g, after)]
    gold = ""
    if any(within(g, after) for g in golds):
        gold = GOLD[0]
    elif gone:
        gold = (
            f"{GOLD[0]} lost"
            if any(not any(within(g, text) for text in now) for g in gone)
            else f"{GOLD[0]}, held elsewhere"
        )
    return _Item(event.op, visible(event.text), visible(event.previous), gold)


def within(gold: Sequence[str], words: Sequence[str]) -> bool:
    """Whether the words of `gold` stand in `words` one after the other."""
    return f" {' '.join(gold)} " in f" {' '.join(words)} "


def _more(turn: _Turn) -> list[str]:
    return [*([f"[... {turn.hidden:,} more items]"] if turn.hidden else []), *turn.notes]


def _skip_note(skipped: range) -> str:
    return f"[... turns {skipped.start} to {skipped.stop - 1} are not shown]"


def right_answers(task: Any) -> list[str]:
    """Each of the answers to `task` that count as right, as an outcome writes it."""
    return [task.expected] if hasattr(task, "expected") else [str(a) for a in getattr(task, "answers", None) or ()]


def _ending(trajectory: Trajectory) -> list[str]:
    """The lines below the turns: reward, answer, cost."""
    answers = right_answers(trajectory.task)
    expected = f" (expected: {' or '.join(visible(a, 80) for a in answers[:4])})" if answers else ""
    golds = [f"{GOLD[0]}: {visible(g)}" for g in (getattr(trajectory.task, "gold", None) or ())[:8]]
    metrics = ", ".join(f"{visible(k, 40)} {v:.3g}" for k, v in list(trajectory.outcome.metrics.items())[:12])
    cost = (
        f"{trajectory.total_tokens:,} tokens in all, largest context {trajectory.peak_context_tokens:,}"
        if trajectory.turns
        else ""
    )
    answer = f'answer: "{visible(trajectory.outcome.answer)}"{expected}'
    return [f"reward {trajectory.outcome.reward:.3g}, {answer}", *golds, *filter(None, (cost, metrics))]


def _isolated(text: str) -> str:
    """Escaped for HTML, and kept from turning the direction of what stands around it."""
    return f"<bdi>{html.escape(text)}</bdi>"


def _badge(text: str, ground: str) -> str:
    style = f"background:{ground};color:#000;padding:0 .35em;border-radius:.25em;white-space:nowrap;font-weight:600"
    return f'<span style="{style}">{html.escape(text)}</span>'


def _memory_html(turn: _Turn) -> str:
    lines = []
    for item in turn.items:
        gold = f" {_badge(item.gold, GOLD[1])}" if item.gold else ""
        was = f" (was: <s>{_isolated(item.previous)}</s>)" if item.previous else ""
        text = f"<s>{_isolated(item.text)}</s>" if item.op == "delete" else _isolated(item.text)
        lines.append(f"<li>{_badge(*_badge_of(item.op))}{gold} {text}{was}</li>")
    lines += [f"<li>{html.escape(note)}</li>" for note in _more(turn)]
    if turn.text:
        lines.append(f"<li>wrote: {_isolated(turn.text)}</li>")
    style = "list-style:none;margin:0;padding:0;overflow-wrap:anywhere"
    return f'<ul style="{style}">{"".join(lines)}</ul>' if lines else "nothing"
