"""Small things that several tests share: a random model, a tokenizer, and episodes with a chosen number of rows."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from memlab.episode import Ask, Outcome
from memlab.papers import Paper
from memlab.training.pretrain import build_tokenizer

WORDS = "a b c d e f g h i j k l m n o p q : . ? say again".split()


def tokenizer():
    return build_tokenizer(WORDS)


def model(seed: int = 0, **config) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    shape = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2)
    ids = dict(vocab_size=len(tokenizer()), pad_token_id=0, eos_token_id=1, bos_token_id=None)
    fixed = dict(head_dim=16, max_position_embeddings=512, tie_word_embeddings=True)
    return Qwen3ForCausalLM(Qwen3Config(**(shape | ids | fixed | config))).float()


def save_chat(directory, **config) -> None:
    """A model and a tokenizer with a chat template, saved in `directory`. config: as for `model`."""
    model(**config).save_pretrained(directory)
    words = tokenizer()
    words.chat_template = "{% for message in messages %}{{ message.content }} {% endfor %}"
    words.save_pretrained(directory)


@dataclass(frozen=True)
class ToyTask:
    rows: int  # how many separate contexts
    appended: int  # how many turns each context is extended by
    words: tuple[str, ...]


class ToyWorld:
    """Tasks of 1 to 4 rows; `size` is the number of rows, 0 draws it."""

    def make(self, rng: random.Random, size: int) -> ToyTask:
        return ToyTask(size or rng.randint(1, 4), rng.randint(0, 2), tuple(rng.choice(WORDS[:17]) for _ in range(5)))


def toy_episode(task: ToyTask):
    """Rewards the share of odd token lengths: arbitrary, but it differs between rollouts of one task."""
    lengths = []
    for row in range(task.rows):
        context = " ".join(task.words[: 1 + row]) + " :"
        for _ in range(task.appended + 1):
            text = yield Ask(context, max_tokens=4)
            lengths.append(len(text.split()))
            ended = ["<end>"] if len(text.split()) < 4 else []  # the end token stands in the transcript
            context = " ".join([context, *text.split(), *ended, "again ."])
    return Outcome(reward=sum(n % 2 for n in lengths) / len(lengths), answer="")


TOY = Paper("toy", "Toy", "00", ToyWorld(), "rows", toy_episode, lambda ask, rng: "a", lambda ask, rng: "a", train_sizes=(0,))


def said(run, *texts):
    """Send `texts` to an episode one after the other. Returns every Ask, and the Outcome if the episode came to its end."""
    asks = [next(run)]
    for text in texts:
        try:
            asks.append(run.send(text))
        except StopIteration as end:
            return asks, end.value
    return asks, None


def drive(episode, rule, seed=0):
    """Play `episode` by `rule`, without a tokenizer. Returns the Outcome, every Ask, and what was written to each."""
    rng, asks, wrote = random.Random(seed), [next(episode)], []
    while True:
        wrote.append(rule(asks[-1], rng))
        try:
            asks.append(episode.send(wrote[-1]))
        except StopIteration as end:
            return end.value, asks, wrote
