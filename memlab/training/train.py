"""One GRPO run: paper + settings -> a directory with the policy, its log and its settings. Killed at any moment, it resumes.

    out/
      run.json           settings, versions, seconds, how it ended
      log.jsonl          one record a step: reward, spread, zero-spread share, clipped share, KL, entropy, rows, tokens, seconds
      checkpoints/       the last two, each with a manifest of sha256 sums written last: one without it is unfinished and skipped
      policy/            the trained weights (safetensors), tokenizer and manifest, written when the run ends
"""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset
from transformers import TrainerCallback

from memlab.manifest import verify_manifest, write_manifest
from memlab.papers import Paper
from memlab.policies.model import ModelPolicy
from memlab.presets import Preset
from memlab.rollout import play
from memlab.training.grpo import GRPOSettings, grpo_config, make_segment_trainer

PATIENCE = 25  # steps in a row without any reward spread, after which a run has nothing to learn from


def settings_of(preset: Preset, seed: int, steps: int | None = None) -> GRPOSettings:
    """The settings of one run at `preset`. steps: instead of the preset's."""
    return GRPOSettings(
        steps=steps or preset.train_steps, tasks=preset.tasks_per_step, group=preset.group_size, seed=seed
    )


class NoSignal(RuntimeError):
    """Every group got one and the same reward for `PATIENCE` steps: the gradient is zero and will stay zero."""


def train(
    paper: Paper,
    model,
    tokenizer,
    settings: GRPOSettings,
    out: str | Path,
    resume: bool = False,
    world=None,
    episode=None,
    on_step: Callable[[dict], None] | None = None,
) -> Path:
    """Train `model` in place on `paper`. Returns the path of the saved policy.

    resume: go on from the newest complete checkpoint in `out`; the result is that of an unbroken run (CPU, same versions).
    on_step: called with each log record. Raises NoSignal, FileExistsError (a run is there already), ValueError (bad checkpoint).
    """
    out = Path(out)
    checkpoint = _newest_checkpoint(out, settings) if resume else None
    if not resume and (out / "log.jsonl").exists():
        raise FileExistsError(f"{out} already holds a run; resume it with --resume, or choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    rollout = Rollout(paper, tokenizer, settings, world, episode)
    log = RunLog(out / "log.jsonl", on_step)
    done = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    earlier = log.keep_until(done)
    _write_json(out / "run.json", {"paper": paper.name, "settings": dataclasses.asdict(settings), "ended": None})

    config = grpo_config(settings, str(out / "checkpoints"))
    # one entry a task; TRL repeats each `group` times, in order, so step s plays tasks s * tasks ... (s + 1) * tasks - 1
    dataset = Dataset.from_dict({"prompt": [""] * (settings.steps * settings.tasks), "index": range(settings.steps * settings.tasks)})
    trainer = make_segment_trainer()(
        model=model,
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
        rollout=rollout,
        callbacks=[_Record(rollout, log)],
    )
    trainer.remove_callback("PrinterCallback")
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        ended = rollout.ended or f"interrupted after step {trainer.state.global_step}"
        if trainer.state.global_step >= settings.steps:
            ended = f"all {settings.steps} steps"
        versions = {name: version(name) for name in ("torch", "transformers", "trl")}
        _write_json(
            out / "run.json",
            {
                "paper": paper.name,
                "settings": dataclasses.asdict(settings),
                "ended": ended,
                "seconds": round(earlier + time.perf_counter() - started, 1),
                "versions": versions,
                "device": str(trainer.accelerator.device),
            },
        )
    if rollout.no_signal:
        raise NoSignal(rollout.no_signal)
    if trainer.accelerator.is_main_process:
        save_policy(trainer.accelerator.unwrap_model(trainer.model), tokenizer, out / "policy")
    return out / "policy"


def save_policy(model, tokenizer, directory: Path) -> None:
    """Weights (safetensors), tokenizer and manifest into `directory`, whole or not at all."""
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    write_manifest(partial)
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)


class Rollout:
    """Plays the episodes of one step. A task depends on (seed, index) and a sample on (seed, step): nothing depends on the past."""

    def __init__(self, paper: Paper, tokenizer, settings: GRPOSettings, world=None, episode=None):
        self.paper, self.tokenizer, self.settings = paper, tokenizer, settings
        self.world, self.episode = world or paper.world, episode or paper.episode
        self.stats: dict[str, float] = {}
        self.flat_steps, self.ended, self.no_signal = 0, "", ""

    def task(self, index: int):
        rng = random.Random(f"training/{self.settings.seed}/{index}")
        return self.world.make(rng, rng.choice(self.paper.train_sizes))

    def __call__(self, inputs: list[dict], trainer):
        started = time.perf_counter()
        model = trainer.accelerator.unwrap_model(trainer.model)
        policy = ModelPolicy(model, self.tokenizer, self.settings.temperature)
        step, rank = trainer.state.global_step, trainer.accelerator.process_index
        policy.reseed(random.Random(f"sampling/{self.settings.seed}/{step}/{rank}").getrandbits(63))
        tasks = [self.task(entry["index"]) for entry in inputs]
        trajectories = play([self.episode(t) for t in tasks], policy, tasks)
        turns = [turn for t in trajectories for turn in t.turns]
        self.stats = {
            "rows_per_trajectory": sum(len(t.rows) for t in trajectories) / len(trajectories),
            "tokens": sum(t.total_tokens for t in trajectories),
            "generated_tokens": sum(t.generated_tokens for t in trajectories),
            "clipped_share": sum(turn.truncated for turn in turns) / len(turns),
            "overflow_share": sum(turn.overflow for turn in turns) / len(turns),
            "rollout_seconds": round(time.perf_counter() - started, 3),
        }
        return trajectories

    def watch(self, record: dict) -> bool:
        """Count steps without reward spread. True when the run should stop."""
        flat = record["zero_spread_share"] == 1.0
        self.flat_steps = self.flat_steps + 1 if flat else 0
        if self.flat_steps < PATIENCE:
            return False
        reward = record["reward"]
        if reward >= 0.99:
            self.ended = f"solved: all rewards equal ({reward:.2f}) for {PATIENCE} steps, nothing left to learn"
        else:
            self.no_signal = self.ended = (
                f"no learning signal: for {PATIENCE} steps all rollouts of every group got the same reward (mean {reward:.2f}), "
                "so every advantage is 0; warm-start the format first, make the training tasks smaller, or raise the group size"
            )
        return True


class _Record(TrainerCallback):
    """One log record a step, and the manifest that makes a checkpoint complete."""

    FIELDS = {
        "reward": "reward",
        "reward_std": "reward_std",
        "frac_reward_zero_std": "zero_spread_share",
        "clip_ratio/region_mean": "ratio_clipped_share",
        "kl": "kl",
        "entropy": "entropy",
        "grad_norm": "grad_norm",
        "loss": "loss",
        "learning_rate": "learning_rate",
    }

    def __init__(self, rollout: Rollout, log: RunLog):
        self.rollout, self.log, self.last = rollout, log, time.perf_counter()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or "reward" not in (logs or {}):
            return
        now = time.perf_counter()
        record = {"step": state.global_step} | {name: logs.get(key) for key, name in self.FIELDS.items()}
        record |= self.rollout.stats | {"seconds": round(now - self.last, 3)}
        self.last = now
        self.log.write(record)
        control.should_training_stop |= self.rollout.watch(record)

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            write_manifest(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class RunLog:
    """Append-only JSONL, flushed at every record, so that a killed run keeps what it had."""

    def __init__(self, path: Path, on_step: Callable[[dict], None] | None = None):
        self.path, self.on_step = path, on_step

    def write(self, record: dict) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self.on_step:
            self.on_step(record)

    def keep_until(self, step: int) -> float:
        """Drop records after `step` (a resumed run writes them again). Returns the seconds that the kept ones took."""
        kept = [r for r in read_log(self.path) if r["step"] <= step] if self.path.exists() else []
        self.path.write_text("".join(json.dumps(r) + "\n" for r in kept))
        return sum(r["seconds"] for r in kept)


def read_log(path: str | Path) -> list[dict]:
    """The records of a run log. A last line cut off by a kill is ignored; any other bad line raises ValueError with its number."""
    records, lines = [], Path(path).read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise ValueError(f"{path}, line {number}: not a JSON record; restore the file or delete the line") from None
    return records


def _newest_checkpoint(out: Path, settings: GRPOSettings) -> Path | None:
    """The newest complete checkpoint of a run with the same settings, verified. None if there is none yet."""
    run = out / "run.json"
    if not run.exists():
        raise FileNotFoundError(f"{out} holds no run to resume; start it without --resume")
    was = json.loads(run.read_text())["settings"]
    now = json.loads(json.dumps(dataclasses.asdict(settings)))
    if was != now:
        differ = ", ".join(k for k in now if was.get(k) != now[k])
        raise ValueError(f"{out} was started with other settings ({differ}); resume it with the same ones")
    found = sorted((out / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    complete = [p for p in found if (p / "manifest.json").exists()]
    for unfinished in set(found) - set(complete):
        shutil.rmtree(unfinished)  # killed while it was written; its predecessor is whole
    if not complete:
        return None
    verify_manifest(complete[-1])
    return complete[-1]


def _write_json(path: Path, record: dict) -> None:
    path.write_text(json.dumps(record, indent=2) + "\n")
