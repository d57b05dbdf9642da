"""How an instruct model writes a call: a tag around its argument, and numbers in the tag for what it is done to.

    <search>Mira</search>    <prune drop="3 17">Mira adopted Rex.</prune>    <delete note="0"/>
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple


class Tag(NamedTuple):
    """name: "" if there was none. numbers: those in the tag. text: what it encloses, on one line. at: where it begins."""

    name: str
    numbers: tuple[int, ...]
    text: str
    at: int


def first_tag(text: str, names: Sequence[str]) -> Tag:
    """The first tag of `text` that has one of `names`. One that is not closed ends with the text."""
    tag = re.search(rf"<({'|'.join(names)})\b([^<>]*)>(.*?)(?:</\1>|$)", text, re.DOTALL)
    if not tag:
        return Tag("", (), "", len(text))
    if tag[2].rstrip().endswith("/"):  # closed at once: what follows is not its own
        return Tag(tag[1], _numbers(tag[2]), "", tag.start())
    return Tag(tag[1], _numbers(tag[2]), " ".join(tag[3].split()), tag.start())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"[0-9]{1,9}", text)))
