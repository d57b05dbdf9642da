"""AgeMem (arXiv 2601.01885): one policy with six tools, for a bank of notes and for its own context, in three stages.

    stage 1   facts come up in conversation; nobody has asked anything yet       add, update, delete
    ------    the context is wiped, the notes stay
    stage 2   messages that will not matter fill the context, which has a limit  filter, summary
    stage 3   the question                                                       retrieve, answer

    context     user : karl adopted coco . coco lives in rome . call : noop <end> question : who did mira adopt ? call :
    completion  retrieve mira
    context     ... call : retrieve mira <end> notes : mira adopted rex . mira also adopted scout . call :
    completion  answer mira adopted rex . mira also adopted scout .

What was noted in stage 1 is credited by the answer in stage 3, across the wipe: every call is a training row or a part of one,
and all rows have their trajectory's advantage (step-wise GRPO, section 3.4).

Kept exactly: the stages and the wipe; related notes are shown with every message of stage 1; one call a message; `filter` drops
the messages that have at least 0.6 of its criteria; the reward's three parts, and its penalties (section 3.5).
Simplified: `composite` counts facts instead of asking a judge; stage 1 shows one message at a time; similarity is shared words;
the policy writes its summaries itself; calls begin with a word, not JSON; the advantage is not divided by the deviation.
Dropped: thinking before a call.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from memlab.episode import Ask, Episode, Messages, Outcome
from memlab.memory import Bank
from memlab.papers import Paper, memory_r1
from memlab.papers.mem1 import reply
from memlab.papers.memory_r1 import EMPTY, about, manage, marked, split_values, values
from memlab.papers.tags import first_tag
from memlab.worlds.dialogues import Staged, Stages, facts
from memlab.worlds.scoring import normalise

TOOLS = ("add", "update", "delete", "retrieve", "summary", "filter")
STORED, CLEANED = ("add", "update", "delete"), ("summary", "filter")
RELATED, FOUND = 3, 5  # notes that are shown with a message of stage 1, and that `retrieve` finds
ROUNDS = 3  # calls in stage 3
THRESHOLD = 0.6  # share of the criteria that a message must have to be dropped
SELDOM, TRIES = 0.35, 0.25  # the warm start's teacher: share of right calls, and of what is left, of calls at random


def parse_words(text: str) -> tuple[str, str]:
    """A completion, read: its first word, and what follows."""
    name, *words = text.split() or [""]
    return name, " ".join(words)


def parse_tags(text: str) -> tuple[str, str]:
    """What an instruct model called, at its first tag: the tool, and what it is called with. ("", "") without one."""
    tag = first_tag(text, (*TOOLS, "answer", "noop"))
    return tag.name, tag.text


def write_tags(name: str, argument: str) -> str:
    """The text that `parse_tags` reads as (name, argument)."""
    return f"<{name}>{argument}</{name}>" if argument else f"<{name}/>"


def known(text: str) -> set:
    """The facts that `text` states."""
    return {said[:3] for said in facts(text)}


@dataclass(frozen=True)
class Style:
    """How the three stages are worded for one kind of model, and its budgets.

    notes: the style of stage 1. line: what comes to the context: its kind (user, notes, question, summary) and text. turn: that
    line, or "", when it is the policy's turn. called: a completion as it stands in the context, and whether it ended. whole: the
    context of messages. parse: a call, and what it is called with. values: those of an answer. known: the facts in a text, to
    count them. window: words of the context in stages 2 and 3. room: those that stage 3 may need. max_tokens: of a completion.
    """

    notes: memory_r1.Style
    line: Callable[[str, str], str]
    turn: Callable[[str], str]
    called: Callable[[str, bool], str]
    whole: Callable[[Messages], str | Messages]
    parse: Callable[[str], tuple[str, str]]
    values: Callable[[str], list[str]]
    known: Callable[[str], set]
    empty: str
    window: int
    room: int
    max_tokens: int


TINY = Style(
    notes=replace(memory_r1.TINY, shown=RELATED),
    line=lambda kind, text: f"{kind} : {text}",
    turn=lambda line: f"{line} call :",
    called=reply,
    whole=lambda messages: " ".join(message["content"] for message in messages),
    parse=parse_words,
    values=values,
    known=known,
    empty=EMPTY,
    window=100,
    room=56,  # the question, a call, five notes
    max_tokens=24,  # an answer of four facts, its word and the end token
)
SYSTEM = (
    "You talk with a user, and make one call at each message, and write nothing else:\n"
    "<noop/> when nothing is to be done\n"
    "<filter>words</filter> drops the messages with these words from this conversation, which has little room\n"
    "<summary>text</summary> puts a text in the place of all messages\n"
    "<retrieve>words</retrieve> looks up notes from earlier conversations\n"
    "<answer>first; second</answer> answers a question, with all values that the notes give"
)
CHAT = Style(
    notes=replace(memory_r1.CHAT, shown=RELATED),
    line=lambda kind, text: f"{'Message' if kind == 'user' else kind.capitalize()}: {text}",
    turn=lambda line: line or "Go on.",
    called=lambda text, ended: text,
    whole=lambda messages: [{"role": "system", "content": SYSTEM}, *messages],
    parse=parse_tags,
    values=split_values,
    known=known,
    empty="Nothing.",
    window=64,  # three messages, a question and five notes, as in the tiny one: the full stops are no words here
    room=38,
    max_tokens=48,
)


@dataclass
class Used:
    """What happened in one episode, for its reward."""

    calls: dict[str, int] = field(default_factory=dict)  # tool -> how often it was called in form
    largest: int = 0  # words of the context in stages 2 and 3
    retrieved: list[str] = field(default_factory=list)
    overflow: bool = False
    given: list[str] | None = None  # the answer's values; None: there was none

    def count(self, tool: str) -> None:
        self.calls[tool] = self.calls.get(tool, 0) + 1


Reward = Callable[[Staged, Bank, Used, str, Style], float]  # with the last context


def composite(task: Staged, bank: Bank, used: Used, context: str, style: Style = TINY) -> float:
    """(R_task + R_context + R_memory) / 3 + P (section 3.5), every judgement replaced by counting facts."""
    right = -1.0 if used.given is None else marked([used.given], [task.answers])[0]
    reduced = any(used.calls.get(tool) for tool in CLEANED) and not used.overflow
    key = set(normalise(task.question))
    r_context = [max(0.0, 1 - used.largest / style.window), float(reduced), len(key & set(normalise(context))) / len(key)]
    stored, gold = list(bank.notes.values()), style.known(" ".join(task.gold))
    good = lambda note: bool(style.known(note) & gold)  # noqa: E731
    r_memory = [
        sum(map(good, stored)) / max(1, len(stored)),
        float(any(used.calls.get(tool) for tool in ("update", "delete"))),
        sum(map(good, used.retrieved)) / max(1, len(used.retrieved)),
    ]
    penalty = -1.0 * (used.given is None and not used.overflow) - 0.5 * used.overflow
    return (right + sum(r_context) / 3 + sum(r_memory) / 3) / 3 + penalty


def answer_only(task: Staged, bank: Bank, used: Used, context: str, style: Style = TINY) -> float:
    """Exact match, and nothing else: the paper's ablation."""
    return 0.0 if used.given is None else marked([used.given], [task.answers])[0]


class Conversation:
    """The context of stages 2 and 3: what was said to the policy and what it called, in order."""

    def __init__(self, style: Style = TINY):
        self.style = style
        self.parts: list[tuple[str, Messages]] = []  # (the message, which can be filtered; all that stands there)

    def hear(self, line: str, message: str = "") -> None:
        self.parts.append((message, [{"role": "user", "content": self.style.turn(line)}]))

    def wrote(self, text: str) -> None:
        message, part = self.parts[-1]
        called = self.style.called(text, len(text.split()) < self.style.max_tokens)
        self.parts[-1] = (message, [*part, {"role": "assistant", "content": called}])

    def filter(self, criteria: str) -> None:
        """Drop the messages that have at least `THRESHOLD` of the words of `criteria`, with what was called at them."""
        wanted = set(normalise(criteria))
        alike = lambda message: len(wanted & set(normalise(message))) / max(1, len(wanted))  # noqa: E731
        self.parts = [(message, part) for message, part in self.parts if not (message and alike(message) >= THRESHOLD)]

    def summarise(self, text: str) -> None:
        """One line in place of all messages."""
        summary = [{"role": "user", "content": self.style.line("summary", text)}]
        self.parts = [("", summary), *((message, part) for message, part in self.parts if not message)]

    @property
    def messages(self) -> Messages:
        return [message for _, part in self.parts for message in part]

    @property
    def words(self) -> int:
        return len(str(self).split())

    def __str__(self) -> str:
        return " ".join(message["content"] for message in self.messages)


def episode(
    task: Staged,
    reward: Reward = composite,
    tools: Sequence[str] = TOOLS,
    rag: bool = False,
    limited: bool = True,
    style: Style = TINY,
) -> Episode:
    """The three stages. tools: those that do anything; a call of another one is lost.

    rag: the notes like the question are put beside it, and need no call. limited: a context longer than `style.window` words ends
    the episode.
    """
    bank, used, talk = Bank(), Used(), Conversation(style)
    storing = set(STORED) & set(tools)
    for number, message in enumerate(task.told):
        bank.turn = number
        call = yield from manage(bank, message, task, calls=storing, style=style.notes, stage=1)
        if call.name in storing:
            used.count(call.name)

    def turn(stage: int):
        """One call in the conversation, or an overflow."""
        used.largest = max(used.largest, talk.words)
        if limited and talk.words > style.window:
            used.overflow = True
            return
        full = limited and talk.words + style.room > style.window
        state = {"task": task, "stage": stage, "found": used.retrieved, "nearly full": full}
        text = yield Ask(style.whole(talk.messages), style.max_tokens, state | {"memory": "\n".join(bank.notes.values())})
        talk.wrote(text)
        name, argument = style.parse(text)
        if name == "answer" and stage == 3:
            used.given = style.values(argument)
        elif name in tools and name not in STORED:
            used.count(name)
            if name == "filter":
                talk.filter(argument)
            elif name == "summary":
                talk.summarise(argument)
            elif stage == 3:
                talk.hear(found_for(argument))
                return
        if stage == 3:
            talk.hear("")

    def found_for(query: str) -> str:
        found = [bank.notes[item] for item in bank.retrieve(query, FOUND)]
        used.retrieved += found
        return style.line("notes", " ".join(found) or style.empty)

    for message in task.noise:
        if not used.overflow:
            talk.hear(style.line("user", message), message)
            yield from turn(2)
    talk.hear(" ".join([*([found_for(task.question)] if rag else []), style.line("question", task.question)]))
    for _ in range(ROUNDS):
        if not used.overflow and used.given is None:
            yield from turn(3)
    return scored(task, bank, used, reward(task, bank, used, str(talk), style), style)


def scored(task: Staged, bank: Bank, used: Used, reward: float, style: Style = TINY) -> Outcome:
    """What the episode came to: answer, calls of each tool, and how many stored facts are gold, and gold ones stored."""
    right, f1 = marked([used.given or []], [task.answers])
    held, gold = (style.known(" ".join(text)) for text in (bank.notes.values(), task.gold))
    return Outcome(
        reward=reward,
        answer=" , ".join(used.given or []),
        metrics={
            "f1": f1,
            "right": right,
            "overflow": float(used.overflow),
            "stored_precision": len(held & gold) / max(1, len(held)),
            "stored_recall": len(held & gold) / max(1, len(gold)),
        }
        | {tool: used.calls.get(tool, 0) for tool in TOOLS},
        events=tuple(bank.events),
    )


# ---------------------------------------------------------------- rules


def random_valid(ask: Ask, rng: random.Random) -> str:
    """An agent that knows the tools and seldom uses them, as prompted ones do: it notes what it has not heard of, and mostly
    leaves its notes and its context as they are. Where it does something, it is right more often than not; at the question half
    of its calls are right. (One that uses them often and at random first learns to treat all news alike, and stays there.)
    """
    roll, stage = rng.random(), ask.state["stage"]
    if roll < (memory_r1.RIGHT if stage == 3 else SELDOM):
        return oracle(ask, rng)
    if stage == 1:
        message, notes = ask.state["message"], ask.state["notes"]
        known = any(said[:2] == new[:2] for new in facts(message) for said in facts(" ".join(notes)))
        if rng.random() < TRIES:
            return memory_r1.random_valid(ask, rng)
        return f"add {message}" if facts(message) and not known else "noop"
    calls = ["noop", f"filter {rng.choice(['adopted', 'lives in', 'adopted lives'])}", f"summary {EMPTY}"]
    if stage == 2:
        return rng.choice(calls) if rng.random() < TRIES else "noop"
    question, found = ask.state["task"].question, ask.state["found"]
    calls += [f"retrieve {question}", f"answer {' '.join(map(str, about(question, found)[:1])) or EMPTY}"]
    return rng.choice(calls)


def oracle(ask: Ask, rng: random.Random) -> str:
    """Note as the manager of Memory-R1 should; drop what does not matter when another message might not fit; look up; answer."""
    if ask.state["stage"] == 1:
        return memory_r1.oracle(ask, rng)
    task = ask.state["task"]
    if ask.state["stage"] == 2:
        return "filter adopted lives" if ask.state["nearly full"] else "noop"
    found = about(task.question, ask.state["found"])
    if not found and not ask.state["found"]:
        return f"retrieve {task.question}"
    return f"answer {' '.join(map(str, found)) or EMPTY}"


PAPER = Paper(
    name="agemem",
    title="AgeMem",
    notebook="07",
    world=Stages(),
    size_unit="messages in between",
    episode=episode,
    random_valid=random_valid,
    oracle=oracle,
    baselines={
        "no-memory": partial(episode, tools=("retrieve", *CLEANED)),
        "no-cleaning": partial(episode, tools=(*STORED, "retrieve")),
        "rag": partial(episode, tools=STORED, rag=True, limited=False),
    },
    learned={"no-memory": "trained-0", "no-cleaning": "trained-0", "rag": "rag-0"},
    ablations={"answer-only": {"episode": partial(episode, reward=answer_only)}},
    warmstart={"tasks": 6000, "sizes": (1, 2, 3, 4), "learning_rate": 3e-3},
    train_sizes=(2, 3),
    train_steps=120,
    tasks_scale=0.5,
    eval_sizes=(3, 5, 7),
    record_sizes=(3, 5, 7, 15),
)
