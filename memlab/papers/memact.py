"""MemAct (arXiv 2510.12635): the history is append-only until the policy edits it, by a tool call of its own.

At every turn the policy makes one call. Search results are appended to the context as records, each addressed by an id. The one
memory tool writes a note and deletes records, in one call (sections 3.1 and 3.2 of the paper):

    context     questions : where does the pet of mira live ? call : search mira <end> record 17 : mira adopted rex . [...] call :
    completion  prune mira adopted rex . drop 17
    context     questions : where does the pet of mira live ? call : prune mira adopted rex . drop 17 <end> record 4 : done call :

Kept exactly: one call that writes and deletes; the call itself stays as a record, which can be deleted later; ids that cannot be
guessed; a hard limit of the history; +1 if all answers are right, -0.1 if a limit is broken or a call cannot be parsed, else 0;
after every edit the context is encoded anew and a new training row begins (DCPO, section 3.3): each row has its trajectory's
advantage, whose mean is taken over trajectories; a warm start, since editing is voluntary here; training on at most 3 questions.
Simplified: an agenda shows `shown` of the questions at a time, and answered ones leave the context with their answer, which is an
edit too; a search says what leads to it, in place of thinking, and looks for its last word; calls begin with a word, not JSON; a
note is facts, not four headed parts; the history is counted in words.
Dropped: division by the group's deviation, sampling a fixed number of segments a step, the language-model judge (exact match).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from memlab.episode import Ask, Episode, Messages, Outcome, Row, Trajectory
from memlab.memory import History, sentences
from memlab.papers import Paper
from memlab.papers.mem1 import EMPTY, END, answer, marked, numbered, parse_answers, reply
from memlab.papers.memagent import some_of
from memlab.papers.tags import first_tag
from memlab.worlds.lookup import Lookup, Objectives, Search
from memlab.worlds.scoring import normalise
from memlab.worlds.sentences import parse, reason

CALLS = ("search", "prune", "answer")
CAP = 84  # words of the records; two questions that take two searches each come to 110
TURNS = 4  # a question; without a detour it takes 2.4, and 3 with a prune after every search
LIMIT_BROKEN = -0.1


class Call(NamedTuple):
    """A completion, read: one of CALLS or "", the words that follow it, and for a prune the ids to delete."""

    name: str
    argument: str
    ids: tuple[int, ...] = ()


def parse_call(text: str) -> Call:
    """The first word names the call. Text that begins otherwise is no call. What is no number after "drop" is ignored."""
    name, *words = text.split() or [""]
    if name not in CALLS:
        return Call("", text)
    if name != "prune":
        return Call(name, " ".join(words))
    at = words.index("drop") if "drop" in words else len(words)
    return Call(name, " ".join(words[:at]), tuple(int(w) for w in words[at + 1 :] if w.isascii() and w.isdigit()))


def parse_tags(text: str) -> Call:
    """What an instruct model wrote, read at its first tag: one that is not closed ends with the text."""
    tag = first_tag(text, CALLS)
    return Call(tag.name, tag.text, tag.numbers if tag.name == "prune" else ()) if tag.name else Call("", text)


def write_words(call: Call) -> str:
    """The text that `parse_call` reads as `call`."""
    drop = f" drop {' '.join(map(str, call.ids))}" if call.name == "prune" else ""
    return f"{call.name} {call.argument}{drop}"


def write_tags(call: Call) -> str:
    """The text that `parse_tags` reads as `call`."""
    drop = f' drop="{" ".join(map(str, call.ids))}"' if call.name == "prune" else ""
    return f"<{call.name}{drop}>{call.argument}</{call.name}>"


@dataclass(frozen=True)
class Style:
    """How calls and records are worded for one kind of model, and its budgets.

    called: a completion as it stands in the context, and whether it ended. forced: what a model that is made to prune wrote, as a
    call. whole: the context of messages, and whether a prune is due. cap, found: words of the records at most, and that a search
    adds at most. max_tokens: of a completion.
    """

    asked: Callable[[tuple[str, ...]], str]
    called: Callable[[str, bool], str]
    record: Callable[[int, str], str]
    whole: Callable[[Messages, bool], str | Messages]
    forced: Callable[[str], str]
    parse: Callable[[str], Call]
    write: Callable[[Call], str]
    query: Callable[[str], str]
    separator: str
    empty: str
    cap: int
    found: int
    max_tokens: int


TINY = Style(
    asked=lambda questions: f"questions : {' '.join(questions)}",
    called=lambda text, ended: f"call : {reply(text, ended)}",
    record=lambda item, text: f"record {item} : {text}",
    whole=lambda messages, forced: " ".join([*(m["content"] for m in messages), "call : prune" if forced else "call :"]),
    forced=lambda text: f"prune {text}",
    parse=parse_call,
    write=write_words,
    query=lambda text: " ".join(normalise(text)[-1:]),  # the rest says what leads there
    separator=",",
    empty=EMPTY,
    cap=CAP,
    found=38,  # two documents of three facts, and what stands around them
    max_tokens=32,  # four facts and their ids, or two answers
)
SYSTEM = (
    "You answer questions with one call at a time, and nothing else:\n"
    "<search>words to look for</search>\n"
    '<prune drop="17 4">a note of all that is still needed</prune> deletes the records 17 and 4, and keeps the note\n'
    "<answer>first; second</answer> when you know the answers, in order\n"
    "Your memory is small. Prune before it is full."
)
CHAT = Style(
    asked=numbered,
    called=lambda text, ended: text,
    record=lambda item, text: f"Record {item}: {text}",
    whole=lambda messages, forced: [
        {"role": "system", "content": SYSTEM},
        *messages,
        *([{"role": "user", "content": "Your memory is full. Prune it: all records will be deleted."}] if forced else []),
    ],
    forced=lambda text: text if text.lstrip().startswith("<prune") else f"<prune>{text}</prune>",
    parse=parse_tags,
    write=write_tags,
    query=str,
    separator=";",
    empty="Nothing.",
    cap=CAP,
    found=38,
    max_tokens=64,
)


class Context:
    """What the policy sees, in the order in which it came: the records, as written and answered, and the open questions.

    Appended to until it is edited. `limit`: most words of the records; None: no limit, and nothing ever leaves, not even an
    answered question.
    """

    AGENDA = -1  # among the ids of the records

    def __init__(self, task: Objectives, limit: int | None, style: Style = TINY):
        self.history, self.limit, self.style = History(task.question), limit, style
        self.parts: dict[int, Messages] = {}  # record id, or AGENDA -> what stands in the context
        self.head: Messages = []  # what can leave no more

    def open(self, questions: tuple[str, ...], called: str) -> None:
        """Put `questions` at the end, where they are asked; those that the call answered leave."""
        if self.limit is None and self.AGENDA in self.parts:
            self.head = [*self.messages, {"role": "assistant", "content": called}]
            self.parts.clear()
        self.parts.pop(self.AGENDA, None)
        self.parts[self.AGENDA] = [{"role": "user", "content": self.style.asked(questions)}]

    def add(self, turn: int, text: str, called: str, observation: str) -> None:
        """A record: `text` in the event log; the call and what came back in the context."""
        item = self.history.add(turn, text)
        came = self.style.record(item, observation)
        self.parts[item] = [{"role": "assistant", "content": called}, {"role": "user", "content": came}]

    def delete(self, turn: int, ids: Iterable[int]) -> None:
        for item in self.history.delete(turn, ids):
            self.parts.pop(item, None)

    def remember(self, facts: Sequence[str]) -> None:
        """One record of earlier work, as every agenda but the first finds one: a note, or a single fact that a search found."""
        text = " ".join(facts)
        if len(facts) == 1:
            call, came = Call("search", text.split()[0]), text
        else:
            gone = self.history.delete(-1, [self.history.add(-1, fact) for fact in facts[:2]])
            call, came = Call("prune", text, tuple(gone)), "done"
        self.add(-1, text, self.style.called(self.style.write(call), True), came)

    @property
    def messages(self) -> Messages:
        return [*self.head, *(message for part in self.parts.values() for message in part)]

    @property
    def words(self) -> int:
        records = (part for item, part in self.parts.items() if item != self.AGENDA)
        return sum(len(message["content"].split()) for part in records for message in part)

    @property
    def nearly_full(self) -> bool:
        """Whether one more search could break the limit."""
        return self.limit is not None and self.words + self.style.found > self.limit


# Who decides what leaves the context: the policy, or a rule in its place.
OWN_CHOICE, NOTHING_LEAVES, OLDEST_LEAVE, WHEN_FULL = "own choice", "nothing leaves", "oldest leave", "when full"


def episode(task: Objectives, editing: str | int = OWN_CHOICE, shown: int = 2, style: Style = TINY) -> Episode:
    """Call after call until every question is answered or a limit is broken: `style.cap` words, `TURNS` turns a question.

    The agenda shows `shown` questions at a time, and the odd ones first: at 3 questions one, then two. So training on three
    meets a full agenda with a history before it, as all but the first of a long task are.

    editing: OWN_CHOICE is MemAct. NOTHING_LEAVES is full context, which only the model's window limits. OLDEST_LEAVE is a sliding
        window. WHEN_FULL, or a number of searches: then, and only then, the policy is made to prune; it chooses the note, and all
        other records go.
    """
    context, search = Context(task, None if editing == NOTHING_LEAVES else style.cap, style), Search(task.documents)
    answers: list[str] = []
    agenda = task.questions[: len(task.questions) % shown or shown]
    if task.leftover:
        context.remember(task.leftover)
    context.open(agenda, "")
    searches = prunes = 0
    for turn in range(TURNS * len(task.questions)):
        while editing == OLDEST_LEAVE and context.words > style.cap:
            context.delete(turn - 1, [next(iter(context.history.records))])
        if context.limit is not None and context.words > style.cap:
            break
        due = context.nearly_full if editing == WHEN_FULL else isinstance(editing, int) and searches >= editing
        forced = due and searches > 0
        state = {
            "task": task,
            "open": agenda,
            "records": dict(context.history.records),
            "memory": "\n".join(context.history.records.values()),
            "may prune": editing == OWN_CHOICE,
            "must prune": forced,
            "nearly full": context.nearly_full,
        }
        text = yield Ask(style.whole(context.messages, forced), style.max_tokens, state)
        whole = style.forced(text) if forced else text
        called, call = style.called(whole, len(text.split()) < style.max_tokens), style.parse(whole)
        if call.name == "search" and len(context.history.records) < History.IDS:
            found = search(style.query(call.argument)) or style.empty
            context.add(turn, found, called, found)
            searches += 1
        elif call.name == "prune" and (forced or editing == OWN_CHOICE):
            context.delete(turn, list(context.history.records) if forced else call.ids)
            context.add(turn, call.argument or style.empty, called, "done")
            searches, prunes = 0, prunes + 1
        elif call.name == "answer":
            answers += parse_answers(call.argument, len(agenda), style.separator)
            agenda = task.questions[len(answers) : len(answers) + shown]
            if not agenda:
                break
            context.open(agenda, called)
        else:
            break
    complete = len(answers) == len(task.questions)
    answers, right, f1 = marked(answers, task)
    return Outcome(
        reward=float(right == len(answers)) if complete else LIMIT_BROKEN,
        answer=" , ".join(answers),
        metrics={"f1": f1, "right": right, "prunes": prunes, "broken": float(not complete)},
        events=tuple(context.history.events),
    )


# ---------------------------------------------------------------- rules


def random_valid(ask: Ask, rng: random.Random) -> str:
    """A fallible teacher. Where to look next and how to read are known; what to note and what to delete is right mostly.

    It prunes when the history is nearly full, and now and then before. A tenth of the notes is up to three facts chosen at
    random, and a tenth of the deletions records chosen at random. The paper's warm start was made so: a strong model,
    hints to prune that grow with the context, and right traces only.
    """
    seen, records = _facts(ask), list(ask.state["records"])
    due = 0.8 if ask.state["nearly full"] else 0.1
    if not ask.state["must prune"] and not (records and ask.state["may prune"] and rng.random() < due):
        return _next_call(ask, seen)
    note, drop = _useful(ask, seen), records
    if rng.random() < 0.1:
        note = some_of(seen, rng) or EMPTY
    if rng.random() < 0.1:
        drop = [item for item in records if rng.random() < 0.7] or [rng.choice(records)]
    return f"{'' if ask.state['must prune'] else 'prune '}{note} drop {' '.join(map(str, drop))}"


def oracle(ask: Ask, rng: random.Random) -> str:
    """Search for the first gold fact that the open questions lack. When that might not fit, or nothing in the history is of use,
    note the facts that are, and delete all records.
    """
    seen, records = _facts(ask), ask.state["records"]
    note = _useful(ask, seen)
    edit = f"{note} drop {' '.join(map(str, records))}"
    if ask.state["must prune"]:
        return edit
    call = _next_call(ask, seen)
    stale = note == EMPTY and any(text != EMPTY for text in records.values())
    if call.startswith("search") and records and ask.state["may prune"] and (stale or ask.state["nearly full"]):
        return f"prune {edit}"
    return call


def _next_call(ask: Ask, seen: list[str]) -> str:
    """Search for the first fact that the open questions lack, saying what leads to it; answer when they lack none."""
    for asked in ask.state["open"]:
        before = ""
        for fact in reason(asked, list(ask.state["task"].gold)):
            if str(fact) not in seen:
                return f"search {before or fact.subject}"
            before = str(fact).removesuffix(" .")
    return answer(ask, seen)


def _useful(ask: Ask, seen: list[str]) -> str:
    """Of the facts `seen`, those that the open questions need."""
    needed = [str(fact) for asked in ask.state["open"] for fact in reason(asked, list(ask.state["task"].gold))]
    return " ".join(fact for fact in needed if fact in seen) or EMPTY


def _facts(ask: Ask) -> list[str]:
    """The facts that the records state, each once."""
    return [sentence for sentence in dict.fromkeys(sentences(ask.state["memory"])) if parse(sentence)]


# ---------------------------------------------------------------- two ways to cut the rows wrong


def stitched(trajectory: Trajectory, tokenizer) -> list[Row]:
    """One row that is only ever appended to, as if nothing had been deleted.

    What was sampled after an edit is trained in a context that still holds what the policy did not see. Every sampled token has
    loss once, so nothing looks wrong but the probabilities.
    """
    answered, record, asked = tokenizer.convert_tokens_to_ids(["answer", "record", "questions"])
    first, *later = trajectory.rows
    whole = Row(list(first.prompt_ids), list(first.completion_ids), list(first.mask), list(first.logprobs))
    for row in later:
        context = row.prompt_ids
        begins = max((i for i, m in enumerate(whole.mask) if m and not (i and whole.mask[i - 1])), default=0)
        # what is new at the end of the context: further questions, or what came back for the prune
        begin = asked if whole.completion_ids[begins] == answered else record
        fresh = context[len(context) - 1 - context[::-1].index(begin) :]
        whole.completion_ids += fresh + row.completion_ids
        whole.mask += [0] * len(fresh) + row.mask
        whole.logprobs += [0.0] * len(fresh) + row.logprobs if row.logprobs else []
    return [whole]


def last_segment(trajectory: Trajectory, tokenizer) -> list[Row]:
    """The rows, but the last one trains all calls that still stand in it: the released code does, the paper does not.

    A call that survived an edit was sampled in another context, and has loss twice.
    """
    *earlier, last = trajectory.rows
    cue, stop = tokenizer.convert_tokens_to_ids([":", END])
    written = {tuple(run) for row in trajectory.rows for run in _sampled(row)}
    mask = [0] * len(last.prompt_ids)
    for start in (i + 1 for i, token in enumerate(last.prompt_ids) if token == cue and stop in last.prompt_ids[i:]):
        end = last.prompt_ids.index(stop, start) + 1
        if tuple(last.prompt_ids[start:end]) in written:  # what stands there from the beginning was not
            mask[start:end] = [1] * (end - start)
    head = mask.index(1) if 1 in mask else len(mask)
    more = last.prompt_ids[head:]
    logprobs = [0.0] * len(more) + last.logprobs if last.logprobs else []
    return [*earlier, Row(last.prompt_ids[:head], more + last.completion_ids, mask[head:] + last.mask, logprobs)]


def _sampled(row: Row) -> list[list[int]]:
    """The token ids of each completion in `row`."""
    runs: list[list[int]] = []
    for i, (token, sampled) in enumerate(zip(row.completion_ids, row.mask, strict=True)):
        if sampled:
            if i == 0 or not row.mask[i - 1]:
                runs.append([])
            runs[-1].append(token)
    return runs


PAPER = Paper(
    name="memact",
    title="MemAct",
    notebook="05",
    world=Lookup(facts=3, answered=True),
    size_unit="questions",
    episode=episode,
    random_valid=random_valid,
    oracle=oracle,
    baselines={
        "full-context": partial(episode, editing=NOTHING_LEAVES),
        "sliding-window": partial(episode, editing=OLDEST_LEAVE),
        "summarise-when-full": partial(episode, editing=WHEN_FULL),
        "prune-every-1": partial(episode, editing=1),
        "prune-every-2": partial(episode, editing=2),
    },
    learned={
        "full-context": "full-context-0",
        "sliding-window": "sliding-window-0",
        "summarise-when-full": "summarise-when-full-0",
        "prune-every-1": "prune-every-1-0",
        "prune-every-2": "prune-every-2-0",
    },
    ablations={"stitched": {"rows": stitched}, "last-segment": {"rows": last_segment}},
    warmstart={"tasks": 50000, "sizes": (1, 2, 3, 3), "learning_rate": 3e-3, "right": True},  # as the paper's: right traces only
    baseline_warmstart={"base": "warmstart", "tasks": 12000},
    train_sizes=(1, 2, 3),
    tasks_scale=0.5,
    train_steps=200,
    eval_sizes=(2, 4, 8),
    record_sizes=(2, 4, 8, 12),
)
