r"""Notebooks from their source: build, run headless, and make the result the same on every machine.

The single source of a notebook is notebooks/src/NN_topic.py, a percent script. From it come notebooks/NN_topic.ipynb,
with solutions and executed, and notebooks/student/NN_topic.ipynb, with stubs and not executed. In a code cell:

- `#| inline: memlab.papers.memagent:episode` becomes the source of that function, class or constant, so that a thing is
  defined once, in the library, and shown where it is taught;
- what stands between `### BEGIN SOLUTION` and `### END SOLUTION` becomes, in the student's build, an error "your turn".

A cell tagged `parameters` holds PRESET, SEED and the like; a run replaces their values. A cell tagged `check` calls what
an exercise defines, so in the student's build it may fail. A cell tagged `results` shows what `memlab run` prints at the end.

    python -m memlab.notebooks [NN ...] [--preset cpu] [--seed 0]   rebuild and run again; without NN: every notebook
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from memlab.paths import ROOT

SOLUTION = re.compile(
    r"^([ \t]*)### BEGIN SOLUTION[^\n]*\n(.*?)^[ \t]*### END SOLUTION[^\n]*$", re.MULTILINE | re.DOTALL
)
INLINE = re.compile(r"^([ \t]*)#\| inline:[ \t]*(\S+)[ \t]*$", re.MULTILINE)
STUB = 'raise NotImplementedError("your turn")'
HEADING = re.compile(r"^#{1,3} +(.+?) *$", re.MULTILINE)
MAY_FAIL = "raises-exception"  # the tag that nbclient and nbconvert know
VIEW = "application/vnd.jupyter.widget-view+json"


class NotebookError(RuntimeError):
    """A notebook that cannot be found, built or run. The message is one sentence for the person at the terminal."""


@dataclass(frozen=True)
class Built:
    """The two builds of one source, as notebook nodes without outputs, and the name that their files have."""

    name: str
    solution: Any
    student: Any


@dataclass(frozen=True)
class Execution:
    """A finished run: the file written, wall seconds in all, and wall seconds of each section by its heading.

    table: what the cells tagged `results` printed or showed, as text; "" when there is none.
    """

    path: Path
    seconds: float
    section_seconds: dict[str, float]
    table: str


# Building


def sources(root: Path = ROOT) -> list[Path]:
    """The source of every notebook, in order."""
    return sorted((root / "notebooks" / "src").glob("[0-9][0-9]_*.py"))


def find(nn: str | int, root: Path = ROOT) -> Path:
    """The source of notebook `nn`: its number ("03", 3) or its name. Raises NotebookError, naming those there are."""
    wanted = f"{nn:02d}" if isinstance(nn, int) else nn.zfill(2)
    for path in sources(root):
        if wanted in (path.stem, path.stem[:2]):
            return path
    there_are = ", ".join(path.stem for path in sources(root)) or "none"
    raise NotebookError(f"there is no notebook {nn!r}; choose one of: {there_are}")


def build(nn: str | int | Path, root: Path = ROOT) -> Built:
    """Read a source (a number, a name or a path) and make both builds. Nothing is written and nothing is run.

    Cell ids are hashes of the cell's source, so that they stay when other cells come and go.
    Raises NotebookError for an unbalanced solution marker or an inline directive that names nothing.
    """
    import jupytext
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    path = nn if isinstance(nn, Path) else find(nn, root)
    solution, student, seen = [], [], {}
    for number, cell in enumerate(jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells, 1):
        if not cell.source.strip():
            continue
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        metadata = _cell_metadata(cell.metadata)
        kept = {"id": digest if seen[digest] == 1 else f"{digest}-{seen[digest]}", "metadata": metadata}
        if cell.cell_type != "code":
            solution.append(new_markdown_cell(cell.source, **kept))
            student.append(new_markdown_cell(cell.source, **kept))
            continue
        where = f"{path.name}: cell {number}"
        shown = SOLUTION.sub(lambda match: match[2].rstrip("\n"), cell.source)
        stub = SOLUTION.sub(rf"\1{STUB}", cell.source)
        if re.search(r"### (BEGIN|END) SOLUTION", shown):
            raise NotebookError(
                f"{where} has a solution marker without its partner; write ### BEGIN SOLUTION and ### END SOLUTION"
            )
        solution.append(new_code_cell(_inline(shown, where), **kept))
        if stub != cell.source or "check" in metadata.get("tags", ()):
            kept = {**kept, "metadata": {**metadata, "tags": [*metadata.get("tags", ()), MAY_FAIL]}}
        student.append(new_code_cell(_inline(stub, where), **kept))

    def notebook(cells, kind):
        return new_notebook(cells=cells, metadata=_metadata({"source": f"notebooks/src/{path.name}", "build": kind}))

    return Built(path.stem, notebook(solution, "solution"), notebook(student, "student"))


def publish(nn: str | int, preset: str = "cpu", seed: int = 0, root: Path = ROOT) -> Execution:
    """Rebuild notebook `nn` for readers: the student's build, and the solutions with the outputs of a fresh run."""
    path = find(nn, root)
    save(build(path).student, root / "notebooks" / "student" / f"{path.stem}.ipynb")
    done = run(nn, preset, seed, root=root)
    # Only a run that went through replaces what readers see.
    return replace(done, path=shutil.copy(done.path, root / "notebooks" / f"{path.stem}.ipynb"))


def stale(nn: str | int, root: Path = ROOT) -> list[Path]:
    """The .ipynb files of `nn` that are missing or do not say what its source says (outputs and parameters aside)."""
    import nbformat

    built = build(nn, root)
    out = []
    for want, path in (
        (built.solution, root / "notebooks" / f"{built.name}.ipynb"),
        (built.student, root / "notebooks" / "student" / f"{built.name}.ipynb"),
    ):
        have = nbformat.read(path, as_version=4) if path.exists() else None
        if have is None or _text(have) != _text(want):
            out.append(path)
    return out


def save(notebook: Any, path: Path) -> Path:
    """Write `notebook` to `path`, whole or not at all. Returns `path`."""
    import nbformat

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    nbformat.write(notebook, temporary)
    temporary.replace(path)
    return path


def _inline(source: str, where: str) -> str:
    return INLINE.sub(lambda match: textwrap.indent(_source_of(match[2], where), match[1]), source)


def _source_of(target: str, where: str) -> str:
    """The source of `module:name` or `module:Class.method`, decorators and all. The module is read, not imported."""
    module, _, name = target.partition(":")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin or not name:
        raise NotebookError(f"{where} inlines {target!r}, which is not module:name of a module that there is")
    text = Path(spec.origin).read_text(encoding="utf-8")
    node = ast.parse(text)
    for part in name.split("."):
        node = next((child for child in getattr(node, "body", ()) if part in _defines(child)), None)
        if node is None:
            raise NotebookError(f"{where} inlines {target!r}, but {module} does not define {name}")
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return textwrap.dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))


def _defines(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _text(notebook: Any) -> list[tuple]:
    """What a notebook says: kind, id, tags and source of each cell; of a parameters cell only that it is there."""
    return [
        (
            cell.cell_type,
            cell.id,
            tuple(tags := cell.metadata.get("tags", ())),
            "" if "parameters" in tags else cell.source,
        )
        for cell in notebook.cells
    ]


# Running


def execute(
    path: Path,
    preset: str,
    out: Path,
    seed: int = 0,
    parameters: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    quiet: bool = False,
    root: Path = ROOT,
) -> Execution:
    """Run a notebook from top to bottom with this Python, in the repository root, and write it with outputs to `out`.

    path: a source (its solution build runs) or an .ipynb. parameters: further values for the parameters cell.
    timeout: seconds for any one cell; None waits for ever. Progress is one line, rewritten in place on a terminal.

    Raises NotebookError naming the cell, its section and the exception; `out` then holds everything up to there.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    path, out = Path(path), Path(out)
    notebook = build(path).solution if path.suffix == ".py" else nbformat.read(path, as_version=4)
    _set_parameters(notebook, {"PRESET": preset, "SEED": seed, **(parameters or {})}, path.name)
    progress = _Progress(path.stem, notebook, quiet)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        resources={"metadata": {"path": str(root)}},
        kernel_manager_class=_this_python(),
        on_cell_start=progress.start,
        on_cell_executed=progress.executed,
    )
    fault = None
    with progress:
        try:
            # A fixed hash seed, because the order of a set would otherwise differ from run to run.
            client.execute(env={**os.environ, "PYTHONHASHSEED": "0"})
        except CellExecutionError as error:
            fault = f"failed with {error.ename}: {' '.join(str(error.evalue).split())}"
        except CellTimeoutError:
            fault = f"did not finish within {timeout:g} seconds"
        except DeadKernelError:
            fault = "ended the Python process, most likely because the memory ran out"
    if fault:
        save(notebook, out)
        raise NotebookError(f"{path.name}: {progress.where()} {fault} (everything up to there is in {out})")
    save(canonicalise(notebook, root), out)
    return Execution(out, progress.seconds, progress.section_seconds, _results(notebook))


def run(nn: str | int, preset: str, seed: int = 0, out: Path | None = None, root: Path = ROOT) -> Execution:
    """`execute` the solution build of notebook `nn`; by default into runs/NN_topic/, where it disturbs nothing."""
    path = find(nn, root)
    return execute(path, preset, out or root / "runs" / path.stem / f"{path.stem}.ipynb", seed, root=root)


def _results(notebook: Any) -> str:
    """The text of the outputs of every cell tagged `results`."""
    texts = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and "results" in cell.metadata.get("tags", ()):
            for output in cell.outputs:
                text = output.get("text") or output.get("data", {}).get("text/plain", "")
                texts.append("".join(text).rstrip("\n"))
    return "\n".join(filter(None, texts))


def _this_python():
    """A kernel manager class that starts the interpreter running now, whatever kernels the machine has registered."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self):
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
            return KernelSpec(argv=argv, display_name="Python 3", language="python")

    return ThisPython


def _set_parameters(notebook: Any, values: Mapping[str, Any], name: str) -> None:
    """Replace the values assigned in the cell tagged `parameters`; comments stay."""
    cell = next((cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())), None)
    if cell is None:
        raise NotebookError(
            f'{name} has no parameters cell; tag the cell that sets PRESET and SEED with tags=["parameters"]'
        )
    found = {
        target: node.value
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in _defines(node)
    }
    if missing := values.keys() - found.keys():
        raise NotebookError(
            f"{name} has no parameter {', '.join(sorted(missing))}; its parameters cell sets: {', '.join(found)}"
        )
    lines = [line.encode() for line in cell.source.split("\n")]  # ast counts columns in bytes
    for target in sorted(values, key=lambda target: (found[target].lineno, found[target].col_offset), reverse=True):
        node = found[target]
        if node.lineno != node.end_lineno:
            raise NotebookError(f"{name} spreads the parameter {target} over several lines; write it on one")
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line[: node.col_offset] + repr(values[target]).encode() + line[node.end_col_offset :]
    cell.source = b"\n".join(lines).decode()


class _Progress:
    """Where a run is: `cell 12/31  Train  48 s`. A terminal sees one line, rewritten; a log file one line a section."""

    def __init__(self, name: str, notebook: Any, quiet: bool):
        self.name, self.headings = name, headings(notebook)
        code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
        self.numbers = {index: number for number, index in enumerate(code, 1)}
        self.live = not quiet and sys.stdout.isatty()
        self.quiet = quiet
        self.index, self.seconds, self.section_seconds = None, 0.0, {}
        self.width, self.stopped = 0, threading.Event()

    def __enter__(self):
        self.began = time.monotonic()
        if self.live:  # the seconds go on while a cell trains for minutes
            self.ticker = threading.Thread(target=self._tick, daemon=True)
            self.ticker.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.seconds = time.monotonic() - self.began
        if self.live:
            self.ticker.join()
            self._rewrite()
            print()

    def start(self, cell, cell_index):
        if cell_index not in self.numbers:
            return
        section_is_new = self.index is None or self.headings[cell_index] != self.headings[self.index]
        self.index, self.cell_began = cell_index, time.monotonic()
        if self.live:
            self._rewrite()
        elif section_is_new and not self.quiet:
            print(self._line(), flush=True)

    def executed(self, cell, cell_index, execute_reply=None):
        if cell_index in self.numbers:
            heading = self.headings[cell_index]
            self.section_seconds[heading] = self.section_seconds.get(heading, 0.0) + time.monotonic() - self.cell_began

    def where(self) -> str:
        """The cell that runs, for a sentence: its number among the code cells is its In [number]."""
        if self.index is None:
            return "the start of the kernel"
        return f"code cell {self.numbers[self.index]} of {len(self.numbers)} (section {self.headings[self.index]!r})"

    def _line(self) -> str:
        number = self.numbers.get(self.index, 0)
        heading = self.headings[self.index] if self.index is not None else "starting"
        return f"{self.name}  cell {number}/{len(self.numbers)}  {heading}  {time.monotonic() - self.began:.0f} s"

    def _rewrite(self):
        line = self._line()
        columns = os.get_terminal_size(sys.stdout.fileno()).columns or 80
        if len(line) >= columns:  # a wrapped line cannot be rewritten
            line = line[: columns - 4] + "..."
        print("\r" + line.ljust(self.width), end="", flush=True)
        self.width = len(line)

    def _tick(self):
        while not self.stopped.wait(1.0):
            self._rewrite()


def headings(notebook: Any) -> list[str]:
    """For each cell the heading it stands under ("" before the first). Code blocks in Markdown do not count."""
    out, last = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            last = ([last] + HEADING.findall(re.sub(r"^```.*?^```", "", cell.source, flags=re.MULTILINE | re.DOTALL)))[
                -1
            ]
        out.append(last)
    return out


# Making a run the same everywhere


def canonicalise(notebook: Any, root: Path = ROOT, home: Path | None = None) -> Any:
    """Take out of an executed notebook what depends on the machine or the moment, in place; results stay. Returns it.

    Out go: widget state, timing, standard error, overwritten progress, memory addresses, kernel names. The paths of the
    repository and of the home directory become `.` and `~`. Code cells count 1..n.
    """
    notebook.metadata = _metadata(notebook.metadata.get("memlab"))
    neutral = partial(_neutral, paths=[(root, "."), (home or Path.home(), "~")])
    count = 0
    for cell in notebook.cells:
        cell.metadata = _cell_metadata(cell.metadata)
        if cell.cell_type != "code":
            continue
        if cell.source.strip() and cell.execution_count is not None:
            count += 1
            cell.execution_count = count
        outputs = []
        for output in _without_noise(cell.outputs):
            if "execution_count" in output:
                output.execution_count = cell.execution_count
            if "data" in output:
                output.data.pop(VIEW, None)  # a view without its state shows as an error; its text/html stays
                if not output.data:
                    continue
            outputs.append(output)
        cell.outputs = [_map_text(output, neutral) for output in outputs]
    return notebook


def _metadata(memlab: Mapping | None) -> Any:
    from nbformat import from_dict

    return from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
            **({"memlab": dict(memlab)} if memlab else {}),
        }
    )


def _cell_metadata(metadata: Mapping) -> Any:
    from nbformat import from_dict

    return from_dict({key: metadata[key] for key in ("tags", "jupyter") if metadata.get(key)})


def _without_noise(outputs: list) -> list:
    """`outputs` without standard error, and with neighbouring pieces of standard output as one text."""
    out = []
    for output in outputs:
        if output.output_type != "stream":
            out.append(output)
        elif output.name != "stderr":
            if out and out[-1].output_type == "stream":
                out[-1].text += output.text
            else:
                out.append(output)
    for output in out:
        if output.output_type == "stream":
            output.text = _final_text(output.text)
    return [output for output in out if output.output_type != "stream" or output.text.strip()]


def _final_text(text: str) -> str:
    """`text` as a terminal leaves it: of a line rewritten with carriage returns, only the last version."""
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def _neutral(text: str, paths: list[tuple[Path, str]]) -> str:
    text = re.sub(r"\bat 0x[0-9a-fA-F]+", "at 0x0", text)
    text = re.sub(r"/[^\s'\"]*/ipykernel_\d+/\d+\.py", "<cell>", text)
    for path, short in sorted(paths, key=lambda pair: -len(str(pair[0]))):
        if len(path.parts) > 1:  # never the root directory itself
            text = re.sub(re.escape(str(path)) + r"(?![\w-])", short, text)
    return text


def _map_text(value: Any, change) -> Any:
    """`value` with `change` applied to every string in it, except images."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_text(item, change) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not key.startswith("image/") or key == "image/svg+xml":
                value[key] = _map_text(value[key], change)
    return value


def main(argv: list[str] | None = None) -> int:
    """`python -m memlab.notebooks`: publish the named notebooks, or all. Returns the exit status."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m memlab.notebooks", description="Rebuild notebooks and run them again."
    )
    parser.add_argument("notebooks", nargs="*", metavar="NN", help="numbers or names (default: all)")
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        for nn in args.notebooks or [path.stem for path in sources()]:
            done = publish(nn, args.preset, args.seed)
            print(f"{done.path.relative_to(ROOT)}  {done.seconds:.0f} s")
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
