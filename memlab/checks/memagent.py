"""Checks of notebook 03. Each recomputes the usual wrong answers, and names the one it meets."""

from __future__ import annotations

from collections.abc import Callable

import torch

from memlab.memory import Event


def overwrite(write: Callable[[str, str, int], str]) -> None:
    """write(memory, response, budget) -> the new memory."""
    old, new = "mira adopted rex .", "rex lives in oslo ."
    got = write(old, new, 22)
    assert old not in got, "the old memory is still there: MemAgent replaces the memory, it does not append to it"
    assert got == new, f"the whole response is the new memory; expected {new!r}, got {got!r}"
    got = write(old, "a b c d e f", 4)
    assert got != "c d e f", "what does not fit is cut off at the END: the first words are the ones to keep"
    assert len(got.split()) <= 4, f"the budget is 4 words and the memory has {len(got.split())}"
    assert got == "a b c d", f"expected 'a b c d', got {got!r}"
    assert write(old, "", 4) == "", "an empty response empties the memory: forgetting everything is allowed"
    print("✓ overwrite: the response replaces the memory, within its budget")


def advantages(group_advantages: Callable) -> None:
    """group_advantages(rewards, group) -> reward minus the group's mean, shape as rewards."""
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    want = torch.tensor([0.75, -0.25, -0.25, -0.25, 0.25, 0.25, 0.25, -0.75])
    got = group_advantages(rewards, 4)
    assert got.shape == rewards.shape, f"shape is {tuple(got.shape)}; one advantage per trajectory: {tuple(rewards.shape)}"
    mistakes = {
        "the mean is over the whole batch, not over each group": rewards - rewards.mean(),
        "divided by the group's standard deviation: MemAgent does not, and hard questions would count more": (
            want.view(2, 4) / rewards.view(2, 4).std(1, keepdim=True)
        ).flatten(),
        "rewards without a baseline: every answer would be pushed up, only more or less": rewards,
        "the sign is turned: this would teach the policy to fail": -want,
        "the groups are read down the columns; members of a group are adjacent": (
            rewards.view(4, 2) - rewards.view(4, 2).mean(0, keepdim=True)
        ).flatten(),
    }
    _name_mistake(got, want, mistakes, "advantages")
    print("✓ advantages: reward minus the mean of its own group")


def expand(per_row: Callable) -> None:
    """per_row(advantages, rows) -> one advantage for every row; rows: number of rows of each trajectory."""
    values, rows = torch.tensor([0.75, -0.25]), [3, 2]
    want = torch.tensor([0.75, 0.75, 0.75, -0.25, -0.25])
    got = per_row(values, rows)
    assert len(got) == 5, f"{len(got)} advantages for 5 rows: every row of a trajectory gets one"
    mistakes = {
        "the advantage was divided among the rows: each row carries the whole of it": torch.tensor([0.25] * 3 + [-0.125] * 2),
        "only the last row got it: then nobody learns what to remember": torch.tensor([0.0, 0.0, 0.75, 0.0, -0.25]),
        "the rows alternate between trajectories; those of one trajectory are adjacent": torch.tensor(
            [0.75, -0.25, 0.75, -0.25, 0.75]
        ),
    }
    _name_mistake(torch.as_tensor(got), want, mistakes, "expand")
    print("✓ expand: the trajectory's advantage on each of its rows")


def loss(policy_loss: Callable) -> None:
    """policy_loss(logprobs, old, advantages, mask, epsilon) -> scalar: clipped surrogate, mean over all sampled tokens."""
    torch.manual_seed(0)
    old = torch.randn(3, 4) - 2
    new = old + 0.3 * torch.randn(3, 4)
    adv = torch.tensor([0.75, -0.25, 0.5])
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 1, 0]])
    ratio = (new - old).exp()
    a = adv[:, None]
    terms = torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a)
    want = -(terms * mask).sum() / mask.sum()
    got = policy_loss(new, old, adv, mask, 0.2)
    assert torch.as_tensor(got).dim() == 0, "the loss is one number"
    mistakes = {
        "the sign is turned: an optimiser goes down, the objective goes up": -want,
        "a mean over rows of row means: short rows would weigh more. Divide once, by all sampled tokens": -(
            (terms * mask).sum(1) / mask.sum(1)
        ).mean(),
        "the mask is missing: prompt and observation tokens got loss": -terms.mean(),
        "divided by all positions, padding included; divide by the number of sampled tokens": -(terms * mask).mean(),
        "no clipping: take the smaller of the clipped and the unclipped term": -(ratio * a * mask).sum() / mask.sum(),
        "the larger of the two terms was taken; the objective is pessimistic, it takes the smaller": -(
            torch.maximum(ratio * a, ratio.clamp(0.8, 1.2) * a) * mask
        ).sum()
        / mask.sum(),
    }
    _name_mistake(torch.as_tensor(got), want, mistakes, "loss")
    print("✓ loss: clipped, masked, and averaged over tokens")


def held(turns_held: Callable) -> None:
    """turns_held(events, sentence) -> how many turns the memory held `sentence`, from the event log."""
    events = [
        Event(0, "write", 0, "mira adopted rex ."),
        Event(1, "keep", 0, "mira adopted rex ."),
        Event(1, "write", 1, "tom adopted buddy ."),
        Event(2, "delete", 0, "mira adopted rex ."),
        Event(2, "keep", 1, "tom adopted buddy ."),
        Event(3, "write", 2, "mira adopted rex ."),
    ]
    got = turns_held(events, "mira adopted rex .")
    assert got != 4, "the turn that deleted the sentence was counted: after a delete the memory does not hold it"
    assert got not in (1, 2), "a turn was left out: write, keep and rewrite all leave the sentence in memory"
    assert got == 3, f"held at turns 0, 1 and 3: expected 3, got {got}"
    assert turns_held(events, "nobody knows .") == 0, "a sentence that was never in memory is held for 0 turns"
    print("✓ held: read off the event log")


def _name_mistake(got: torch.Tensor, want: torch.Tensor, mistakes: dict[str, torch.Tensor], what: str) -> None:
    if got.shape == want.shape and torch.allclose(got.float(), want, atol=1e-5):
        return
    for mistake, value in mistakes.items():
        if got.shape == value.shape and torch.allclose(got.float(), value.float(), atol=1e-4):
            raise AssertionError(f"{what}: {mistake}")
    raise AssertionError(f"{what}: expected {want.tolist()}, got {got.tolist()}")
