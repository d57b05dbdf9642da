"""The small readable English that the synthetic worlds and the tiny model share.

Every fact is one sentence of a fixed shape, so that a person can read it and a rule can parse it back:

    mira adopted rex .      pet    (person, pet)
    rex lives in oslo .     home   (pet, city)

Words are separated by single spaces, punctuation included: one word is one token of the tiny model. Every sentence begins with
its subject, without an article: which fact a policy writes down is then decided in one word, the first, and reinforcement
learning credits that word. (In "the lantern is in the attic ." the choice comes second, after a "the" that decides nothing;
policies learned that language much more slowly.)
Extend the language by adding words to a list below or a relation to `RELATIONS`, then rerun `python -m memlab.training.pretrain`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PEOPLE = (
    "mira tom lena omar ruth ivan nora hugo anna felix clara boris dora simon elsa marco "
    "greta jonas paula viktor irene oscar lydia peter sonia bruno edith karl vera leon ada rafael"
).split()
PETS = (
    "rex buddy scout luna bella max daisy rocky coco milo ruby ginger pepper biscuit shadow smokey "
    "lucky toby misty pixie socks patch ziggy noodle pickle mango peanut cookie tiger snowy bandit hazel"
).split()
CITIES = (
    "oslo rome paris london berlin madrid lisbon vienna prague athens dublin cairo tokyo delhi lima boston "
    "chicago denver seattle toronto sydney kyoto seoul dakar nairobi havana quito warsaw riga milan geneva bergen"
).split()


class Fact(NamedTuple):
    """One fact: `relation` is a key of RELATIONS, `subject` and `value` are words of the language."""

    relation: str
    subject: str
    value: str

    def __str__(self) -> str:
        return RELATIONS[self.relation][2].format(self.subject, self.value)


# relation -> (words its subject is drawn from, words its value is drawn from, sentence, question)
RELATIONS = {
    "pet": (PEOPLE, PETS, "{} adopted {} .", "who did {} adopt ?"),
    "home": (PETS, CITIES, "{} lives in {} .", "where does {} live ?"),
}
TWO_HOP_QUESTION = "where does the pet of {} live ?"


def question(relation: str, subject: str) -> str:
    """The one-hop question about `subject`; its answer is the fact's `value`."""
    return RELATIONS[relation][3].format(subject)


_SHAPES = {name: re.compile(re.escape(r[2]).replace(r"\{\}", r"(\w+)")) for name, r in RELATIONS.items()}


def parse(sentence: str) -> Fact | None:
    """The fact that `sentence` states, or None if it is not one of the shapes above."""
    for name, shape in _SHAPES.items():
        if match := shape.fullmatch(sentence):
            return Fact(name, *match.groups())
    return None


def reason(asked: str, facts: list[str]) -> list[Fact]:
    """The one or two of `facts` that answer `asked`, first hop first: the last one's value is the answer. [] if they do not say.

    The latest of several matching facts counts.
    """
    known = {(f.relation, f.subject): f for f in map(parse, facts) if f}
    for person in PEOPLE:
        if asked == TWO_HOP_QUESTION.format(person):
            pet = known.get(("pet", person))
            home = pet and known.get(("home", pet.value))
            return [pet, home] if home else []
    return next(([fact] for key, fact in known.items() if asked == question(*key)), [])


def value_of(text: str) -> str:
    """The value of the last fact that `text` states, or `text` itself if its last sentence is no fact."""
    fact = parse(text.strip().rsplit(". ", 1)[-1])
    return fact.value if fact else text
