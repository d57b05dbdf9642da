"""Conversations over many sessions with questions about them: LoCoMo (Maharana et al. 2024), what Memory-R1 trains and is
measured on (section 4.1), and LongMemEval (Wu et al. 2025), where it is tried without training.

LoCoMo's categories are kept as the numbers of the file, because papers permute their names; Memory-R1's own table fits the
data only with "single-hop" read as category 1 and "open-domain" as 4. By LoCoMo's evaluation code they are:

    category        1          2         3            4           5
    name            multi-hop  temporal  open-domain  single-hop  adversarial
    questions       282        321       96           841         446          1,986 in all

A question of category 5 asks about something that was never said, or about the wrong speaker. LoCoMo's script offers two
options, the tempting answer and `NOT_MENTIONED`, and a reply is right if it says "not mentioned" or "no information available"
(the script reads a field that the released file lacks, so later papers each mended it their own way). Mem0 and Memory-R1
leave the category out: their numbers are over 1,540 questions and not comparable with those over 1,986.

Answers stand as released. In some of category 3 a reason follows the answer after a ";"; LoCoMo's script cuts it off.

Data: LoCoMo is CC BY-NC 4.0, LongMemEval MIT. Neither is part of memlab; both are looked for in the folder MEMLAB_DATA.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memlab.memory import sentences
from memlab.worlds.dialogues import Dialogue
from memlab.worlds.real import read

LOCOMO = (
    "curl -L --create-dirs -o data/real/locomo/locomo10.json https://raw.githubusercontent.com/snap-research/locomo/main/"
    "data/locomo10.json && export MEMLAB_DATA=data/real"
)
LONGMEMEVAL = (
    "curl -L --create-dirs -o data/real/longmemeval/longmemeval_oracle.json https://huggingface.co/datasets/xiaowu0162/"
    "longmemeval-cleaned/resolve/main/longmemeval_oracle.json && export MEMLAB_DATA=data/real"
)

# Memory-R1 gives the sizes of its split, 1:1:8 conversations and 152, 81 and 1,307 questions, but not the names. The sizes fit
# only conv-30 for validation, and conv-26 or conv-41 for training; the file's order decides for conv-26.
SPLITS = {
    "train": ("conv-26",),
    "validation": ("conv-30",),
    "test": ("conv-41", "conv-42", "conv-43", "conv-44", "conv-47", "conv-48", "conv-49", "conv-50"),
}

NOT_MENTIONED = "Not mentioned in the conversation"  # the words of the right option in LoCoMo's script
ID = re.compile(r"D:?(\d+):(\d+)")  # session and turn, from 1; D:11:26 and D30:05 are in the file too


@dataclass(frozen=True)
class Turn:
    """What one speaker says at a time. A shared picture stands behind the text as [shared CAPTION]."""

    speaker: str
    id: str
    text: str


@dataclass(frozen=True)
class Session:
    """The turns of one sitting. date: as the data set writes it, such as 1:56 pm on 8 May, 2023."""

    date: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Fact:
    """One sentence for a memory manager. session: index into the sessions, from 0; evidence: ids of the turns it rests on."""

    session: int
    speaker: str
    text: str
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """One question, asked after the last session.

    category: "1" to "5" in LoCoMo, the question type in LongMemEval.
    evidence: ids of the turns the answer rests on, each once; may be empty.
    adversarial: the tempting wrong answer, only in LoCoMo's category 5.
    date: when it is asked, only in LongMemEval.
    """

    text: str
    answer: str
    category: str
    evidence: tuple[str, ...]
    adversarial: str = ""
    date: str = ""


@dataclass(frozen=True)
class Conversation:
    """Sessions, the facts in them in the order they were said, and questions. source: the file it was read from."""

    name: str
    sessions: tuple[Session, ...]
    facts: tuple[Fact, ...]
    questions: tuple[Question, ...]
    source: str


def locomo(split: str = "all") -> list[Conversation]:
    """LoCoMo from MEMLAB_DATA/locomo/locomo10.json.

    split: "all" for the ten conversations with all questions; "train", "validation" or "test" for Memory-R1's one, one and
    eight, without category 5.

    The facts are the file's `observation`: sentences that a language model wrote down for each session, so no extraction model
    is needed. They come session by session, a fact when the last turn it rests on has been said. They have no date of their own:
    "last year" is seen from the session's. They do not hold everything: for 401 of the 1,540 questions without category 5 the
    evidence names a turn that no fact rests on, or none at all.
    Evidence ids that no turn has are dropped (three of the file's), the right answer of category 5 is `NOT_MENTIONED` unless
    the file has one (two "No").

    Raises FileNotFoundError with the command to run when there is no file, and ValueError naming file, place and field of
    what is malformed in it.
    """
    if split not in ("all", *SPLITS):
        raise ValueError(f"there is no split {split!r}; choose all, {', '.join(SPLITS)}")
    raw, source = read("locomo/locomo10.json", LOCOMO)
    conversations = {c.name: c for c in _each(raw, source, _locomo, LOCOMO, adversarial=split == "all")}
    names = SPLITS.get(split, conversations)
    if missing := [name for name in names if name not in conversations]:
        raise ValueError(f"{source} lacks {', '.join(missing)} of the {split} split; download it again: {LOCOMO}")
    return [conversations[name] for name in names]


def longmemeval() -> list[Conversation]:
    """LongMemEval from the one JSON file in MEMLAB_DATA/longmemeval: a conversation for each question.

    Memory-R1 uses the oracle setting, whose sessions are only those that matter; the larger settings have the same schema.
    The oracle file does not sort its sessions by date; here they are. There are no extracted facts: the facts are
    the sentences of the user's turns. Turn N of a session, from 1, has the id SESSION_N.
    A question that cannot be answered has a name that ends in _abs, and an answer that says what was not mentioned.

    Raises as `locomo` does.
    """
    raw, source = read("longmemeval/*.json", LONGMEMEVAL)
    return _each(raw, source, _longmemeval, LONGMEMEVAL)


def message(conversation: Conversation, fact: Fact) -> str:
    """A fact as a memory manager hears it: it has no date of its own."""
    return f"{conversation.sessions[fact.session].date}: {fact.text}"


def dialogue(conversation: Conversation, first: int = 0, count: int | None = None) -> Dialogue:
    """`count` sessions from `first` on (default: all) as a task: a fact a message, and the questions that they answer.

    Those are the questions all of whose evidence facts of these sessions rest on. An answer is one value: what follows a ";" in
    it, a reason, is left out. kinds: the category.
    """
    last = len(conversation.sessions) if count is None else first + count
    facts = [fact for fact in conversation.facts if first <= fact.session < last]
    said = {turn for fact in facts for turn in fact.evidence}
    asked = [q for q in conversation.questions if q.evidence and said.issuperset(q.evidence)]
    gold_of = [tuple(message(conversation, f) for f in facts if set(f.evidence) & set(q.evidence)) for q in asked]
    return Dialogue(
        sessions=tuple(tuple(message(conversation, f) for f in facts if f.session == i) for i in range(first, last)),
        questions=tuple(q.text for q in asked),
        answers=tuple((q.answer.split(";")[0].strip(),) for q in asked),
        gold_of=tuple(gold_of),
        kinds=tuple(q.category for q in asked),
        stale=frozenset(),
    )


class Talks:
    """The world of real conversations. `make(rng, size)`: `size` sessions in a row of one, and at most `questions` about them."""

    name = "locomo"

    def __init__(self, conversations: Sequence[Conversation], questions: int = 10):
        if not conversations:
            raise ValueError("there is no conversation; pass those of locomo()")
        self.conversations, self.questions = list(conversations), questions
        self.source = ", ".join(sorted({c.source for c in conversations}))

    def make(self, rng: random.Random, size: int) -> Dialogue:
        """Raises ValueError where no conversation has `size` sessions with a question about them."""
        longest = max(len(c.sessions) for c in self.conversations)
        if not 1 <= size <= longest:
            raise ValueError(f"these conversations have 1 to {longest} sessions, not {size}")
        found = [(c, first) for c in self.conversations for first in range(len(c.sessions) - size + 1)]
        for c, first in rng.sample(found, len(found)):
            whole = dialogue(c, first, size)
            if whole.questions:
                kept = sorted(rng.sample(range(len(whole.questions)), min(self.questions, len(whole.questions))))
                names = ("questions", "answers", "gold_of", "kinds")
                return replace(whole, **{name: tuple(getattr(whole, name)[i] for i in kept) for name in names})
        raise ValueError(f"no {size} sessions in a row answer a question; ask for more sessions")


def _each(raw: Any, source: str, parse: Callable[..., Conversation], fix: str, **options) -> list[Conversation]:
    try:
        if not isinstance(raw, list) or not raw:
            raise ValueError(f"{source} should be a non-empty list of records, not {type(raw).__name__}")
        return [parse(entry, source, f"{source}, record {number}", **options) for number, entry in enumerate(raw)]
    except ValueError as error:
        raise ValueError(f"{error}; download the file again: {fix}") from None


def _take(raw: Any, where: str, field: str, *kinds: type) -> Any:
    """A field of a JSON object, checked. Raises ValueError naming the place and the field."""
    value = raw.get(field) if isinstance(raw, dict) else None
    if not isinstance(value, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{where}: field {field!r} should be {expected}, not {type(value).__name__}")
    return value.strip() if isinstance(value, str) else value


def _locomo(raw: Any, source: str, where: str, adversarial: bool) -> Conversation:
    name = _take(raw, where, "sample_id", str)
    where = f"{source}, {name}"
    conversation, observation = _take(raw, where, "conversation", dict), _take(raw, where, "observation", dict)
    sessions, facts = [], []
    numbers = sorted(int(key.split("_")[1]) for key in conversation if re.fullmatch(r"session_\d+", key))
    for number in numbers:  # not those of the dates: conv-26 has 35 dates and 19 sessions
        turns = _take(conversation, where, f"session_{number}", list)
        date = _take(conversation, where, f"session_{number}_date_time", str)
        sessions.append(Session(date, tuple(_turn(t, f"{where}, session_{number}") for t in turns)))
    said = {turn.id: i for i, turn in enumerate(turn for session in sessions for turn in session.turns)}
    for index, number in enumerate(numbers):
        key = f"session_{number}_observation"
        for speaker in (spoken := _take(observation, where, key, dict)):
            for fact in _take(spoken, f"{where}, {key}", speaker, list):
                if not (isinstance(fact, list) and len(fact) == 2 and isinstance(fact[0], str)):
                    raise ValueError(f"{where}, {key}: a fact should be [sentence, turn ids], not {str(fact)[:60]}")
                facts.append(Fact(index, speaker, fact[0].strip(), _evidence(fact[1], said)))
    facts.sort(key=lambda fact: (fact.session, max((said[id] for id in fact.evidence), default=len(said))))
    questions = [_question(q, f"{where}, question {n}", said) for n, q in enumerate(_take(raw, where, "qa", list))]
    questions = [q for q in questions if adversarial or q.category != "5"]
    return Conversation(name, tuple(sessions), tuple(facts), tuple(questions), source)


def _turn(raw: Any, where: str) -> Turn:
    id = _take(raw, where, "dia_id", str)
    text = _take(raw, f"{where}, {id}", "text", str)
    if "blip_caption" in raw:  # LoCoMo's prompts say: SPEAKER said, "TEXT" and shared CAPTION.
        text += f" [shared {_take(raw, f'{where}, {id}', 'blip_caption', str)}]"
    return Turn(_take(raw, f"{where}, {id}", "speaker", str), id, text)


def _question(raw: Any, where: str, known: Collection[str]) -> Question:
    category = _take(raw, where, "category", int)
    if category not in range(1, 6):
        raise ValueError(f"{where}: field 'category' should be 1 to 5, not {category}")
    absent = category == 5 and "answer" not in raw
    return Question(
        text=_take(raw, where, "question", str),
        answer=NOT_MENTIONED if absent else str(_take(raw, where, "answer", str, int)),
        category=str(category),
        evidence=_evidence(_take(raw, where, "evidence", list), known),
        adversarial=_take(raw, where, "adversarial_answer", str) if category == 5 else "",
    )


def _evidence(raw: Any, known: Collection[str]) -> tuple[str, ...]:
    """The ids in `raw` that are known. It is a string or a list of strings, and a string may hold several ids: "D8:6; D9:17"."""
    ids = (f"D{int(session)}:{int(turn)}" for session, turn in ID.findall(str(raw)))
    return tuple(dict.fromkeys(id for id in ids if id in known))


def _longmemeval(raw: Any, source: str, where: str) -> Conversation:
    name = _take(raw, where, "question_id", str)
    where = f"{source}, {name}"
    dates, ids, histories = (_take(raw, where, f"haystack_{field}", list) for field in ("dates", "session_ids", "sessions"))
    haystack = list(zip(dates, ids, histories))
    typed = all(isinstance(date, str) and isinstance(history, list) for date, _, history in haystack)
    if not (typed and len(dates) == len(ids) == len(histories)):
        raise ValueError(f"{where}: haystack_dates, _session_ids and _sessions should be lists of one length, a session a list")
    haystack.sort(key=lambda dated: dated[0])  # 2023/05/25 (Thu) 20:21 sorts as text
    sessions, facts, evidence = [], [], []
    for date, session, history in haystack:
        turns = []
        for n, message in enumerate(history, 1):
            place = f"{where}, {session}, turn {n}"
            turn = Turn(_take(message, place, "role", str), f"{session}_{n}", _take(message, place, "content", str))
            turns.append(turn)
            if turn.speaker == "user":
                facts += [Fact(len(sessions), "user", sentence, (turn.id,)) for sentence in sentences(turn.text)]
            if message.get("has_answer"):
                evidence.append(turn.id)
        sessions.append(Session(date, tuple(turns)))
    question = Question(
        text=_take(raw, where, "question", str),
        answer=str(_take(raw, where, "answer", str, int)),
        category=_take(raw, where, "question_type", str),
        evidence=tuple(evidence),
        date=_take(raw, where, "question_date", str),
    )
    return Conversation(name, tuple(sessions), tuple(facts), (question,), source)
