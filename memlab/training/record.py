"""Make the recorded runs of a paper: `python -m memlab.training.record memagent` fills data/runs/memagent.

    warmstart/policy     the tiny model after the format warm start: where every GRPO run begins
    trained-S/           GRPO, one training seed S each: run.json, log.jsonl, policy
    sft-oracle-S/policy  supervised imitation of the oracle, on as many questions as one GRPO run is asked, one seed S each
    BASELINE-0/          a baseline whose turns have to be learned: its own warm start, then GRPO in its own episode
    ABLATION-0/          GRPO from the paper's warm start, with one thing otherwise
    results.json         every contender on the same tasks, one record as `memlab eval --json` prints it
    results-WORLD.json   the same in another world of the paper (--only results --world WORLD)

What is there already is kept, so that the parts can be made one by one (--only) and a killed run goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from memlab import contenders, evaluation, papers, presets
from memlab.papers import Paper, Stage
from memlab.policies import pretrained
from memlab.training.train import save_policy, settings_of, train_stages
from memlab.training.warmstart import finetune

SEEDS = (0, 1, 2, 3, 4)
N, EVALUATION_SEED = 200, 2026


def warmstart(paper: Paper) -> None:
    """The format, with choices made at random."""
    model, tokenizer = _warm(paper, paper.episode, **paper.warmstart)
    save_policy(model, tokenizer, _home(paper, "warmstart") / "policy")


def _warm(paper: Paper, episode, base: str = "", **settings):
    """base: the recorded policy to go on from; else the tiny model."""
    model, tokenizer = pretrained.load(_home(paper, base) / "policy" if base else "tiny")
    with tempfile.TemporaryDirectory() as work:
        finetune(paper, paper.random_valid, model, tokenizer, work, episode=episode, **settings)
    return model, tokenizer


def trained(paper: Paper, seed: int) -> None:
    """One GRPO run at the cpu preset, all its stages."""
    _train(paper, f"trained-{seed}", _home(paper, "warmstart") / "policy", paper.stages, seed)


def baseline(paper: Paper, name: str) -> None:
    """The same for a baseline: another context, so another format, and the same chance to learn what to do in it."""
    episode = paper.baselines[name]
    with tempfile.TemporaryDirectory() as start:
        save_policy(*_warm(paper, episode, **(paper.warmstart | paper.baseline_warmstart)), Path(start) / "policy")
        _train(paper, f"{name}-0", Path(start) / "policy", paper.variants.get(name, _one_stage(episode=episode)))


def ablation(paper: Paper, name: str) -> None:
    """The paper's start, and one thing otherwise."""
    stages = paper.variants.get(name, _one_stage(**paper.ablations[name]))
    _train(paper, f"{name}-0", _home(paper, "warmstart") / "policy", stages)


def _one_stage(**told) -> tuple[Stage, ...]:
    return (Stage(prepare=lambda freeze, start, out: told),)


def _train(paper: Paper, name: str, start: Path, stages: tuple[Stage, ...], seed: int = 0) -> None:
    out, settings = _home(paper, name), settings_of(presets.get("cpu"), seed, paper=paper)
    train_stages(replace(paper, stages=stages), start, settings, out, resume=(out / "run.json").exists())
    for checkpoints in out.rglob("checkpoints"):
        shutil.rmtree(checkpoints)


def sft_oracle(paper: Paper, seed: int) -> None:
    """Imitation of the oracle, from the same start, on as many questions as one GRPO run is asked."""
    settings = settings_of(presets.get("cpu"), seed, paper=paper)
    model, tokenizer = pretrained.load(_home(paper, "warmstart") / "policy")
    with tempfile.TemporaryDirectory() as work:
        tasks = settings.steps * settings.tasks
        finetune(paper, paper.oracle, model, tokenizer, work, tasks, epochs=3, learning_rate=1e-3, seed=seed)
    save_policy(model, tokenizer, _home(paper, f"sft-oracle-{seed}") / "policy")


def results(paper: Paper, sizes: Sequence[int] | None = None, n: int = N, world: str = "") -> None:
    """Evaluate everyone on the same tasks into results.json. sizes: default the paper's. world: one of `paper.worlds`."""
    path = _home(paper, "") / (f"results-{world}.json" if world else "results.json")
    asked = paper.worlds[world] if world else paper.world
    records = json.loads(path.read_text()) if path.exists() else []
    done = {(r["policy"], r["size"]) for r in records}
    everyone = ["random", "oracle", "untrained", "warmstart", *paper.baselines, *paper.ablations]
    runs = [str(_home(paper, f"{kind}-{seed}")) for kind in ("trained", "sft-oracle") for seed in SEEDS]
    for name in [*everyone, *(run for run in runs if Path(run, "policy").is_dir())]:
        label = name.rsplit("/", 1)[-1]
        missing = [size for size in sizes or paper.record_sizes if (label, size) not in done]
        who = contenders.contender(paper, name) if missing else None
        for size in missing:
            [result] = evaluation.evaluate(paper, who.policy, [size], n, EVALUATION_SEED, who.episode, asked)
            records.append({"policy": label, "n": n, "seed": EVALUATION_SEED} | result)
            path.write_text(json.dumps(records, indent=1) + "\n")
            print(label, size, result["accuracy"], flush=True)


def _home(paper: Paper, part: str):
    return contenders.RUNS / paper.name / part


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the recorded runs of a paper in data/runs.")
    parser.add_argument("paper", choices=papers.NAMES)
    parser.add_argument("--only", help="one part: warmstart, trained-S, sft-oracle-S, BASELINE-0 or results (default: all)")
    parser.add_argument("--sizes", help="sizes of the results, comma-separated")
    parser.add_argument("--world", default="", help="results: another world of the paper")
    args = parser.parse_args()
    paper = papers.get(args.paper)
    torch.set_num_threads(1)
    parts = {"warmstart": warmstart}
    for kind, make in (("trained", trained), ("sft-oracle", sft_oracle)):
        parts |= {f"{kind}-{seed}": partial(make, seed=seed) for seed in SEEDS}
    parts |= {f"{name}-0": partial(baseline, name=name) for name, policy in paper.learned.items() if policy == f"{name}-0"}
    parts |= {f"{name}-0": partial(ablation, name=name) for name in paper.ablations}
    for name, make in parts.items():
        if args.only in (None, name) and not (_home(paper, name) / "policy").is_dir():
            make(paper)
            print(f"{name}: done", flush=True)
    if args.only in (None, "results"):
        results(paper, [int(size) for size in args.sizes.split(",")] if args.sizes else None, world=args.world)


if __name__ == "__main__":
    main()
