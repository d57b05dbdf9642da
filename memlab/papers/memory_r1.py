"""Memory-R1 (arXiv 2508.19828): a manager keeps a bank of notes, an answer agent reads it. One is trained after the other.

Conversations are heard message by message, and the questions come afterwards. For every message the manager sees the notes that a
search finds for it, and chooses one operation. For every question the answer agent sees the notes that a search finds for it; it
first says those that are of use (the paper's memory distillation), and what they state is the answer:

    manager   notes : mira lives in oslo . 0 mira adopted rex . 1 new : mira also adopted scout . call :
              add mira also adopted scout .
    answer    question : who did mira adopt ? memory : mira adopted rex . mira also adopted scout . mira lives in oslo . answer :
              mira adopted rex . mira also adopted scout .

Kept exactly: the four operations on what was retrieved (section 3.1); the manager is trained as a bandit, one message, one
operation, and a frozen answer agent's exact match on the question that rests on that message as the only reward (appendix B.2);
then the answer agent with the same reward and the manager frozen (section 3.2); 152 training questions; search is not trained.
Mended: a moment also asks what was known before, or an operation that ruins another note would cost nothing (`Moments.others`).
Simplified: a message is its own extracted fact; notes have no dates; the bank before a message is kept by a rule, not by a larger
model; 5 notes are retrieved, not 60; calls begin with a word, not JSON; GRPO only; the advantage is not divided by the deviation.
Dropped: a judge beside exact match.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

from memlab.episode import Ask, Episode, Messages, Outcome
from memlab.memory import Bank, sentences
from memlab.papers import Paper, Stage, memagent
from memlab.papers.tags import first_tag
from memlab.policies.base import Policy
from memlab.rollout import play
from memlab.worlds.dialogues import Dialogue, Dialogues, Said, facts, parse
from memlab.worlds.scoring import normalise, token_f1

CALLS = ("add", "update", "delete", "noop")
EMPTY = memagent.TINY.empty
WINDOW = 100  # words that the context of the flush rule holds
RIGHT = 0.5  # share of the answers that the warm start's teacher gives in full


def manager_prompt(notes: Sequence[str], message: str) -> str:
    """The notes are addressed by their place in this list: the ids of a bank grow without end. The place stands after its note:
    a causal model knows at that word whose note it is, and has less to look up.
    """
    return f"notes : {' '.join(f'{note} {i}' for i, note in enumerate(notes)) or EMPTY} new : {message} call :"


class Call(NamedTuple):
    """A manager's completion, read: add, update, delete, noop or "" (none of them), the place of a note, and the text."""

    name: str
    place: int = -1
    text: str = ""


def parse_call(text: str) -> Call:
    """What lacks its place or its text is no call."""
    name, *words = text.split() or [""]
    if name == "noop":
        return Call(name)
    if name == "add" and words:
        return Call(name, text=" ".join(words))
    if name in ("update", "delete") and words and words[0].isascii() and words[0].isdigit() and (words[1:] or name == "delete"):
        return Call(name, int(words[0]), " ".join(words[1:]))
    return Call("", text=text)


def values(text: str) -> list[str]:
    """What the facts in `text` state, each once; a sentence that is no fact stands for itself."""
    return list(dict.fromkeys(said.value if (said := parse(sentence)) else sentence for sentence in sentences(text)))


def chat_manager(notes: Sequence[str], message: str) -> Messages:
    """`manager_prompt` for an instruct model."""
    return [
        {"role": "system", "content": MANAGER},
        {"role": "user", "content": f"{listed(notes)}\n\nMessage: {message}"},
    ]


MANAGER = (
    "You keep notes of a conversation. For each message you make one call, and write nothing else:\n"
    "<add>a new note</add>\n"
    '<update note="2">what note 2 is to say instead</update>\n'
    '<delete note="2"/> when note 2 is no longer true\n'
    "<noop/> when the notes can stay as they are"
)


def listed(notes: Sequence[str]) -> str:
    """Notes for an instruct model, a line each, addressed by their place."""
    return "\n".join(["Notes:", *(f"{i}. {note}" for i, note in enumerate(notes))] if notes else ["Notes: none"])


def chat_answer(question: str, notes: Sequence[str], distil: bool) -> Messages:
    """The answer agent's prompt for an instruct model."""
    how = "First copy the notes that are of use, then answer" if distil else "Answer"
    useful = "<useful>...</useful>" if distil else ""
    text = (
        f"{listed(notes)}\n\nQuestion: {question}\n\n{how} in as few words as possible; if there are several answers, give all, "
        f"separated by semicolons:\n{useful}<answer>first; second</answer>"
    )
    system = "You answer questions from notes, and from nothing else."
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def parse_tags(text: str) -> Call:
    """What an instruct model called, at its first tag. As in `parse_call`, what lacks its place or its text is no call."""
    tag = first_tag(text, CALLS)
    place = tag.numbers[0] if tag.numbers else -1
    if tag.name == "noop":
        return Call("noop")
    if tag.name == "add" and tag.text:
        return Call("add", text=tag.text)
    if tag.name in ("update", "delete") and place >= 0 and (tag.text or tag.name == "delete"):
        return Call(tag.name, place, tag.text if tag.name == "update" else "")
    return Call("", text=text)


def write_tags(call: Call) -> str:
    """The text that `parse_tags` reads as `call`."""
    note = f' note="{call.place}"' if call.name in ("update", "delete") else ""
    return f"<{call.name}{note}>{call.text}</{call.name}>" if call.text else f"<{call.name}{note}/>"


def write_answer(values: Iterable[str], useful: str = "") -> str:
    """The text that `tagged_values` reads as `values`. useful: the notes that they rest on, if they are to be said."""
    return (f"<useful>{useful}</useful>" if useful else "") + f"<answer>{'; '.join(values)}</answer>"


def tagged_values(text: str, distil: bool = True) -> list[str]:
    """The answers that an instruct model gave, each once; none without an <answer>."""
    return split_values(first_tag(text, ("answer",)).text)


def split_values(text: str) -> list[str]:
    """What stands between semicolons, each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(";") if part.strip()))


@dataclass(frozen=True)
class Style:
    """How the two agents are asked and read, for one kind of model.

    shown: notes that a search shows, to either agent. call_tokens, answer_tokens: of a completion, at most.
    """

    manager: Callable[[Sequence[str], str], str | Messages]  # notes, message
    answer: Callable[[str, Sequence[str], bool], str | Messages]  # question, notes, distil
    parse: Callable[[str], Call]
    values: Callable[[str, bool], list[str]]  # what was written, distil
    empty: str
    call_tokens: int
    answer_tokens: int
    shown: int = 5


TINY = Style(
    manager_prompt,
    lambda question, notes, distil: memagent.TINY.answer(question, " ".join(notes) or EMPTY),
    parse_call,
    lambda text, distil: values(text) if distil else [part.strip() for part in text.split(",") if part.strip()],
    EMPTY,
    call_tokens=14,  # "update", a place, a note of two facts and the end token
    answer_tokens=28,  # four facts and the end token
)
CHAT = Style(chat_manager, chat_answer, parse_tags, tagged_values, "Nothing.", call_tokens=40, answer_tokens=96)


def apply(bank: Bank, shown: Sequence[int], call: Call) -> None:
    """Do what was called to `bank`. shown: the ids of the notes at each place. A place that was not shown changes nothing, and
    neither does adding what a note says already, word for word.
    """
    if call.name == "add" and call.text not in bank.notes.values():
        bank.add(call.text)
    elif 0 <= call.place < len(shown):
        if call.name == "update":
            bank.update(shown[call.place], call.text)
        elif call.name == "delete":
            bank.delete(shown[call.place])


Manager = Callable[[Ask], str]  # a rule in the manager's place


def manage(bank, message: str, task: Any, manager: Manager | None = None, calls=CALLS, style: Style = TINY, **state):
    """One message: the notes most like it are shown, one operation is called and, if it is among `calls`, done. Part of an
    episode; returns the call. state: what else the ask tells of itself.
    """
    shown = bank.retrieve(message, style.shown)
    notes = [bank.notes[item] for item in shown]
    state |= {"task": task, "message": message, "notes": notes, "memory": "\n".join(bank.notes.values())}
    ask = Ask(style.manager(notes, message), style.call_tokens, state)
    call = style.parse(manager(ask) if manager else (yield ask))
    if call.name in calls:
        apply(bank, shown, call)
    return call


def answer(bank, question: str, task: Any, reader: Policy | None = None, distil: bool = True, style: Style = TINY):
    """One question: the notes like it are read. Part of an episode; returns the answer's values.

    The notes stand in the order of the alphabet. A bank has no dates: which of two homes is the later one has to be settled by
    the manager, when the second is heard.
    reader: a frozen policy that answers instead of the one that is played. distil: the useful notes are said, and their values
    are the answer; False: the values are said at once.
    """
    notes = sorted(bank.notes[item] for item in bank.retrieve(question, style.shown))
    state = {"task": task, "question": question, "notes": notes, "memory": " ".join(notes) or style.empty, "distil": distil}
    text = yield Ask(style.answer(question, notes, distil), style.answer_tokens, state, by=reader)
    return style.values(text, distil)


def episode(
    task: Dialogue, manager: Manager | None = None, reader: Policy | None = None, distil: bool = True, style: Style = TINY
) -> Episode:
    """A whole conversation, message by message, then all its questions. Reward: the share of them that is answered exactly.

    manager: a rule in the manager's place. reader: the answer agent, if it is not the policy that is played.
    """
    bank = Bank()
    for turn, message in enumerate(task.messages):
        bank.turn = turn
        yield from manage(bank, message, task, manager, style=style)
    return (yield from questioned(bank, task, reader, distil, style))


def flushed(task: Dialogue, reader: Policy | None = None, style: Style = TINY) -> Episode:
    """A production agent's rule (OpenClaw): messages stay in context; when it is 80 % full, what they state is appended to the
    notes, and the context is emptied. The questions are asked of the notes and of the messages that are still there.
    """
    bank, recent = Bank(), []
    for turn, message in enumerate(task.messages):
        bank.turn = turn
        recent.append(message)
        if len(" ".join(recent).split()) > 0.8 * WINDOW:
            known = set(bank.notes.values())
            bank.add(*(said for said in dict.fromkeys(recent) if parse(said) and said not in known))
            recent = []
    bank.add(*recent)
    return (yield from questioned(bank, task, reader, style=style))


def questioned(bank: Bank, task: Dialogue, reader: Policy | None = None, distil: bool = True, style: Style = TINY):
    """All questions of a conversation that was heard. Part of an episode; returns its outcome, with what became of the facts."""
    given = []
    for question in task.questions:
        given.append((yield from answer(bank, question, task, reader, distil, style)))
    right, f1 = marked(given, task.answers)
    held = {said[:3] for note in bank.notes.values() for said in facts(note)}
    wrong = {said[:2] for sentence in task.stale for said in facts(sentence) if said[:3] in held}
    golds = [(kind, facts(" ".join(gold))) for kind, gold in zip(task.kinds, task.gold_of, strict=True)]
    joined = [gold for kind, gold in golds if kind == "complement"]
    changed = {kind: [gold for its, gold in golds if its == kind] for kind in ("contradiction", "retraction")}
    kept = lambda gold: all(said[:3] in held for said in gold)  # noqa: E731
    true = {kind: sum(kept(gold) and gold[0][:2] not in wrong for gold in its) for kind, its in changed.items()}
    return Outcome(
        reward=right,
        answer=_written(given),
        metrics={
            "f1": f1,
            "complements": len(joined),
            "complements_kept": sum(map(kept, joined)),
            "contradictions": len(changed["contradiction"]),
            "contradictions_overwritten": true["contradiction"],
            "retractions": len(changed["retraction"]),
            "retractions_deleted": true["retraction"],
            "notes": len(bank.notes),
        },
        events=tuple(bank.events),
    )


def marked(given: Sequence[Sequence[str]], golds: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Shares of the questions whose values are exactly right, in any order, and the mean token F1."""
    pairs = list(zip(given, golds, strict=True))
    names = lambda values: {" ".join(normalise(value)) for value in values}  # noqa: E731
    exact = sum(names(values) == names(gold) for values, gold in pairs) / len(pairs)
    return exact, sum(token_f1(" ".join(values), (" ".join(gold),)) for values, gold in pairs) / len(pairs)


# ---------------------------------------------------------------- what each of the two is trained on


@dataclass(frozen=True)
class Moment:
    """A bank, a message and what is asked when it was heard: one training example of the manager (appendix B.2).

    message: "" for the answer agent, whose bank has heard everything.
    questions, answers: what the message speaks of comes first; then others, about what was in the bank before.
    """

    notes: tuple[str, ...]
    message: str
    questions: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]

    @property
    def question(self) -> str:
        return " ".join(self.questions)

    @property
    def expected(self) -> str:
        """All answers, as an outcome writes them."""
        return _written(self.answers)


@dataclass(frozen=True)
class Moments:
    """The manager's world: `count` training questions, asked after any message of their conversations of `sessions` sessions.

    others: questions that a moment asks besides the one that its message speaks of. With none, as in the paper, an operation that
    ruins another note costs nothing, and no moment is small talk.
    """

    name = "moments"
    count: int = 152
    sessions: int = 8
    others: int = 3

    def make(self, rng: random.Random, size: int = 0) -> Moment:
        return drawn(rng, _moments(self.count, self.sessions, small_talk=self.others > 0), self.others)


Asked = dict[str, tuple[str, ...]]  # question -> its values
Heeded = tuple[tuple[str, ...], str, Asked, Asked]  # notes, message, what it speaks of, what else was known


def drawn(rng: random.Random, moments: Sequence[Heeded], others: int) -> Moment:
    """One of `moments`, asked about its message and `others` of what else was known."""
    notes, message, own, rest = rng.choice(moments)
    asked = own | dict(rng.sample(list(rest.items()), min(others, len(rest))))
    return Moment(notes, message, tuple(asked), tuple(asked.values()))


@lru_cache(maxsize=4)
def _moments(count: int, sessions: int, small_talk: bool) -> list[Heeded]:
    """Of every message: a bank before it, and the questions that it speaks of and others, with what held then. Messages about
    which nothing can be asked are left out.

    The banks are the oracle's, but for a fifth of its calls, which are left to chance: the manager's own are not spotless either.
    """
    rng, moments = random.Random(f"moments/{count}/{sessions}"), []
    fallible = lambda ask: (random_valid if rng.random() < 0.2 else oracle)(ask, rng)  # noqa: E731
    for task in training_dialogues(count, sessions):
        banks: list[tuple[str, ...]] = []
        true: list[tuple[str, ...]] = []
        next(_hear(task, banks, fallible), None)
        next(_hear(task, true, lambda ask: oracle(ask, rng)), None)
        for i, message in enumerate(task.messages):
            held = {question: tuple(said.value for said in about(question, true[i + 1])) for question in task.questions}
            own = {question: told for question, told in held.items() if told and _asks(question, parse(message))}
            rest = {question: told for question, told in held.items() if told and question not in own}
            if own or (small_talk and rest):
                moments.append((banks[i], message, own, rest))
    return moments


@lru_cache(maxsize=4)
def training_dialogues(count: int, sessions: int) -> list[Dialogue]:
    """Conversations with `count` questions in all, always the same."""
    rng, tasks, left = random.Random(f"training/{count}/{sessions}"), [], count
    while left:
        task = Dialogues(questions=min(left, Dialogues.questions)).make(rng, sessions)
        tasks.append(task)
        left -= len(task.questions)
    return tasks


def _hear(task: Dialogue, banks: list[tuple[str, ...]], manager: Manager | None = None, style: Style = TINY) -> Episode:
    """A conversation without its questions. Fills `banks` with the notes before each message and after the last one."""
    bank = Bank()
    for message in task.messages:
        banks.append(tuple(bank.notes.values()))
        yield from manage(bank, message, task, manager, style=style)
    banks.append(tuple(bank.notes.values()))
    return Outcome(0.0, "")


class Heard:
    """The world of the answer agent: the same questions, over the banks that `manager` kept of their whole conversations.

    tasks: other conversations than those that the manager was trained on.
    """

    name = "heard"

    def __init__(
        self, manager: Policy, count: int = 152, sessions: int = 8, tasks: Sequence[Dialogue] = (), style: Style = TINY
    ):
        tasks = tasks or training_dialogues(count, sessions)
        kept: list[list[tuple[str, ...]]] = [[] for _ in tasks]
        play([_hear(task, banks, style=style) for task, banks in zip(tasks, kept, strict=True)], manager)
        self.moments = [
            Moment(banks[-1], "", (question,), (answer,))
            for task, banks in zip(tasks, kept, strict=True)
            for question, answer in zip(task.questions, task.answers, strict=True)
        ]

    def make(self, rng: random.Random, size: int = 0) -> Moment:
        return rng.choice(self.moments)


def moment(task: Moment, reader: Policy | None = None, distil: bool = True, style: Style = TINY) -> Episode:
    """The manager's bandit: one operation, and the reward is the answer agent's: the share of right answers. Without a message
    the answer agent alone is asked.
    """
    bank = Bank()
    bank.turn = -1
    bank.add(*task.notes)
    bank.turn = 0
    if task.message:
        yield from manage(bank, task.message, task, style=style)
    given = []
    for question in task.questions:
        given.append((yield from answer(bank, question, task, reader, distil, style)))
    right, f1 = marked(given, task.answers)
    return Outcome(right, _written(given), {"f1": f1}, tuple(bank.events))


def _written(given: Sequence[Sequence[str]]) -> str:
    return " ; ".join(" , ".join(values) for values in given)


# ---------------------------------------------------------------- rules


def random_valid(ask: Ask, rng: random.Random) -> str:
    """A pair that knows where to look and how to write, and not what is wanted. The manager adds what is new two times in three.
    Where there is a note about the same, it updates that one two times in five, as prompted managers like to; or it adds another,
    deletes it, does nothing. What is taken back it deletes three times in five. The answer agent finds the facts that are asked
    for; half of the time it says only the first few.
    """
    if "question" in ask.state:
        found = about(ask.state["question"], ask.state["notes"])
        return oracle(ask, rng) if rng.random() < RIGHT else _said(ask, found[: rng.randint(1, max(1, len(found)))])
    message, notes = ask.state["message"], ask.state["notes"]
    said = parse(message)
    if said is None:
        return rng.choice(["noop", f"add {message}"])
    same = _same(said, notes)
    place = _place(said, notes) if same is None else same
    if place is None:
        return rng.choice(["noop", f"add {message}", f"add {message}"])
    calls = [f"add {message}", "noop", f"delete {place}"]
    return rng.choice(calls + 2 * ([f"delete {place}"] if said.form == "gone" else [f"update {place} {message}"]))


def oracle(ask: Ask, rng: random.Random) -> str:
    """Note what is new, in place of what it contradicts; delete what is taken back; answer with all that joins, else with one."""
    if "question" in ask.state:
        found = about(ask.state["question"], ask.state["notes"])
        return _said(ask, found if found and found[0].relation.joins else found[:1])
    said, notes = parse(ask.state["message"]), ask.state["notes"]
    if said is None:
        return "noop"
    same = _same(said, notes)
    if said.form == "gone":
        return "noop" if same is None else f"delete {same}"
    if same is not None:
        return "noop"
    place = None if said.relation.joins else _place(said, notes)
    return f"add {said}" if place is None else f"update {place} {said}"


def append_only(ask: Ask) -> str:
    """Every message becomes a note, as it is (what Mem0 does since 2026, without its ranking; plain retrieval over a log)."""
    return f"add {ask.state['message']}"


def crud(ask: Ask) -> str:
    """One note for each subject and relation: news replaces what was there, or deletes it (what prompted managers do)."""
    said, notes = parse(ask.state["message"]), ask.state["notes"]
    if said is None:
        return "noop"
    place = _place(said, notes)
    if said.form == "gone":
        return "noop" if place is None else f"delete {place}"
    return f"add {said}" if place is None else f"update {place} {said}"


def nothing(ask: Ask) -> str:
    """No memory."""
    return "noop"


def _same(said: Said, notes: Sequence[str]) -> int | None:
    """The first note that states the fact."""
    return next((place for place, note in enumerate(notes) if any(other[:3] == said[:3] for other in facts(note))), None)


def _place(said: Said, notes: Sequence[str]) -> int | None:
    """The first note with a fact of the same topic."""
    return next((place for place, note in enumerate(notes) if any(other[:2] == said[:2] for other in facts(note))), None)


def about(question: str, notes: Sequence[str]) -> list[Said]:
    """The facts in `notes` that `question` asks for, in their order, each once."""
    return list({said[:3]: said for note in notes for said in facts(note) if _asks(question, said)}.values())


def _asks(question: str, said: Said | None) -> bool:
    return said is not None and said.relation.question.format(s=said.subject) == question


def _said(ask: Ask, found: Sequence[Said]) -> str:
    words = map(str, found) if ask.state["distil"] else [" , ".join(said.value for said in found)]
    return " ".join(words) or EMPTY


def stages(world=None, tasks: Callable[[], Sequence[Dialogue]] = tuple, distil: bool = True, style: Style = TINY):
    """The manager learns with the answer agent frozen as it begins; then the answer agent, with the manager as it was trained.

    world: the manager's (default: `Moments()`). tasks: the conversations that the answer agent is asked about.
    """
    episode = partial(moment, distil=distil, style=style)

    def manager(freeze, start, out) -> dict:
        return {"world": world or Moments(), "episode": partial(episode, reader=freeze(start))}

    def reader(freeze, start, out) -> dict:
        return {"world": Heard(freeze(out / "policy"), tasks=tasks(), style=style), "episode": episode}

    return Stage(prepare=manager), Stage("reader", reader)


PAPER = Paper(
    name="memory_r1",
    title="Memory-R1",
    notebook="06",
    world=Dialogues(),
    worlds={"reworded": Dialogues(family="reworded", messages=10)},
    size_unit="sessions",
    episode=episode,
    random_valid=random_valid,
    oracle=oracle,
    baselines={
        "append-only": partial(episode, manager=append_only),
        "rule-crud": partial(episode, manager=crud),
        "flush": flushed,
        "no-memory": partial(episode, manager=nothing),
        "no-distillation": partial(episode, distil=False),
    },
    learned={
        "append-only": "warmstart",
        "rule-crud": "warmstart",
        "flush": "warmstart",
        "no-memory": "warmstart",
        "no-distillation": "no-distillation-0",
    },
    ablations={"linked-only": {}},  # the paper's own reward
    stages=stages(),
    variants={"no-distillation": stages(distil=False), "linked-only": stages(Moments(others=0))},
    warmstart={"tasks": 9000, "sizes": (2, 4, 8), "learning_rate": 3e-3},
    train_sizes=(8,),
    train_steps=100,
    tasks_scale=3.0,
    eval_sizes=(4, 8, 16),
    record_sizes=(4, 8, 16),
)
