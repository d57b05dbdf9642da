"""A paper for instruct models: instructions instead of labels, natural English or real documents instead of the tiny language.

`instruct(papers.get("memagent"), "english")` is a Paper like any other: the same episode, trained and evaluated by the same code.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

from memlab import baselines
from memlab.episode import Ask
from memlab.papers import Paper, memagent
from memlab.worlds.english import English, in_english

TASKS = ("english", "hotpotqa")
BOXED = "\\boxed{{{}}}"
ENGLISH = replace(memagent.CHAT, memory_words=24, update_tokens=48, answer_tokens=16)  # four sentences of at most six words
HOTPOTQA = replace(memagent.CHAT, memory_words=120, update_tokens=192, answer_tokens=32)
SECTION_WORDS = 500  # of a HotpotQA section: about 700 tokens. The paper's are 5,000 tokens, in a window of 8K
HELD_OUT = 5  # every fifth HotpotQA question is for evaluation only


def instruct(paper: Paper, task: str = "english", records=None) -> Paper:
    """`paper` for instruct models on `task`: "english" or "hotpotqa". `evaluation_world` gives the held-out questions.

    records: HotpotQA records (default: those that `memlab.worlds.real.hotpotqa.load` finds).
    Raises ValueError for a paper or task that is not there, FileNotFoundError without HotpotQA.
    """
    if paper.name != "memagent":
        raise ValueError(f"{paper.name} has no prompts for instruct models yet; train its tiny model: --preset cpu")
    if task not in TASKS:
        raise ValueError(f"there is no task {task!r} for instruct models; choose one of: {', '.join(TASKS)}")
    style = ENGLISH if task == "english" else HOTPOTQA
    english = partial(in_english, empty=(memagent.TINY.empty, style.empty), answer=BOXED)
    return replace(
        paper,
        world=English() if task == "english" else _hotpotqa(records, held_out=False),
        episode=partial(memagent.episode, style=style),
        baselines={
            "full-context": memagent.single(baselines.full_context, style),
            "truncate": memagent.single(baselines.truncate, style),
            "rag": memagent.single(baselines.rag, style),
            "empty": memagent.single(lambda task: style.empty, style),
        },
        train_sizes=(1, 2, 3, 4) if task == "english" else (2, 4),
        random_valid=english(memagent.random_valid) if task == "english" else random_sentences,
        oracle=english(memagent.oracle) if task == "english" else gold_sentences,
    )


def random_sentences(ask: Ask, rng: random.Random) -> str:
    """Format without judgement on real text: sentences chosen at random; an answer if the gold is in memory."""
    return memagent.keep_at_random(ask, rng, HOTPOTQA.empty) if "section" in ask.state else _answer(ask)


def gold_sentences(ask: Ask, rng: random.Random) -> str:
    """Keep exactly the supporting sentences seen so far; answer once all of them are in memory."""
    if "section" not in ask.state:
        return _answer(ask)
    seen = ask.state["memory"] + "\n" + ask.state["section"]
    return " ".join(g for g in ask.state["task"].gold if g in seen) or HOTPOTQA.empty


def _answer(ask: Ask) -> str:
    task = ask.state["task"]
    return BOXED.format(task.answers[0] if all(g in ask.state["memory"] for g in task.gold) else "nothing")


def evaluation_world(paper: Paper, records=None):
    """Where the evaluation of an instruct paper draws its tasks: questions that training never sees, if the data is finite."""
    return _hotpotqa(records, held_out=True) if paper.world.name == "hotpotqa" else paper.world


def _hotpotqa(records, held_out: bool):
    from memlab.worlds.real.hotpotqa import HotpotQA, load

    records = list(load() if records is None else records)
    asked = [r for i, r in enumerate(records) if (i % HELD_OUT == 0) == held_out]
    world = HotpotQA(asked, words_per_section=SECTION_WORDS, yes_no=False)
    world.name = "hotpotqa"
    return world
