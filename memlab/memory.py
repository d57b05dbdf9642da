"""Memory, and the one event log that every view and metric reads.

A store changes only through its operations, and every operation appends `Event`s. Nothing else in memlab asks a store
what happened: the inspector, the survival curve and the operation counts all read `store.events`.
"""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Operation = Literal["keep", "write", "rewrite", "delete"]


@dataclass(frozen=True)
class Event:
    """One item of memory at one turn.

    turn: index of the policy's turn, from 0.
    op: keep (unchanged), write (new), rewrite (`previous` became `text`), delete (`text` is gone).
    item: id of the item; it survives keep and rewrite.
    """

    turn: int
    op: Operation
    item: int
    text: str
    previous: str = ""


def sentences(text: str) -> list[str]:
    """Cut `text` after `.`, `!` or `?` and at line ends: the items in which an overwritten memory is compared."""
    return [part for part in re.split(r"(?<=[.!?])\s+|\n+", text.strip()) if part.strip()]


class TextMemory:
    """A text of at most `budget` words that each write replaces as a whole (MemAgent section 2; MEM1's internal state).

    The whole response is the new memory: there is no tag and no parser, so no text is malformed. What does not fit is cut
    off at the end, and the sentence that the cut runs through goes with it unless it is the only one: half sentences would be
    read again at every later turn. A sentence said twice is kept once. Words are separated by white space; for the tiny model
    one word is one token.
    """

    REWRITE_RATIO = 0.7  # difflib similarity from which a vanished and a new sentence are one rewritten item: a word in four

    def __init__(self, budget: int, empty: str = ""):
        if budget < 1:
            raise ValueError(f"memory budget is {budget} words; it must be at least 1")
        self.budget, self.empty, self.turn = budget, empty, 0
        self.items: dict[int, str] = {}
        self.events: list[Event] = []

    def __str__(self) -> str:
        return " ".join(self.items.values()) or self.empty

    def write(self, text: str) -> None:
        """Replace the memory by `text` and log what became of every item."""
        words = text.split()
        new = sentences(" ".join(words[: self.budget]))
        if len(words) > self.budget and len(new) > 1 and not new[-1].endswith((".", "!", "?")):
            new.pop()
        new = list(dict.fromkeys(new))  # a sentence said twice is one item: repetition invites more of itself
        if new == [self.empty]:
            new = []
        old, items = dict(self.items), {}
        matched: list[tuple[str, int | None, Operation]] = []
        for sentence in new:  # exact matches first, so that a rewrite never takes a kept item's id
            item = next((i for i, was in old.items() if was == sentence), None)
            old.pop(item, None)
            matched.append((sentence, item, "keep"))
        for sentence, item, op in matched:
            previous = ""
            if item is None:
                near = [(difflib.SequenceMatcher(None, was.split(), sentence.split()).ratio(), i) for i, was in old.items()]
                ratio, item = max(near, default=(0.0, None))
                if ratio >= self.REWRITE_RATIO:
                    op, previous = "rewrite", old.pop(item)
                else:
                    op, item = "write", 1 + max((e.item for e in self.events), default=-1)
            items[item] = sentence
            self.events.append(Event(self.turn, op, item, sentence, previous))
        self.events += [Event(self.turn, "delete", i, was) for i, was in old.items()]
        self.items, self.turn = items, self.turn + 1


def contents(events, turn: int) -> list[str]:
    """What the memory held after `turn`, from the log alone."""
    return [e.text for e in events if e.turn == turn and e.op != "delete"]


class History:
    """Records in the order in which they came, each addressed by an id, that the policy may delete (MemAct section 3).

    Ids are drawn in an order that `seed` decides, from 0 to 63: an agent has to read them, it cannot count. A deleted record's id
    is free again once all others were used.
    """

    IDS = 64

    def __init__(self, seed: str = ""):
        self.records: dict[int, str] = {}
        self.events: list[Event] = []
        self._free = list(range(self.IDS))
        random.Random(f"ids/{seed}").shuffle(self._free)

    def add(self, turn: int, text: str) -> int:
        """Append a record and return its id. Raises ValueError when all IDS are in use."""
        if not self._free:
            raise ValueError(f"all {self.IDS} record ids are in use; delete some records first")
        item = self._free.pop(0)
        self.records[item] = text
        self.events.append(Event(turn, "write", item, text))
        return item

    def delete(self, turn: int, ids: Iterable[int]) -> list[int]:
        """Delete the records `ids`. An id that is not there deletes nothing. Returns those deleted, in their order."""
        gone = [item for item in self.records if item in set(ids)]
        for item in gone:
            self.events.append(Event(turn, "delete", item, self.records.pop(item)))
            self._free.append(item)
        return gone
