"""Checks of notebook 07. Each recomputes the usual wrong answers, and names the one it meets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from memlab.episode import Outcome
from memlab.papers.agemem import episode
from memlab.worlds.dialogues import Staged


def seen(visible: Callable[[list[tuple[int, str]], int], list[str]]) -> None:
    """visible(lines, now) -> the lines in context at index `now`; lines: (stage, text), in order."""
    lines = [(1, "mira adopted rex ."), (1, "good morning ."), (2, "karl lives in rome ."), (2, "ada lives in lima .")]
    lines.append((3, "who ?"))
    got = visible(lines, 4)
    assert got != [text for _, text in lines], "nothing was wiped: then nobody needs a memory, and none is learned"
    assert got != ["who ?"], "stage 3 goes on in the context of stage 2: the wipe comes once, after stage 1"
    assert got == ["karl lives in rome .", "ada lives in lima .", "who ?"], f"got {got}"
    assert visible(lines, 2) == ["karl lives in rome ."], "no line of the future, and none of stage 1"
    assert visible(lines, 1) == ["good morning ."], "stage 1 shows one message at a time (the notes come beside it)"
    print("✓ seen: stage 1 message by message, then a wipe, then a context that grows")


def credit(spread: Callable[[Sequence[float], Sequence[Sequence[int]]], list[list[float]]]) -> None:
    """spread(rewards, stages) -> for each trajectory the advantage of each of its steps; stages: the stage of each step."""
    rewards, stages = [1.0, 0.0], [[1, 1, 2, 3], [1, 1, 2, 2, 3, 3]]
    got = spread(rewards, stages)
    assert [len(row) for row in got] == [4, 6], "one advantage for every step of every stage"
    want = [[0.5] * 4, [-0.5] * 6]
    assert got != [[1.0] * 4, [0.0] * 6], "subtract the group's mean: a reward is not an advantage"
    assert not (got[0][0] == 0 and got[0][-1] == 0.5), "the steps before the wipe got nothing: then nobody learns what to note"
    assert not math.isclose(sum(got[0]), 0.5), "the advantage was divided among the steps: each carries the whole of it"
    assert got != [[0.6] * 4, [-0.4] * 6], "the mean is over trajectories, not over steps: who calls more often counts once"
    assert all(map(math.isclose, sum(got, []), sum(want, []))), f"expected {want}, got {got}"
    print("✓ credit: the wipe cuts the context, not the credit")


def drop(filtered: Callable[[list[str], str], list[str]]) -> None:
    """filtered(messages, criteria) -> those that stay."""
    messages = ["karl adopted coco . coco lives in rome .", "good morning .", "ada lives in lima ."]
    assert filtered(messages, "adopted lives") != [messages[0]], "`criteria` says what to throw away, not what to keep"
    got = filtered(messages, "adopted lives")
    assert got != ["good morning ."], "ada's message has one of the two words, a half of them: below 0.6, it stays"
    assert got == messages[1:], f"expected the last two, got {got}"
    assert filtered(messages, "karl adopted coco tom") == messages[1:], "three of the four words are 0.75: dropped"
    assert filtered(messages, "lives") == ["good morning ."] and filtered(messages, "zebra") == messages
    assert filtered(messages, "") == messages, "no criteria: nothing is alike (and do not divide by 0)"
    print("✓ filter: at least 0.6 of the criteria's words, and the message is gone")


def reward(score: Callable[..., float]) -> None:
    """score(task, context, memory, answered, overflow, rounds_over) -> R. task: 0 or 1; context and memory: three parts each."""
    none, full = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    got = score(1.0, full, full, True, False, False)
    assert not math.isclose(got, 7 / 3), "each of the three rewards is a mean of its own parts first"
    assert math.isclose(got, 1.0), f"everything right is 1, got {got}"
    assert math.isclose(score(1.0, none, (1.0, 0.0, 0.0), True, False, False), (1 + 1 / 3) / 3), "a part of memory is a ninth"
    late = score(0.0, none, none, False, False, True)
    assert not math.isclose(late, -1.0), "no answer costs twice: -1 as the task's reward, and the penalty of -1 for the rounds"
    assert math.isclose(late, -1 / 3 - 1), f"no answer within the rounds: (-1 + 0 + 0) / 3 - 1, got {late}"
    over = score(0.0, none, none, False, True, False)
    assert math.isclose(over, -1 / 3 - 0.5), f"an overflow: (-1 + 0 + 0) / 3 - 0.5, got {over}"
    print("✓ reward: a mean of three means, and penalties")


def loophole(hack: Callable[[list[str]], list[str]]) -> None:
    """hack(calls) -> other calls, which are paid better and do no more."""
    honest = ["add mira adopted rex .", "noop", "noop", "add mira also adopted scout .", "noop", "noop"]
    honest += ["retrieve mira", "answer mira adopted rex . mira also adopted scout ."]
    given = list(honest)
    calls = hack(given)
    assert given == honest, "the calls that were passed in are changed: return new ones"
    (before, notes), (after, then) = _played(honest), _played(calls)
    assert after.metrics["right"] == 1.0, "the answer must stay right: this is about pay for nothing"
    assert notes == then, f"the notes must be the same in the end: {notes}, not {then}"
    more = after.reward - before.reward
    assert more > 0.05, f"{more:+.3f} is no gain: which part of the reward asks only whether a tool was called?"
    print(f"✓ loophole: {before.reward:.3f} -> {after.reward:.3f}, for nothing")


def _played(calls: Sequence[str]) -> tuple[Outcome, dict[int, str]]:
    """What comes of `calls` in one episode, and the notes in the end. Calls after its end are not made."""
    task = Staged(
        told=("mira adopted rex .", "good morning .", "mira lives in oslo .", "mira also adopted scout ."),
        noise=("karl adopted coco . karl lives in rome .", "ada adopted milo . ada lives in lima ."),
        question="who did mira adopt ?",
        answers=("rex", "scout"),
        gold=("mira adopted rex .", "mira also adopted scout ."),
    )
    run, notes = episode(task), {}
    next(run)
    try:
        for call in [*calls, *[""] * 9]:
            run.send(call)
    except StopIteration as end:
        outcome = end.value
    for event in outcome.events:
        notes[event.item] = event.text
        if event.op == "delete":
            del notes[event.item]
    return outcome, notes


def headline(gain: Callable[[float, float], float]) -> None:
    """gain(ours, theirs) -> in percent of theirs, two decimals."""
    got = gain(41.96, 28.05)
    assert not math.isclose(got, 13.91, abs_tol=0.005), "points, not percent: the headline is relative"
    assert not math.isclose(got, 33.15, abs_tol=0.005), "relative to the baseline, not to our own score"
    assert math.isclose(got, 49.59, abs_tol=0.005), f"expected 49.59, got {got}"
    assert math.isclose(gain(41.96, 37.14), 12.98, abs_tol=0.005)
    print("✓ headline: +49.59 % over no memory; over the best other memory it is +12.98 %")
