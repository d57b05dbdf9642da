"""The document world in natural English, for instruct models: the same facts, questions and answers, with capitals and commas in
their places.

    tiny      mira adopted rex .      where does the pet of mira live ?
    English   Mira adopted Rex.       Where does the pet of Mira live?

Nothing is drawn anew: a task is `Documents`' task, rendered. So a rule for the tiny language is one for English (`in_english`).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field, replace

from memlab.episode import Ask
from memlab.policies.scripted import Rule
from memlab.worlds import Task
from memlab.worlds.documents import Documents
from memlab.worlds.sentences import CITIES, PEOPLE, PETS, value_of

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
    """`Documents`, rendered in English. Same `rng`, same size: the same task as there."""

    documents: Documents = field(default_factory=Documents)
    name = "documents-english"

    def make(self, rng: random.Random, size: int) -> Task:
        return _map(self.documents.make(rng, size), render)


def in_english(rule: Rule, empty: tuple[str, str], answer: str = "{}") -> Rule:
    """A rule for the tiny language as one for English: it reads the Ask translated, and what it writes is rendered.

    empty: the empty memory's text in the tiny language and in English. answer: form of the final answer, e.g. "\\boxed{{{}}}".
    """
    tiny_empty, english_empty = empty

    def english_rule(ask: Ask, rng: random.Random) -> str:
        memory = ask.state["memory"]
        state = {
            "task": _map(ask.state["task"], plain),
            "memory": tiny_empty if memory == english_empty else plain(memory),
        }
        if "section" not in ask.state:
            return answer.format(render(value_of(rule(replace(ask, state=state), rng))).rstrip(" ."))
        wrote = rule(replace(ask, state=state | {"section": plain(ask.state["section"])}), rng)
        return english_empty if wrote == tiny_empty else render(wrote)

    english_rule.__name__ = rule.__name__
    return english_rule


def _map(task: Task, text) -> Task:
    return replace(
        task,
        question=text(task.question),
        answers=tuple(map(text, task.answers)),
        sections=tuple(map(text, task.sections)),
        gold=tuple(map(text, task.gold)),
    )
