"""From a trajectory to what a view shows: one overview of all steps, and one record a step. Plain values, no widget.

A step is one turn of the policy, numbered from 0 as in the event log. All of it is read from the turns and from that one log, so
any memory will do: a text that is overwritten, a pruned history, a bank of notes, the variables of a program. An item is in
memory from its first write until its delete; an item that a step does not mention is kept.

Texts come back visible and clipped, not escaped: a view must insert them as text.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from memlab.episode import Trajectory, Turn
from memlab.memory import Event, replay, sentences
from memlab.views.tables import item_of, right_answers, visible, within
from memlab.worlds.scoring import normalise

TEXT = 20_000  # characters of one context, or of one completion
LINE = 2_000  # characters of one of its lines
ITEM = 400  # characters of one item of memory
ITEMS = 120  # items of one step
TOKENS = 2_000  # tokens of one completion, with their probabilities
MARKS = 1_000  # passages marked in one context
LABEL = 90  # characters of a fact in the timeline
FACTS = 1_000  # rows of the timeline


class Replay:
    """One trajectory, ready to be shown step by step.

    advantage: what training credited to it. tokenizer: any with `decode`, to name the sampled tokens.
    """

    def __init__(self, trajectory: Trajectory, name: str = "", advantage: float | None = None, tokenizer: Any = None):
        self.trajectory, self.name, self.advantage, self.tokenizer = trajectory, name, advantage, tokenizer
        self.events: dict[int, list[Event]] = {}
        for event in trajectory.outcome.events:
            self.events.setdefault(event.turn, []).append(event)
        self.length = max([len(trajectory.turns), *(turn + 1 for turn in self.events)])
        self.gold = [g for g in map(str, getattr(trajectory.task, "gold", None) or ()) if normalise(g)]
        self.before: list[dict[int, str]] = []  # memory before each step, item id -> text; one more entry for the end
        held: dict[int, str] = {}
        for turn in sorted(t for t in self.events if t < 0):  # what was in memory at the start
            replay(held, self.events[turn])
        for turn in range(self.length):
            self.before.append(dict(held))
            replay(held, self.events.get(turn, ()))
        self.before.append(held)
        self._words = lru_cache(maxsize=None)(lambda text: tuple(normalise(text)))
        self._wanted = [self._words(g) for g in self.gold]
        self._has = lru_cache(maxsize=None)(lambda i, text: within(self._wanted[i], self._words(text)))
        self._sampled = sampled_tokens(trajectory)

    # ------------------------------------------------------------ all steps at once

    def overview(self) -> dict:
        """Reward, timeline and tokens: everything but the texts of the steps. Sent to a view once.

        facts: {text, gold, spans: [[from, to), ...] after which steps it was in memory, rewritten: steps, deleted: steps}.
        golds: the same for each gold sentence; `seen`: the steps whose context showed it while memory did not hold it; `passed`:
        those of them that did not keep it. lost: the steps after which a gold sentence is gone, or was read and not kept.
        tokens: of each context and completion; full: see `full_context_tokens`.
        shading: "yes", or why there are no token probabilities.
        """
        outcome, turns = self.trajectory.outcome, self.trajectory.turns
        golds = self._golds()
        cost = [t.prompt_tokens + t.completion_tokens for t in turns]
        return {
            "name": visible(self.name, LABEL),
            "steps": self.length,
            "reward": f"{outcome.reward:.3g}",
            "advantage": None if self.advantage is None else f"{self.advantage:+.3g}",
            "answer": visible(outcome.answer, ITEM),
            "expected": [visible(a, LABEL) for a in right_answers(self.trajectory.task)[:4]],
            "question": visible(getattr(self.trajectory.task, "question", "") or "", ITEM),
            "facts": self._facts()[:FACTS],
            "golds": golds,
            "lost": sorted({step for g in golds for step in g["deleted"] + g["passed"]}),
            "deletions": sorted({e.turn for e in self.trajectory.outcome.events if e.op == "delete" and e.turn >= 0}),
            "tokens": cost,
            "full": full_context_tokens(turns, self.before),
            "shading": "yes" if self._sampled else "no log-probabilities were recorded: the policy is not a model",
        }

    def _facts(self) -> list[dict]:
        """One entry per item of memory, in order of first appearance. Not those that were never but a gold sentence: `_golds`."""
        facts: dict[int, dict] = {}
        for step in range(self.length):
            was, now = self.before[step], self.before[step + 1]
            for item in [*now, *(i for i in was if i not in now)]:
                fact = facts.setdefault(item, {"texts": [], "spans": [], "rewritten": [], "deleted": []})
                if item not in now:
                    fact["deleted"].append(step)
                    fact["texts"] = fact["texts"] or [was[item]]  # it was there before the first step
                    continue
                if item not in was or not fact["spans"]:
                    fact["spans"].append([step, step])
                elif now[item] != was[item]:
                    fact["rewritten"].append(step)
                fact["spans"][-1][1] = step + 1
                if now[item] not in fact["texts"][-1:]:
                    fact["texts"].append(now[item])
        return [
            {"text": visible(texts[-1], LABEL), "gold": self._is_gold(texts[-1])} | fact
            for fact in facts.values()
            for texts in [fact.pop("texts") or [""]]
            if not all(self._words(text) in self._wanted for text in texts)
        ]

    def _golds(self) -> list[dict]:
        """One entry per gold sentence: when it was seen, held, deleted from memory, or passed over."""
        held = [
            [any(self._has(i, text) for text in memory.values()) for i in range(len(self.gold))]
            for memory in self.before
        ]
        contexts = [normalise(prompt_text(turn)) for turn in self.trajectory.turns] if self.gold else []
        out = []
        for i, text in enumerate(self.gold):
            seen = [step for step, words in enumerate(contexts) if not held[step][i] and within(self._wanted[i], words)]
            after = [held[step + 1][i] for step in range(self.length)]
            out.append(
                {
                    "text": visible(text, LABEL),
                    "gold": True,
                    "seen": seen,
                    "spans": _spans(after),
                    "rewritten": [],
                    "deleted": [s for s in range(self.length) if held[s][i] and not after[s]],
                    "passed": [s for s in seen if s in self.events and not after[s]],
                }
            )
        return out

    def _is_gold(self, text: str) -> bool:
        return any(self._has(i, text) for i in range(len(self.gold)))

    # ------------------------------------------------------------ one step

    def step(self, number: int) -> dict:
        """Everything about one step. Raises IndexError if there is no such step.

        context: the messages the policy saw, as {role, parts: [[text, marks], ...]}, marks being "memory" and "gold".
        items: {op, text, gold, parts}: what became of each item; parts is the word diff of a rewrite. counts: of each operation.
        """
        if not 0 <= number < self.length:
            raise IndexError(f"there is no step {number}; the steps are 0 to {self.length - 1}")
        was, now = self.before[number], self.before[number + 1]
        events = self.events.get(number, [])
        named = {e.item for e in events}
        events = [Event(number, "keep", i, text) for i, text in was.items() if i not in named] + events
        order = {item: place for place, item in enumerate([*was, *now])}  # as it stood before, then what is new
        events.sort(key=lambda e: order.get(e.item, len(order)))
        counts: dict[str, int] = {}
        for event in events:
            counts[event.op] = counts.get(event.op, 0) + 1
        if len(events) > ITEMS:  # what changed is never the part that is left out
            events.sort(key=lambda e: e.op == "keep")
        words = [self._words(text) for text in now.values()] if self.gold else []
        turn = self.trajectory.turns[number] if number < len(self.trajectory.turns) else None
        return {
            "step": number,
            "context": self._context(turn, was) if turn else [],
            "read": turn and turn.prompt_tokens,
            "written": turn and turn.completion_tokens,
            "text": readable(turn.text) if turn else "",
            "notes": _notes(turn),
            "items": [self._item(e, words) for e in events[:ITEMS]],
            "hidden": max(0, len(events) - ITEMS),
            "counts": {visible(op, 40): n for op, n in counts.items()},
        }

    def _item(self, event: Event, words: Sequence) -> dict:
        shown = item_of(event, self._wanted, words)
        parts = word_diff(event.previous, event.text) if event.op == "rewrite" else []
        return {"op": visible(event.op, 40), "text": visible(event.text, ITEM), "gold": shown.gold, "parts": parts}

    def _context(self, turn: Turn, memory: dict[int, str]) -> list[dict]:
        messages = [("", turn.ask.prompt)] if isinstance(turn.ask.prompt, str) else [
            (m.get("role", ""), m.get("content", "")) for m in turn.ask.prompt]  # fmt: skip
        marks = {"gold": [readable(g, ITEM) for g in self.gold], "memory": [readable(t, ITEM) for t in memory.values()]}
        return [{"role": visible(role, 40), "parts": marked(readable(str(text)), marks)} for role, text in messages]

    def probabilities(self, number: int) -> list[list] | None:
        """[token, probability when it was sampled] for each token that step `number` wrote; None if not recorded."""
        if not self._sampled or number >= len(self._sampled):
            return None
        return [[self._token(i), round(math.exp(min(0.0, p)), 4)] for i, p in self._sampled[number][:TOKENS]]

    def _token(self, token: int) -> str:
        return visible(self.tokenizer.decode([token]) if self.tokenizer else f"#{token}", 60)


# ---------------------------------------------------------------- parts


def _spans(flags: Sequence[bool]) -> list[list[int]]:
    """The runs of True as [from, to)."""
    spans: list[list[int]] = []
    for i, flag in enumerate(flags):
        if flag and (not i or not flags[i - 1]):
            spans.append([i, i + 1])
        elif flag:
            spans[-1][1] = i + 1
    return spans


def _notes(turn: Turn | None) -> list[str]:
    if turn is None:
        return ["no exchange was recorded for this step"]
    notes = ["the context did not fit the window: nothing was written"] if turn.overflow else []
    return notes + (["cut off at the token limit"] if turn.truncated else [])


def prompt_text(turn: Turn) -> str:
    """The context of `turn` as one text, whether it was a string or chat messages."""
    prompt = turn.ask.prompt
    return prompt if isinstance(prompt, str) else "\n".join(str(m.get("content", "")) for m in prompt)


def readable(text: str, limit: int = TEXT) -> str:
    """`visible`, with line breaks kept: at most `limit` characters, at most LINE of each line, and a note of what is left out."""
    cut = text[:limit]
    shown = "\n".join(visible(line.rstrip("\r"), LINE) for line in cut.split("\n"))
    return shown if len(text) <= limit else f"{shown} [... {len(text) - limit:,} more characters]"


def marked(text: str, marks: dict[str, Sequence[str]]) -> list[list]:
    """`text` cut into [part, names of the marks whose strings cover it]. Joined, the parts are `text`.

    Strings of fewer than 6 characters are not marked: they would be found everywhere.
    """
    spans: list[tuple[int, int, str]] = []
    for name, needles in marks.items():
        for needle in needles:
            at = text.find(needle) if len(needle) >= 6 else -1
            while at >= 0 and len(spans) < MARKS:
                spans.append((at, at + len(needle), name))
                at = text.find(needle, at + len(needle))
    cuts = sorted({0, len(text), *(s[0] for s in spans), *(s[1] for s in spans)})
    parts = [[text[a:b], sorted({n for s, e, n in spans if s <= a and b <= e})] for a, b in zip(cuts, cuts[1:])]
    return parts or [["", []]]


def word_diff(before: str, after: str) -> list[list[str]]:
    """[words, "same" | "out" | "in"] in reading order: how `before` became `after`. Texts are clipped to ITEM characters."""
    old, new = visible(before, ITEM).split(), visible(after, ITEM).split()
    parts = []
    for op, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if op == "equal":
            parts.append([" ".join(old[a:b]), "same"])
            continue
        parts += [[" ".join(words), kind] for words, kind in ((old[a:b], "out"), (new[c:d], "in")) if words]
    return parts


def sampled_tokens(trajectory: Trajectory) -> list[list[tuple[int, float]]] | None:
    """For each turn the (token id, log-probability) pairs it sampled; None if a policy without log-probabilities played.

    The rows hold the sampled tokens of all turns in the order of the turns, whatever the cut rule made of them: so each turn
    takes its `completion_tokens` from their one sequence. A turn of a frozen policy (`Ask.by`) has none.
    """
    rows = trajectory.rows
    if not rows or any(len(r.logprobs) != len(r.completion_ids) for r in rows):
        return None
    sampled = [(i, p) for r in rows for i, p, m in zip(r.completion_ids, r.logprobs, r.mask, strict=True) if m]
    counts = [0 if turn.ask.by is not None else turn.completion_tokens for turn in trajectory.turns]
    if len(sampled) != sum(counts):
        return None
    turns, start = [], 0
    for count in counts:
        turns.append(sampled[start : start + count])
        start += count
    return turns


def full_context_tokens(turns: Sequence[Turn], memory: Sequence[dict[int, str]]) -> list[int]:
    """Tokens a context would have held at each step if nothing that was read had ever left it: an estimate.

    Every sentence counts once, when a context first shows it, and the completion of the step comes on top; what stood there from
    `memory` (as it was before each step) does not count. The tokens of a context are spread evenly over its words.
    """
    seen: set[str] = set()
    total, out = 0.0, []
    for turn, held in zip(turns, memory):
        text = prompt_text(turn)
        words = len(text.split())
        for item in held.values():
            text = text.replace(item, " ") if item else text
        fresh = [part for part in dict.fromkeys(sentences(text)) if part not in seen]
        seen.update(fresh)
        total += turn.prompt_tokens * sum(len(part.split()) for part in fresh) / max(1, words)
        out.append(round(total) + turn.completion_tokens)
    return out
