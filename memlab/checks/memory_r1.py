"""Checks of notebook 06. Each recomputes the usual wrong answers, and names the one it meets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from memlab.papers.memory_r1 import Call


def operation(operate: Callable[[dict[int, str], Sequence[int], Call], dict[int, str]]) -> None:
    """operate(notes, shown, call) -> the notes after the call. shown: ids of the notes, in the order in which they were shown."""
    notes = {3: "mira lives in oslo .", 5: "mira adopted rex .", 8: "tom adopted max ."}
    shown, before = [5, 3], dict(notes)
    got = operate(notes, shown, Call("add", text="ada adopted coco ."))
    assert notes == before, "the notes that were passed in are changed: return new ones, four rollouts share the old"
    assert list(got.values())[-1:] == ["ada adopted coco ."] and len(got) == 4, "add: one more note, and all others stay"
    assert len(set(got) - set(notes)) == 1 and max(got) > 8, "add: the id is new, and larger than any before"
    got = operate(notes, shown, Call("update", 1, "mira lives in rome ."))
    assert got.get(1) is None, "update: 1 is the place in the list that was shown, not an id: there, the note with id 3"
    assert "tom" in got.get(8, ""), "update: it changed a note that was not shown"
    assert got[3] != "mira lives in oslo . mira lives in rome .", "update: the new text replaces the old (the paper appends)"
    assert got == before | {3: "mira lives in rome ."}, f"update: expected note 3 to be new and all else to stay, got {got}"
    got = operate(notes, shown, Call("delete", 0))
    assert got != {8: "tom adopted max ."}, "delete: one note, not all that were shown (the paper's pseudo-code does that)"
    assert got == {3: "mira lives in oslo .", 8: "tom adopted max ."}, f"delete: note 5 stood at place 0; got {got}"
    for call in (Call("noop"), Call("", text="hm"), Call("delete", 7), Call("update", 2, "x")):
        assert operate(notes, shown, call) == before, f"{call}: nothing, or a place that was not shown, changes nothing"
    print("✓ operation: places are those of the list, and only what was called for changes")


def reward(score: Callable[[list[str], list[str]], float]) -> None:
    """score(values, gold) -> 1.0 if they are the same set, else 0.0."""
    assert score(["rex", "scout"], ["rex", "scout"]) == 1.0
    assert score(["scout", "rex"], ["rex", "scout"]) == 1.0, "the order does not matter: who has two pets has them in any order"
    assert score(["rex"], ["rex", "scout"]) == 0.0, "one of two is not exact: half a reward would teach to stop at one"
    assert score(["rex", "scout", "max"], ["rex", "scout"]) == 0.0, "one too many is wrong, or saying everything would win"
    assert score([], ["rex"]) == 0.0 and score(["nothing ."], ["rex"]) == 0.0
    print("✓ reward: all the values, no other, in any order")


def bandit(advantages: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """advantages(rewards) -> (moments, group): each operation's advantage among those tried at the same moment."""
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    got = advantages(rewards)
    assert got.shape == rewards.shape, f"one advantage for every operation: {tuple(rewards.shape)}, not {tuple(got.shape)}"
    assert not torch.allclose(got, rewards - rewards.mean()), "the mean is over one moment: others are other states"
    assert not torch.allclose(got, rewards), "subtract the group's mean"
    assert (got[1] == 0).all(), "four equal rewards teach nothing: advantage 0, and no division by their deviation"
    want = rewards - rewards.mean(1, keepdim=True)
    assert torch.allclose(got, want), f"expected {want}, got {got}"
    print("✓ bandit: against the other operations at the same moment")


def linked(ask: Callable[[dict[str, set[str]], str, set[str]], list[str]]) -> None:
    """ask(rests_on, message, held) -> the questions of a moment. rests_on: question -> facts; held: facts in the bank before."""
    rests_on = {
        "who did mira adopt ?": {"mira adopted rex .", "mira also adopted scout ."},
        "where does tom live ?": {"tom lives in rome ."},
        "where does ada live ?": {"ada lives in lima ."},
    }
    got = ask(rests_on, "mira also adopted scout .", {"mira adopted rex .", "tom lives in rome ."})
    assert got[:1] == ["who did mira adopt ?"], "the question that rests on the message comes first"
    assert len(got) > 1, "only the message's own question: whatever the operation does to other notes is free, as in the paper"
    assert "where does ada live ?" not in got, "a question whose facts were not told yet cannot be answered by any operation"
    assert got == ["who did mira adopt ?", "where does tom live ?"], f"expected both that can be answered, got {got}"
    print("✓ linked: what the message should bring, and what it must not break")


def distilled(values: Callable[[str], list[str]]) -> None:
    """values(text) -> the last words of its sentences, each once."""
    assert values("mira adopted rex . mira also adopted scout .") != ["scout"], "all facts count, not only the last"
    assert values("mira adopted rex . mira also adopted scout .") == ["rex", "scout"]
    assert values("mira adopted rex . mira adopted rex .") == ["rex"], "a fact said twice is one value"
    assert values("good morning . mira adopted rex .") == ["rex"], "small talk states nothing: only facts have values"
    assert values("") == []
    print("✓ distilled: the values of the facts that were said")


def headline(gains: Callable[[dict[str, float], dict[str, float]], dict[str, float]]) -> None:
    """gains(ours, theirs) -> relative gains in percent, rounded to one decimal."""
    got = gains({"F1": 45.02, "B1": 37.51, "J": 62.74}, {"F1": 30.41, "B1": 22.22, "J": 45.68})
    assert got.get("F1") != 14.6, "relative, not a difference of points"
    assert got.get("F1") != 32.5, "relative to the baseline, not to our own score"
    assert got == {"F1": 48.0, "B1": 68.8, "J": 37.3}, f"expected F1 48.0, B1 68.8 and J 37.3, got {got}"
    print("✓ headline: F1 +48.0 %, BLEU-1 +68.8 %: the paper's text has the two exchanged")


