"""What `play` needs from a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from memlab.episode import Ask


class Prompt(NamedTuple):
    """One context to be completed: the Ask, the text it renders to, and that text's token ids."""

    ask: Ask
    text: str
    ids: list[int]


@dataclass
class Completion:
    """What a policy wrote.

    text: without the end token. ids: (C,) token ids, end token included if it was produced.
    logprobs: (C,) log-probability of each id when it was sampled; empty for a policy that is not a model.
    """

    text: str
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    truncated: bool = False
    overflow: bool = False


class Policy:
    """Renders and tokenises with `tokenizer` (any transformers tokenizer); a subclass says what is written."""

    name = "policy"

    def __init__(self, tokenizer):
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
            raise ValueError(
                "the tokenizer has no padding token of its own (pad is missing or equal to eos), which would hide the end "
                "token from training; set tokenizer.pad_token to a reserved token that never occurs in text"
            )
        self.tokenizer = tokenizer

    def render(self, prompt) -> str:
        """The context as one string. Chat messages go through the tokenizer's template."""
        if isinstance(prompt, str):
            return prompt
        return self.tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def join(self, prompt: Prompt, completion: Completion) -> str:
        """`prompt` and `completion` as the one text that a later context must start with in order to extend them."""
        return self.tokenizer.decode(prompt.ids + completion.ids, skip_special_tokens=False)

    def completion(self, ids: list[int], limit: int, logprobs: Sequence[float] = ()) -> Completion:
        """What was sampled, cut off at `limit` tokens."""
        ids = ids[:limit]
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return Completion(text, ids, list(logprobs[:limit]), truncated=ids[-1] != self.tokenizer.eos_token_id)

    def complete(self, prompts: list[Prompt]) -> list[Completion]:
        """One completion per prompt, in order."""
        raise NotImplementedError
