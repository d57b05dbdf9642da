"""Real conversations: what each way of keeping notes lets a reader answer. LoCoMo and LongMemEval, by category.

A store is a rule that turns a conversation into a bank of notes, without a model. A ranker finds notes for a question. A reader
answers from them: a language model, or for all 1,986 questions in seconds the best note itself, which says how much of an
answer retrieval alone brings. The trained policies are tiny and know 270 words: they cannot read these texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from memlab.episode import Ask, Episode, Outcome
from memlab.memory import Bank
from memlab.policies.base import Policy
from memlab.retrieval import Ranker
from memlab.rollout import play
from memlab.worlds.real.conversations import Conversation, Question, Turn, message
from memlab.worlds.scoring import bleu1, exact_match, normalise, token_f1

ALIKE = 0.5  # share of words, of those that either has, from which the rule takes two facts for versions of one
WINDOW = 2_000  # words that the flush rule's context holds; at 80 % of them it writes its notes
ANSWER_TOKENS = 24


@dataclass
class Store:
    """A bank of real notes and, for each note, the ids of the turns that it rests on."""

    bank: Bank
    evidence: dict[int, tuple[str, ...]]

    def add(self, text: str, evidence: Iterable[str]) -> None:
        [item] = self.bank.add(text)
        self.evidence[item] = tuple(evidence)


def no_memory(conversation: Conversation, bank: Bank) -> Store:
    """Nothing is kept."""
    return Store(bank, {})


def rag(conversation: Conversation, bank: Bank) -> Store:
    """Every turn, as it was said."""
    store = Store(bank, {})
    for session in conversation.sessions:
        for turn in session.turns:
            store.add(_said(session.date, turn), [turn.id])
    return store


def append_only(conversation: Conversation, bank: Bank) -> Store:
    """Every extracted fact, and nothing is ever changed (Mem0 since 2026)."""
    store = Store(bank, {})
    for fact in conversation.facts:
        store.add(message(conversation, fact), fact.evidence)
    return store


def rule_crud(conversation: Conversation, bank: Bank) -> Store:
    """Every extracted fact, but one much like a note takes its place: Mem0's operations of 2025 by a rule on shared words."""
    store = Store(bank, {})
    for fact in conversation.facts:
        text = message(conversation, fact)
        item = next(iter(bank.retrieve(fact.text, 1)), None)
        if item is None or _alike(fact.text, bank.notes[item].split(": ", 1)[1]) < ALIKE:
            store.add(text, fact.evidence)
        else:
            bank.update(item, text)
            store.evidence[item] = fact.evidence
    return store


def flush(conversation: Conversation, bank: Bank) -> Store:
    """The recent turns as they are, and of what left the window the facts: a production agent's rule (OpenClaw).

    When the window is 80 % full the facts of what stands in it are appended to the notes, and it is emptied.
    """
    store, recent, words = Store(bank, {}), [], 0

    def write_notes() -> None:
        known = {turn.id for _, turn in recent}
        for fact in conversation.facts:
            if fact.evidence and known.issuperset(fact.evidence):
                store.add(message(conversation, fact), fact.evidence)

    for session in conversation.sessions:
        for turn in session.turns:
            recent.append((session.date, turn))
            words += len(turn.text.split())
            if words > 0.8 * WINDOW:
                write_notes()
                recent, words = [], 0
    for date, turn in recent:
        store.add(_said(date, turn), [turn.id])
    return store


STORES: dict[str, Callable[[Conversation, Bank], Store]] = {
    "no-memory": no_memory,
    "rag": rag,
    "append-only": append_only,
    "rule-crud": rule_crud,
    "flush": flush,
}


def evaluate(
    conversations: Sequence[Conversation],
    store: str,
    ranker: Callable[[], Ranker],
    k: int = 10,
    reader: Policy | None = None,
    n: int | None = None,
) -> list[dict]:
    """Answer the questions of all `conversations`: one record a category, and one for all.

    ranker: makes a fresh one for each conversation's bank. k: notes a question is shown. reader: answers from them; None: the
    best note is the answer. n: only so many questions, evenly spread over all of them.
    recall: share of questions whose evidence is found, all of it, among the k notes; of those with evidence. f1, bleu1 and
    exact: means in [0, 1] against the answer as released.
    Raises ValueError for an unknown store.
    """
    if store not in STORES:
        raise ValueError(f"there is no store {store!r}; choose one of: {', '.join(STORES)}")
    asked: list[tuple[Question, Store, list[int]]] = []
    for conversation in conversations:
        kept = STORES[store](conversation, Bank(ranker=ranker()))
        asked += [(question, kept, []) for question in conversation.questions]
    if n is not None and n < len(asked):
        asked = [asked[i * len(asked) // n] for i in range(n)]
    for question, kept, found in asked:
        found += kept.bank.retrieve(question.text, k)
    answers = [kept.bank.notes[found[0]] if found else "" for _, kept, found in asked]
    if reader is not None:
        notes = [[kept.bank.notes[item] for item in found] for _, kept, found in asked]
        episodes = [_read(question, texts) for (question, *_), texts in zip(asked, notes, strict=True)]
        answers = [t.outcome.answer for t in play(episodes, reader)]
    scored = []
    for (question, kept, found), answer in zip(asked, answers, strict=True):
        shown, golds = {turn for item in found for turn in kept.evidence[item]}, (question.answer,)
        scored.append(
            {
                "category": question.category,
                "recall": float(shown.issuperset(question.evidence)) if question.evidence else None,
                "f1": token_f1(answer, golds),
                "bleu1": bleu1(answer, golds),
                "exact": exact_match(answer, golds),
            }
        )
    groups = {category: [s for s in scored if s["category"] == category] for category in sorted({s["category"] for s in scored})}
    return [_mean(category, group) for category, group in [*groups.items(), ("all", scored)]]


def _mean(category: str, scored: Sequence[dict]) -> dict:
    record: dict = {"category": category, "questions": len(scored)}
    for name in ("recall", "f1", "bleu1", "exact"):
        values = [s[name] for s in scored if s[name] is not None]
        record[name] = round(sum(values) / len(values), 4) if values else None
    return record


def _read(question: Question, notes: Sequence[str]) -> Episode:
    """One question to a chat model. The notes stand best last, next to the question."""
    when = f" (asked on {question.date})" if question.date else ""
    text = (
        "Answer the question from these notes of a conversation, in at most six words. If they contradict each other, the latest "
        "one counts. If they do not say, answer: Not mentioned in the conversation.\n\n"
        + "\n".join(f"- {note}" for note in reversed(notes))
        + f"\n\nQuestion: {question.text}{when}\nAnswer:"
    )
    said = yield Ask([{"role": "user", "content": text}], ANSWER_TOKENS)
    return Outcome(0.0, said.strip().split("\n")[0].strip())


def _said(date: str, turn: Turn) -> str:
    return f"{date}: {turn.speaker}: {turn.text}"


def _alike(a: str, b: str) -> float:
    """Jaccard similarity of the words, in [0, 1]."""
    one, other = set(normalise(a)), set(normalise(b))
    return len(one & other) / max(1, len(one | other))
