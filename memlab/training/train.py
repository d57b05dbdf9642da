"""One GRPO run: paper + settings -> a directory with the policy, its log and its settings. Killed at any moment, it resumes.

    out/
      run.json           settings, versions, seconds, how it ended (null: it runs, or was killed)
      log.jsonl          one record a step: reward, spread, zero-spread share, clipped share, KL, entropy, rows, tokens, seconds
      checkpoints/       the last two, each with a manifest of sha256 sums written last: one without it is unfinished and skipped
      policy/            the trained weights (safetensors), tokenizer and manifest, written when the run ends
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from memlab.manifest import MANIFEST, ManifestError, verify_manifest, write_manifest
from memlab.papers import Paper
from memlab.policies import pretrained
from memlab.policies.backends import Trainable, load_adapter
from memlab.policies.base import Policy
from memlab.policies.model import ModelPolicy
from memlab.presets import Preset
from memlab.rollout import play
from memlab.training.grpo import GRPOSettings, grpo_config, make_segment_trainer

PATIENCE = 25  # steps in a row without any reward spread, after which a run has nothing to learn from


def settings_of(preset: Preset, seed: int, steps: int | None = None, paper: Paper | None = None) -> GRPOSettings:
    """The settings of one run at `preset`. steps: instead of the preset's. paper: what it asks for otherwise."""
    return GRPOSettings(
        steps=steps or min(preset.train_steps, paper.train_steps if paper else preset.train_steps),
        tasks=max(1, round(preset.tasks_per_step * paper.tasks_scale)) if paper else preset.tasks_per_step,
        group=preset.group_size,
        schedule="linear",  # to 0: the last steps settle what greedy play will do
        beta=0.002,  # a little: without it entropy falls faster than the choices get right
        micro_batches=4,  # a quarter of the memory, and faster: the activations stay in the processor's cache
        seed=seed,
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
    sampler: Callable | None = None,
    rows: Callable | None = None,
) -> Path:
    """Train `model` in place on `paper`. Returns the path of the saved policy.

    resume: go on from the newest complete checkpoint in `out`; the result is that of an unbroken run (CPU, same versions).
    on_step: called with each log record. sampler: (trainer, tokenizer, temperature) -> Policy (default: ModelPolicy).
    rows: (trajectory, tokenizer) -> its training rows, for ablations of the cut rule (default: `trajectory.rows`).
    Raises NoSignal, FileExistsError (a run is there already), FileNotFoundError (none is there to resume), ValueError (it was
    started otherwise), ManifestError (altered files, by name), OSError (the disk is full; what was there is kept).
    """
    out = Path(out)
    run = {"paper": paper.name, "start": _fingerprint(model), "settings": dataclasses.asdict(settings)}
    checkpoint = _newest_checkpoint(out, run) if resume else None
    if not resume and (out / "run.json").exists():
        raise FileExistsError(f"{out} already holds a run; resume it with --resume, or choose another --out")
    if resume and (out / "policy").is_dir():  # it was finished
        if hasattr(model, "peft_config"):
            load_adapter(model, out / "policy")
        else:
            model.load_state_dict(pretrained.load(out / "policy")[0].state_dict())
        return out / "policy"
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    _write_json(out / "run.json", run | {"ended": None})
    if "unsloth" in sys.modules:  # its trainer tells a model to switch modes; one that it did not load need not
        for name in ("for_training", "for_inference"):
            if not hasattr(model, name):
                setattr(model, name, lambda *args, **kwargs: None)
    rollout = Rollout(paper, tokenizer, settings, world, episode, sampler, rows)
    log = RunLog(out / "log.jsonl", on_step)
    done = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    kept = log.keep_until(done)
    for record in kept:
        rollout.watch(record)

    steps = done if rollout.ended else settings.steps  # ended already: only the checkpoint's weights are loaded
    config = grpo_config(settings, str(out / "checkpoints"), max_steps=steps)
    # one entry a task; TRL repeats each `group` times, in order, so step s plays tasks s * tasks ... (s + 1) * tasks - 1
    dataset = Dataset.from_dict({"prompt": [""] * (steps * settings.tasks), "index": range(steps * settings.tasks)})
    trainer = make_segment_trainer()(
        model=model,
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
        rollout=rollout,
        callbacks=[_Record(rollout, log)],
    )
    trainer.remove_callback(PrinterCallback)
    ended = "interrupted"
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if trainer.accelerator.is_main_process and not rollout.no_signal:
            save_policy(trainer.accelerator.unwrap_model(trainer.model), tokenizer, out / "policy")
        ended = rollout.ended or f"all {settings.steps} steps"
    except Exception as error:
        ended = f"failed: {error}"
        if _disk_full(error):
            raise OSError(f"the disk is full: {out} could not be written; free some space, then go on with --resume") from error
        raise
    finally:
        seconds = sum(r["seconds"] for r in kept) + time.perf_counter() - started
        run |= {
            "ended": ended,
            "step": trainer.state.global_step,
            "seconds": round(seconds, 1),
            "versions": {name: version(name) for name in ("torch", "transformers", "trl")},
            "device": str(trainer.accelerator.device),
        }
        with contextlib.suppress(OSError):  # on a full disk, let the first error be the one that is seen
            _write_json(out / "run.json", run)
    if rollout.no_signal:
        raise NoSignal(rollout.no_signal)
    return out / "policy"


def from_weights(path) -> Trainable:
    """All weights of the policy at `path`, to be trained or frozen."""
    return Trainable(*pretrained.load(path), "cpu", None)


def train_stages(
    paper: Paper,
    start,
    settings: GRPOSettings,
    out: str | Path,
    resume: bool = False,
    load: Callable[[Any], Trainable] = from_weights,
    freeze: Callable[[Any], Policy] = lambda path: from_weights(path).frozen(),
    **kwargs,
) -> Path:
    """All that `paper` trains: each of its stages in its folder of `out`, from the weights at `start`.

    Returns what `train` does for the first. load, freeze: weights to be trained, and those of an agent that is only asked, from
    where they are. kwargs: of `train`, for every stage. With `resume`, a stage that has ended is kept, and one that has not begun
    begins.
    """
    for stage in paper.stages:
        folder = Path(out) / stage.folder
        begun = resume and (not stage.folder or (folder / "run.json").exists())
        model, tokenizer, _, sampler = load(start)
        how = stage.prepare(freeze, start, Path(out)) | {"sampler": sampler} | kwargs
        train(paper, model, tokenizer, settings, folder, resume=begun, **how)
    return Path(out) / "policy"


def save_policy(model, tokenizer, directory: Path) -> None:
    """Weights (safetensors), tokenizer and manifest into `directory`, whole or not at all."""
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        for path in partial.iterdir():
            path.chmod(0o644)  # safetensors makes it private, but a class may share a policy
        write_manifest(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)


def model_policy(trainer, tokenizer, temperature: float) -> ModelPolicy:
    """memlab's own sampler over the weights in training."""
    return ModelPolicy(trainer.accelerator.unwrap_model(trainer.model), tokenizer, temperature)


class Rollout:
    """Plays the episodes of one step. A task depends on (seed, index), a sample on (seed, step): nothing depends on the past."""

    def __init__(self, paper: Paper, tokenizer, settings: GRPOSettings, world=None, episode=None, sampler=None, rows=None):
        self.paper, self.tokenizer, self.settings, self.sampler = paper, tokenizer, settings, sampler or model_policy
        self.rows = rows
        self.world, self.episode = world or paper.world, episode or paper.episode
        self.stats: dict[str, float] = {}
        self.flat_steps, self.ended, self.no_signal = 0, "", ""

    def task(self, index: int):
        """Task number `index` of the run, of a size drawn from the paper's training sizes."""
        rng = random.Random(f"training/{self.settings.seed}/{index}")
        return self.world.make(rng, rng.choice(self.paper.train_sizes))

    def __call__(self, inputs: list[dict], trainer):
        started = time.perf_counter()
        policy = self.sampler(trainer, self.tokenizer, self.settings.temperature)
        step, rank = trainer.state.global_step, trainer.accelerator.process_index
        policy.reseed(random.Random(f"sampling/{self.settings.seed}/{step}/{rank}").getrandbits(63))
        tasks = [self.task(entry["index"]) for entry in inputs]
        trajectories = play([self.episode(t) for t in tasks], policy, tasks)
        if self.rows:
            trajectories = [replace(t, rows=self.rows(t, self.tokenizer)) for t in trajectories]
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

    def keep_until(self, step: int) -> list[dict]:
        """Drop records after `step`, which a resumed run writes again, and a line cut off by a kill. Returns those kept."""
        kept = [r for r in read_log(self.path) if r["step"] <= step] if self.path.exists() else []
        _replace(self.path, "".join(json.dumps(r) + "\n" for r in kept))
        return kept


def read_log(path: str | Path) -> list[dict]:
    """The records of a run log. A last line cut off by a kill is ignored; another bad line raises ValueError with its number."""
    records, lines = [], Path(path).read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise ValueError(f"{path}, line {number}: not a JSON record; restore the file or delete the line") from None
    return records


def _newest_checkpoint(out: Path, run: dict) -> Path | None:
    """The newest complete checkpoint in `out`, verified, or None. `run`: what it must have been started with."""
    path = out / "run.json"
    if not path.exists():
        raise FileNotFoundError(f"{out} holds no run to resume; start it without --resume")
    try:
        was = json.loads(path.read_text())
        was, now = was | was["settings"], json.loads(json.dumps(run | run["settings"]))
    except (ValueError, TypeError, KeyError):
        raise ManifestError(f"{path} is truncated or altered; restore it, or start again with another --out") from None
    if differ := ", ".join(key for key in now if key != "settings" and was.get(key) != now[key]):
        raise ValueError(f"{out} was started with other settings ({differ}); resume it with the same ones")
    found = sorted((out / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    complete = [p for p in found if (p / MANIFEST).exists()]
    for unfinished in set(found) - set(complete):
        shutil.rmtree(unfinished)  # killed while it was written; its predecessor is whole
    if not complete:
        return None
    try:
        verify_manifest(complete[-1])
    except ManifestError as error:
        raise ManifestError(f"{error}; delete it and the run goes on from the one before: rm -r '{complete[-1]}'") from None
    return complete[-1]


def _fingerprint(model) -> str:
    """Tells one set of starting weights from another, by the beginning of every tensor. Beside frozen weights, only those
    count: adapters start at random.
    """
    frozen, digest = [p for p in model.parameters() if not p.requires_grad], hashlib.sha256()
    for p in frozen or model.parameters():
        digest.update(p.detach().flatten()[:1024].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _disk_full(error: Exception) -> bool:
    """A full disk, in the words of Python, of safetensors and tokenizers, and of torch.save."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return full or any(words in str(error) for words in ("No space left on device", "iostream error", "unexpected pos"))


def _write_json(path: Path, record: dict) -> None:
    _replace(path, json.dumps(record, indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)
