"""Which backend is chosen, and the one sentence that says why it is not a better one."""

import subprocess
import sys
from types import ModuleType

import pytest
import torch

from memlab import accelerator, doctor, presets


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    monkeypatch.setattr(accelerator, "_decided", None)
    monkeypatch.delenv(accelerator.OFF, raising=False)


def pretend(monkeypatch, card="NVIDIA A100, 550.1", usable=True, capability=(8, 0), free=(70e9, 80e9), installed=()):
    monkeypatch.setattr(doctor, "_nvidia_gpu", lambda: card)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *a: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *a: "NVIDIA A100")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *a: free)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(accelerator.importlib.util, "find_spec", lambda name: name in installed or None)


def test_cpu_presets_ask_nothing():
    assert accelerator.decide("cpu") == accelerator.Accelerator("cpu", "cpu", "fp32")


def test_no_gpu_is_one_sentence_with_a_command(monkeypatch):
    pretend(monkeypatch, card="", usable=False)
    decided = accelerator.decide("gpu")
    assert (decided.backend, decided.device) == ("cpu", "cpu") and "--preset cpu" in decided.notice
    with pytest.raises(accelerator.NoAccelerator, match="no NVIDIA GPU"):
        accelerator.decide("gpu", need_gpu=True)


def test_a_cpu_build_of_torch_and_an_old_driver_are_told_apart(monkeypatch):
    pretend(monkeypatch, usable=False)
    assert "driver is too old for CUDA 13.0" in accelerator.no_gpu_reason()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "pip install --force-reinstall torch==" in accelerator.no_gpu_reason()


def test_a_gpu_that_is_too_old_falls_back_to_the_cpu(monkeypatch):
    pretend(monkeypatch, capability=(6, 1))
    assert "capability 6.1" in accelerator.decide("gpu").notice and accelerator.decide("gpu").backend == "cpu"


def test_precision_follows_the_capability(monkeypatch):
    pretend(monkeypatch, capability=(7, 5))
    assert accelerator.precision() == "fp16"
    pretend(monkeypatch, capability=(9, 0))
    assert accelerator.precision() == "bf16"


def test_without_unsloth_it_is_trl(monkeypatch):
    pretend(monkeypatch)
    decided = accelerator.decide("gpu")
    assert decided.backend == "trl" and decided.device == "cuda" and 'pip install -e ".[gpu]"' in decided.notice


def test_transformers_first_means_no_unsloth_and_says_so(monkeypatch):
    import transformers  # noqa: F401

    pretend(monkeypatch, installed=("unsloth",))
    decided = accelerator.decide("gpu")
    assert decided.backend == "trl" and "imported before Unsloth" in decided.notice


def test_unsloth_is_taken_when_it_imports_and_not_when_it_breaks(monkeypatch):
    pretend(monkeypatch, installed=("unsloth", "vllm"))
    for name in ("transformers", "trl", "peft"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "unsloth", ModuleType("unsloth"))
    decided = accelerator.decide("gpu")
    assert decided.backend == "unsloth" and decided.notice == "" and decided.fast_inference

    monkeypatch.setattr(accelerator, "_decided", None)
    monkeypatch.setitem(sys.modules, "unsloth", None)  # `import unsloth` raises ImportError
    decided = accelerator.decide("gpu")
    assert decided.backend == "trl" and "does not import here" in decided.notice


def test_too_little_memory_names_a_smaller_run(monkeypatch):
    pretend(monkeypatch, free=(4e9, 16e9))
    sentence = accelerator.too_small(9e9, "hub:Qwen/Qwen3-4B", "memlab train memagent --preset gpu --model smollm2")
    assert "9.0 GB" in sentence and "4.0 of 16.0 GB" in sentence and sentence.endswith("--model smollm2")
    assert accelerator.too_small(3e9, "x", "y") is None


def test_the_decision_comes_before_transformers():
    """Planning a GPU run of any paper imports nothing that Unsloth would have to come before."""
    code = (
        "import sys; from memlab.training import gpu; import memlab.lab, memlab.accelerator;"
        "[gpu.plan_run(name, 'smollm2', dry=True) for name in gpu.papers.NAMES];"
        "print([m for m in ('transformers', 'trl', 'peft', 'unsloth') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_presets_that_need_a_gpu():
    assert [name for name, p in presets.PRESETS.items() if p.needs_gpu] == ["gpu", "node"]
