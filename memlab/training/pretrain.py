"""Make the tiny model from nothing: `python -m memlab.training.pretrain` writes data/tiny. Placeholder docstring."""

from __future__ import annotations

import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

PAD, END, UNKNOWN = "<pad>", "<end>", "<unknown>"


def build_tokenizer(words) -> PreTrainedTokenizerFast:
    """One word, one token. `words` keep their order; the three special tokens come first."""
    vocabulary = {w: i for i, w in enumerate([PAD, END, UNKNOWN, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([PAD, END, UNKNOWN])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, padding_side="left"
    )
