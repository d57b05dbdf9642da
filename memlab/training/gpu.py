"""The gpu preset: plan a run (and say what it will take), then warm-start, train with LoRA, and save the adapter.

    plan = plan_run("memagent", "smollm2")     # nothing is loaded or downloaded: prints fit in one line
    policy = run(plan, "runs/memagent-gpu")    # the same `train` as on a CPU

Nothing here imports transformers before `memlab.accelerator.decide` has had its chance to import Unsloth.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from memlab import accelerator, papers, presets
from memlab.papers import Paper
from memlab.papers.instruct import instruct
from memlab.policies.backends import Trainable, load_adapter, load_trainable
from memlab.policies.base import Policy
from memlab.training.estimate import REFERENCE, REFERENCE_BYTES, SHAPES, Estimate, Work, estimate, shape_of, work_of
from memlab.training.grpo import GRPOSettings

if TYPE_CHECKING:  # it imports transformers, and Unsloth must come first
    from memlab.contenders import Contender

# Every number below is the paper's own (and its training scripts'), except what the comment says.
# Their learning rate is 1e-6 for all weights; adapters take 10 to 50 times that.
COMMON = dict(learning_rate=2e-5, epsilon=0.2, temperature=1.0)
RECIPES = {
    "memagent": COMMON | dict(group=16, warmup_steps=20, beta=0.001, scale="none"),  # arXiv 2507.02259
    "mem1": COMMON | dict(group=16, warmup_steps=50, beta=0.001, scale="none"),  # 2506.15841: PPO there, so no group and no scale
    "memact": COMMON | dict(group=8, warmup_steps=0, beta=0.0, scale="group"),  # 2510.12635, its version 1; no KL is mentioned
    # 2508.19828: division by the deviation, a warm-up and a KL, without their sizes: those are ours
    "memory_r1": COMMON | dict(group=8, warmup_steps=10, beta=0.001, scale="group"),
    "agemem": COMMON | dict(group=8, warmup_steps=0, beta=0.1, scale="group"),  # 2601.01885; its learning rate is not stated
}
SMALL_LEARNING_RATE = 1e-4  # below a billion parameters: adapters of a small model move too little at 2e-5 in 200 steps
LORA_RANK = 16
MADE = ("warmstart", "untrained")
CPU_HOURS = 24  # a run estimated to take longer does not fall back to a CPU
WARM_START = dict(tasks=1500, batch_size=16, learning_rate=5e-4)
LONG_TASKS = {"memory_r1": 200, "agemem": 500}  # one has many turns, each a row: about as many rows as the others' 1,500


@dataclass(frozen=True)
class Plan:
    """One run, decided but not begun.

    window: tokens of the longest row. lora_rank 0: all weights (the tiny model). start: warmstart, untrained, or an adapter.
    """

    paper: Paper
    task: str
    model: str
    settings: GRPOSettings
    accelerator: accelerator.Accelerator
    estimate: Estimate
    window: int
    lora_rank: int
    four_bit: bool
    start: str

    def __str__(self) -> str:
        """What it will take, after why this machine does not do better."""
        return "\n".join(filter(None, [self.accelerator.notice, str(self.estimate)]))


def plan_run(
    paper: str,
    model: str | None = None,
    task: str = "english",
    preset: str = "gpu",
    seed: int = 0,
    steps: int | None = None,
    start: str = "warmstart",
    four_bit: bool = False,
    dry: bool = False,
) -> Plan:
    """Decide backend, settings and micro-batches of a run. Loads no weights and downloads nothing.

    model: a name of `SHAPES`, or a directory (default: the preset's). task: of `memlab.papers.instruct.TASKS`; the tiny model has
    its own. dry: it will not be run; without a GPU here it is for a `REFERENCE`.
    Raises ValueError (a name that is not there), NoAccelerator (the model needs a GPU): one sentence and one command.
    """
    dial = presets.get(preset)
    model = model or dial.model
    shape_of(model)  # a name that is not there is an error before anything else
    chosen = papers.get(paper) if model == "tiny" else instruct(papers.get(paper), task)
    decided = accelerator.decide(dial)
    if dry and decided.device == "cpu" and model != "tiny":
        decided = replace(decided, backend="unsloth", device="cuda", precision="bf16")
        decided = replace(decided, notice=f"{decided.notice}\nwhat it would take on one {REFERENCE} with Unsloth:")
    settings = settings_of(chosen, model, dial, seed, steps, start)
    rank = 0 if model == "tiny" else LORA_RANK
    work = work_of(chosen)
    guess = partial_estimate(chosen, work, model, decided, rank, four_bit)
    settings = _fit(settings, guess, _room(decided))
    if decided.device == "cpu" and guess(settings).hours > CPU_HOURS:
        raise accelerator.NoAccelerator(f"{decided.notice} ({model} would take {guess(settings).hours:.0f} hours)")
    window = 64 * -(-2 * (work.prompt + work.completion) // 64)  # words were counted, not tokens: twice is ample
    return Plan(chosen, task if rank else "tiny", model, settings, decided, guess(settings), window, rank, four_bit, start)


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


def partial_estimate(paper: Paper, work: Work, model: str, decided, rank: int, four_bit: bool):
    """`estimate` of this paper, model and machine, as a function of the settings."""
    import torch

    device = "cpu"
    if decided.device == "cuda":
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else REFERENCE
    backend = decided.backend if rank else _plain(decided)
    return lambda settings: estimate(model, settings, work, backend, device, rank, four_bit, agents=len(paper.stages))


def run(plan: Plan, out: str | Path, resume: bool = False, on_step: Callable[[dict], None] | None = None) -> Path:
    """Load, warm-start, train. Returns the path of the saved policy (adapters, or for the tiny model all weights).

    Raises what `train` raises, and NoAccelerator when the GPU has too little free memory.
    """
    smaller = f"memlab train {plan.paper.name} --preset gpu --model smollm2"
    if small := accelerator.too_small(plan.estimate.peak, plan.model, smaller):
        raise accelerator.NoAccelerator(small)
    from memlab.training.train import save_policy, train_stages

    tools = {"load": partial(load, plan), "freeze": partial(freeze, plan)}
    if not plan.lora_rank:
        return train_stages(plan.paper, start_of(plan, out), plan.settings, out, resume, on_step=on_step, **tools)
    learner, start = load(plan), start_of(plan, out)
    if plan.start in MADE and not start.is_dir():  # else the part of this run that was cut short made it
        if plan.start == "warmstart":
            warm_start(plan, learner)
        start.parent.mkdir(parents=True, exist_ok=True)
        save_policy(learner.model, learner.tokenizer, start)

    def again(adapter: Path) -> Trainable:  # one model for all stages: only its adapters begin anew
        load_adapter(learner.model, adapter)
        return learner

    return train_stages(plan.paper, start, plan.settings, out, resume, on_step=on_step, **tools | {"load": again})


def load(plan: Plan, weights: str | Path | None = None, engine: bool = True) -> Trainable:
    """The model of `plan` to be trained, with the adapters at `weights`; the tiny one has all its weights there.

    engine: with vLLM, if the plan's machine has it.
    """
    source, adapter = (plan.model, weights) if plan.lora_rank else (str(weights), None)
    machine = replace(plan.accelerator, fast_inference=plan.accelerator.fast_inference and engine)
    return load_trainable(source, machine, plan.lora_rank, plan.four_bit, plan.window, adapter, plan.settings.seed)


def freeze(plan: Plan, weights: str | Path) -> Policy:
    """The same as an agent that is only asked, greedy: a model of its own beside the one that learns."""
    beside = load(plan, weights, engine=False)
    beside.model.to(plan.accelerator.device)
    return beside.frozen()


def before_and_after(plan: Plan, out: str | Path) -> list[Contender]:
    """Who `run` made of `plan` in `out`: as it was before its reinforcement learning, and as it is after, in this process.

    Where a paper trains two agents, both are the start at first.
    """
    from memlab.contenders import Contender

    start, out = start_of(plan, out), Path(out)
    after = {stage.folder: freeze(plan, out / stage.folder / "policy") for stage in plan.paper.stages}
    policy = after.pop("")
    return [
        Contender("before", freeze(plan, start), plan.paper.episode, str(start)),
        Contender("after", policy, partial(plan.paper.episode, **after), str(out / "policy")),
    ]


def start_of(plan: Plan, out: str | Path) -> str | Path:
    """Where the weights or the adapter are that a plan begins with. Adapters of `MADE` are made by `run`, in `out`."""
    if plan.lora_rank:
        if plan.start in MADE:
            return Path(out) / plan.start
        return Path(plan.start) / "policy" if (Path(plan.start) / "policy").is_dir() else Path(plan.start)
    from memlab import contenders

    return "tiny" if plan.start == "untrained" else contenders.weights_of(papers.get(plan.paper.name), plan.start)


def warm_start(plan: Plan, loaded) -> None:
    """Teach the format, with choices made at random, always in natural English."""
    from memlab.training.warmstart import finetune

    paper = instruct(papers.get(plan.paper.name), "english")
    with tempfile.TemporaryDirectory() as work:
        told = WARM_START | {name: paper.warmstart[name] for name in ("sizes", "right") if name in paper.warmstart}
        told["tasks"] = LONG_TASKS.get(paper.name, told["tasks"])
        finetune(paper, paper.random_valid, loaded.model, loaded.tokenizer, work, seed=plan.settings.seed, **told)


def _room(decided: accelerator.Accelerator) -> float:
    """Bytes that a run may take: most of the GPU's free memory, of a `REFERENCE`'s if there is none, or a laptop's."""
    import torch

    if decided.device == "cpu":
        return 8e9
    return 0.8 * (torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else REFERENCE_BYTES)


def _fit(settings: GRPOSettings, guess: Callable[[GRPOSettings], Estimate], room: float) -> GRPOSettings:
    """The fewest micro-batches with which a run takes at most `room` bytes."""
    trajectories = settings.tasks * settings.group
    for micro in (m for m in range(1, trajectories + 1) if trajectories % m == 0):
        settings = replace(settings, micro_batches=micro)
        if guess(settings).peak <= room:
            break
    return settings


def _plain(decided) -> str:
    return "trl" if decided.device == "cuda" else "cpu"


MODELS = tuple(SHAPES)
