"""The widgets in a real browser: JupyterLab in headless Chromium, by mouse and by keyboard, light and dark."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert.exporters import HTMLExporter

from memlab.notebooks import build, canonicalise, find
from memlab.paths import ROOT
from tests.browser.stories import HOSTILE

# A folder for the pictures of the README; unset: none are taken.
SHOTS = os.environ.get("MEMLAB_SHOTS") and os.path.abspath(os.environ["MEMLAB_SHOTS"])
INVISIBLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def no_serious(violations):
    """axe-core's serious and critical findings fail; the others are for a person to weigh."""
    assert not (bad := [v for v in violations if v["impact"] in ("serious", "critical")]), json.dumps(bad, indent=2)


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_inspector_by_mouse_and_keyboard(lab, theme):
    lab.theme(theme)
    seen = lab.drive("walk", "inspector", shots=SHOTS)
    assert seen["theme"] == theme.lower()
    words = lambda text: " ".join(text.split())  # noqa: E731
    assert words(seen["start"]).startswith(
        "3 written + written hugo adopted old coco . + written sonia adopted misty ."
    )
    before, after = map(words, seen["mouse"])
    assert "− deleted felix adopted old ruby ." in before
    assert "~ rewritten max lives in old rome ." in before
    assert (
        after
        == "1 kept, 1 written = kept ★ gold mira adopted rex . + written ★ gold rex lives in oslo ."
    )
    assert "in memory after step 4 to 8" in words(seen["gold"])
    assert "gold fact lost" in seen["lostStatus"] and "★ gold lost mira adopted old rex ." in words(seen["lost"])
    assert seen["filtered"] == ["step 2 of 8", "step 5 of 8"] and seen["deletions"] == "deletions (7)"
    assert re.fullmatch(r"\w+\s*\.?\d+", seen["tokens"])
    no_serious(seen["axe"])


def test_a_large_trajectory_opens_and_steps_at_once(lab):
    lab.theme("Light")
    seen = lab.drive("measure", "large")
    no_serious(seen.pop("axe"))
    timing = {k: round(v, 1) for k, v in seen.items() if k not in ("elsewhere", "errors")}
    print("inspector, 256 steps and 500 facts:", timing)
    if os.environ.get("MEMLAB_TIMINGS"):  # a quiet machine: a busy one says how busy it is, not how fast the widget is
        assert seen["open_ms"] < 1000
        assert max(seen["step_ms_max"], seen["jump_ms_max"], seen["seen_step_ms_median"]) < 100
        path = ROOT / "data" / "timings.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        timing |= {"machine": f"{platform.machine()}, {os.cpu_count()} cores, headless Chromium"}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(known | {"inspector": timing}, indent=2) + "\n")
    assert seen["facts"] == 500 + 1  # and the gold row
    assert seen["step_bytes_max"] < 64_000 < seen["open_bytes"], "a step carries the step, not the trajectory"


def test_hostile_text_is_text(lab):
    seen = lab.drive("hostile", "hostile")
    assert seen["hacked"] is None
    assert not {"script", "img", "iframe", "object", "a", "style", "link"} & set(seen["tags"])
    for step, text in enumerate(seen["texts"]):
        assert not INVISIBLE.search(text)
        if HOSTILE[step].isascii() and HOSTILE[step].isprintable():
            assert HOSTILE[step][:200] in text
    assert "\\u202egnp.exe\\u202c" in seen["texts"][5] and "\\x1b[31mred" in seen["texts"][4]
    assert seen["length"] < 60_000
    no_serious(seen["axe"])


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_explorer_dial_and_board(lab, theme):
    (lab.root / "log.jsonl").unlink(missing_ok=True)
    lab.theme(theme)
    seen = lab.drive("widgets", "widgets")
    assert seen["advantages"][0] == ["▼ −0.500", "▲ +0.500", "▼ −0.500", "▲ +0.500"]
    assert seen["advantages"][1] == ["▲ +0.250", "▲ +0.250", "▼ −0.750", "▲ +0.250"]
    assert seen["advantages"][2][2] == "▼ −1.500"
    assert "$0.14 a conversation, $126,000 a month" in seen["month"][0]
    assert "$162,000 a month" in seen["month"][1] and len(seen["rows"]) == 3
    assert seen["board"].startswith("step 200 of 200")
    assert any("zero spread" in label for label in seen["curves"]) and len(seen["curves"]) == 4
    no_serious(seen["axe"])
    # another kernel, the same log: the board is where it was
    again = lab.drive("read", "again", run=True, selector=".memlab-board", expect="step 200 of 200", axe=True)
    assert "recorded runs" in again["text"]


def test_exported_pages_hold_the_tables(lab, tmp_path):
    """No kernel, no widget manager: as GitHub, nbviewer and an exported page show it."""
    for name, expected in (
        ("inspector", ["★ gold lost", "- deleted", "if nothing ever left it", "keeps the newest", "reward 0", ".#x"]),
        ("widgets", ["One group of rollouts, credited", "$126,000", "step 200 of 200", "square"]),
        ("hostile", [HOSTILE[1], "\\x1b[31m"]),
    ):
        (lab.root / "log.jsonl").unlink(missing_ok=True)
        notebook = nbformat.read(lab.root / f"{name}.ipynb", as_version=4)
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(lab.root)}}).execute()
        page, _ = HTMLExporter().from_notebook_node(canonicalise(notebook))
        (tmp_path / f"{name}.html").write_text(page)
        assert "widget-view+json" not in page
        shot = f"{SHOTS}/export-{name}.png" if SHOTS else None
        seen = lab.drive("page", name, file=f"file://{tmp_path / name}.html", shot=shot)
        for text in expected:
            assert text in seen["text"], text
        assert seen["hacked"] is None and seen["images"] == 0 and seen["outside"] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_memagent_notebook(lab):
    """The notebook as learners get it, run at the smoke preset in the browser."""
    source = find("03")
    if "Inspector(" not in source.read_text() or not (ROOT / "data" / "tiny").is_dir():
        pytest.skip("notebook 03 has no inspector, or the tiny model is not there")
    notebook = build("03").solution
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = re.sub(r'PRESET = "\w+"', 'PRESET = "smoke"', cell.source)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"import os\nos.chdir({str(ROOT)!r})"))
    nbformat.write(notebook, Path(lab.root) / "memagent.ipynb")
    lab.theme("Light")
    seen = lab.drive("memagent", "memagent", timeout=580)
    assert seen["before"] != seen["byKey"] and "step" in seen["byMouse"]
    no_serious(seen["axe"])
