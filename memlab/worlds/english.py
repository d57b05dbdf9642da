"""A world of the tiny language in natural English, for instruct models: the same facts, questions and answers, with capitals and
full stops in their places.

    tiny      mira adopted rex .      where does the pet of mira live ?
    English   Mira adopted Rex.       Where does the pet of Mira live?

Nothing is drawn anew: a task is the other world's, rendered. So a rule for the tiny language is one for English (`in_english`).
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from memlab.episode import Ask
from memlab.policies.scripted import Rule
from memlab.worlds.documents import Documents
from memlab.worlds.sentences import CITIES, PEOPLE, PETS

_NAMES = re.compile(rf"\b({'|'.join((*PEOPLE, *PETS, *CITIES))})\b")
_START = re.compile(r"(^|[.?]\s+)([a-z])")


def render(text: str) -> str:
    """Sentences of the tiny language as English."""
    text = _NAMES.sub(lambda m: m[0].capitalize(), re.sub(r" ([.?])", r"\1", text))
    return _START.sub(lambda m: m[1] + m[2].upper(), text)


def plain(text: str) -> str:
    """English back into the tiny language: `plain(render(t)) == t`."""
    return re.sub(r"([.?])(?=\s|$)", r" \1", text.lower())


@dataclass(frozen=True)
class English:
    """`world`, rendered in English. Same `rng`, same size: the same task as there."""

    world: Any = field(default_factory=Documents)

    @property
    def name(self) -> str:
        return f"{self.world.name}-english"

    def make(self, rng: random.Random, size: int) -> Any:
        return translated(self.world.make(rng, size), render)


def in_english(rule: Rule, empty: tuple[str, str], write: Callable[[str, Ask], str]) -> Rule:
    """A rule for the tiny language as one for English: it reads the Ask translated.

    empty: how an empty memory is worded in the tiny language and in English. write: what the rule wrote, as it is to be written.
    """
    tiny_empty, english_empty = empty

    @functools.wraps(rule)
    def english_rule(ask: Ask, rng: random.Random) -> str:
        told = {name: tiny_empty if value == english_empty else translated(value, plain) for name, value in ask.state.items()}
        return write(rule(replace(ask, state=told), rng), ask)

    return english_rule


def translated(value: Any, text: Callable[[str], str]) -> Any:
    """`value` with `text` of every string in it: of tuples, lists and sets, of a dict's values, of a task's fields."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {key: translated(part, text) for key, part in value.items()}
    if type(value) in (tuple, list, frozenset):
        return type(value)(translated(part, text) for part in value)
    if not is_dataclass(value):
        return value
    return replace(value, **{each.name: translated(getattr(value, each.name), text) for each in fields(value)})
