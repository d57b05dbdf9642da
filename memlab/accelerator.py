"""Which machine this is, decided once and early: Unsloth must be imported before transformers and trl, or not at all.

    from memlab import accelerator
    accelerator.decide("gpu")      # first, before anything that imports transformers

The chain is Unsloth -> TRL + PEFT on the GPU -> CPU. Every step down is one sentence with the command that leads back up.
This module imports neither transformers nor trl, and imports unsloth only where torch sees a CUDA device.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
from dataclasses import dataclass
from typing import Literal

from memlab import presets

Backend = Literal["unsloth", "trl", "cpu"]
MINIMUM_CAPABILITY = (7, 0)  # V100 and later: what Unsloth and the CUDA 13 builds of torch can use at all
OFF = "MEMLAB_NO_UNSLOTH"  # set to 1: plain TRL + PEFT, to compare or when Unsloth breaks
INSTALL = 'pip install -e ".[gpu]"'

_decided: Accelerator | None = None


class NoAccelerator(RuntimeError):
    """A preset that needs a GPU, on a machine without a usable one. The message is one sentence and one command."""


@dataclass(frozen=True)
class Accelerator:
    """What was decided.

    backend: "unsloth", "trl" (TRL + PEFT on the GPU) or "cpu".
    device: "cuda" or "cpu". precision: "bf16", "fp16" (GPUs before Ampere) or "fp32".
    notice: why it is not a step higher, with the command that changes it; "" at the top.
    fast_inference: whether vLLM is there for Unsloth's `fast_inference`.
    """

    backend: Backend
    device: str
    precision: str
    notice: str = ""
    fast_inference: bool = False


def decide(preset: str | presets.Preset = "gpu", need_gpu: bool = False) -> Accelerator:
    """Choose the backend for `preset`, import Unsloth if it is the choice, and remember it: later calls get the same answer.

    need_gpu: raise NoAccelerator instead of falling back to the CPU.
    """
    global _decided
    preset = presets.get(preset) if isinstance(preset, str) else preset
    if not preset.needs_gpu:
        return Accelerator("cpu", "cpu", "fp32")
    if _decided is None:
        _decided = _decide()
    if need_gpu and _decided.device == "cpu":
        raise NoAccelerator(_decided.notice)
    return _decided


def precision() -> str:
    """The training precision of this machine: "bf16" from CUDA capability 8.0 on, "fp16" before, "fp32" on a CPU."""
    import torch

    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"


def no_gpu_reason() -> str | None:
    """Why torch has no usable GPU, as one sentence with one command; None if it has one."""
    import torch

    from memlab.doctor import _nvidia_gpu

    if not torch.cuda.is_available():
        card = _nvidia_gpu()
        if not card:
            return "there is no NVIDIA GPU here; train the tiny model on this machine with: --preset cpu"
        if torch.version.cuda is None:
            want = torch.__version__.split("+")[0]
            return f"{card} is there, but torch is a CPU build; run: pip install --force-reinstall torch=={want}"
        return (
            f"{card} is there, but hidden by CUDA_VISIBLE_DEVICES or its driver is too old for CUDA {torch.version.cuda}; "
            "update the NVIDIA driver, then run: memlab doctor"
        )
    capability = torch.cuda.get_device_capability()
    if capability < MINIMUM_CAPABILITY:
        return (
            f"{torch.cuda.get_device_name()} has CUDA capability {capability[0]}.{capability[1]}, and 7.0 is the least; "
            "train the tiny model on the CPU with: --preset cpu"
        )
    return None


def too_small(needed_bytes: float, what: str, smaller: str) -> str | None:
    """One sentence if the GPU has less free memory than `needed_bytes`, with the command `smaller`; None if it fits."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    if needed_bytes <= free:
        return None
    return (
        f"{what} takes about {needed_bytes / 1e9:.1f} GB and {free / 1e9:.1f} of {total / 1e9:.1f} GB are free on "
        f"{torch.cuda.get_device_name()}; run: {smaller}"
    )


def _decide() -> Accelerator:
    if reason := no_gpu_reason():
        return Accelerator("cpu", "cpu", "fp32", reason)
    kind = precision()
    if os.environ.get(OFF) == "1":
        return Accelerator("trl", "cuda", kind, f"{OFF}=1: TRL + PEFT instead of Unsloth; for Unsloth run: unset {OFF}")
    if importlib.util.find_spec("unsloth") is None:
        return Accelerator("trl", "cuda", kind, f"Unsloth is not installed: TRL + PEFT trains the same rows; run: {INSTALL}")
    if "unsloth" not in sys.modules and (early := [m for m in ("transformers", "trl", "peft") if m in sys.modules]):
        return Accelerator(
            "trl",
            "cuda",
            kind,
            f"{early[0]} was imported before Unsloth, which then cannot replace it: TRL + PEFT instead; restart the kernel and "
            "make this the first cell: from memlab import accelerator; accelerator.decide('gpu')",
        )
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # it counts its users through a hub download
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            import unsloth  # noqa: F401  it replaces trl.GRPOTrainer and the attention, norm and MLP of each model family
    except Exception as error:  # a broken combination of versions raises anything
        why = " ".join(str(error).split())[:160] or type(error).__name__
        return Accelerator("trl", "cuda", kind, f"Unsloth does not import here ({why}): TRL + PEFT instead; run: {INSTALL}")
    return Accelerator("unsloth", "cuda", kind, fast_inference=importlib.util.find_spec("vllm") is not None)
