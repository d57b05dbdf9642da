"""The gpu preset: plan a run (and say what it will take), then warm-start, train with LoRA, and save the adapter.

    plan = plan_run("memagent", "smollm2")     # nothing is loaded or downloaded: prints fit in one line
    policy = run(plan, "runs/memagent-gpu")    # the same `train` as on a CPU

Nothing here imports transformers before `memlab.accelerator.decide` has had its chance to import Unsloth.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from memlab import accelerator, papers, presets
from memlab.papers import Paper
from memlab.papers.instruct import instruct
from memlab.training.estimate import SHAPES, Estimate, estimate, shape_of, work_of
from memlab.training.grpo import GRPOSettings

# Every number below is the paper's own (and its training scripts'), except what the comment says.
# Their learning rate is 1e-6 for all weights; adapters take 10 to 50 times that.
COMMON = dict(learning_rate=2e-5, epsilon=0.2, temperature=1.0)
RECIPES = {
    "memagent": COMMON | dict(group=16, warmup_steps=20, beta=0.001, scale="none"),  # arXiv 2507.02259
    "mem1": COMMON | dict(group=16, warmup_steps=50, beta=0.001, scale="none"),  # 2506.15841: PPO there, so no group and no scale
    "memact": COMMON | dict(group=8, warmup_steps=0, beta=0.0, scale="group"),  # 2510.12635, its version 1; no KL is mentioned
}
SMALL_LEARNING_RATE = 1e-4  # below a billion parameters: adapters of a small model move too little at 2e-5 in 200 steps
LORA_RANK = 16
CPU_HOURS = 24  # a run estimated to take longer does not fall back to a CPU
WARM_START = dict(tasks=1500, batch_size=16, learning_rate=5e-4)


@dataclass(frozen=True)
class Plan:
    """One run, decided but not begun. lora_rank 0: all weights (the tiny model). start: warmstart, untrained, or an adapter."""

    paper: Paper
    task: str
    model: str
    settings: GRPOSettings
    accelerator: accelerator.Accelerator
    estimate: Estimate
    lora_rank: int
    four_bit: bool
    start: str


def plan_run(
    paper: str,
    model: str | None = None,
    task: str = "english",
    preset: str = "gpu",
    seed: int = 0,
    steps: int | None = None,
    start: str = "warmstart",
    four_bit: bool = False,
) -> Plan:
    """Decide backend, settings and micro-batches of a run. Loads no weights and downloads nothing.

    model: a name of `SHAPES`, or a directory (default: the preset's). task: "english" or "hotpotqa"; the tiny model has its own.
    Raises ValueError (a name that is not there), NoAccelerator (the model needs a GPU): one sentence and one command.
    """
    dial = presets.get(preset)
    model = model or dial.model
    shape_of(model)  # a name that is not there is an error before anything else
    chosen = papers.get(paper) if model == "tiny" else instruct(papers.get(paper), task)
    decided = accelerator.decide(dial)
    settings = settings_of(chosen, model, dial, seed, steps, start)
    rank = 0 if model == "tiny" else LORA_RANK
    guess = partial_estimate(chosen, model, decided, rank, four_bit)
    settings = _fit(settings, guess)
    if decided.device == "cpu" and guess(settings).hours > CPU_HOURS:
        raise accelerator.NoAccelerator(f"{decided.notice} ({model} would take {guess(settings).hours:.0f} hours)")
    return Plan(chosen, task if rank else "tiny", model, settings, decided, guess(settings), rank, four_bit, start)


def settings_of(paper: Paper, model: str, preset, seed: int, steps: int | None, start: str) -> GRPOSettings:
    """The paper's hyper-parameters at `preset`. The tiny model keeps its own, which train all weights."""
    if model == "tiny":
        from memlab.training import train  # imports transformers: the backend is decided by now

        return train.settings_of(preset, seed, steps, paper)
    steps = steps or preset.train_steps
    tasks, group = preset.tasks_per_step, preset.group_size
    recipe = RECIPES[paper.name]
    if shape_of(model).parameters < 1e9:
        recipe = recipe | {"learning_rate": SMALL_LEARNING_RATE}
    if start != "untrained":  # Unsloth's reference is the model without adapters: with a warm start in them, not where RL began
        recipe = recipe | {"beta": 0.0}
    return GRPOSettings(steps=steps, tasks=max(1, tasks * group // recipe["group"]), seed=seed, **recipe)


def partial_estimate(paper: Paper, model: str, decided, rank: int, four_bit: bool) -> Callable[[GRPOSettings], Estimate]:
    """`estimate` of this paper, model and machine, as a function of the settings."""
    work = work_of(paper)
    device = "cpu"
    if decided.device == "cuda":
        import torch

        device = torch.cuda.get_device_name()
    return lambda settings: estimate(model, settings, work, decided.backend if rank else _plain(decided), device, rank, four_bit)


def run(plan: Plan, out: str | Path, resume: bool = False, on_step: Callable[[dict], None] | None = None) -> Path:
    """Load, warm-start, train. Returns the path of the saved policy (adapters, or for the tiny model all weights).

    Raises what `train` raises, and NoAccelerator when the GPU has too little free memory.
    """
    smaller = f"memlab train {plan.paper.name} --preset gpu --model smollm2"
    if small := accelerator.too_small(plan.estimate.peak, plan.model, smaller):
        raise accelerator.NoAccelerator(small)
    from memlab.policies.backends import load_trainable
    from memlab.training.train import train

    work = work_of(plan.paper)
    source, adapter = start_of(plan)
    loaded = load_trainable(
        source,
        plan.accelerator,
        plan.lora_rank,
        plan.four_bit,
        window=64 * -(-2 * (work.prompt + work.completion) // 64),  # words were counted, not tokens: twice is ample
        adapter=adapter,
        seed=plan.settings.seed,
    )
    warm = Path(out) / "warmstart"
    if plan.start == "warmstart" and plan.lora_rank:
        warm_start(plan, loaded, warm)
    return train(
        plan.paper, loaded.model, loaded.tokenizer, plan.settings, out, resume, on_step=on_step, sampler=loaded.sampler
    )


def start_of(plan: Plan) -> tuple[str, str | None]:
    """(weights, adapter) that a plan begins with."""
    if not plan.lora_rank:
        from memlab import contenders

        return ("tiny" if plan.start == "untrained" else contenders.weights_of(papers.get(plan.paper.name), plan.start)), None
    if plan.start in ("warmstart", "untrained"):
        return plan.model, None
    return plan.model, str(Path(plan.start) / "policy" if (Path(plan.start) / "policy").is_dir() else Path(plan.start))


def warm_start(plan: Plan, loaded, directory: Path) -> None:
    """Teach the format, with choices made at random, always in natural English; or load what was taught before."""
    from memlab.policies.backends import load_adapter
    from memlab.training.train import save_policy
    from memlab.training.warmstart import finetune

    if directory.is_dir():
        return load_adapter(loaded.model, directory)
    paper = instruct(papers.get(plan.paper.name), "english")
    with tempfile.TemporaryDirectory() as work:
        told = WARM_START | {name: paper.warmstart[name] for name in ("sizes", "right") if name in paper.warmstart}
        finetune(paper, paper.random_valid, loaded.model, loaded.tokenizer, work, seed=plan.settings.seed, **told)
    directory.parent.mkdir(parents=True, exist_ok=True)
    save_policy(loaded.model, loaded.tokenizer, directory)


def _fit(settings: GRPOSettings, guess: Callable[[GRPOSettings], Estimate]) -> GRPOSettings:
    """The fewest micro-batches with which activations and logits take no more than what the rest leaves of the GPU."""
    import torch

    room = 0.8 * torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 8e9
    trajectories = settings.tasks * settings.group
    for micro in (m for m in range(1, trajectories + 1) if trajectories % m == 0):
        settings = replace(settings, micro_batches=micro)
        if guess(settings).peak <= room:
            break
    return settings


def _plain(decided) -> str:
    return "trl" if decided.device == "cuda" else "cpu"


MODELS = tuple(SHAPES)
