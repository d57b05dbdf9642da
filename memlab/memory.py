"""Memory, and the one event log that every view and metric reads.

A store changes only through its operations, and every operation appends `Event`s. Nothing else in memlab asks a store
what happened: the inspector, the survival curve and the operation counts all read `store.events`.
"""

from __future__ import annotations

import difflib
import json
import os
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from memlab.retrieval import BM25, Ranker

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


def replay(memory: dict[int, str], events: Iterable[Event]) -> None:
    """Bring `memory`, item id -> text, up to what it was after `events`. An item that they do not mention is kept."""
    for event in events:
        if event.op == "delete":
            memory.pop(event.item, None)
        else:
            memory[event.item] = event.text


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


class Bank:
    """Notes with ids, which survive the process: ADD, UPDATE, DELETE and RETRIEVE (Memory-R1 section 3, AgeMem section 3.2).

    The NOOP of these papers is to call nothing. Every change is an event. With a `path` every event is also a line of that file,
    a JSON object that a person can read, and is on the disk before the call returns; a change that fails (a full disk) did not
    happen. Opening the file again brings back notes and log. A last line that a kill cut short was never acknowledged, and is
    taken off. Only one process at a time may have a file open.

    turn: stands in the events that follow. ranker: who searches (default BM25).
    Raises ValueError, naming file and line, for a file that is not such a log.
    """

    def __init__(self, path: str | os.PathLike | None = None, ranker: Ranker | None = None):
        self.notes: dict[int, str] = {}
        self.events: list[Event] = []
        self.turn, self.ranker, self._next = 0, ranker or BM25(), 0
        self._file = None
        if path is not None:
            self._open(Path(path))

    def add(self, *texts: str) -> list[int]:
        """One new note for each text. Returns their ids, which are never used again."""
        items = list(range(self._next, self._next + len(texts)))
        self._change([Event(self.turn, "write", item, text) for item, text in zip(items, texts, strict=True)])
        return items

    def update(self, item: int, text: str) -> None:
        """Note `item` says `text` from now on. Raises KeyError for an id that is not there."""
        self._change([Event(self.turn, "rewrite", item, text, self._note(item))])

    def delete(self, item: int) -> None:
        """Note `item` is gone. Raises KeyError for an id that is not there."""
        self._change([Event(self.turn, "delete", item, self._note(item))])

    def undo(self, to: int) -> None:
        """Bring back the notes as they were after the first `to` events, by new events: the log is only ever appended to.

        `bank.undo(len(bank.events) - 1)` takes back the last change. Raises ValueError unless 0 <= to <= len(events).
        """
        if not 0 <= to <= len(self.events):
            raise ValueError(f"there are {len(self.events)} events; undo to a number from 0 to {len(self.events)}, not {to}")
        inverse = {"write": "delete", "delete": "write", "rewrite": "rewrite"}
        self._change(
            [
                Event(self.turn, inverse[e.op], e.item, e.previous if e.op == "rewrite" else e.text, e.text * (e.op == "rewrite"))
                for e in reversed(self.events[to:])
            ]
        )

    def retrieve(self, query: str, k: int = 5) -> list[int]:
        """Ids of the at most `k` notes that the ranker finds for `query`, best first."""
        return self.ranker.top(query, k)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __len__(self) -> int:
        return len(self.notes)

    def __enter__(self) -> Bank:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def _note(self, item: int) -> str:
        if item not in self.notes:
            raise KeyError(f"the bank has no note {item}")
        return self.notes[item]

    def _change(self, events: list[Event]) -> None:
        """To the file first, then to memory: what the bank holds is on the disk."""
        if self._file is not None and events:
            end = os.lseek(self._file, 0, os.SEEK_END)
            lines = memoryview("".join(_line(event) for event in events).encode(errors="backslashreplace"))
            try:
                while lines:
                    lines = lines[os.write(self._file, lines) :]
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, end)
                raise
        changed = {event.item for event in events}
        before = changed & self.notes.keys()
        self._apply(events)
        kept = [item for item in changed if item in self.notes]
        self.ranker.put(kept, [self.notes[item] for item in kept])
        for item in before - self.notes.keys():
            self.ranker.drop(item)

    def _apply(self, events: Sequence[Event]) -> None:
        replay(self.notes, events)
        self.events += events
        self._next = max([self._next, *(event.item + 1 for event in events)])

    def _open(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
        try:
            data = path.read_bytes()
            whole = data.rfind(b"\n") + 1
            for number, line in enumerate(data[:whole].split(b"\n")[:-1], start=1):
                try:
                    self._apply([self._event(line)])
                except (ValueError, TypeError) as error:
                    fix = "restore the file, or cut it off before that line"
                    raise ValueError(f"{path}, line {number}: {error}; {fix}") from None
            os.ftruncate(self._file, whole)
        except BaseException:
            self.close()
            raise
        self.turn = max((event.turn for event in self.events), default=-1) + 1
        self.ranker.put(list(self.notes), list(self.notes.values()))

    def _event(self, line: bytes) -> Event:
        """Raises ValueError or TypeError, saying what is wrong with the line, where it does not fit the lines before it."""
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("not a JSON object")
        event = Event(**fields)
        if not all(type(n) is int for n in (event.turn, event.item)) or not all(
            isinstance(text, str) for text in (event.text, event.previous)
        ):
            raise ValueError("turn and item must be integers, text and previous strings")
        if event.op not in ("write", "rewrite", "delete"):
            raise ValueError(f"unknown op {event.op!r}")
        if (event.op == "write") == (event.item in self.notes):
            raise ValueError(f"note {event.item} {'is there already' if event.op == 'write' else 'is not there'}")
        return event


def _line(event: Event) -> str:
    return json.dumps(asdict(event), ensure_ascii=False) + "\n"
