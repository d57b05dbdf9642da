"""A JupyterLab on a free local port, and a real browser that a Node script drives.

Skipped where Chromium, Node or the node modules are missing, unless MEMLAB_BROWSER=required: then that is a failure.
To have them on Debian: `apt-get install chromium nodejs npm`, then `npm ci --prefix tests/browser`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

HERE = Path(__file__).parent
SETTINGS = {
    "notification": {"fetchNews": "false", "checkForUpdates": False},
    "themes": {"theme": "JupyterLab Light"},
}
FIRST = "from stories import *\nfrom memlab.views.inspector import Inspector"
NOTEBOOKS = {
    "inspector": [
        FIRST,
        "task, before, after, words = before_and_after()",
        "Inspector([before, after], advantages=[-0.5, 0.5], names=['keeps the newest', 'the oracle'], tokenizer=words)",
    ],
    "one": [FIRST, "Inspector(before_and_after()[2], names=['the oracle'])"],
    "large": [FIRST, "big = large()", "shown = Inspector(big)\nshown"],
    "widgets": [
        FIRST,
        "from memlab.views.rewards import RewardExplorer\nexplorer = RewardExplorer(group())\nexplorer",
        "from memlab.views.cost import CostDial\ndial = CostDial({'MemAgent, trained': 40})\ndial",
        "from memlab.views.board import LiveBoard\nboard = LiveBoard('log.jsonl', band(), steps=200)\nboard.show()",
        "import json, time\nfile = open('log.jsonl', 'a')",
        "for r in log(200):\n    print(json.dumps(r), file=file, flush=True)\n    board(r)\n    time.sleep(0.02)",
        "print('trained')",
    ],
    "again": [
        FIRST,
        "from memlab.views.board import LiveBoard\nLiveBoard('log.jsonl', band(), steps=200)",
    ],
    "hostile": [FIRST, "Inspector(hostile(), names=[HOSTILE[1]], tokenizer=HostileTokens())"],
}


def missing() -> str:
    """What keeps the browser tests from running; "" if nothing."""
    if not (os.environ.get("CHROMIUM") or shutil.which("chromium")):
        return "Chromium is not installed (or set CHROMIUM to its path)"
    if not shutil.which("node"):
        return "Node is not installed"
    if not (HERE / "node_modules" / "playwright-core").is_dir():
        return "the node modules are not installed: npm ci --prefix tests/browser"
    return ""


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The address of a JupyterLab whose directory holds NOTEBOOKS, not yet run."""
    if why := missing():
        (pytest.fail if os.environ.get("MEMLAB_BROWSER") == "required" else pytest.skip)(why)
    root = tmp_path_factory.mktemp("lab")
    shutil.copy(HERE / "stories.py", root)
    for name, cells in NOTEBOOKS.items():
        write_notebook(root / f"{name}.ipynb", cells)
    settings = root / ".settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    for name, values in SETTINGS.items():
        (settings / f"{name}.jupyterlab-settings").write_text(json.dumps(values))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    options = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={root}",
        "--IdentityProvider.token=",
        "--PasswordIdentityProvider.hashed_password=",
        "--ServerApp.disable_check_xsrf=True",
        "--LabApp.extension_manager=readonly",
        f"--LabApp.user_settings_dir={root / '.settings'}",
        f"--LabApp.workspaces_dir={root / '.workspaces'}",
    ]
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own = {name: str(root / ".jupyter") for name in folders}
    with open(root / "server.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            stdout=log,
            stderr=log,
            cwd=root,
            env={**os.environ, **own, "PYTHONHASHSEED": "0"},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/api/status", timeout=5).read()
                break
            except OSError:
                if server.poll() is not None:
                    break
                time.sleep(0.25)
        else:
            pytest.fail("JupyterLab did not answer within three minutes:\n" + (root / "server.log").read_text()[-2000:])
        if server.poll() is not None:
            pytest.fail("JupyterLab ended:\n" + (root / "server.log").read_text()[-2000:])
        yield Lab(url, root)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


class Lab:
    """A running server, and `drive`: one scenario of drive.mjs in a fresh browser, and what it reports."""

    def __init__(self, url: str, root: Path):
        self.url, self.root = url, root

    def theme(self, name: str) -> None:
        """ "Light" or "Dark"."""
        body = json.dumps({"raw": json.dumps({"theme": f"JupyterLab {name}"})}).encode()
        request = urllib.request.Request(
            f"{self.url}/lab/api/settings/@jupyterlab/apputils-extension:themes", body, method="PUT"
        )
        urllib.request.urlopen(request, timeout=10).read()

    def drive(self, scenario: str, notebook: str, timeout: float = 240, **arguments) -> dict:
        profile = self.root / f"profile-{scenario}-{time.monotonic_ns()}"
        arguments |= {"url": self.url, "notebook": notebook, "profile": str(profile)}
        command = ["node", str(HERE / "drive.mjs"), scenario, json.dumps(arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=HERE)
        assert done.returncode == 0, f"{scenario} failed:\n{done.stderr[-4000:]}\n{done.stdout[-2000:]}"
        report = json.loads(done.stdout.strip().splitlines()[-1])
        assert report["elsewhere"] == [], "a request left this machine"
        assert report["errors"] == [], "the page reported errors"
        return report


def write_notebook(path: Path, cells: list[str]) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, path)
