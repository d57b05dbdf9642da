"""Tasks: where questions and documents come from. `documents` is synthetic; `real/` reads published data sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One question over one long document, cut into the sections that an agent reads in order.

    question, answers: any of `answers` is right.
    sections: (S,) texts, each small enough for one context.
    gold: the sentences that the answer rests on, verbatim as they stand in the sections, first hop first.
    gold_sections: the section index of each gold sentence.
    """

    question: str
    answers: tuple[str, ...]
    sections: tuple[str, ...]
    gold: tuple[str, ...] = ()
    gold_sections: tuple[int, ...] = ()

    @property
    def hops(self) -> int:
        return len(self.gold)
