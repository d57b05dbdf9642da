"""The reward explorer: change a reward of one group of rollouts, and see what training would do with every token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import traitlets

from memlab.episode import Trajectory
from memlab.training.loop import group_advantages
from memlab.views.tables import table, visible
from memlab.views.widget import View, module

TURNS = 12  # turns of a rollout whose text is shown
SCALES = {"none": "reward - mean (MemAgent)", "group": "divided by the deviation (GRPO)"}


def credit(rewards: Sequence[float], tokens: Sequence[int], scale: str = "none") -> list[dict[str, float]]:
    """One row per rollout of a group: its `advantage`, the weight of `each` of its tokens in the loss, and of `all` of them.

    tokens: how many each rollout sampled. Every token of the group weighs A / Z, Z being the number of tokens of the whole group:
    so a long rollout weighs more than a short one. Raises ValueError if there is no token, or for an unknown scale.
    """
    if not sum(tokens):
        raise ValueError("no token was sampled in this group, so nothing can be credited")
    advantages = group_advantages(torch.tensor(rewards, dtype=torch.float64), len(rewards), scale).tolist()
    each = [a / sum(tokens) for a in advantages]
    return [
        {"reward": r, "advantage": a, "tokens": n, "each": w, "all": w * n}
        for r, a, n, w in zip(rewards, advantages, tokens, each, strict=True)
    ]


class RewardExplorer(View):
    """A group of rollouts of one prompt. Editing a reward moves the advantages and the weight of every token.

    trajectories: the group, as `play` returned it: at least two, of one task.
    """

    _esm = module("rewards.js")

    question = traitlets.Unicode().tag(sync=True)
    texts = traitlets.List().tag(sync=True)  # of each rollout, the texts of its turns
    recorded = traitlets.List().tag(sync=True)  # the rewards as they were
    scales = traitlets.Dict(SCALES).tag(sync=True)
    scale = traitlets.Enum(tuple(SCALES), "none").tag(sync=True)
    rows = traitlets.List().tag(sync=True)

    def __init__(self, trajectories: Sequence[Trajectory], scale: str = "none"):
        trajectories = list(trajectories)
        if len(trajectories) < 2:
            raise ValueError(f"a group has at least 2 rollouts, not {len(trajectories)}: advantages compare them")
        if len({getattr(t.task, "question", None) for t in trajectories}) > 1:
            raise ValueError("the rollouts are of different tasks; advantages compare rollouts of one")
        self.tokens = [t.generated_tokens for t in trajectories]
        rewards = [float(t.reward) for t in trajectories]
        super().__init__(
            question=visible(getattr(trajectories[0].task, "question", "") or ""),
            texts=[[visible(turn.text) for turn in t.turns[:TURNS]] for t in trajectories],
            recorded=rewards,
            scale=scale,
            rows=credit(rewards, self.tokens, scale),
        )
        self.on_msg(lambda _, message, __: self._edit(message))

    def _edit(self, message: Any) -> None:
        """The page changed a reward or the scale. What is no list of finite numbers, one a rollout, changes nothing."""
        rewards, scale = (message.get("rewards"), message.get("scale")) if isinstance(message, dict) else (None, None)
        if not isinstance(rewards, list) or len(rewards) != len(self.tokens) or scale not in SCALES:
            return
        if all(isinstance(r, int | float) and math.isfinite(r) and abs(r) < 1e6 for r in rewards):
            self.scale = scale
            self.rows = credit([float(r) for r in rewards], self.tokens, scale)

    def plain(self) -> str:
        return str(self._table())

    def fallback(self) -> str:
        return self._table()._repr_html_()

    def _table(self):
        shown = [{"rollout": k, "reward": r["reward"], "advantage": r["advantage"], "tokens": r["tokens"],
                  "weight of each token": r["each"], "of the rollout": r["all"], "wrote": " | ".join(text)}
                 for k, (r, text) in enumerate(zip(self.rows, self.texts, strict=True))]  # fmt: skip
        signed = {key: "+.4g" for key in ("advantage", "weight of each token", "of the rollout")}
        return table(shown, caption=f"One group of rollouts, credited: {self.question}", formats=signed)
