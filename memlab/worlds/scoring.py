"""How an answer is scored, in training and in every report alike.

One verifier, used everywhere: MemAgent trains with a strict one and reports a lenient one, and the gap of twenty to thirty
points between the two has been taken for failed training more than once.
"""

from __future__ import annotations

import re
import string
from collections import Counter


def normalise(text: str) -> list[str]:
    """Lower case, no punctuation, no articles: the SQuAD rule. Returns the words left."""
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def exact_match(answer: str, golds: tuple[str, ...]) -> float:
    """1.0 if the answer equals one of `golds` after `normalise`, else 0.0."""
    return float(any(normalise(answer) == normalise(gold) for gold in golds))


def token_f1(answer: str, golds: tuple[str, ...]) -> float:
    """Best word-overlap F1 against `golds`, in [0, 1]."""
    return max((_f1(normalise(answer), normalise(gold)) for gold in golds), default=0.0)


def _f1(answer: list[str], gold: list[str]) -> float:
    shared = sum((Counter(answer) & Counter(gold)).values())
    return 2 * shared / (len(answer) + len(gold)) if shared else float(answer == gold)
