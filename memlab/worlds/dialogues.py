"""Conversations over several sessions, and questions afterwards: what a store of notes is for. The shape is LoCoMo's.

People are told about again and again. What is new about them either joins what was known, or takes its place:

    mira adopted rex .       mira also adopted scout .       who did mira adopt ?      rex , scout    (a complement)
    mira lives in oslo .     mira lives in rome now .        where does mira live ?    rome           (a contradiction)

Both look alike to a rule that compares subject and relation. In between things are said twice, and small talk says nothing.
Add a relation to a family below: its words must be in the tiny model's vocabulary (`memlab.training.pretrain`).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import NamedTuple

from memlab.memory import sentences
from memlab.worlds.sentences import CITIES, PEOPLE, PETS


class Relation(NamedTuple):
    """One kind of fact: how it is told at first, how a further value is, its question, and whether a further value joins."""

    first: str
    further: str
    question: str
    values: tuple[str, ...]
    joins: bool  # True: a complement; False: a contradiction


ADOPTED = Relation("{} adopted {} .", "{} also adopted {} .", "who did {} adopt ?", tuple(PETS), True)
LIVES = Relation("{} lives in {} .", "{} lives in {} now .", "where does {} live ?", tuple(CITIES), False)
WAS = Relation("{} was in {} .", "{} was also in {} .", "where was {} ?", tuple(CITIES), True)
LIKES = Relation("{} likes {} .", "{} likes {} now .", "who is it {} likes ?", tuple(PEOPLE), False)
FAMILIES = {"pets": (ADOPTED, LIVES), "travels": (WAS, LIKES)}
SMALL_TALK = (
    "hello how are you ?",
    "good morning .",
    "nice weather today .",
    "how are you today ?",
    "good evening .",
    "thanks i am good .",
    "hello good morning .",
    "thanks and good evening .",
)
MOST_VALUES = 4  # that a complement joins


class Said(NamedTuple):
    """One fact in a message. `further`: something was known about it already. said[:2] is its topic, said[:3] all it says."""

    relation: Relation
    subject: str
    value: str
    further: bool

    def __str__(self) -> str:
        return (self.relation.further if self.further else self.relation.first).format(self.subject, self.value)


_SHAPES = [
    (relation, further, re.compile(re.escape(shape).replace(r"\{\}", r"(\w+)")))
    for family in FAMILIES.values()
    for relation in family
    for further, shape in ((True, relation.further), (False, relation.first))
]


def parse(sentence: str) -> Said | None:
    """The fact that `sentence` states, or None if it is none."""
    for relation, further, shape in _SHAPES:
        if match := shape.fullmatch(sentence):
            return Said(relation, match[1], match[2], further)
    return None


def facts(text: str) -> list[Said]:
    """All facts that the sentences of `text` state, in their order."""
    return [said for said in map(parse, sentences(text)) if said]


@dataclass(frozen=True)
class Dialogue:
    """A conversation and the questions that follow it.

    sessions: of messages, each a sentence.
    questions, answers: (Q,) an answer is the values that hold at the end, in the order in which they were told.
    gold_of: (Q,) for each question the sentences that its answer rests on.
    kinds: (Q,) "once" (told once), "complement" or "contradiction".
    stale: sentences that a contradiction has made wrong.
    """

    sessions: tuple[tuple[str, ...], ...]
    questions: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    gold_of: tuple[tuple[str, ...], ...]
    kinds: tuple[str, ...]
    stale: frozenset[str]

    @property
    def messages(self) -> tuple[str, ...]:
        return tuple(message for session in self.sessions for message in session)

    @property
    def question(self) -> str:
        return " ".join(self.questions)

    @property
    def gold(self) -> tuple[str, ...]:
        """All sentences that an answer rests on, once each."""
        return tuple(dict.fromkeys(sentence for gold in self.gold_of for sentence in gold))


@dataclass(frozen=True)
class Dialogues:
    """The world of conversations. `make(rng, size)` draws one of `size` sessions about `people` people.

    family: a key of FAMILIES. messages: of one session. repeats, small_talk: shares of the messages, which say something
        again, or nothing. questions: at most so many, each about another thing that was told.
    """

    name = "dialogues"
    family: str = "pets"
    people: int = 3
    messages: int = 6
    repeats: float = 0.2
    small_talk: float = 0.2
    questions: int = 6

    def make(self, rng: random.Random, size: int) -> Dialogue:
        """Raises ValueError for a size below 1 and an unknown family."""
        if size < 1:
            raise ValueError(f"a dialogue has at least one session, not {size}")
        if self.family not in FAMILIES:
            raise ValueError(f"there is no family {self.family!r}; choose one of: {', '.join(FAMILIES)}")
        known: dict[tuple[Relation, str], list[Said]] = {}  # what holds, in the order in which it was told
        told: list[str] = []
        stale: set[str] = set()
        people = rng.sample(PEOPLE, self.people)
        for _ in range(size * self.messages):
            roll = rng.random()
            if roll < self.small_talk:
                told.append(rng.choice(SMALL_TALK))
            elif roll < self.small_talk + self.repeats and known:
                told.append(str(rng.choice([said for held in known.values() for said in held])))
            else:
                told.append(str(self._news(rng, people, known, stale)))
        topics = rng.sample(list(known), min(self.questions, len(known)))
        changed = {said[:2] for sentence in stale for said in facts(sentence)}
        return Dialogue(
            sessions=tuple(tuple(told[i : i + self.messages]) for i in range(0, len(told), self.messages)),
            questions=tuple(relation.question.format(subject) for relation, subject in topics),
            answers=tuple(tuple(said.value for said in known[topic]) for topic in topics),
            gold_of=tuple(tuple(str(said) for said in known[topic]) for topic in topics),
            kinds=tuple(
                "contradiction" if topic in changed else "complement" if len(known[topic]) > 1 else "once" for topic in topics
            ),
            stale=frozenset(stale),
        )

    def _news(self, rng, people, known, stale) -> Said:
        """A fact that changes what holds: something first told, told in addition, or told instead."""
        open_topics = [
            (relation, person)
            for person in people
            for relation in FAMILIES[self.family]
            if not relation.joins or len(known.get((relation, person), ())) < MOST_VALUES
        ]
        relation, subject = topic = rng.choice(open_topics)
        held = known.setdefault(topic, [])
        taken = {said.value for said in held} | {subject}
        if relation.joins:  # a pet has one owner, or its name would say nothing about whose it is
            taken |= {said.value for other, told in known.items() if other[0] is relation for said in told}
        taken |= {said.value for sentence in stale for said in facts(sentence) if said[:2] == topic}  # nobody moves back
        said = Said(relation, subject, rng.choice([value for value in relation.values if value not in taken]), bool(held))
        if held and not relation.joins:
            stale.add(str(held.pop()))
        held.append(said)
        return said
