"""HotpotQA (Yang et al. 2018): two-hop questions over Wikipedia paragraphs, as documents of any length.

The long documents follow MemAgent section 4.1: the question's own ten paragraphs among paragraphs of other questions,
shuffled, titles included, and read in sections. Three things differ:

- **The gold position is drawn per task.** The paper's script shuffles with one fixed seed and the question's own
  paragraphs first in the list, so for a given length they stand at the same places for every question: a policy can
  learn WHEN to write.
- **A paragraph never crosses a section boundary**, so every gold sentence can be read whole. The paper cuts at a
  token count.
- **A document is given by its number of sections**, not of paragraphs. In a short one, paragraphs that do not fit are
  cut at a sentence end or left out: first those of other questions, then the question's own, never a gold sentence.

Data: CC BY-SA 4.0. It is not part of memlab; see `load` for where it is looked for.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memlab.worlds import Task
from memlab.worlds.dialogues import Staged
from memlab.worlds.lookup import Objectives
from memlab.worlds.real import read

HUB = ("hotpotqa/hotpot_qa", "distractor")
COMMAND = "python -m memlab.worlds.real.hotpotqa --download data/real && export MEMLAB_DATA=data/real"
WORTH_CLIPPING = 12  # a distractor is cut short to fill a section only if this many words of it fit, title included


@dataclass(frozen=True)
class Paragraph:
    """A title and its sentences, stripped of surrounding white space; empty sentences stay, so that indices hold."""

    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """One question.

    supporting: (title, sentence index) of each sentence the answer rests on, in the data set's order.
    context: the question's own paragraphs: the supporting ones, and distractors that look relevant.
    source: the file or hub data set it was read from.
    """

    id: str
    question: str
    answer: str
    kind: str  # "bridge" or "comparison"
    level: str
    supporting: tuple[tuple[str, int], ...]
    context: tuple[Paragraph, ...]
    source: str


def load(
    path: str | os.PathLike | None = None,
    download: bool = False,
    split: str = "validation",
    skip_malformed: bool = False,
) -> list[Record]:
    """Read HotpotQA from the first of: `path`, the folder MEMLAB_DATA, and, only with `download`, the Hugging Face hub.

    path: a JSON file in the official schema, or a folder that holds `hotpotqa/*.json` or `*.json`, exactly one.
    split: of the hub's data set, `train` or `validation`; a local file is what it is.
    skip_malformed: leave malformed records out instead of raising.

    Raises FileNotFoundError with the command to run when there is nothing, and ValueError naming file, record number
    (from 0) and field of a malformed record.
    """
    if download and not (path or os.environ.get("MEMLAB_DATA")):
        return parse(_download(split), f"hub:{HUB[0]} {HUB[1]} {split}", skip_malformed)
    return parse(*read("hotpotqa/*.json", COMMAND, path), skip_malformed)


def parse(raw: Any, source: str, skip_malformed: bool = False) -> list[Record]:
    """Official-schema JSON, checked field by field, as records. Raises ValueError as `load` does."""
    if not isinstance(raw, list) or not raw:
        raise ValueError(f"{source} should be a non-empty JSON list of records, not {type(raw).__name__}")
    records = []
    for number, entry in enumerate(raw):
        try:
            records.append(_record(entry, number, source))
        except ValueError as error:
            if not skip_malformed:
                raise ValueError(
                    f"{error}; mend the file, or leave such records out with skip_malformed=True"
                ) from None
    return records


class HotpotQA:
    """The HotpotQA world. `make(rng, size)` draws one question and a document of exactly `size` sections for it.

    records: from `load` or `parse` (default: `load(path, download)`). They also supply each other's distractors.
    words_per_section: most words of a section, titles included.
    kinds: question types to keep.
    yes_no: False leaves out questions that are answered "yes" or "no", which an empty memory gets right half of the
    time.

    A question is used at every size or at none: its supporting sentences with their titles must fit one section
    together. `skipped` counts those left out for that reason. `source` says where the data came from: report it with
    every number.
    """

    def __init__(
        self,
        records: Sequence[Record] | None = None,
        *,
        path: str | os.PathLike | None = None,
        download: bool = False,
        words_per_section: int = 150,
        kinds: Sequence[str] = ("bridge", "comparison"),
        yes_no: bool = True,
    ):
        records = list(load(path, download) if records is None else records)
        if not records:
            raise ValueError("HotpotQA got no records; pass those of load()")
        self.source = ", ".join(sorted({r.source for r in records}))
        self.words_per_section = words_per_section
        asked = [r for r in records if r.kind in kinds and (yes_no or r.answer.lower() not in ("yes", "no"))]
        self.records = [r for r in asked if sum(_words(p, keep) for p, keep in _gold(r)) <= words_per_section]
        self.skipped = len(asked) - len(self.records)
        self.pool = list({p.title: p for r in records for p in r.context if any(p.sentences)}.values())
        self._titles = {p.title for p in self.pool}
        if not self.records:
            raise ValueError(
                f"none of the {len(records)} HotpotQA questions is left with kinds={tuple(kinds)}, yes_no={yes_no} and "
                f"words_per_section={words_per_section}; allow more"
            )

    def __repr__(self) -> str:
        return f"HotpotQA({len(self.records)} questions from {self.source}, {self.words_per_section} words a section)"

    def make(self, rng: random.Random, size: int) -> Task:
        """Draw a task of `size` sections. The section of each gold paragraph is uniform over the document."""
        if size < 1:
            raise ValueError(f"a document has at least 1 section, not {size}")
        return self.task(rng.choice(self.records), rng, size)

    def task(self, record: Record, rng: random.Random, size: int) -> Task:
        """One question's document: its gold paragraphs, its own distractors, and paragraphs of other questions."""
        room = [self.words_per_section] * size
        passages: list[list[tuple[Paragraph, list[int]]]] = [[] for _ in range(size)]  # (paragraph, sentences used)
        gold = _gold(record)
        homes = {paragraph.title: rng.randrange(size) for paragraph, _ in gold}
        for paragraph, keep in gold:  # first what must be there: supporting sentences always fit (see __init__)
            room[homes[paragraph.title]] -= _words(paragraph, keep)
        for paragraph, keep in gold:  # then as much of the gold paragraphs around them as fits
            section = homes[paragraph.title]
            for i, sentence in enumerate(paragraph.sentences):
                if i not in keep and (cost := len(sentence.split())) <= room[section]:
                    keep, room[section] = sorted([*keep, i]), room[section] - cost
            passages[section].append((paragraph, keep))
        own = [p for p in record.context if p.title not in homes]
        for paragraph in rng.sample(own, len(own)):  # hard distractors, whole, wherever there is room
            whole = list(range(len(paragraph.sentences)))
            open_sections = [s for s in range(size) if _words(paragraph, whole) <= room[s]]
            if open_sections:
                section = rng.choice(open_sections)
                passages[section].append((paragraph, whole))
                room[section] -= _words(paragraph, whole)
        others = self._others(record, rng)
        for section in range(size):
            while room[section] >= WORTH_CLIPPING and (paragraph := next(others, None)):
                keep = _prefix(paragraph, room[section])
                if _words(paragraph, keep) >= min(WORTH_CLIPPING, _words(paragraph, range(len(paragraph.sentences)))):
                    passages[section].append((paragraph, keep))
                    room[section] -= _words(paragraph, keep)
                if len(keep) < len(paragraph.sentences):
                    break  # cut short, so the section is full
            rng.shuffle(passages[section])
        by_title = {p.title: p for p in record.context}
        return Task(
            question=record.question,
            answers=(record.answer,),
            sections=tuple("\n\n".join(_text(p, keep) for p, keep in section) for section in passages),
            gold=tuple(by_title[title].sentences[i] for title, i in record.supporting),
            gold_sections=tuple(homes[title] for title, _ in record.supporting),
        )

    def _others(self, record: Record, rng: random.Random) -> Iterator[Paragraph]:
        """Paragraphs of other questions in random order, none twice before all were used."""
        own = {p.title for p in record.context}  # another question may quote the gold paragraph itself
        foreign = len(self.pool) - len(own & self._titles)
        used: set[int] = set()
        while foreign:
            i = rng.randrange(len(self.pool))  # draws instead of a shuffle: the pool of the full data set is large
            if i not in used and self.pool[i].title not in own:
                used.add(i)
                yield self.pool[i]
            if len(used) == foreign:
                used.clear()


class Composed:
    """HotpotQA questions composed N at a time over their own paragraphs, to be searched: MEM1's and MemAct's real task.

    `make(rng, size)` draws `size` different questions. The documents are all of their paragraphs, shuffled: ten for each
    question, eight of them distractors that look relevant. records, yes_no: as for `HotpotQA`.
    """

    name = "hotpotqa"

    def __init__(self, records: Sequence[Record] | None = None, *, path: str | os.PathLike | None = None, yes_no: bool = False):
        records = list(load(path) if records is None else records)
        self.records = [r for r in records if yes_no or r.answer.lower() not in ("yes", "no")]
        self.source = ", ".join(sorted({r.source for r in records}))

    def __repr__(self) -> str:
        return f"Composed({len(self.records)} questions from {self.source})"

    def make(self, rng: random.Random, size: int) -> Objectives:
        """Raises ValueError unless there are `size` questions."""
        if not 1 <= size <= len(self.records):
            raise ValueError(f"a task asks 1 to {len(self.records)} questions, not {size}: each is asked once")
        asked = rng.sample(self.records, size)
        paragraphs = list({p.title: p for r in asked for p in r.context if any(p.sentences)}.values())
        by_title = {p.title: p for p in paragraphs}
        return Objectives(
            questions=tuple(r.question for r in asked),
            answers=tuple(r.answer for r in asked),
            documents=tuple(_text(p, range(len(p.sentences))) for p in rng.sample(paragraphs, len(paragraphs))),
            gold_of=tuple(tuple(by_title[title].sentences[i] for title, i in r.supporting) for r in asked),
        )


class Passing:
    """HotpotQA questions for AgeMem's three stages: what matters is told in passing, and the question comes last.

    `make(rng, size)`: `messages` sentences of the supporting paragraphs, with the supporting ones among them, shuffled; then the
    beginnings of `size` paragraphs that look relevant and are not, the question's own distractors first; then the question.
    A sentence stands behind its title. records, yes_no: as for `Composed`.
    """

    name = "hotpotqa"

    def __init__(self, records: Sequence[Record], messages: int = 8, yes_no: bool = False):
        self.records = [r for r in records if (yes_no or r.answer.lower() not in ("yes", "no")) and len(r.supporting) <= messages]
        self.pool = [p for r in records for p in r.context if any(p.sentences)]
        self.messages, self.source = messages, ", ".join(sorted({r.source for r in records}))

    def make(self, rng: random.Random, size: int) -> Staged:
        record = rng.choice(self.records)
        gold = _gold(record)
        mine, titles = set(record.supporting), {p.title for p in record.context}
        around = [(p.title, i) for p, _ in gold for i, s in enumerate(p.sentences) if s and (p.title, i) not in mine]
        told = [*record.supporting, *rng.sample(around, min(len(around), self.messages - len(mine)))]
        by_title = {p.title: p for p in record.context}
        others = [p for p in record.context if p.title not in {p.title for p, _ in gold} and any(p.sentences)][:size]
        if len(others) < size:
            others += rng.choices([p for p in self.pool if p.title not in titles], k=size - len(others))
        said = lambda title, i: f"{title}: {by_title[title].sentences[i]}"  # noqa: E731
        return Staged(
            told=tuple(said(*place) for place in rng.sample(told, len(told))),
            noise=tuple(f"{p.title}: {' '.join(filter(None, p.sentences[:2]))}" for p in rng.sample(others, len(others))),
            question=record.question,
            answers=(record.answer,),
            gold=tuple(said(*place) for place in record.supporting),
        )


def _gold(record: Record) -> list[tuple[Paragraph, list[int]]]:
    """The supporting paragraphs with the sentence indices that must be read, in the data set's order."""
    wanted: dict[str, list[int]] = {}
    for title, i in record.supporting:
        wanted[title] = sorted({*wanted.get(title, []), i})
    return [(next(p for p in record.context if p.title == title), keep) for title, keep in wanted.items()]


def _words(paragraph: Paragraph, keep: Sequence[int]) -> int:
    return len(paragraph.title.split()) + sum(len(paragraph.sentences[i].split()) for i in keep)


def _prefix(paragraph: Paragraph, room: int) -> list[int]:
    """Indices of the first sentences that fit `room` words together with the title."""
    keep: list[int] = []
    while len(keep) < len(paragraph.sentences) and _words(paragraph, [*keep, len(keep)]) <= room:
        keep.append(len(keep))
    return keep


def _text(paragraph: Paragraph, keep: Sequence[int]) -> str:
    """The title on a line of its own, then the sentences: without its title, "He was born in 1920." is about nobody."""
    return paragraph.title + "\n" + " ".join(paragraph.sentences[i] for i in keep if paragraph.sentences[i])


def _record(raw: Any, number: int, source: str) -> Record:
    def check(ok: bool, field: str, expected: str) -> None:
        if not ok:
            raise ValueError(f"{source}, record {number}: field {field!r} should be {expected}")

    check(isinstance(raw, dict), "record", "a JSON object")
    for field in ("_id", "question", "answer", "type"):
        check(isinstance(raw.get(field), str) and bool(raw[field].strip()), field, "a non-empty string")
    check(raw["type"] in ("bridge", "comparison"), "type", f"'bridge' or 'comparison', not {raw['type'][:40]!r}")
    context = raw.get("context")
    check(isinstance(context, list) and bool(context), "context", "a non-empty list of [title, [sentence, ...]]")
    paragraphs: dict[str, Paragraph] = {}
    for n, entry in enumerate(context):
        ok = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], list)
        check(ok and all(isinstance(s, str) for s in entry[1]), f"context[{n}]", "[title, [sentence, ...]]")
        title = " ".join(entry[0].split())
        check(bool(title) and title not in paragraphs, f"context[{n}]", "a paragraph with a title of its own")
        paragraphs[title] = Paragraph(title, tuple(" ".join(s.split()) for s in entry[1]))
    facts = raw.get("supporting_facts")
    check(isinstance(facts, list) and bool(facts), "supporting_facts", "a non-empty list of [title, sentence index]")
    supporting = []
    for n, fact in enumerate(facts):
        field = f"supporting_facts[{n}]"
        ok = isinstance(fact, list) and len(fact) == 2 and isinstance(fact[0], str) and type(fact[1]) is int
        check(ok, field, "[title, sentence index]")
        title, index = " ".join(fact[0].split()), fact[1]
        check(title in paragraphs, field, f"the title of a context paragraph, not {title[:40]!r}")
        sentences = paragraphs[title].sentences
        check(
            0 <= index < len(sentences) and bool(sentences[index]),
            field,
            f"a sentence of {title[:40]!r}, not number {index}",
        )
        supporting.append((title, index))
    return Record(
        id=raw["_id"],
        question=raw["question"].strip(),
        answer=raw["answer"].strip(),
        kind=raw["type"],
        level=str(raw.get("level", "")),
        supporting=tuple(dict.fromkeys(supporting)),
        context=tuple(paragraphs.values()),
        source=source,
    )


def official(row: dict[str, Any]) -> dict[str, Any]:
    """A row in the hub's schema (columns of lists) as a record in the official one (lists of pairs)."""
    context, facts = row["context"], row["supporting_facts"]
    return {
        "_id": row["id"],
        **{field: row[field] for field in ("question", "answer", "type", "level")},
        "supporting_facts": [list(pair) for pair in zip(facts["title"], facts["sent_id"], strict=True)],
        "context": [list(pair) for pair in zip(context["title"], context["sentences"], strict=True)],
    }


def _download(split: str) -> list[dict[str, Any]]:
    """The hub's data set in the official schema."""
    from datasets import load_dataset

    return [official(row) for row in load_dataset(*HUB, split=split)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Download HotpotQA (distractor setting) in its official schema.")
    parser.add_argument(
        "--download", metavar="FOLDER", type=Path, required=True, help="writes FOLDER/hotpotqa/SPLIT.json"
    )
    parser.add_argument("--split", default="validation", choices=("train", "validation"))
    args = parser.parse_args()
    file = args.download / "hotpotqa" / f"{args.split}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    raw = _download(args.split)
    temporary = file.with_suffix(".part")
    temporary.write_text(json.dumps(raw, ensure_ascii=False), encoding="utf-8")
    temporary.replace(file)
    print(f"wrote {len(raw)} questions to {file}; now run: export MEMLAB_DATA={args.download}")


if __name__ == "__main__":
    main()
