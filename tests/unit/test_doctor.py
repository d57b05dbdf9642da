import json
import subprocess
import sys

import pytest

from memlab import doctor
from memlab.manifest import sha256

PYPROJECT = """
[project]
dependencies = ["numpy=={numpy}", "no-such-package-for-memlab==1.0"]
[project.optional-dependencies]
gpu = ["unsloth==2026.10.7"]
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small repository: numpy pinned to what is installed, and a tiny model of one file."""
    monkeypatch.setattr(doctor, "_nvidia_gpu", lambda: "")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.format(numpy=doctor.version("numpy")))
    tiny = tmp_path / "data" / "tiny"
    tiny.mkdir(parents=True)
    (tiny / "model.safetensors").write_bytes(b"weights")
    digest = sha256(tiny / "model.safetensors")
    (tiny / "provenance.json").write_text(json.dumps({"files": {"model.safetensors": digest}}))
    return tmp_path


def by_name(root):
    return {check.name: check for check in doctor.checks(root)}


def test_lines_are_made_for_a_bug_report():
    assert str(doctor.Check("disk", True, "9 GB free", "free some")) == "[OK] disk: 9 GB free"
    assert str(doctor.Check("a", False, "bad", "run b")) == "[FAIL] a: bad -> run b"
    assert str(doctor.Check("a", False, "bad", "run b", required=False)) == "[WARN] a: bad -> run b"


def test_every_finding_that_is_not_ok_has_a_fix(root):
    assert all(check.fix for check in doctor.checks(root) if not check.ok)


def test_versions_are_compared_with_the_pins(root):
    found = by_name(root)
    assert found["numpy"].status == "OK"
    assert found["no-such-package-for-memlab"].status == "FAIL"
    assert "not installed, pinned to 1.0" in found["no-such-package-for-memlab"].detail
    (root / "pyproject.toml").write_text(PYPROJECT.format(numpy="0.0.1"))
    assert by_name(root)["numpy"].status == "FAIL"
    assert by_name(root)["numpy"].detail.endswith("pinned to 0.0.1")


def test_a_local_build_of_the_pinned_version_is_right(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda name: "2.13.0+cpu")
    assert doctor._packages({"torch": "2.13.0"}, "make setup", True)[0].ok
    assert not doctor._packages({"torch": "2.13.1"}, "make setup", True)[0].ok


def test_pins_without_a_repository_come_from_the_installed_metadata(tmp_path, monkeypatch):
    lines = ["torch==2.13.0", 'gguf==0.19.0; extra == "real"', 'ruff==0.17.6; extra == "dev"']
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    assert doctor.pins(tmp_path) == {"torch": "2.13.0"}
    assert doctor.pins(tmp_path, "real") == {"gguf": "0.19.0"}


def test_gpu_packages_are_asked_for_only_beside_a_gpu(root, monkeypatch):
    assert "unsloth" not in by_name(root)
    monkeypatch.setattr(doctor, "_nvidia_gpu", lambda: "NVIDIA Test, 580.1")
    assert by_name(root)["unsloth"].status == "WARN"


def test_a_cpu_build_of_torch_beside_a_gpu_is_named(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    check = doctor._torch("NVIDIA Test, 580.1")
    assert (
        not check.ok and "CPU build" in check.detail and check.fix.startswith("pip install --force-reinstall torch==")
    )
    assert doctor._torch("").ok


def test_tiny_model_whole_altered_and_missing(root):
    tiny = root / "data" / "tiny"
    assert by_name(root)["tiny model"].status == "OK"
    (tiny / "model.safetensors").write_bytes(b"other")
    altered = by_name(root)["tiny model"]
    assert altered.status == "FAIL" and "model.safetensors is truncated or altered" in altered.detail
    (tiny / "provenance.json").unlink()
    assert by_name(root)["tiny model"].status == "FAIL"


def test_real_data(tmp_path, monkeypatch):
    monkeypatch.delenv("MEMLAB_DATA", raising=False)
    assert doctor._real_data().status == "WARN"
    monkeypatch.setenv("MEMLAB_DATA", str(tmp_path / "no"))
    assert doctor._real_data().status == "FAIL"
    monkeypatch.setenv("MEMLAB_DATA", str(tmp_path))
    assert doctor._real_data().status == "WARN"
    (tmp_path / "locomo").mkdir()
    assert doctor._real_data().status == "OK" and "locomo" in doctor._real_data().detail


@pytest.mark.parametrize("asked, ok", [("1", True), ("0", False), ("many", False), ("100000", False), (None, True)])
def test_threads(asked, ok, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert doctor._threads().ok is ok


def test_report_counts_and_says_whether_anything_failed(root, capsys):
    assert doctor.report(root) is False
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("[OK]", "[WARN]", "[FAIL]")) for line in lines[:-1])
    assert lines[-1].endswith(f"{sum(line.startswith('[FAIL]') for line in lines)} FAIL")


def test_importing_doctor_lab_and_notebooks_loads_nothing_heavy():
    heavy = "torch transformers trl datasets nbclient jupytext matplotlib pandas"
    code = f"import sys, memlab.doctor, memlab.lab, memlab.notebooks; print([m for m in {heavy.split()} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
