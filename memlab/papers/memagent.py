"""MemAgent (arXiv 2507.02259): read a long document in sections, overwrite a small memory after each, answer from memory alone.

The question is known while reading. The whole response of a turn is the new memory: no tags, no parser, so no format failure
(section 2 of the paper). Every turn is its own training row; the reward is the final answer's.

Kept exactly: the two prompts' contents and order, forced overwrite, one reward on all rows, advantage = reward - group mean over
trajectories with no division by the standard deviation, token-mean loss, clip 0.2.
Simplified: the tiny model's prompts are labels instead of instructions; it answers with the facts it rests on, and the last one's
value counts as what the paper has in a box.
Dropped: the paper's lenient second verifier (one verifier everywhere), its second training stage, its 8K window.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from memlab import baselines
from memlab.episode import Ask, Episode, Messages, Outcome
from memlab.memory import TextMemory, sentences
from memlab.papers import Paper
from memlab.worlds import Task
from memlab.worlds.documents import Documents
from memlab.worlds.scoring import exact_match, token_f1
from memlab.worlds.sentences import reason, value_of


@dataclass(frozen=True)
class Style:
    """How the two prompts are worded for one kind of model, and the budgets in that model's tokens and words."""

    update: Callable[[str, str, str], str | Messages]  # question, memory, section
    answer: Callable[[str, str], str | Messages]  # question, memory
    empty: str
    memory_words: int
    update_tokens: int
    answer_tokens: int


TINY = Style(
    update=lambda question, memory, section: f"question : {question} memory : {memory} section : {section} new memory :",
    answer=lambda question, memory: f"question : {question} memory : {memory} answer :",
    empty="nothing .",
    memory_words=15,  # three facts of at most five words
    update_tokens=16,  # and the end token
    answer_tokens=11,  # two facts and the end token
)


def _chat(text: str) -> Messages:
    return [{"role": "system", "content": "You are a careful reader."}, {"role": "user", "content": text}]


CHAT = Style(
    update=lambda question, memory, section: _chat(
        "Read the section and update the memory. Keep what helps to answer the question, old and new; leave out the rest.\n\n"
        f"<problem>{question}</problem>\n<memory>{memory}</memory>\n<section>{section}</section>\n\nUpdated memory:"
    ),
    answer=lambda question, memory: _chat(
        "Answer the question from the memory, in a few words, inside \\boxed{}.\n\n"
        f"<problem>{question}</problem>\n<memory>{memory}</memory>\n\nAnswer:"
    ),
    empty="No previous memory",
    memory_words=60,
    update_tokens=96,
    answer_tokens=24,
)


def episode(task: Task, style: Style = TINY) -> Episode:
    """One document: a memory update for every section, then the answer. Yields len(task.sections) + 1 Asks."""
    memory = TextMemory(style.memory_words, style.empty)
    for section in task.sections:
        state = {"task": task, "memory": str(memory), "section": section}
        text = yield Ask(style.update(task.question, str(memory), section), style.update_tokens, state)
        memory.write(text)
    state = {"task": task, "memory": str(memory)}
    text = yield Ask(style.answer(task.question, str(memory)), style.answer_tokens, state)
    answer = parse_answer(text)
    return Outcome(
        reward=exact_match(answer, task.answers),
        answer=answer,
        metrics={"f1": token_f1(answer, task.answers)},
        events=tuple(memory.events),
    )


def parse_answer(text: str) -> str:
    r"""The last \boxed{...}; else the value of the last fact on the first line, or that line. Any text has one."""
    boxed = re.findall(r"\\boxed\{([^{}]*)\}", text)
    return boxed[-1].strip() if boxed else value_of(text.strip().split("\n")[0].strip())


def random_valid(ask: Ask, rng: random.Random) -> str:
    """Format without judgement: keep sentences chosen at random; answer what the memory says, or "nothing"."""
    return keep_at_random(ask, rng, TINY.empty) if "section" in ask.state else _answer(ask)


def keep_at_random(ask: Ask, rng: random.Random, empty: str) -> str:
    """Up to three sentences of memory and section, mostly three, in the order in which they were read."""
    return some_of([s for s in sentences(ask.state["memory"]) if s != empty] + sentences(ask.state["section"]), rng) or empty


def some_of(seen: list[str], rng: random.Random) -> str:
    """Up to three of `seen`, mostly three, in their order."""
    kept = sorted(rng.sample(range(len(seen)), min(len(seen), 3, rng.randint(0, 6))))
    return " ".join(seen[i] for i in kept)


def oracle(ask: Ask, rng: random.Random) -> str:
    """Keep exactly the gold sentences seen so far, and answer from the memory."""
    if "section" not in ask.state:
        return _answer(ask)
    seen = sentences(ask.state["memory"]) + sentences(ask.state["section"])
    return " ".join(g for g in ask.state["task"].gold if g in seen) or TINY.empty


def _answer(ask: Ask) -> str:
    """Say the facts that answer, by rule. No guess where memory has none: luck would reward a memory that was useless."""
    return " ".join(map(str, reason(ask.state["task"].question, sentences(ask.state["memory"])))) or TINY.empty


def single(context: Callable[[Task], str], style: Style = TINY) -> Callable[[Task], Episode]:
    """A baseline that asks the answer prompt once, with `context(task)` standing where the memory would."""

    def baseline(task: Task) -> Episode:
        memory = context(task)
        text = yield Ask(style.answer(task.question, memory), style.answer_tokens, {"task": task, "memory": memory})
        answer = parse_answer(text)
        return Outcome(exact_match(answer, task.answers), answer, {"f1": token_f1(answer, task.answers)})

    return baseline


PAPER = Paper(
    name="memagent",
    title="MemAgent",
    notebook="03",
    world=Documents(),
    size_unit="sections",
    episode=episode,
    random_valid=random_valid,
    oracle=oracle,
    baselines={
        "full-context": single(baselines.full_context),
        "truncate": single(baselines.truncate),
        "rag": single(baselines.rag),
        "empty": single(lambda task: TINY.empty),
    },
    train_sizes=(2, 3, 4),  # not 1: nothing has to be held there, and it is learned at once anyway
)
