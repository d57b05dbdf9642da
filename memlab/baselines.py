"""What memory systems are compared with: functions from a task to the text that stands in the context when it is answered."""

from __future__ import annotations

import bm25s

from memlab.worlds import Task


def full_context(task: Task) -> str:
    """The whole document. A policy whose window is smaller refuses it (`Turn.overflow`), and the answer is empty."""
    return " ".join(task.sections)


def truncate(task: Task, words: int = 400) -> str:
    """The first and the last `words` / 2 words: MemAgent's own rule for documents that are too long cuts the centre out."""
    text = full_context(task).split()
    if len(text) <= words:
        return " ".join(text)
    half = words // 2
    return " ".join(text[:half] + text[-half:])


def rag(task: Task, k: int = 3) -> str:
    """The k sections that BM25 ranks highest for the question, in reading order (bm25s, its default k1 and b)."""
    retriever = bm25s.BM25()
    corpus = bm25s.tokenize(list(task.sections), stopwords=[], show_progress=False)
    retriever.index(corpus, show_progress=False)
    query = bm25s.tokenize([task.question], stopwords=[], show_progress=False)
    found, _ = retriever.retrieve(query, k=min(k, len(task.sections)), show_progress=False)
    return " ".join(task.sections[i] for i in sorted(found[0].tolist()))
