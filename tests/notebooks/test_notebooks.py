"""Every notebook runs from top to bottom at smoke, without a network, and the files in git are built from its source."""

import subprocess
import sys

import nbformat
import pytest

from memlab import notebooks
from memlab.paths import ROOT

NAMES = [path.stem for path in notebooks.sources()]

# Run inside the kernel before the first cell: any connection that leaves this machine is an error.
BLOCK = """
import socket
def _refuse(self, address, _connect=socket.socket.connect):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"a notebook reached for the network: {address}")
    return _connect(self, address)
socket.socket.connect = _refuse
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_runs_at_smoke_without_a_network(name, tmp_path):
    built = notebooks.build(name).solution
    first = next(c for c in built.cells if c.cell_type == "code" and "parameters" not in c.metadata.get("tags", []))
    first.source = BLOCK + first.source
    path = notebooks.save(built, tmp_path / f"{name}.ipynb")
    done = notebooks.execute(path, "smoke", tmp_path / "out.ipynb", quiet=True)
    assert done.seconds < 180  # 60 s on an idle machine; the tests may share theirs
    ran = nbformat.read(done.path, as_version=4)
    assert all(c.execution_count for c in ran.cells if c.cell_type == "code")


@pytest.mark.parametrize("name", NAMES)
def test_files_are_built_from_the_source_and_executed(name):
    assert notebooks.stale(name) == [], "run: make notebooks"
    shipped = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    assert all(c.execution_count for c in shipped.cells if c.cell_type == "code")
    errors = [o for c in shipped.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"]
    assert errors == []


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_defined_and_every_import_used(name, tmp_path):
    code = "\n\n".join(c.source for c in notebooks.build(name).solution.cells if c.cell_type == "code")
    path = tmp_path / "cells.py"
    path.write_text(code, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--output-format", "concise", "--select", "F"]
    ignored = ["--ignore", "F811"]  # what was imported is written again where it is taught
    found = subprocess.run([*ruff, *ignored, path], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("name", NAMES)
def test_is_short_enough_to_read(name):
    cells = notebooks.build(name).solution.cells
    code = [c.source for c in cells if c.cell_type == "code"]
    text = [c.source for c in cells if c.cell_type == "markdown"]
    assert len(cells) <= 70
    assert sum(len(t.split()) for t in text) <= 3000
    assert max(len(c.splitlines()) for c in code) <= 60 and sum(len(c.splitlines()) for c in code) <= 700
    levels = [len(line) - len(line.lstrip("#")) for t in text for line in t.splitlines() if line.startswith("#")]
    assert levels.count(1) == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))


@pytest.mark.parametrize("name", NAMES)
def test_students_meet_stubs_instead_of_solutions(name):
    built = notebooks.build(name)
    solutions = [c.source for c in built.solution.cells]
    student = [c.source for c in built.student.cells]
    stubs = [s for s in student if notebooks.STUB in s]
    if any("checks." in s for s in solutions):
        assert stubs and not any(s in solutions for s in stubs)
