"""How an answer is scored, in training and in every report alike.

One verifier, used everywhere: MemAgent trains with a strict one and reports a lenient one, and the gap of twenty to thirty
points between the two has been taken for failed training more than once.
"""

from __future__ import annotations

import math
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


TOKEN = re.compile(r"'?\w+(?:[-./]\w+|[,:]\d+)*|[^\w\s]")


def bleu1(answer: str, golds: tuple[str, ...]) -> float:
    """Best BLEU-1 against `golds`, in [0, 1]: the share of the answer's tokens that the gold answer has too, each at most
    as often, times exp(1 - gold length / answer length) when the answer is the shorter one. Without a shared token, 0.

    As in the evaluation script of Mem0, whose columns Memory-R1 reports too (B1; it publishes no script of its own): nltk's
    `sentence_bleu` with weights (1, 0, 0, 0) over lower-cased tokens, punctuation and articles included, unlike in
    `token_f1`. Its smoothing (method 1) only touches the longer n-grams, whose weight is 0. The one difference is in the
    tokens: `TOKEN` comes close to nltk's Treebank rules, and a few words are cut elsewhere (c++, don't, an opening quote).
    """
    tokens = [TOKEN.findall(text.lower()) for text in (answer, *golds)]
    return max((_bleu1(tokens[0], gold) for gold in tokens[1:]), default=0.0)


def _bleu1(answer: list[str], gold: list[str]) -> float:
    shared = sum((Counter(answer) & Counter(gold)).values())
    return min(1.0, math.exp(1 - len(gold) / len(answer))) * shared / len(answer) if shared else 0.0
