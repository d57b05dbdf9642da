"""Several questions at once over a small searchable directory: MEM1's multi-objective task (arXiv 2506.15841, section 3.3).

The directory says which pet every person adopted and in which city every pet lives, in documents of a few facts each. Nobody
has two pets and no pet two homes, so nothing that is found contradicts anything else. A document is found by the words in it:

    question    who did tom adopt ?   where does the pet of mira live ?
    search tom  ruth adopted luna . max lives in rome . tom adopted buddy . rex lives in oslo .

In the paper the questions come from NQ and HotpotQA, joined N at a time, and Wikipedia is searched by a dense retriever.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import bm25s

from memlab.worlds.scoring import normalise
from memlab.worlds.sentences import CITIES, PEOPLE, PETS, TWO_HOP_QUESTION, Fact, question

MOST = len(PEOPLE)  # questions of one task: each is about another person and their pet


@dataclass(frozen=True)
class Objectives:
    """N questions that one agent answers in one go.

    questions, answers: (N,) each question has one right answer.
    documents: what can be searched, each a few facts.
    gold_of: (N,) for each question the sentences that its answer rests on, verbatim, first hop first.
    leftover: true sentences of no use here, which the agent still has in mind from earlier work.
    """

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    documents: tuple[str, ...]
    gold_of: tuple[tuple[str, ...], ...] = ()
    leftover: tuple[str, ...] = ()

    @property
    def gold(self) -> tuple[str, ...]:
        """All sentences that an answer rests on, in the order of the questions."""
        return tuple(sentence for gold in self.gold_of for sentence in gold)

    @property
    def question(self) -> str:
        return " ".join(self.questions)

    @property
    def expected(self) -> str:
        """All answers, as an outcome writes them."""
        return " , ".join(self.answers)


@dataclass(frozen=True)
class Lookup:
    """The lookup world. `make(rng, size)` draws a directory and `size` questions about different people and pets.

    facts: sentences of one document. two_hop: share of questions that take two facts, the second found only through the first.
    leftover: share of tasks that begin with one to four facts in mind that are of no use: as every later question of a long task
        does, so that a short one teaches to forget.
    answered: those facts are what one or two earlier questions were answered with, not any.
    """

    name = "lookup"
    facts: int = 4
    two_hop: float = 0.3
    leftover: float = 0.5
    answered: bool = False

    def make(self, rng: random.Random, size: int) -> Objectives:
        """Raises ValueError unless 1 <= size <= MOST."""
        if not 1 <= size <= MOST:
            raise ValueError(
                f"a task asks 1 to {MOST} questions, not {size}: each is about another person and their pet"
            )
        people, pets = rng.sample(PEOPLE, MOST), rng.sample(PETS, MOST)
        adopted = [Fact("pet", person, pet) for person, pet in zip(people, pets, strict=True)]
        homes = [Fact("home", pet, rng.choice(CITIES)) for pet in pets]
        questions, gold = [], []
        pairs = list(zip(adopted, homes, strict=True))
        for first, second in pairs[:size]:
            if rng.random() < self.two_hop:
                questions.append(TWO_HOP_QUESTION.format(first.subject))
                gold.append((first, second))
            else:
                fact = rng.choice((first, second))
                questions.append(question(fact.relation, fact.subject))
                gold.append((fact,))
        directory = [str(fact) for fact in adopted + homes]
        rng.shuffle(directory)
        useless = [fact for fact in directory if fact not in {str(fact) for facts in gold for fact in facts}]
        leftover = rng.sample(useless, min(len(useless), rng.randint(1, 4))) if rng.random() < self.leftover else []
        if self.answered and leftover:
            earlier = [pair if rng.random() < self.two_hop else pair[1:] for pair in pairs[size:][: rng.randint(1, 2)]]
            leftover = [str(fact) for facts in earlier for fact in facts]
        return Objectives(
            questions=tuple(questions),
            answers=tuple(facts[-1].value for facts in gold),
            documents=tuple(" ".join(directory[i : i + self.facts]) for i in range(0, len(directory), self.facts)),
            gold_of=tuple(tuple(map(str, facts)) for facts in gold),
            leftover=tuple(leftover),
        )


class Search:
    """A search engine over `documents`: BM25 (bm25s, its default k1 and b). Any text is a query."""

    def __init__(self, documents: Sequence[str], k: int = 2):
        self.documents, self.k, self._bm25 = documents, k, _index(tuple(documents))

    def __call__(self, query: str) -> str:
        """The `k` best documents that share a word with `query`, best first, joined by a space; "" if there is none."""
        words = normalise(query)
        scores = self._bm25.get_scores(words).tolist() if words else []  # bm25s takes no empty query
        found = sorted((-score, i) for i, score in enumerate(scores) if score > 0)
        return " ".join(self.documents[i] for _, i in found[: self.k])


@lru_cache(maxsize=64)
def _index(documents: tuple[str, ...]) -> bm25s.BM25:
    """Built once for all rollouts of a task, which search the same documents: 0.6 ms for 16 of them."""
    bm25 = bm25s.BM25()
    bm25.index([normalise(text) for text in documents], show_progress=False)
    return bm25
