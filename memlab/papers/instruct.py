"""A paper for instruct models: instructions instead of labels, natural English or real documents instead of the tiny language.

`instruct(papers.get("memagent"), "english")` is a Paper like any other: the same episode, trained and evaluated by the same code.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

from memlab import baselines
from memlab.episode import Ask
from memlab.memory import sentences
from memlab.papers import Paper, mem1, memact, memagent
from memlab.worlds.english import English, in_english, render
from memlab.worlds.sentences import value_of

TASKS = ("english", "hotpotqa")
BOXED = "\\boxed{{{}}}"
ENGLISH = replace(memagent.CHAT, memory_words=24, update_tokens=48, answer_tokens=16)  # four sentences of at most six words
HOTPOTQA = replace(memagent.CHAT, memory_words=120, update_tokens=192, answer_tokens=32)
SEARCHED = replace(mem1.CHAT, state=80, answer=8)  # HotpotQA: three sentences a question
PRUNED = replace(memact.CHAT, cap=700, found=340, max_tokens=288)  # HotpotQA: two paragraphs a search, 315 words at most
SECTION_WORDS = 500  # of a HotpotQA section: about 700 tokens. The paper's are 5,000 tokens, in a window of 8K
HELD_OUT = 5  # every fifth HotpotQA question is for evaluation only


def instruct(paper: Paper, task: str = "english", records=None) -> Paper:
    """`paper` for instruct models on `task`: "english" or "hotpotqa". `evaluation_world` gives the held-out questions.

    records: HotpotQA records (default: those that `memlab.worlds.real.hotpotqa.load` finds).
    Raises ValueError for a paper or task that is not there, FileNotFoundError without HotpotQA.
    """
    made = {"memagent": _memagent, "mem1": _mem1, "memact": _memact}
    if paper.name not in made:
        raise ValueError(f"{paper.name} has no prompts for instruct models yet; train its tiny model: --preset cpu")
    if task not in TASKS:
        raise ValueError(f"there is no task {task!r} for instruct models; choose one of: {', '.join(TASKS)}")
    world = English(paper.world) if task == "english" else _hotpotqa(paper, records, held_out=False)
    # What was recorded is of the tiny model: here baselines and the start are the model as it is.
    return made[paper.name](replace(paper, world=world, learned={}, ablations={}), task)


def evaluation_world(paper: Paper, records=None):
    """Where the evaluation of an instruct paper draws its tasks: questions that training never sees, if the data is finite."""
    return _hotpotqa(paper, records, held_out=True) if paper.world.name == "hotpotqa" else paper.world


def _hotpotqa(paper: Paper, records, held_out: bool):
    from memlab.worlds.real.hotpotqa import Composed, HotpotQA, load

    records = list(load() if records is None else records)
    asked = [r for i, r in enumerate(records) if (i % HELD_OUT == 0) == held_out]
    if paper.name != "memagent":
        return Composed(asked)
    world = HotpotQA(asked, words_per_section=SECTION_WORDS, yes_no=False)
    world.name = "hotpotqa"
    return world


# ---------------------------------------------------------------- MemAgent


def _memagent(paper: Paper, task: str) -> Paper:
    style = ENGLISH if task == "english" else HOTPOTQA
    english = partial(in_english, empty=(memagent.TINY.empty, style.empty), write=boxed)
    return replace(
        paper,
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


def boxed(text: str, ask: Ask) -> str:
    """What a rule of the tiny language wrote, in English, the answer in a box."""
    if "section" not in ask.state:
        return BOXED.format(_value(text))
    return ENGLISH.empty if text == memagent.TINY.empty else render(text)


def _value(text: str) -> str:
    """The value that a fact of the tiny language states, in English."""
    return render(value_of(text)).rstrip(" .")


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


# ---------------------------------------------------------------- MEM1


def _mem1(paper: Paper, task: str) -> Paper:
    style = mem1.CHAT if task == "english" else SEARCHED
    episode = partial(mem1.episode, style=style)
    newest = lambda words: partial(episode, context=partial(mem1.Newest, budget=words))  # noqa: E731
    english = partial(in_english, empty=(mem1.EMPTY, style.empty), write=tagged)
    return replace(
        paper,
        episode=episode,
        baselines={"full-context": newest(1_000_000), "truncate": newest(2 * style.state), "no-memory": newest(0)},
        random_valid=english(mem1.random_valid) if task == "english" else random_search,
        oracle=english(mem1.oracle) if task == "english" else gold_search,
    )


def tagged(text: str, ask: Ask) -> str:
    """What a rule of the tiny language wrote, in English and in tags."""
    action = mem1.parse_action(text)
    state = mem1.CHAT.empty if action.state == mem1.EMPTY else render(action.state)
    argument = _values(action.argument) if action.name == "answer" else render(action.argument)
    return mem1.write_tags(mem1.Action(state, action.name, argument))


def _values(text: str) -> str:
    """All answers that a rule of the tiny language wrote, in English."""
    return f"{mem1.CHAT.separator} ".join(_value(part.strip()) for part in text.split(mem1.TINY.separator))


def gold_search(ask: Ask, rng: random.Random) -> str:
    """Keep the supporting sentences in sight, search for the first that lacks by its own words, answer when none does."""
    kept, call = _next(ask, "memory", "results")
    return mem1.write_tags(mem1.Action(kept or SEARCHED.empty, *call))


def random_search(ask: Ask, rng: random.Random) -> str:
    """Half judgement: it keeps and does what `gold_search` does half of the time each; else it keeps sentences chosen at random,
    or searches for a question.
    """
    kept, call = _next(ask, "memory", "results")
    if rng.random() < 0.5:
        seen = [s for name in ("memory", "results") for s in sentences(ask.state[name]) if s != SEARCHED.empty]
        kept = memagent.some_of(seen, rng)
    if rng.random() >= 0.5:
        call = ("search", rng.choice(ask.state["open"]))
    return mem1.write_tags(mem1.Action(kept or SEARCHED.empty, *call))


def _next(ask: Ask, *sources: str) -> tuple[str, tuple[str, str]]:
    """What the open questions rest on, as far as `sources` of the state show it; and a search for what lacks, or the answers."""
    task, seen = ask.state["task"], "\n".join(ask.state[source] for source in sources)
    asked = [task.questions.index(question) for question in ask.state["open"]]
    wanted = [sentence for i in asked for sentence in task.gold_of[i]]
    missing = [sentence for sentence in wanted if sentence not in seen]
    call = ("search", missing[0]) if missing else ("answer", "; ".join(task.answers[i] for i in asked))
    return " ".join(sentence for sentence in wanted if sentence in seen), call


# ---------------------------------------------------------------- MemAct


def _memact(paper: Paper, task: str) -> Paper:
    style = memact.CHAT if task == "english" else PRUNED
    english = partial(in_english, empty=(memact.EMPTY, style.empty), write=called)
    return replace(
        paper,
        episode=partial(memact.episode, style=style),
        baselines={name: partial(baseline, style=style) for name, baseline in paper.baselines.items()},
        random_valid=english(memact.random_valid) if task == "english" else random_prune,
        oracle=english(memact.oracle) if task == "english" else gold_prune,
    )


def called(text: str, ask: Ask) -> str:
    """What a rule of the tiny language called, in English and in tags."""
    call = memact.parse_call(f"prune {text}" if ask.state["must prune"] else text)
    if call.name == "answer":
        argument = _values(call.argument)
    else:
        argument = render(memact.TINY.query(call.argument) if call.name == "search" else call.argument)
    return memact.write_tags(call._replace(argument=argument))


def gold_prune(ask: Ask, rng: random.Random) -> str:
    """Search for the first supporting sentence that lacks, by its own words; when that might not fit, keep those in sight."""
    kept, call = _next(ask, "memory")
    due = call[0] == "search" and ask.state["may prune"] and ask.state["nearly full"] and ask.state["records"]
    if ask.state["must prune"] or due:
        return memact.write_tags(memact.Call("prune", kept or PRUNED.empty, tuple(ask.state["records"])))
    return memact.write_tags(memact.Call(*call))


def random_prune(ask: Ask, rng: random.Random) -> str:
    """`gold_prune`, but half of the notes are sentences chosen at random, and half of the searches are for a question."""
    call = memact.parse_tags(gold_prune(ask, rng))
    if call.name != "answer" and rng.random() < 0.5:
        noted = memagent.some_of(sentences(ask.state["memory"]), rng) or PRUNED.empty
        call = call._replace(argument=noted if call.name == "prune" else rng.choice(ask.state["open"]))
    return memact.write_tags(call)
