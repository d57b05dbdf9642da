"""Everyone who can be asked the same questions, by name: trained and untrained models, rules, and baselines.

The CLI, the notebooks and the benchmarks get their policies here, so that a name means the same thing everywhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from memlab.papers import Paper
from memlab.paths import ROOT
from memlab.policies import pretrained
from memlab.policies.base import Policy
from memlab.policies.model import ModelPolicy
from memlab.policies.scripted import ScriptedPolicy

RUNS = ROOT / "data" / "runs"
RULES = ("random", "oracle")
RECORDED = {"warmstart": "warmstart", "trained": "trained-0", "sft-oracle": "sft-oracle-0"}


@dataclass(frozen=True)
class Contender:
    """A policy and the episode it plays (the paper's own, or a baseline's). model: where its weights are from, if any."""

    name: str
    policy: Policy
    episode: object
    model: str | None


def names(paper: Paper) -> list[str]:
    """Every name that `contender` knows for `paper`; a directory with a saved policy is one as well."""
    return ["untrained", *RECORDED, *RULES, *paper.baselines, *paper.ablations]


def contender(paper: Paper, name: str, seed: int = 0, model: str = "tiny") -> Contender:
    """Who is called `name`. Models are greedy. "untrained" and baselines run `model`, which was never trained on the paper;
    those that have to be learned run the weights that were recorded for them.

    Raises ValueError for an unknown name, FileNotFoundError for weights that are not there, ManifestError for altered ones.
    """
    if name not in names(paper) and not Path(name).is_dir():
        raise ValueError(f"{name!r} is neither a policy nor a directory; choose one of: {', '.join(names(paper))}, or a path")
    if name in RULES:
        rule = paper.oracle if name == "oracle" else paper.random_valid
        return Contender(name, ScriptedPolicy(rule, pretrained.load(model)[1], seed), paper.episode, None)
    untrained = name == "untrained" or name in set(paper.baselines) - set(paper.learned)
    source = model if untrained else weights_of(paper, name)
    weights, tokenizer = pretrained.load(source)
    policy = ModelPolicy(weights, tokenizer, temperature=0, seed=seed, name=name)
    episode = paper.baselines.get(name, paper.episode)
    for stage in paper.stages[1:]:  # a run of two agents: the second one is asked by the episode
        beside = Path(source).parent / stage.folder / "policy"
        if beside.is_dir():
            frozen = ModelPolicy(*pretrained.load(beside), temperature=0, seed=seed, name=stage.folder)
            episode = partial(episode, **{stage.folder: frozen})
    return Contender(name, policy, episode, str(source))


def weights_of(paper: Paper, name: str) -> str:
    """Where the weights of a recorded policy, or of a run's directory, are. Raises ValueError and FileNotFoundError."""
    known = RECORDED | paper.learned | {ablation: f"{ablation}-0" for ablation in paper.ablations}
    if name in known:
        recorded = RUNS / paper.name / known[name] / "policy"
        if not recorded.is_dir():
            make = f"python -m memlab.training.record {paper.name} --only {known[name]}"
            raise FileNotFoundError(f"there is no recorded {name} policy of {paper.name}; make it: {make}")
        return os.path.relpath(recorded)
    if not Path(name).is_dir():
        choices = ", ".join(["untrained", *RECORDED])
        raise ValueError(f"{name!r} has no weights; choose one of: {choices}, or a directory with a policy")
    directory = Path(name) / "policy" if (Path(name) / "policy").is_dir() else Path(name)
    if not any((directory / name).exists() for name in ("config.json", "adapter_config.json")):
        finish = f"memlab train {paper.name} --out {name} --resume"
        raise FileNotFoundError(f"{name} holds no policy; if its run was cut short, finish it: {finish}")
    return str(directory)


def recorded_band(paper: Paper) -> tuple[list[int], list[float], list[float]]:
    """(steps, lowest, highest) mean reward of the recorded training runs of `paper`, one per seed, at each step.

    Only of runs that were finished, and as long as the shortest of them.
    """
    from memlab.training.train import read_log  # with the trainer, which an evaluation does not need

    logs = [read_log(policy.parent / "log.jsonl") for policy in sorted((RUNS / paper.name).glob("trained-*/policy"))]
    rewards = list(zip(*([record["reward"] for record in log] for log in logs), strict=False))
    return list(range(1, len(rewards) + 1)), list(map(min, rewards)), list(map(max, rewards))
