"""Checks of notebook 04. Each recomputes the usual wrong answers, and names the one it meets."""

from __future__ import annotations

from collections.abc import Callable

import torch


def context(next_context: Callable[[str, str, str], str]) -> None:
    """next_context(questions, completion, results) -> the context of the next turn."""
    asked = "who did tom adopt ? where does max live ?"
    got = next_context(asked, "tom adopted rex . search max", "max lives in oslo .")
    want = f"questions : {asked} state : tom adopted rex . results : max lives in oslo . new state :"
    assert "search" not in got, "the action is still there: only what stands before `search` or `answer` is the state"
    assert asked in got, "the questions are gone: they stand in every context, everything else is dropped"
    assert "tom adopted rex" in got, "the state is gone: it is all that the next turn knows of the turns before"
    assert "max lives in oslo" in got, "the results of the last search are missing"
    assert got == want, f"expected {want!r}, got {got!r}"
    got = next_context(asked, "search max", "max lives in oslo .")
    assert "state : nothing . results" in got, "an empty state is written as `nothing .`"
    print("✓ context: the questions, the state, the last results, and nothing else")


def reward(score: Callable[[list[str], list[str]], float]) -> None:
    """score(answers, gold) -> share of exact matches."""
    got = score(["oslo", "rex"], ["oslo", "max"])
    assert got != 0.0, "all or nothing: the paper counts the answers that are right, so one of two earns half"
    assert got != 1.0, "one of the two answers is wrong"
    assert got == 0.5, f"one of two is right: expected 0.5, got {got}"
    assert score(["rex", "oslo"], ["oslo", "rex"]) == 0.0, "the order counts: the first answer is for the first question"
    assert score(["oslo"], ["oslo", "rex"]) == 0.5, "what was not answered is wrong, and what was is still right"
    assert score(["in oslo"], ["oslo"]) == 0.0, "exact match: `in oslo` is not `oslo`, or a list of all cities would win"
    print("✓ reward: the share of exact matches, in order")


def mask(visible: Callable[[list[int]], torch.Tensor]) -> None:
    """visible(part) -> (T, T) bool: may position i see position j; part[i] is 0 for the question and k for turn k."""
    part = [0, 0, 1, 1, 2, 2, 3]
    got = visible(part)
    assert got.dtype == torch.bool and got.shape == (7, 7), f"a (7, 7) tensor of bool, not {got.dtype} {tuple(got.shape)}"
    at = torch.tensor(part)
    causal = torch.tril(torch.ones(7, 7)).bool()
    want = causal & ((at[None] == 0) | (at[None] >= at[:, None] - 1))
    mistakes = {
        "the future is visible: a position sees itself and what came before": want | ~causal,
        "all of the past is visible: turn k sees the question, turn k - 1 and itself": causal,
        "the question is hidden from later turns": causal & (at[None] >= at[:, None] - 1),
        "the turn before is hidden: its state and its results are what the rollout shows": causal
        & ((at[None] == 0) | (at[None] == at[:, None])),
        "rows and columns are exchanged: [i, j] says whether i sees j": want.T,
    }
    for mistake, wrong in mistakes.items():
        assert not torch.equal(got, wrong), f"mask: {mistake}"
    assert torch.equal(got, want), f"mask: expected\n{want.int()}\ngot\n{got.int()}"
    print("✓ mask: the question, the turn before, and the own past")


def bias(additive: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """additive(visible) -> what is ADDED to the attention scores."""
    visible = torch.tensor([[True, False], [True, True]])
    got = additive(visible)
    scores = torch.tensor([[0.3, 2.0], [0.1, -0.4]])
    assert not torch.equal(got, visible.float()), (
        "0 and 1 are numbers that are added to the scores: nothing is hidden, what is visible gets a little more weight"
    )
    assert not torch.equal(got, (~visible).float()), "1 where it should be hidden only ADDS weight there"
    weights = torch.softmax(scores + got, -1)
    assert not weights.isnan().any(), "a row of nothing but -inf has no softmax; here none is needed: every row sees itself"
    assert weights[0, 1] == 0.0, f"position 0 still puts {weights[0, 1]:.2f} of its weight on the future"
    assert torch.allclose(weights[1], torch.softmax(scores[1], -1)), "what is visible must be left as it is: add 0 there"
    print("✓ bias: 0 where visible, minus infinity where not")


def growth(ratio: Callable[[list[dict], int, int], float]) -> None:
    """ratio(records, few, many) -> largest context at `many` questions over that at `few`."""
    records = [
        {"size": 2, "peak_context_tokens": 80.0, "total_tokens": 200.0},
        {"size": 16, "peak_context_tokens": 100.0, "total_tokens": 1800.0},
    ]
    got = ratio(records, 2, 16)
    assert got != 9.0, "that is the total cost, which has to grow with the questions; the question is the largest context"
    assert got != 0.8, "the ratio is turned round: many over few"
    assert abs(got - 1.25) < 1e-9, f"100 over 80: expected 1.25, got {got}"
    print("✓ growth: of the largest context")
