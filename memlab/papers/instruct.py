"""A paper for instruct models: instructions instead of labels, natural English or real documents instead of the tiny language.

`instruct(papers.get("memagent"), "english")` is a Paper like any other: the same episode, trained and evaluated by the same code.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from memlab import baselines
from memlab.episode import Ask
from memlab.memory import sentences
from memlab.papers import NAMES, Paper, agemem, mem1, memact, memagent, memory_r1
from memlab.worlds.dialogues import Dialogue
from memlab.worlds.english import English, in_english, render, translated
from memlab.worlds.scoring import normalise
from memlab.worlds.sentences import value_of

TASKS = {name: ("english", "locomo" if name == "memory_r1" else "hotpotqa") for name in NAMES}
BOXED = "\\boxed{{{}}}"
ENGLISH = replace(memagent.CHAT, memory_words=24, update_tokens=48, answer_tokens=16)  # four sentences of at most six words
HOTPOTQA = replace(memagent.CHAT, memory_words=120, update_tokens=192, answer_tokens=32)
SEARCHED = replace(mem1.CHAT, state=80, answer=8)  # HotpotQA: three sentences a question
PRUNED = replace(memact.CHAT, cap=700, found=340, max_tokens=288)  # HotpotQA: two paragraphs a search, 315 words at most
NOTED = replace(memory_r1.CHAT, call_tokens=96, answer_tokens=320, shown=10)  # LoCoMo: notes of 25 words; the paper shows 60
STAGED = replace(  # HotpotQA: messages of 25 words, paragraphs of 45
    agemem.CHAT,
    notes=replace(agemem.CHAT.notes, call_tokens=192),
    known=lambda text: {" ".join(said) for sentence in sentences(text) if len(said := normalise(sentence)) > 2},
    window=340,
    room=180,
    max_tokens=192,
)
BEFORE = 50  # notes of LoCoMo that a manager's example begins with, as in the paper's Algorithm 1
SECTION_WORDS = 500  # of a HotpotQA section: about 700 tokens. The paper's are 5,000 tokens, in a window of 8K
HELD_OUT = 5  # every fifth HotpotQA question is for evaluation only


def instruct(paper: Paper, task: str = "english", records=None) -> Paper:
    """`paper` for instruct models on `task`, one of `TASKS[paper.name]`. `evaluation_world` gives the held-out questions.

    records: HotpotQA records or LoCoMo conversations (default: those that `memlab.worlds.real` finds).
    Raises ValueError for a task that the paper does not have, FileNotFoundError without its data.
    """
    if task not in TASKS[paper.name]:
        raise ValueError(f"{paper.name} has no task {task!r} for instruct models; choose one of: {', '.join(TASKS[paper.name])}")
    made = {"memagent": _memagent, "mem1": _mem1, "memact": _memact, "memory_r1": _memory_r1, "agemem": _agemem}
    world = English(paper.world) if task == "english" else _real(paper, records, held_out=False)
    # What was recorded is of the tiny model: here baselines and the start are the model as it is.
    return made[paper.name](replace(paper, world=world, worlds={}, learned={}, ablations={}, variants={}), task)


def evaluation_world(paper: Paper, records=None):
    """Where the evaluation of an instruct paper draws its tasks: questions that training never sees, if the data is finite."""
    return paper.world if isinstance(paper.world, English) else _real(paper, records, held_out=True)


def _real(paper: Paper, records, held_out: bool):
    if paper.name == "memory_r1":
        from memlab.worlds.real.conversations import SPLITS, Talks, locomo

        split = "test" if held_out else "train"  # without category 5, as in the paper
        return Talks(locomo(split) if records is None else [talk for talk in records if talk.name in SPLITS[split]])
    from memlab.worlds.real.hotpotqa import Composed, HotpotQA, Passing, load

    records = list(load() if records is None else records)
    asked = [r for i, r in enumerate(records) if (i % HELD_OUT == 0) == held_out]
    if paper.name != "memagent":
        return Passing(asked) if paper.name == "agemem" else Composed(asked)
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


# ---------------------------------------------------------------- Memory-R1


def _memory_r1(paper: Paper, task: str) -> Paper:
    if task == "english":
        style, moments = memory_r1.CHAT, English(memory_r1.Moments())
        heard = lambda: translated(tuple(memory_r1.training_dialogues(152, 8)), render)  # noqa: E731
        english = partial(in_english, empty=(memory_r1.EMPTY, style.empty), write=noted)
        rules = {"append-only": memory_r1.append_only, "rule-crud": memory_r1.crud, "no-memory": memory_r1.nothing}
        managers = {name: english(partial(_alone, rule)) for name, rule in rules.items()}
        chance, oracle = english(memory_r1.random_valid), english(memory_r1.oracle)
    else:
        from memlab.worlds.real.conversations import dialogue

        style, moments = NOTED, Linked([dialogue(talk) for talk in paper.world.conversations])
        heard = lambda: moments.dialogues  # noqa: E731
        managers = {"append-only": every_note, "no-memory": no_note}
        chance, oracle = random_note, gold_note
    episode = partial(memory_r1.episode, style=style)
    kept = {name: partial(episode, manager=partial(rule, rng=random)) for name, rule in managers.items()}
    if task == "english":
        kept["flush"] = partial(memory_r1.flushed, style=style)
    return replace(
        paper,
        episode=episode,
        baselines=kept | {"no-distillation": partial(episode, distil=False)},
        stages=memory_r1.stages(moments, heard, style=style),
        random_valid=chance,
        oracle=oracle,
    )


def _alone(rule: memory_r1.Manager, ask: Ask, rng: random.Random) -> str:
    """A rule without chance as one with it."""
    return rule(ask)


class Linked:
    """Memory-R1's moments in real conversations (appendix B.2, Algorithm 1): a fact is heard, the notes are the `BEFORE` facts
    before it, as they were told; asked are the questions that rest on it, and `others` that rest on those notes.
    """

    name = "linked"

    def __init__(self, dialogues: Sequence[Dialogue], others: int = memory_r1.Moments.others):
        self.dialogues, self.others, self.moments = list(dialogues), others, []
        for talk in dialogues:
            asked = list(zip(talk.questions, talk.answers, talk.gold_of, strict=True))
            for i, message in enumerate(talk.messages):
                notes = tuple(dict.fromkeys(talk.messages[max(0, i - BEFORE) : i]))
                held = {message, *notes}
                known = [(q, told, message in gold) for q, told, gold in asked if held.issuperset(gold)]
                own = {q: told for q, told, mine in known if mine}
                rest = {q: told for q, told, mine in known if not mine}
                if own:
                    self.moments.append((notes, message, own, rest))

    def make(self, rng: random.Random, size: int = 0) -> memory_r1.Moment:
        return memory_r1.drawn(rng, self.moments, self.others)


def noted(text: str, ask: Ask) -> str:
    """What a rule of the tiny language called or answered, in English and in tags."""
    if "question" not in ask.state:
        call = memory_r1.parse_call(text)
        return memory_r1.write_tags(call._replace(text=render(call.text)))
    distil = ask.state["distil"]
    values = map(_value, memory_r1.TINY.values(text, distil))
    return memory_r1.write_answer(values, render(text) if distil else "")


def every_note(ask: Ask, rng: random.Random) -> str:
    """Every fact becomes a note, as it was told."""
    return memory_r1.write_tags(memory_r1.Call("add", text=ask.state["message"]))


def no_note(ask: Ask, rng: random.Random) -> str:
    """No memory."""
    return memory_r1.write_tags(memory_r1.Call("noop"))


def gold_note(ask: Ask, rng: random.Random) -> str:
    """Note the facts that an answer rests on, as they were told; answer right if all of an answer's are in sight."""
    task, notes = ask.state["task"], ask.state.get("notes")
    whole = isinstance(task, Dialogue)  # a moment does not say what its answers rest on: on its message
    if "question" not in ask.state:
        call = memory_r1.Call("add", text=ask.state["message"])
        return memory_r1.write_tags(memory_r1.Call("noop") if whole and call.text not in task.gold else call)
    i = task.questions.index(ask.state["question"])
    gold = task.gold_of[i] if whole else ()
    useful = [note for note in notes if note in gold]
    said = " ".join(useful) or NOTED.empty if ask.state["distil"] else ""
    return memory_r1.write_answer(task.answers[i] if len(useful) == len(gold) else ["nothing"], said)


def random_note(ask: Ask, rng: random.Random) -> str:
    """Half judgement: half of the facts become notes, at the others any call is made; half of the answers are known."""
    if rng.random() < 0.5:
        return gold_note(ask, rng)
    if "question" in ask.state:
        return memory_r1.write_answer(["nothing"], NOTED.empty if ask.state["distil"] else "")
    call = memory_r1.Call(rng.choice(memory_r1.CALLS), rng.randrange(max(1, len(ask.state["notes"]))), ask.state["message"])
    return memory_r1.write_tags(call._replace(text="") if call.name in ("delete", "noop") else call)


# ---------------------------------------------------------------- AgeMem


def _agemem(paper: Paper, task: str) -> Paper:
    style = agemem.CHAT if task == "english" else STAGED
    english = partial(in_english, empty=(agemem.EMPTY, style.empty), write=staged)
    return replace(
        paper,
        episode=partial(agemem.episode, style=style),
        baselines={name: partial(baseline, style=style) for name, baseline in paper.baselines.items()},
        random_valid=english(agemem.random_valid) if task == "english" else random_stage,
        oracle=english(agemem.oracle) if task == "english" else gold_stage,
    )


def staged(text: str, ask: Ask) -> str:
    """What a rule of the tiny language called in one of the stages, in English and in tags."""
    if ask.state["stage"] == 1:
        return noted(text, ask)
    name, argument = agemem.parse_words(text)
    if name == "answer":
        argument = "; ".join(map(_value, agemem.TINY.values(argument)))
    return agemem.write_tags(name, render(argument) if name in ("retrieve", "summary") else argument)


def gold_stage(ask: Ask, rng: random.Random) -> str:
    """Note what the answer rests on; drop all messages when another might not fit; look up; answer."""
    task, stage = ask.state["task"], ask.state["stage"]
    if stage == 1:
        message = ask.state["message"]
        return memory_r1.write_tags(memory_r1.Call("add", text=message) if message in task.gold else memory_r1.Call("noop"))
    if stage == 2:
        return agemem.write_tags("summary", STAGED.empty) if ask.state["nearly full"] else agemem.write_tags("noop", "")
    missing = [note for note in task.gold if note not in ask.state["found"] and note in ask.state["memory"].split("\n")]
    if missing:
        return agemem.write_tags("retrieve", " ".join(missing))
    return agemem.write_tags("answer", task.answers[0] if set(task.gold) <= set(ask.state["found"]) else "nothing")


def random_stage(ask: Ask, rng: random.Random) -> str:
    """`gold_stage` half of the time. Else it notes or leaves any message, and in between and at the end makes any call."""
    if rng.random() < 0.5:
        return gold_stage(ask, rng)
    if ask.state["stage"] == 1:
        call = memory_r1.Call("add", text=ask.state["message"])
        return memory_r1.write_tags(rng.choice([call, memory_r1.Call("noop")]))
    calls = [("noop", ""), ("summary", STAGED.empty), ("filter", ask.state["task"].question)]
    calls += [("retrieve", ask.state["task"].question), ("answer", "nothing")] if ask.state["stage"] == 3 else []
    return agemem.write_tags(*rng.choice(calls))
