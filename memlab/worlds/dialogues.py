"""Conversations over several sessions, and questions afterwards: what a store of notes is for. The shape is LoCoMo's.

People are told about again and again. What is new about them joins what was known, takes its place, or takes it back:

    mira adopted rex .       mira also adopted scout .       who did mira adopt ?      rex , scout    (a complement)
    mira lives in oslo .     mira lives in rome .            where does mira live ?    rome           (a contradiction)
    mira adopted luna .      mira sold rex .                 who did mira adopt ?      luna           (a retraction)

All three look alike to a rule that compares subject and relation, and only its age tells an old home from a new one. In
between things are said twice, and small talk says nothing.
Add a relation or a telling to a family below: its words must be in the tiny model's vocabulary (`memlab.training.pretrain`).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from itertools import cycle, islice
from typing import NamedTuple

from memlab.memory import sentences
from memlab.worlds.sentences import CITIES, PEOPLE, PETS


class Telling(NamedTuple):
    """How facts of one kind are told, about a subject {s} and a value {v}.

    first: the first value. further: another one. gone: a value is taken back; "" where another one takes the place of the first.
    """

    first: str
    further: str
    gone: str = ""


class Relation(NamedTuple):
    """One kind of fact. joins: another value joins the first, a complement; else it takes its place, a contradiction."""

    question: str
    values: tuple[str, ...]
    joins: bool


ADOPTED = Relation("who did {s} adopt ?", tuple(PETS), joins=True)
LIVES = Relation("where does {s} live ?", tuple(CITIES), joins=False)


def _told(sentence: str) -> Telling:
    """A contradiction is told in the same words: nothing in it says that something else was known."""
    return Telling(sentence, sentence)


# Training conversations are of the family "pets". "reworded" has other sentences of the same words.
FAMILIES = {
    "pets": {
        ADOPTED: (
            Telling("{s} adopted {v} .", "{s} also adopted {v} .", "{s} sold {v} ."),
            Telling("{s} bought {v} .", "{s} also bought {v} .", "{s} sold {v} again ."),
        ),
        LIVES: (_told("{s} lives in {v} ."), _told("now {s} lives in {v} ."), _told("{s} lives in {v} again .")),
    },
    "reworded": {
        ADOPTED: (Telling("now {s} adopted {v} .", "now {s} also adopted {v} .", "now {s} sold {v} ."),),
        LIVES: (_told("{s} now lives in {v} ."), _told("now {s} lives in {v} again .")),
    },
}
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


Topic = tuple[Relation, str]  # and whom it is about


class Said(NamedTuple):
    """What a message says: said[:2] is its topic, said[:3] the fact. form: of its telling, "first", "further" or "gone"."""

    relation: Relation
    subject: str
    value: str
    form: str
    telling: Telling

    def __str__(self) -> str:
        return getattr(self.telling, self.form).format(s=self.subject, v=self.value)


_SHAPES = {
    getattr(telling, form): (relation, form, telling)
    for family in FAMILIES.values()
    for relation, tellings in family.items()
    for telling in tellings
    for form in ("further", "first", "gone")
    if getattr(telling, form)
}
def _pattern(shape: str) -> re.Pattern:
    """Of a telling, in the tiny language ("mira adopted rex .") or in English ("Mira adopted Rex.")."""
    named = re.escape(shape).replace(r"\{s\}", r"(?P<s>\w+)").replace(r"\{v\}", r"(?P<v>\w+)")
    return re.compile(named.replace(r"\ \.", r"\ ?\."), re.IGNORECASE)


_PATTERNS = [(_pattern(shape), *what) for shape, what in _SHAPES.items()]


def parse(sentence: str) -> Said | None:
    """What `sentence` says, or None if it is none of the shapes above. Told in the same words first and later, it is "first".

    English is read as well, and comes back in the tiny language, its names in lower case.
    """
    for pattern, relation, form, telling in _PATTERNS:
        if match := pattern.fullmatch(sentence):
            return Said(relation, match["s"].lower(), match["v"].lower(), form, telling)
    return None


def facts(text: str) -> list[Said]:
    """All facts that the sentences of `text` state, in their order. What takes one back states none."""
    return [said for said in map(parse, sentences(text)) if said and said.form != "gone"]


def plain(sentence: str) -> str:
    """`sentence` without a first "now" and a last "again", which change nothing: a note that says less may still say it."""
    return re.sub(r"^now | again(?= ?\.$)", "", sentence, flags=re.IGNORECASE)


@dataclass(frozen=True)
class Dialogue:
    """A conversation and the questions that follow it.

    sessions: of messages, each a sentence.
    questions, answers: (Q,) an answer is the values that hold at the end, in the order in which they were told.
    gold_of: (Q,) for each question the sentences that its answer rests on.
    kinds: (Q,) "once" (nothing was added), "complement", "contradiction" or "retraction" (one value or more was taken back).
    stale: sentences that no longer hold.
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
    def expected(self) -> str:
        """All answers, as an outcome writes them."""
        return " ; ".join(" , ".join(values) for values in self.answers)

    @property
    def gold(self) -> tuple[str, ...]:
        """All sentences that an answer rests on, once each, `plain`."""
        return tuple(dict.fromkeys(plain(sentence) for gold in self.gold_of for sentence in gold))


@dataclass(frozen=True)
class Dialogues:
    """The world of conversations. `make(rng, size)` draws one of `size` sessions about `people` people.

    family: a key of FAMILIES. messages: of one session. repeats, small_talk: shares of the messages, which say something
        again, or nothing. taken_back: share of the news about two values or more that takes one of them back. questions: at most
        so many, each about another thing that was told.
    """

    name = "dialogues"
    family: str = "pets"
    people: int = 3
    messages: int = 6
    repeats: float = 0.2
    small_talk: float = 0.2
    taken_back: float = 0.3
    questions: int = 6

    def make(self, rng: random.Random, size: int) -> Dialogue:
        """Raises ValueError for a size below 1 and an unknown family."""
        if size < 1:
            raise ValueError(f"a dialogue has at least one session, not {size}")
        if self.family not in FAMILIES:
            raise ValueError(f"there is no family {self.family!r}; choose one of: {', '.join(FAMILIES)}")
        known: dict[Topic, list[Said]] = {}  # what holds, in the order in which it was told
        stale: list[Said] = []  # what does no longer
        told: list[str] = []
        people = rng.sample(PEOPLE, self.people)
        for _ in range(size * self.messages):
            roll = rng.random()
            if roll < self.small_talk:
                told.append(rng.choice(SMALL_TALK))
            elif roll < self.small_talk + self.repeats and known:
                told.append(str(rng.choice([said for held in known.values() for said in held])))
            else:
                told.append(self._news(rng, people, known, stale))
        topics = rng.sample(list(known), min(self.questions, len(known)))
        changed = {said[:2] for said in stale}

        def kind(topic: Topic) -> str:
            if topic in changed:
                return "retraction" if topic[0].joins else "contradiction"
            return "complement" if len(known[topic]) > 1 else "once"

        return Dialogue(
            sessions=tuple(tuple(told[i : i + self.messages]) for i in range(0, len(told), self.messages)),
            questions=tuple(relation.question.format(s=subject) for relation, subject in topics),
            answers=tuple(tuple(said.value for said in known[topic]) for topic in topics),
            gold_of=tuple(tuple(str(said) for said in known[topic]) for topic in topics),
            kinds=tuple(map(kind, topics)),
            stale=frozenset(map(str, stale)),
        )

    def _news(self, rng: random.Random, people: list[str], known: dict[Topic, list[Said]], stale: list[Said]) -> str:
        """A message that changes what holds: something told first, in addition, or instead, or taken back."""
        used = {said[:3] for said in stale} | {said[:3] for held in known.values() for said in held}
        owned = {said.value for held in known.values() for said in held if said.relation.joins}
        fresh = {}
        for topic in ((relation, person) for person in people for relation in FAMILIES[self.family]):
            relation, person = topic  # a pet has one owner: else its name would not say whose it is
            taken = owned if relation.joins else {person}
            if values := [v for v in relation.values if v not in taken and (*topic, v) not in used]:
                fresh[topic] = values
        if not fresh:
            return rng.choice(SMALL_TALK)
        relation, subject = topic = rng.choice(list(fresh))
        held = known.setdefault(topic, [])
        if relation.joins and len(held) > 1 and (len(held) == MOST_VALUES or rng.random() < self.taken_back):
            stale.append(held.pop(rng.randrange(len(held))))
            return str(stale[-1]._replace(form="gone"))
        telling = rng.choice(FAMILIES[self.family][relation])
        said = Said(relation, subject, rng.choice(fresh[topic]), "further" if held else "first", telling)
        if held and not relation.joins:
            stale.append(held.pop())
        held.append(said)
        return str(said)


@dataclass(frozen=True)
class Staged:
    """What AgeMem's three stages are about: what is told, what comes after it and does not matter, and one question.

    gold: the sentences that its answer rests on, `plain`.
    """

    told: tuple[str, ...]
    noise: tuple[str, ...]
    question: str
    answers: tuple[str, ...]
    gold: tuple[str, ...]

    @property
    def expected(self) -> str:
        """All values, as an outcome writes them."""
        return " , ".join(self.answers)


@dataclass(frozen=True)
class Stages:
    """The world of AgeMem. `make(rng, size)` draws a session about `people` people, and `size` messages about others.

    taken_back: as in `Dialogues`, and more often, for a session is short. About one person, for there is one question: of two,
    it would say nothing about most of what was noted, and the reward of a note would drown in that of the others.
    """

    name = "stages"
    people: int = 1
    messages: int = 8
    taken_back: float = 0.8

    def make(self, rng: random.Random, size: int) -> Staged:
        """Raises ValueError for a size below 1."""
        if size < 1:
            raise ValueError(f"at least one message must come between telling and asking, not {size}")
        talk = Dialogues(
            people=self.people, messages=self.messages, taken_back=self.taken_back, questions=2 * self.people
        ).make(rng, 1)
        if not talk.questions:  # small talk only
            return self.make(rng, size)
        asked = rng.randrange(len(talk.questions))
        named = set(" ".join(talk.messages).split())
        people = rng.sample([name for name in PEOPLE if name not in named], min(size, 20))
        pets = rng.sample([name for name in PETS if name not in named], min(size, 20))
        return Staged(
            told=talk.messages,
            noise=tuple(
                f"{person} adopted {pet} . {person} lives in {rng.choice(CITIES)} ."
                for person, pet in islice(cycle(zip(people, pets, strict=True)), size)
            ),
            question=talk.questions[asked],
            answers=talk.answers[asked],
            gold=tuple(map(plain, talk.gold_of[asked])),
        )
