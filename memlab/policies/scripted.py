"""Policies that are rules. One mechanism, three jobs: warm-start data, upper bound, baseline.

A random-valid rule writes the format with choices made at random (it is the warm start's data); an oracle reads the task's
answer key (it proves that the environment can be solved); a heuristic is a baseline.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from memlab.episode import Ask
from memlab.policies.base import Completion, Policy, Prompt

Rule = Callable[[Ask, random.Random], str]


class ScriptedPolicy(Policy):
    """Writes `rule(ask, rng)`. Its completions carry token ids, so their rows can be trained on, but no log-probabilities."""

    def __init__(self, rule: Rule, tokenizer, seed: int = 0, name: str | None = None):
        super().__init__(tokenizer)
        self.rule, self.rng, self.name = rule, random.Random(seed), name or rule.__name__

    def complete(self, prompts: list[Prompt]) -> list[Completion]:
        return [self._complete(p.ask) for p in prompts]

    def _complete(self, ask: Ask) -> Completion:
        ids = self.encode(self.rule(ask, self.rng))
        truncated = len(ids) >= ask.max_tokens
        ids = ids[: ask.max_tokens] if truncated else ids + [self.tokenizer.eos_token_id]
        return Completion(self.tokenizer.decode(ids, skip_special_tokens=True), ids, truncated=truncated)
