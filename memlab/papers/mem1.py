"""MEM1 (arXiv 2506.15841): search for the answers to several questions with a context that does not grow.

At every turn the policy rewrites its internal state and then takes one action, a search or the answer. All else is dropped:
the next context is the open questions, the state and what the last search found (section 3.1 of the paper).

    context     questions : who did tom adopt ? where does max live ? state : nothing . results : tom adopted rex . [...]
    completion  tom adopted rex . search max

Kept exactly: forced rewriting of the state, one action a turn, one reward at the end (the exact matches; nothing for
format, for a search or for a tidy state), training on 2 questions and testing on up to 16. At 2 questions the task is the
paper's as well: both stand in the context and both answers are written in the last turn, so the first must be held while
the second is looked for.
Simplified: beyond 2 questions an agenda shows `shown` of them at a time; an answer closes those and calls up the next. The
paper shows all from the first turn to the last, and its state must hold all their answers: its context grows a little with
N (640 to 1,040 tokens from 2 to 16), this one's is bounded. `shown=None` is the paper's way. Half of the tasks begin with a
state left over from earlier work: every agenda but the first does, and training on 2 questions sees no other. Actions begin
with a word, not a tag; the last search is not repeated beside its results; the count of right answers is divided by N; a list
of answers that is too short loses those that lack, not all. Every turn is a training row of its own, encoded as the policy saw
it: the paper stitches all turns into one sequence under an attention mask that hides what was dropped, but a token that is still
visible had read what is hidden now, and passes it on.
Dropped: PPO and its critic (GRPO everywhere here), the hint of how many turns are left, WebShop.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from memlab.episode import Ask, Episode, Messages, Outcome
from memlab.memory import Event, TextMemory, sentences
from memlab.papers import Paper
from memlab.papers.memagent import some_of
from memlab.papers.tags import first_tag
from memlab.worlds.lookup import Lookup, Objectives, Search
from memlab.worlds.scoring import exact_match, token_f1
from memlab.worlds.sentences import PEOPLE, PETS, TWO_HOP_QUESTION, parse, question, reason, value_of

EMPTY = "nothing ."
END = "<end>"  # how the tiny model's completions end: a context that is only appended to holds it
NAMES = frozenset(PEOPLE + PETS)  # what can be searched for
TURNS = 4  # a question; the paper allows 6 turns for up to 4 questions, and 20 for more
EARLY, ASTRAY = 0.03, 0.05  # how often the random rule answers too early, and searches for a name that leads nowhere


def prompt(questions: tuple[str, ...], state: str, results: str) -> str:
    """Everything that the policy sees at one turn."""
    return f"questions : {' '.join(questions)} state : {state} results : {results} new state :"


def chat(questions: tuple[str, ...], state: str, results: str) -> Messages:
    """The same for an instruct model."""
    return [
        {"role": "system", "content": "You answer questions by searching, with one search at a time."},
        {
            "role": "user",
            "content": f"{numbered(questions)}\n\n<state>{state}</state>\n<results>{results}</results>\n\n"
            "Write a new state; all else will be forgotten. Keep what the questions still need. Then search, or, when nothing "
            "is lacking, give the answers in order, separated by semicolons:\n"
            "<state>...</state><search>words to look for</search> or <state>...</state><answer>first; second</answer>",
        },
    ]


def numbered(questions: Sequence[str]) -> str:
    """The open questions for an instruct model, a line each."""
    return "\n".join(["Questions:", *(f"{i}. {asked}" for i, asked in enumerate(questions, 1))])


class Action(NamedTuple):
    """A completion, read: the new state, then "search", "answer" or "" (none was written), then the words that follow it."""

    state: str
    name: str
    argument: str


def parse_action(text: str) -> Action:
    """Cut `text` at its first "search" or "answer". Text without one is all state."""
    words = text.split()
    at = next((i for i, word in enumerate(words) if word in ("search", "answer")), len(words))
    return Action(" ".join(words[:at]), "".join(words[at : at + 1]), " ".join(words[at + 1 :]))


def parse_tags(text: str) -> Action:
    """What an instruct model wrote, read at its first <search> or <answer>: a tag that is not closed ends with the text."""
    action = first_tag(text, ("search", "answer"))
    before = text[: action.at]
    state = first_tag(before, ("state",))
    return Action(state.text if state.name else " ".join(before.split()), action.name, action.text)


def write_tags(action: Action) -> str:
    """The text that `parse_tags` reads as `action`."""
    return f"<state>{action.state}</state><{action.name}>{action.argument}</{action.name}>"


@dataclass(frozen=True)
class Style:
    """How a turn is worded for one kind of model. Budgets are for each question on the agenda, in words.

    state: of at least two questions. frame, tokens_a_word: tokens around state and answers, and of one of their words.
    """

    prompt: Callable[[tuple[str, ...], str, str], str | Messages]  # questions, state, results
    parse: Callable[[str], Action]
    separator: str  # of answers
    empty: str
    state: int
    answer: int
    frame: int = 1
    tokens_a_word: float = 1.0
    query: Callable[[str], str] = str  # what is looked for, of what was called


# A search of the tiny model is for its first word: two names in one search would leave nothing to remember.
TINY = Style(prompt, parse_action, ",", EMPTY, state=10, answer=10, query=lambda text: " ".join(text.split()[:1]))
CHAT = Style(chat, parse_tags, ";", "Nothing.", state=12, answer=4, frame=24, tokens_a_word=1.6)


def parse_answers(text: str, count: int, separator: str = ",") -> list[str]:
    """`count` answers: the value of the last fact of each; "" for one that is not there."""
    answers = [value_of(part.strip()) for part in text.split(separator)]
    return (answers + [""] * count)[:count]


def marked(answers: list[str], task: Objectives) -> tuple[list[str], int, float]:
    """The answers, "" for those that lack; how many of them are exactly right; their mean token F1."""
    answers = answers + [""] * (len(task.answers) - len(answers))
    pairs = [(answer, (gold,)) for answer, gold in zip(answers, task.answers, strict=True)]
    return answers, sum(exact_match(*pair) for pair in pairs), sum(token_f1(*pair) for pair in pairs) / len(pairs)


def reply(text: str, ended: bool) -> str:
    """A completion as it stands in a context that is only appended to: with its end token, if there was room for one."""
    return " ".join([*text.split(), *([END] if ended else [])])


class Context(Protocol):
    """What the policy sees of the past. `events` is the log of its memory, empty where there is none to log."""

    events: Sequence[Event]

    def show(self, questions: tuple[str, ...], results: str) -> tuple[str | Messages, str]:
        """The next prompt, and the past in it as text for rules, a sentence or a line each."""

    def add(self, text: str, results: str, ended: bool) -> None:
        """A turn is over: `text` was written, with an end token if it `ended`, and `results` came back."""


class InternalState:
    """MEM1's context: of all that happened, the policy sees what it wrote down at the turn before; at first, `leftover`."""

    def __init__(self, words: int, leftover: Sequence[str] = (), style: Style = TINY):
        self.memory, self.style = TextMemory(words, style.empty), style
        if leftover:
            self.memory.turn = -1  # before the first turn
            self.memory.write(" ".join(leftover))

    def show(self, questions: tuple[str, ...], results: str) -> tuple[str | Messages, str]:
        return self.style.prompt(questions, str(self.memory), results), str(self.memory)

    def add(self, text: str, results: str, ended: bool) -> None:
        self.memory.write(self.style.parse(text).state)

    @property
    def events(self) -> Sequence[Event]:
        return tuple(self.memory.events)


def episode(
    task: Objectives,
    shown: int | None = 2,
    format_penalty: float = 0.0,
    context: Callable[..., Context] = InternalState,
    style: Style = TINY,
) -> Episode:
    """Search and answer until every question is closed, or for `TURNS` turns a question; what is open then counts as wrong.

    shown: questions on the agenda at a time, at least 1; None: all. The state holds `style.state` words for each, and never less
        than twice as many.
    format_penalty: taken off the reward, down to -1 at least, if any turn had no action (the paper's ablation, there 1).
    context: what becomes of the past, given the words that a state may hold, what is in mind at the start, and the style; the
        baselines pass another one.
    A turn without an action is lost, but its state is written.
    """
    shown = shown or len(task.questions)
    words = style.state * max(2, shown)
    max_tokens = style.frame + math.ceil(style.tokens_a_word * (words + style.answer * shown))
    past, search = context(words, task.leftover, style=style), Search(task.documents)
    answers: list[str] = []
    results, well_formed = style.empty, True
    for _ in range(TURNS * len(task.questions)):
        agenda = task.questions[len(answers) : len(answers) + shown]
        view, memory = past.show(agenda, results)
        text = yield Ask(view, max_tokens, {"task": task, "open": agenda, "memory": memory, "results": results})
        action = style.parse(text)
        results = style.empty
        if action.name == "search":
            results = search(style.query(action.argument)) or style.empty
        elif action.name == "answer":
            answers += parse_answers(action.argument, len(agenda), style.separator)
        well_formed &= action.name != ""
        past.add(text, results, ended=len(text.split()) < max_tokens)
        if len(answers) == len(task.questions):
            break
    answers, right, f1 = marked(answers, task)
    return Outcome(
        reward=max(-1.0, right / len(answers) - (0.0 if well_formed else format_penalty)),
        answer=" , ".join(answers),
        metrics={"f1": f1, "right": right},
        events=past.events,
    )


# ---------------------------------------------------------------- what MEM1 is compared with


class FullContext:
    """Nothing is dropped: every context is the one before, what was written, and what came back. So it is one training row.

    Worded for the tiny model, whatever the style; `Newest` without a budget is the like for others.
    """

    events = ()

    def __init__(self, words: int, leftover: Sequence[str] = (), style: Style = TINY):
        self.text, self.questions, self.seen = "", (), list(leftover)

    def show(self, questions: tuple[str, ...], results: str) -> tuple[str, str]:
        if not self.text:
            self.text = prompt(questions, " ".join(self.seen) or EMPTY, results)
        else:  # the agenda is said again only when it is a new one
            asked = "" if questions == self.questions else f" questions : {' '.join(questions)}"
            self.text += f"{asked} results : {results} new state :"
        self.questions = questions
        return self.text, "\n".join(self.seen) or EMPTY

    def add(self, text: str, results: str, ended: bool) -> None:
        self.text = f"{self.text} {reply(text, ended)}"
        self.seen += [text, results]


class Newest:
    """In place of a state, the newest of all sentences that were found, `budget` words at most. 0: no memory.

    What the policy writes down is thrown away: it would be a state by another name.
    """

    events = ()

    def __init__(self, words: int, leftover: Sequence[str] = (), budget: int = 0, style: Style = TINY):
        self.budget, self.seen, self.results, self.style = budget, list(leftover), "", style

    def show(self, questions: tuple[str, ...], results: str) -> tuple[str | Messages, str]:
        words, newest = 0, []
        for sentence in reversed(self.seen):
            words += len(sentence.split())
            if words > self.budget:
                break
            newest.insert(0, sentence)
        empty = self.style.empty
        return self.style.prompt(questions, " ".join(newest) or empty, results), "\n".join(newest) or empty

    def add(self, text: str, results: str, ended: bool) -> None:
        found = [sentence for sentence in sentences(self.results) if sentence != self.style.empty]
        self.seen += found  # at the turn after: what is found now is not past yet
        self.results = results


# ---------------------------------------------------------------- rules


def random_valid(ask: Ask, rng: random.Random) -> str:
    """Half judgement: it knows where to look next and how to read, and of what to keep it is sure half the time.

    The other half of its states are up to three facts in sight, chosen at random. Now and then it searches for any name in sight,
    or answers too early, "nothing ." standing for what is not known. What imitates it is an agent that forgets, as the paper's
    start is: a language model that was never trained on this task.
    """
    seen = _facts(ask)
    state = some_of(seen, rng) if rng.random() < 0.5 else relevant(ask.state["open"], seen)
    return f"{state or EMPTY} {next_call(ask, seen, rng)}"


def relevant(questions: Sequence[str], seen: list[str]) -> str:
    """Those of the facts `seen` that `questions` ask for, and first hops to them."""
    known = {(fact.relation, fact.subject): fact for fact in map(parse, seen) if fact}
    found = []
    for asked in questions:
        [name] = [word for word in asked.split() if word in NAMES]
        pet = known.get(("pet", name))
        if asked == TWO_HOP_QUESTION.format(name):
            found += [pet, pet and known.get(("home", pet.value))]
        else:
            found += [fact for (relation, _), fact in known.items() if asked == question(relation, name) and fact.subject == name]
    return " ".join(dict.fromkeys(str(fact) for fact in found if fact))


def next_call(ask: Ask, seen: list[str], rng: random.Random) -> str:
    """Answer if the facts `seen` say all that is asked, else search for what leads on with the first question that is open."""
    wanted = list(leads(ask.state["open"], seen))
    if not wanted or rng.random() < EARLY:
        return answer(ask, seen)
    if rng.random() < ASTRAY:
        words = " ".join([*ask.state["open"], *seen]).split()
        return f"search {rng.choice([name for name in dict.fromkeys(words) if name in NAMES])}"
    return f"search {wanted[0]}"


def leads(questions: Sequence[str], seen: list[str]) -> Iterator[str]:
    """For each of `questions` that the facts `seen` leave open the name to search for."""
    known = {f.subject: f.value for f in map(parse, seen) if f and f.relation == "pet"}
    for asked in questions:
        if not reason(asked, seen):
            [name] = [word for word in asked.split() if word in NAMES]
            yield known.get(name, name) if asked == TWO_HOP_QUESTION.format(name) else name


def oracle(ask: Ask, rng: random.Random) -> str:
    """Search for the first gold fact that the open questions lack and keep those in sight; answer when none is lacking."""
    seen = _facts(ask)
    needed = [fact for asked in ask.state["open"] for fact in reason(asked, list(ask.state["task"].gold))]
    missing = next((fact for fact in needed if str(fact) not in seen), None)
    if missing is None:
        return f"{EMPTY} {answer(ask, seen)}"  # what was answered need not be kept
    state = " ".join(str(fact) for fact in needed if str(fact) in seen) or EMPTY
    return f"{state} search {missing.subject}"


def _facts(ask: Ask) -> list[str]:
    """The facts that memory and results state, each once."""
    seen = sentences(ask.state["memory"]) + sentences(ask.state["results"])
    return [sentence for sentence in dict.fromkeys(seen) if parse(sentence)]


def answer(ask: Ask, seen: list[str]) -> str:
    """The answers to the open questions, by rule."""
    return "answer " + " , ".join(" ".join(map(str, reason(asked, seen))) or EMPTY for asked in ask.state["open"])


PAPER = Paper(
    name="mem1",
    title="MEM1",
    notebook="04",
    world=Lookup(),
    size_unit="questions",
    episode=episode,
    random_valid=random_valid,
    oracle=oracle,
    baselines={
        "full-context": partial(episode, context=FullContext),
        "truncate": partial(episode, context=partial(Newest, budget=20)),  # as many words as a state holds
        "no-memory": partial(episode, context=partial(Newest, budget=0)),
    },
    learned={"full-context": "full-context-0", "truncate": "truncate-0", "no-memory": "trained-0"},
    ablations={"format-penalty": {"episode": partial(episode, format_penalty=1.0)}},
    # right traces only, as MemAct's; of up to 3 questions, so that it has seen an agenda follow another
    warmstart={"tasks": 28000, "sizes": (1, 2, 2, 3), "learning_rate": 3e-3, "right": True},
    train_sizes=(2,),
    train_steps=200,
    eval_sizes=(2, 8),
    record_sizes=(1, 2, 3, 4, 6, 8, 16),
)
