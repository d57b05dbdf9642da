"""`play`: the only way an episode is ever advanced. Training rollouts, evaluation, baselines and demonstrations all call it.

The cut rule. A training row holds what the policy read and wrote while its context was only appended to. While the next
context starts with everything so far, the new part joins the same row as observation tokens with mask 0. As soon as a memory
operation changes what came before, a new row begins. One trajectory is one or more rows, each tokenised as it was sampled.
"""

from __future__ import annotations

from collections.abc import Sequence

from memlab.episode import Episode, Row, Trajectory, Turn
from memlab.policies.base import Policy, Prompt


def play(episodes: Sequence[Episode], policy: Policy, tasks: Sequence | None = None) -> list[Trajectory]:
    """Advance all `episodes` in lockstep with one batched generation a step, until every one has returned.

    Where a step asks frozen policies as well (`Ask.by`), each of them generates one batch. tasks: what each trajectory carries
    as its `task` (default: None). Returns one Trajectory per episode, in order.
    """
    episodes = list(episodes)
    played = [_Played(e, policy) for e in episodes]
    while alive := [p for p in played if p.outcome is None]:
        for asked in {id(p.asked): p.asked for p in alive}.values():
            group = [p for p in alive if p.asked is asked]
            for p, completion in zip(group, asked.complete([p.prompt for p in group]), strict=True):
                p.advance(completion)
    tasks = [None] * len(episodes) if tasks is None else tasks
    return [Trajectory(task, p.turns, p.rows, p.outcome) for task, p in zip(tasks, played, strict=True)]


class _Played:
    """One episode in progress."""

    def __init__(self, episode: Episode, policy: Policy):
        self.episode, self.policy, self.outcome = episode, policy, None
        self.turns: list[Turn] = []
        self.rows: list[Row] = []
        self.so_far = None  # the open row as text, end token included if it was sampled
        self._next(next(episode))

    def _next(self, ask) -> None:
        self.asked = self.policy if ask.by is None else ask.by
        text = self.asked.render(ask.prompt)
        self.extends = ask.by is None and self.so_far is not None and text.startswith(self.so_far)
        if self.extends:  # only the new part is tokenised: what was sampled stays as it was sampled
            self.observation = self.policy.encode(text[len(self.so_far) :])
            ids = self.rows[-1].ids + self.observation
        else:
            ids = self.asked.encode(text)
        self.prompt = Prompt(ask, text, ids)

    def advance(self, completion) -> None:
        self.turns.append(
            Turn(
                self.prompt.ask,
                completion.text,
                len(self.prompt.ids),
                len(completion.ids),
                completion.truncated,
                completion.overflow,
            )
        )
        if self.prompt.ask.by is not None:
            pass  # it wrote nothing that the policy could learn from; an open row stays open
        elif completion.ids:
            if self.extends:
                row = self.rows[-1]
                row.completion_ids += self.observation
                row.mask += [0] * len(self.observation)
                row.logprobs += [0.0] * len(self.observation) if completion.logprobs else []
            else:
                row = Row(self.prompt.ids, [], [], [])
                self.rows.append(row)
            row.completion_ids += completion.ids
            row.mask += [1] * len(completion.ids)
            row.logprobs += completion.logprobs
            self.so_far = self.policy.join(self.prompt, completion)
        else:  # nothing was written, so there is no open row to extend
            self.so_far = None
        try:
            self._next(self.episode.send(completion.text))
        except StopIteration as end:
            self.outcome = end.value
