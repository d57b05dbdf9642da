"""Unsloth itself on a CPU: its loader, decoder and rewritten GRPO trainer, and its kernels in Triton's interpreter.

    PYTHONPATH=SITE:. python -m tests.contract.unsloth_on_cpu DIRECTORY fp32     # prints RESULT and a JSON object

SITE holds unsloth, its needs and triton (see test_unsloth.py). torch sees no GPU: what Unsloth asks of one is answered as if it
were there, and tensors that are sent to it stay. Nothing of this is for speed: a step takes a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.overrides import TorchFunctionMode

WINDOW = 128
CPU = torch.device("cpu", 0)  # with an index: Unsloth keeps a table of devices


def stay(device):
    """The CPU in place of a GPU, by name, number or object."""
    gpu = isinstance(device, int) and not isinstance(device, bool) or "cuda" in str(device)
    return CPU if gpu else device


class Stay(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        kwargs.pop("pin_memory", None)
        if "device" in kwargs:
            kwargs["device"] = stay(kwargs["device"])
        if func is torch.Tensor.to:
            args = (args[0], *(stay(a) if isinstance(a, (int, str, torch.device)) else a for a in args[1:]))
        if getattr(func, "__name__", "") in ("device", "__new__") and args and isinstance(args[-1], int):
            return CPU
        return func(*args, **kwargs)


class Nothing:
    """A stream, an event, a device: whatever is asked of it does nothing."""

    idx = 0

    def __init__(self, *args, **kwargs):
        pass

    def __getattr__(self, name):
        return lambda *args, **kwargs: None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


def pretend(cache: Path) -> None:
    """Import Unsloth as if there were a GPU."""
    os.environ |= {
        "UNSLOTH_ALLOW_CPU": "1",
        "UNSLOTH_COMPILE_DISABLE": "1",
        "UNSLOTH_COMPILE_LOCATION": str(cache),
        "UNSLOTH_DISABLE_STATISTICS": "1",
        "TRITON_INTERPRET": "1",
        "HF_HUB_OFFLINE": "1",
    }
    Stay().__enter__()
    properties = SimpleNamespace(name="none", total_memory=2**36, major=9, minor=0, multi_processor_count=1)
    answers = {
        "current_device": 0,
        "device_count": 1,
        "get_device_properties": properties,
        "mem_get_info": (2**36, 2**36),
        "synchronize": None,
        "current_stream": Nothing(),
        "default_stream": Nothing(),
        "stream": Nothing(),
    }
    for name, value in answers.items():
        setattr(torch.cuda, name, lambda *args, value=value: value)
    torch.cuda.Event = torch.cuda.Stream = torch.cuda.device = Nothing
    torch._C._cuda_getCurrentRawStream = lambda index: 0
    import unsloth  # noqa: F401
    from transformers import PreTrainedModel
    from unsloth.models.rl import patch_trl_rl_trainers

    patch_trl_rl_trainers()  # which importing leaves out without a GPU
    load = PreTrainedModel.from_pretrained.__func__
    PreTrainedModel.from_pretrained = classmethod(lambda cls, *args, **kwargs: load(cls, *args, **kwargs | {"device_map": None}))


def gradient(model, tokenizer, out: Path) -> tuple[float, dict]:
    """(loss, gradient of every adapter) of one GRPO step on fixed rows, by whatever trainer trl has now."""
    from datasets import Dataset
    from transformers import TrainerCallback

    from memlab.episode import Outcome, Row, Trajectory
    from memlab.training.grpo import GRPOSettings, grpo_config, make_segment_trainer

    rng, trajectories, kept = random.Random(0), [], {}
    for member in range(8):
        ids = lambda n: [rng.randrange(3, 20) for _ in range(n)]  # noqa: E731
        rows = [Row(ids(6), ids(4), [1, 1, 1, 1] if row else [1, 0, 0, 1], []) for row in range(1 + member % 3)]
        trajectories.append(Trajectory(None, [], rows, Outcome(float(member % 2), "")))

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            kept.update((name, p.grad.float().clone()) for name, p in model.named_parameters() if p.grad is not None)

    settings = GRPOSettings(steps=1, tasks=2, group=4, learning_rate=1e-6, max_grad_norm=1e9)
    trainer = make_segment_trainer()(
        model=model,
        args=grpo_config(settings, str(out), save_strategy="no"),
        train_dataset=Dataset.from_dict({"prompt": [""] * 2, "index": range(2)}),
        processing_class=tokenizer,
        rollout=lambda inputs, trainer: trajectories,
        callbacks=[Keep()],
    )
    trainer.train()
    return trainer.state.log_history[0]["loss"], kept


def prompts(tokenizer) -> list:
    """Three that fit in `WINDOW` and one that does not."""
    from memlab.episode import Ask
    from memlab.policies.base import Prompt

    texts = ("a b c :", "b :", "c c d e f g h :", "a " * WINDOW)
    return [Prompt(Ask(text, 6), text, tokenizer.encode(text)) for text in texts]


def plain(out: Path) -> list[list[float]]:
    """(reward, loss, gradient norm) of two steps of a tiny model's training, all weights and a KL, by whatever trl has now.

    Before anything is loaded by Unsloth, which changes the classes of what it loads.
    """
    from memlab.training.grpo import GRPOSettings
    from memlab.training.train import train
    from tests import toys

    log: list[dict] = []
    settings = GRPOSettings(steps=2, tasks=1, group=4, learning_rate=1e-3, beta=0.05, seed=37)  # never samples the pad token
    train(toys.TOY, toys.model(), toys.tokenizer(), settings, out, on_step=log.append)
    return [[record["reward"], record["loss"], record["grad_norm"]] for record in log]


def two_agents(directory: Path) -> dict:
    """Memory-R1 from the warm start to both agents' adapters, on one Unsloth model and a frozen one beside it."""
    from memlab import accelerator
    from memlab.papers import memory_r1
    from memlab.policies.backends import GreedyPolicy
    from memlab.rollout import play
    from memlab.training import gpu
    from memlab.training.grpo import GRPOSettings

    memory_r1.CHAT = replace(memory_r1.CHAT, call_tokens=2, answer_tokens=2)
    few = memory_r1.training_dialogues(2, 1)
    memory_r1.training_dialogues = lambda count, sessions: few
    gpu.LONG_TASKS["memory_r1"] = 1
    accelerator._decided = accelerator.Accelerator("cpu", "cpu", "fp32")  # of the plan; the run is Unsloth's
    plan = gpu.plan_run("memory_r1", str(directory / "toy"), steps=1)
    machine = accelerator.Accelerator("unsloth", "cuda", "fp32")
    plan = replace(plan, accelerator=machine, settings=GRPOSettings(steps=1, tasks=1, group=2, learning_rate=1e-2), lora_rank=4)
    steps: list[dict] = []
    gpu.run(plan, directory / "run", on_step=steps.append)
    both = gpu.before_and_after(plan, directory / "run")
    frozen, task = both[1].episode.keywords["reader"], few[0]
    assert all(isinstance(agent, GreedyPolicy) for agent in (both[0].policy, both[1].policy, frozen))
    [played] = play([both[1].episode(task)], both[1].policy, [task])
    found = sorted(str(p.parent.relative_to(directory)) for p in (directory / "run").glob("**/adapter_config.json"))
    asked = [turn.ask.by is frozen for turn in played.turns]
    return {"steps": len(steps), "asked": asked, "turns": [len(task.messages), len(task.questions)], "saved": found}


def killed_and_resumed(load: Callable, out: Path) -> dict:
    """A run of two steps that is killed at its end and goes on from its first: the log of step 2, twice, and what was saved."""
    from memlab.training.grpo import GRPOSettings
    from memlab.training.train import train
    from tests import toys

    log: list[list[float]] = []

    def kill(record: dict) -> None:
        log.extend([[record["reward"], record["loss"], record["grad_norm"]]] * (record["step"] == 2))
        if len(log) == 1:
            raise KeyboardInterrupt

    settings = GRPOSettings(steps=2, tasks=1, group=4, learning_rate=1e-2, warmup_steps=0, save_steps=1)
    for resume in (False, True):
        loaded = load()
        with contextlib.suppress(KeyboardInterrupt):
            policy = train(toys.TOY, loaded.model, loaded.tokenizer, settings, out, resume, on_step=kill, sampler=loaded.sampler)
    with torch.no_grad():
        logits = loaded.model(torch.tensor([[3, 4, 5, 6]])).logits.float().tolist()
    return {"second_step": log, "policy": str(policy), "logits": logits}


def main(directory: Path, precision: str) -> dict:
    pretend(directory / "cache")
    if precision == "agents":
        return two_agents(directory)
    import trl

    from memlab.accelerator import Accelerator
    from memlab.policies.backends import load_trainable

    found = {"trainer": trl.GRPOTrainer.__name__, "plain": plain(directory / "plain-run")}
    machine, toy = Accelerator("unsloth", "cuda", precision), str(directory / "toy")
    wide = load_trainable(toy, machine, 4, window=4096).model
    rope = wide.config.rope_parameters["rope_type"]
    found |= {"longest": wide.max_seq_length, "rope": rope}
    load = lambda: load_trainable(toy, machine, 4, window=WINDOW, adapter=directory / "adapter")  # noqa: E731
    loaded = load()
    found["fused"] = sum(getattr(m, "apply_qkv", main).__name__ == "apply_lora_qkv" for m in loaded.model.modules())
    done = loaded.frozen().complete(prompts(loaded.tokenizer))
    found |= {"greedy": [d.ids for d in done], "overflow": [d.overflow for d in done]}
    found["loss"], gradients = gradient(loaded.model, loaded.tokenizer, directory / "gradient")
    torch.save(gradients, directory / f"gradients-{precision}.pt")
    return found | (killed_and_resumed(load, directory / "run") if precision == "fp32" else {})


if __name__ == "__main__":
    print("RESULT " + json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
