"""The one construction behind every paper: build a context, let the policy write, change memory, build the next context.

An episode is a generator. It yields an `Ask`, is sent the policy's text back, and returns an `Outcome`::

    def episode(task):
        memory = TextMemory(budget=24)
        for section in task.sections:
            memory.write((yield Ask(update_prompt(task, memory, section), max_tokens=24)))
        answer = yield Ask(answer_prompt(task, memory), max_tokens=4)
        return Outcome(reward=float(answer == task.answer), answer=answer)

`memlab.rollout.play` advances hundreds of them in lockstep and turns what happened into `Trajectory` objects.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memlab.memory import Event

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Ask:
    """What the policy sees, and how much it may write.

    prompt: the whole context: a string, or chat messages for a model with a chat template.
    max_tokens: limit of the completion, in tokens of the policy.
    state: the same context as plain values, for scripted rules and views. Never part of a prompt.
    by: a frozen policy that is asked instead of the one that is played, as Memory-R1's answer agent while its manager learns.
        Its turns are part of the trajectory and no part of the training rows.
    """

    prompt: str | Messages
    max_tokens: int
    state: Mapping[str, Any] = field(default_factory=dict)
    by: Any = None


@dataclass(frozen=True)
class Outcome:
    """How an episode ended. `reward` is the only number that training sees."""

    reward: float
    answer: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    events: Sequence[Event] = ()


Episode = Generator[Ask, str, Outcome]


@dataclass
class Row:
    """One training sequence: what the policy read and wrote while its context was only ever appended to.

    prompt_ids: (P,) token ids before the first sampled token.
    completion_ids: (C,) everything after: sampled tokens, and observations if the context grew.
    mask: (C,) 1 where the policy sampled the token, 0 where the environment wrote it.
    logprobs: (C,) log-probability at sampling, 0.0 where mask is 0; empty for a policy that is not a model.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    mask: list[int]
    logprobs: list[float]

    @property
    def ids(self) -> list[int]:
        return self.prompt_ids + self.completion_ids


@dataclass
class Turn:
    """One exchange: the Ask, the text that came back, and its cost in tokens."""

    ask: Ask
    text: str
    prompt_tokens: int
    completion_tokens: int
    truncated: bool = False  # stopped by max_tokens, not by the end token
    overflow: bool = False  # the context did not fit the policy's window: nothing was generated


@dataclass
class Trajectory:
    """One episode, played: its task, its turns, its training rows (see the cut rule in `memlab.rollout`) and its outcome."""

    task: Any
    turns: list[Turn]
    rows: list[Row]
    outcome: Outcome

    @property
    def reward(self) -> float:
        return self.outcome.reward

    @property
    def peak_context_tokens(self) -> int:
        """The largest context of any turn, prompt and completion together."""
        return max(t.prompt_tokens + t.completion_tokens for t in self.turns)

    @property
    def total_tokens(self) -> int:
        """Every token read or written, summed over turns: what an API without prefix caching would bill."""
        return sum(t.prompt_tokens + t.completion_tokens for t in self.turns)

    @property
    def generated_tokens(self) -> int:
        return sum(t.completion_tokens for t in self.turns)

    def _repr_html_(self) -> str:
        from memlab.views.tables import trajectory_table

        return trajectory_table(self)
