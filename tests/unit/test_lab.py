import json
import os
import random
import subprocess

import numpy
import pytest
import torch

from memlab import lab as lab_module
from memlab.lab import start


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """`start` sets the process up; put threads and environment back after each test."""
    for name in lab_module.OFFLINE:
        monkeypatch.setenv(name, os.environ.get(name, ""))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def lab(tmp_path):
    return start("03", "smoke", 0, tmp_path / "03")


def test_start_prints_what_the_session_is_and_goes_offline(lab, capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("MEMLAB_DATA", raising=False)
    start("03", "cpu", 5, tmp_path)
    printed = capsys.readouterr().out
    assert "notebook 03, preset cpu, seed 5" in printed
    assert f"torch {torch.__version__}" in printed
    assert "skipped    real data: synthetic tasks only; set MEMLAB_DATA" in printed
    assert os.environ["HF_HUB_OFFLINE"] == "1" and os.environ["TOKENIZERS_PARALLELISM"] == "false"
    assert len(printed.splitlines()) <= 8


def test_start_makes_the_three_generators_repeatable(tmp_path):
    def draw(seed):
        start("03", "smoke", seed, tmp_path)
        return random.random(), numpy.random.rand(), torch.rand(1).item()

    assert draw(3) == draw(3)
    assert all(a != b for a, b in zip(draw(3), draw(4), strict=True))


@pytest.mark.parametrize("asked, cores, threads", [("1", 8, 1), ("4", 8, 4), (None, 8, 1), (None, 1, 1), ("", 8, 1)])
def test_threads(asked, cores, threads, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert start("03", "smoke", 0, tmp_path).threads == threads == torch.get_num_threads()


def test_gpu_preset_without_a_gpu_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="preset 'gpu' needs an NVIDIA GPU.*memlab doctor"):
        start("03", "gpu", 0, tmp_path)


def test_unknown_preset(tmp_path):
    with pytest.raises(ValueError, match="smoke, cpu, gpu, node"):
        start("03", "laptop", 0, tmp_path)


def test_skipped_says_when_the_data_folder_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMLAB_DATA", str(tmp_path / "no"))
    assert "not a folder" in start("03", "smoke", 0, tmp_path).skipped["real data"]
    monkeypatch.setenv("MEMLAB_DATA", str(tmp_path))
    assert "real data" not in start("03", "smoke", 0, tmp_path).skipped


def test_checkpoint_ticks_what_holds(lab, capsys):
    capsys.readouterr()
    advantages = torch.tensor([0.5, -0.5, 1.0, -1.0], requires_grad=True)
    lab.checkpoint("advantages", advantages, shape=(4,), sums_to=0.0, between=(-1, 1), true=lambda a: (a != 0).all())
    lab.checkpoint("rows", [1, 2], equals=[1, 2])
    lab.checkpoint("loss", 0.1 + 0.2, close=0.3)
    assert capsys.readouterr().out.splitlines() == [
        "✓ advantages: shape (4,), sums to 0.0, between (-1, 1), condition",
        "✓ rows: equals [1, 2]",
        "✓ loss: close to 0.3",
    ]


@pytest.mark.parametrize(
    "value, expect, message",
    [
        ([[1.0, -1.0]], {"shape": (2,)}, r"x: shape: is \(1, 2\), expected \(2,\)"),
        ([1.0, -0.5], {"sums_to": 0.0}, "sums to: is 0.5, expected 0.0, off by 0.5"),
        ([1.0, float("nan")], {"sums_to": 0.0}, "sums to: is nan"),
        ([1, 2], {"equals": [2, 1]}, r"equals: is \[1, 2\], expected \[2, 1\]"),
        (torch.tensor([1, 2]), {"equals": [2, 1]}, "equals"),
        ([1.0, 2.0], {"close": [1.0]}, r"close to: shape is \(2,\), expected \(1,\)"),
        (1.0, {"close": 1.1}, "off by 0.1"),
        ([0.5, 1.5], {"between": (0, 1)}, "between: is .* expected 0 to 1"),
        (float("nan"), {"between": (0, 1)}, "between"),
        (3, {"true": lambda v: v > 3}, "condition: does not hold for 3"),
        (3, {"true": False}, "condition"),
    ],
)
def test_checkpoint_names_what_does_not_hold_and_the_likely_mistake(lab, value, expect, message):
    with pytest.raises(AssertionError, match=message) as error:
        lab.checkpoint("x", value, **expect, hint="divide by the group, not the batch")
    assert str(error.value).endswith("Likely mistake: divide by the group, not the batch")


def test_a_checkpoint_that_checks_nothing_is_refused(lab):
    with pytest.raises(ValueError, match="'x' expects nothing"):
        lab.checkpoint("x", 1)


def test_colophon_is_printed_written_and_returned(lab, capsys):
    record = lab.colophon()
    assert json.loads((lab.directory / "colophon.json").read_text()) == record
    assert record["notebook"] == "03" and record["preset"] == "smoke" and record["seed"] == 0
    assert record["versions"]["torch"] == torch.__version__
    assert 0 <= record["seconds"] < 600
    assert 50 < record["peak_memory_mb"] < 100_000
    assert "peak_memory_mb" in capsys.readouterr().out


def test_git_revision(tmp_path):
    assert lab_module.git_revision(tmp_path) is None

    def git(*args):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *args], check=True)

    git("init", "-q")
    (tmp_path / "f").write_text("1")
    git("add", "f")
    git("commit", "-qm", "first")
    clean = lab_module.git_revision(tmp_path)
    assert len(clean) >= 7 and "+" not in clean
    (tmp_path / "f").write_text("2")
    assert lab_module.git_revision(tmp_path) == clean + "+"
