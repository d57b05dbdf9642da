"""Checks of notebook 05. Each recomputes the usual wrong answers, and names the one it meets."""

from __future__ import annotations

from collections.abc import Callable

import torch


def prune(edit: Callable[[dict[int, str], str, list[int], int], dict[int, str]]) -> None:
    """edit(records, note, ids, new) -> the records after one prune call; `new` is the id of the note."""
    records = {17: "mira adopted rex .", 4: "tom adopted max .", 60: "rex lives in oslo ."}
    was = dict(records)
    got = edit(records, "mira adopted rex .", [17, 4], 9)
    assert records == was, "the records that were passed in have changed: an earlier turn would now show a later one"
    assert 9 in got, "the note is missing: the call stays in the history as a record of its own"
    assert 60 in got, "record 60 was not to be deleted: what is not named is kept word for word"
    assert not {17, 4} & set(got), "records 17 and 4 are still there"
    assert list(got) == [60, 9], f"the order is that in which records came, the note last: expected [60, 9], got {list(got)}"
    assert got == {60: "rex lives in oslo .", 9: "mira adopted rex ."}, f"got {got}"
    assert list(edit(was, "x .", [99], 9)) == [17, 4, 60, 9], "an id that is not there deletes nothing"
    assert edit(was, "x .", [17, 4, 60], 9) == {9: "x ."}, "all records may go; the note stays"
    print("✓ prune: named records go, the rest stays as it is, the note comes last")


def cuts(rows: Callable[[list[str], list[str]], list[list[int]]]) -> None:
    """rows(contexts, completions) -> for each training row the turns that share it."""
    contexts = ["Q :", "Q : search a R1 :", "Q : search a R1 : search b R2 :"]
    contexts += ["Q : prune n R3 :", "Q : prune n R3 : search c R4 :"]
    completions = ["search a", "search b", "prune n", "search c", "answer"]
    got = rows(contexts, completions)
    assert got != [[0], [1], [2], [3], [4]], "every turn became a row: where the context was only appended to, turns share one"
    assert got != [[0, 1, 2, 3, 4]], "one row for all: turn 3 was written without records 1 and 2, so it is trained without them"
    assert got != [[0, 1], [2, 3, 4]], "the cut is one turn early: the prune itself was written in the old context"
    assert got == [[0, 1, 2], [3, 4]], f"expected [[0, 1, 2], [3, 4]], got {got}"
    near = rows(["Q :", "Q : search ax :"], ["search a", "answer"])
    assert near == [[0], [1]], "context 1 does not begin with context 0 and its completion word for word: compare whole words"
    print("✓ cuts: a new row where the context is no continuation of the last one")


def reward(score: Callable[[int, int, bool], float]) -> None:
    """score(right, questions, broken) -> the paper's reward."""
    assert score(3, 3, False) == 1.0, "all answers right: +1"
    assert score(2, 3, False) != 2 / 3, "a share of the answers is MEM1's reward; MemAct pays only when all are right"
    assert score(2, 3, False) == 0.0, f"not all right: 0, not {score(2, 3, False)}"
    assert score(0, 3, True) == -0.1, f"a broken limit costs 0.1, got {score(0, 3, True)}"
    assert score(2, 3, True) == -0.1, "a broken limit is no answer, whatever was right before"
    print("✓ reward: +1, 0 or -0.1")


def segment_advantages(spread: Callable[[torch.Tensor, list[int]], torch.Tensor]) -> None:
    """spread(rewards, segments) -> the advantage of every segment of one group; segments[k]: how many trajectory k has."""
    rewards, segments = torch.tensor([1.0, 0.0]), [3, 1]
    got = torch.as_tensor(spread(rewards, segments))
    assert got.shape == (4,), f"one advantage a segment: 4, not {tuple(got.shape)}"
    mistakes = {
        "the mean is over segments: who pruned more counts more often in his own baseline": [0.25, 0.25, 0.25, -0.75],
        "the advantage was divided among the segments: each carries the whole of it": [0.5 / 3] * 3 + [-0.5],
        "only the last segment got it: then nobody learns when to prune": [0.0, 0.0, 0.5, -0.5],
        "no baseline was subtracted": [1.0, 1.0, 1.0, 0.0],
    }
    for mistake, wrong in mistakes.items():
        assert not torch.allclose(got.float(), torch.tensor(wrong), atol=1e-4), f"advantages: {mistake}"
    assert torch.allclose(got.float(), torch.tensor([0.5, 0.5, 0.5, -0.5])), f"expected [0.5, 0.5, 0.5, -0.5], got {got.tolist()}"
    print("✓ advantages: over trajectories, whole on every segment")


def loss_mask(mask: Callable[[list[tuple[str, int]], int], list[int]]) -> None:
    """mask(parts, edit) -> 1 for each part that is trained in the segment after `edit`; parts: (who wrote it, at which turn)."""
    parts = [("environment", 0), ("policy", 0), ("environment", 0), ("policy", 2), ("environment", 2)]
    parts += [("policy", 3), ("environment", 3)]
    got = mask(parts, 2)
    assert got != [0, 1, 0, 1, 0, 1, 0], (
        "all that the policy wrote: but turns 0 and 2 were written in the context before the edit. This is the released code's "
        "last segment: old tokens are trained again under a context in which they were not sampled"
    )
    assert got != [0, 0, 0, 1, 0, 1, 0], "turn 2 is the edit: written in the old context, trained in the segment before"
    assert got != [0, 0, 0, 0, 0, 1, 1], "observations get no loss: the environment wrote them"
    assert got == [0, 0, 0, 0, 0, 1, 0], f"expected [0, 0, 0, 0, 0, 1, 0], got {got}"
    print("✓ loss mask: what the policy wrote after the edit")
