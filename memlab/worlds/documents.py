"""Synthetic long documents: one question, one or two facts that answer it, and any number of sections of other facts.

Built so that memory is the only way and no shortcut works:

- the places of the gold facts are uniform over the document, for every length;
- distractors are about other people and pets, or are lures: somebody else who adopted the asked pet, another pet in the
  same city;
- in a two-hop task ("where does the pet of mira live ?") the two facts stand in reading order, in the same or different sections,
  and nothing in the question resembles the second;
- people, pets and cities are drawn afresh for every task, so nothing can be learnt by heart.

The reading order is a simplification: with the second hop first, no bounded memory that has not seen the first can know what to
keep. `Documents(order="any")` drops it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from memlab.worlds import Task
from memlab.worlds.sentences import CITIES, PEOPLE, PETS, RELATIONS, TWO_HOP_QUESTION, Fact, question

LURE_RATE = 0.1  # share of distractors that mention the asked person or pet


@dataclass(frozen=True)
class Documents:
    """The document world. `make(rng, size)` draws one task of `size` sections, `facts` sentences each."""

    name = "documents"
    facts: int = 4
    two_hop: float = 0.5
    order: Literal["reading", "any"] = "reading"

    def make(self, rng: random.Random, size: int) -> Task:
        if size < 1:
            raise ValueError(f"a document has at least 1 section, not {size}")
        if rng.random() < self.two_hop:
            person, pet, city = rng.choice(PEOPLE), rng.choice(PETS), rng.choice(CITIES)
            gold = [Fact("pet", person, pet), Fact("home", pet, city)]
            asked, value = TWO_HOP_QUESTION.format(person), city
        else:
            relation = rng.choice(list(RELATIONS))
            subjects, values, *_ = RELATIONS[relation]
            gold = [Fact(relation, rng.choice(subjects), rng.choice(values))]
            asked, value = question(relation, gold[0].subject), gold[0].value
        slots = rng.sample(range(size * self.facts), len(gold))
        if self.order == "reading":
            slots.sort()
        facts = [_distractor(rng, gold) for _ in range(size * self.facts)]
        for slot, fact in zip(slots, gold, strict=True):
            facts[slot] = fact
        cut = range(0, len(facts), self.facts)
        return Task(
            question=asked,
            answers=(value,),
            sections=tuple(" ".join(map(str, facts[i : i + self.facts])) for i in cut),
            gold=tuple(map(str, gold)),
            gold_sections=tuple(slot // self.facts for slot in slots),
        )


def _distractor(rng: random.Random, gold: list[Fact]) -> Fact:
    """A fact that leaves the answer alone: it never has the relation and subject of a gold fact."""
    taken = {(f.relation, f.subject) for f in gold}
    while True:
        relation = rng.choice(list(RELATIONS))
        subjects, values, *_ = RELATIONS[relation]
        subject, value = rng.choice(subjects), rng.choice(values)
        if rng.random() < LURE_RATE:  # mention what the question or a gold fact mentions
            word = rng.choice([w for f in gold for w in (f.subject, f.value)])
            subject = word if word in subjects else subject
            value = word if word in values else value
        if (relation, subject) not in taken:
            return Fact(relation, subject, value)
