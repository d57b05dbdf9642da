import re
import sys
import textwrap

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from memlab import notebooks
from memlab.notebooks import NotebookError

SOURCE = '''\
# %% [markdown]
# # Toy
#
# Goals.

# %% tags=["parameters"]
PRESET = "cpu"  # smoke | cpu | gpu | node
SEED = 0

# %% [markdown]
# ## The idea

# %%
from __future__ import annotations
from dataclasses import dataclass, field

#| inline: memlab.episode:Outcome
#| inline: memlab.rollout:_Played.advance

# %%
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    y = 2 * x
    return y
    ### END SOLUTION

# %% tags=["check"]
print(double(4))

# %% [markdown]
# ## Train

# %%
import os, sys, time
time.sleep(0.3)
print(PRESET, SEED, sys.executable, os.getcwd())
print("warning", file=sys.stderr)
'''


@pytest.fixture
def repo(tmp_path):
    """A repository with one notebook. Its path is short enough to be told from any other in an output."""
    return write(tmp_path / "repo", SOURCE)


def write(root, source, name="03_toy"):
    folder = root / "notebooks" / "src"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return root


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


# Finding


def test_find_by_number_and_by_name(repo):
    path = repo / "notebooks" / "src" / "03_toy.py"
    assert [notebooks.find(nn, repo) for nn in ("03", "3", 3, "03_toy")] == [path] * 4


def test_find_names_the_notebooks_there_are(repo, tmp_path):
    with pytest.raises(NotebookError, match="^there is no notebook '7'; choose one of: 03_toy$"):
        notebooks.find("7", repo)
    with pytest.raises(NotebookError, match="choose one of: none$"):
        notebooks.find("7", tmp_path)


# Building


def test_build_makes_valid_notebooks_with_the_same_cells(repo):
    built = notebooks.build("03", repo)
    assert built.name == "03_toy"
    for notebook in (built.solution, built.student):
        nbformat.validate(notebook)
        assert notebook.metadata.kernelspec.name == "python3"
    assert [c.id for c in built.solution.cells] == [c.id for c in built.student.cells]
    assert [c.cell_type for c in built.solution.cells] == "markdown code markdown code code code markdown code".split()
    assert built.solution.cells[0].source.startswith("# Toy\n\nGoals.")


def test_solutions_stay_in_one_build_and_become_stubs_in_the_other(repo):
    built = notebooks.build("03", repo)
    assert code(built.solution)[2] == 'def double(x):\n    """Twice x."""\n    y = 2 * x\n    return y'
    assert code(built.student)[2] == 'def double(x):\n    """Twice x."""\n    raise NotImplementedError("your turn")'
    assert all("SOLUTION" not in source for source in code(built.solution) + code(built.student))
    may_fail = [cell for cell in built.student.cells if "raises-exception" in cell.metadata.get("tags", ())]
    assert [cell.source.split("(")[0] for cell in may_fail] == ["def double", "print"]
    assert not any("raises-exception" in cell.metadata.get("tags", ()) for cell in built.solution.cells)


def test_several_solutions_in_one_cell_keep_their_own_indentation(tmp_path):
    source = textwrap.dedent("""\
        # %%
        ### BEGIN SOLUTION
        a = 1
        ### END SOLUTION
        for i in range(2):
            if i:
                ### BEGIN SOLUTION
                a += i
                ### END SOLUTION
        """)
    built = notebooks.build("03", write(tmp_path, source))
    assert code(built.solution) == ["a = 1\nfor i in range(2):\n    if i:\n        a += i"]
    stub = 'raise NotImplementedError("your turn")'
    assert code(built.student) == [f"{stub}\nfor i in range(2):\n    if i:\n        {stub}"]


@pytest.mark.parametrize("line", ["### BEGIN SOLUTION", "### END SOLUTION"])
def test_a_marker_without_its_partner_names_the_cell(tmp_path, line):
    root = write(tmp_path, f"# %%\nx = 1\n\n# %%\n{line}\nx = 2\n")
    with pytest.raises(NotebookError, match="03_toy.py: cell 2 has a solution marker without its partner"):
        notebooks.build("03", root)


def test_inline_shows_the_library_source_with_decorators(repo):
    import inspect

    from memlab.episode import Outcome
    from memlab.rollout import _Played

    cell = code(notebooks.build("03", repo).solution)[1].split("field\n\n")[1]
    assert cell == (inspect.getsource(Outcome) + textwrap.dedent(inspect.getsource(_Played.advance))).rstrip("\n")
    assert cell.startswith("@dataclass(frozen=True)\nclass Outcome:")


def test_inline_takes_constants_and_keeps_the_indentation_of_the_directive(tmp_path):
    root = write(tmp_path, "# %%\nif True:\n    #| inline: memlab.notebooks:STUB\n    print(STUB)\n")
    want = "if True:\n    STUB = 'raise NotImplementedError(\"your turn\")'\n    print(STUB)"
    assert code(notebooks.build("03", root).solution) == [want]


@pytest.mark.parametrize(
    "target, message",
    [
        ("memlab.episode:Nothing", "memlab.episode does not define Nothing"),
        ("memlab.nowhere:x", "not module:name of a module that there is"),
        ("memlab.episode", "not module:name"),
    ],
)
def test_inline_of_nothing_names_cell_and_target(tmp_path, target, message):
    root = write(tmp_path, f"# %%\n#| inline: {target}\n")
    with pytest.raises(NotebookError, match=f"03_toy.py: cell 1 inlines '{target}'.*{message}"):
        notebooks.build("03", root)


def test_cell_ids_repeat_and_survive_a_new_cell(tmp_path):
    source = "# %%\na = 1\n\n# %%\nb = 2\n\n# %%\na = 1\n"
    first = [cell.id for cell in notebooks.build("03", write(tmp_path, source)).solution.cells]
    again = [cell.id for cell in notebooks.build("03", tmp_path).solution.cells]
    longer = [cell.id for cell in notebooks.build("03", write(tmp_path, "# %%\nnew = 0\n\n" + source)).solution.cells]
    assert first == again == longer[1:]
    assert first[2] == f"{first[0]}-2" and len(set(longer)) == 4


def test_stale_tells_which_files_to_rebuild(repo):
    built = notebooks.build("03", repo)
    solution, student = repo / "notebooks" / "03_toy.ipynb", repo / "notebooks" / "student" / "03_toy.ipynb"
    assert notebooks.stale("03", repo) == [solution, student]
    notebooks._set_parameters(built.solution, {"PRESET": "smoke"}, "03")  # a run at another preset is not stale
    notebooks.save(built.solution, solution)
    notebooks.save(built.student, student)
    assert notebooks.stale("03", repo) == []
    write(repo, SOURCE.replace("2 * x", "x + x"))
    assert notebooks.stale("03", repo) == [solution, student]  # the ids follow the source


# Parameters


def with_parameters(source):
    return new_notebook(cells=[new_code_cell(source, metadata={"tags": ["parameters"]})])


def test_parameters_are_replaced_and_comments_stay():
    notebook = with_parameters('PRESET = "cpu"  # é: smoke | cpu\nSEED: int = 0; RUN = True\nOTHER = SEED')
    notebooks._set_parameters(notebook, {"PRESET": "smoke", "SEED": 7, "RUN": False}, "03")
    assert notebook.cells[0].source == "PRESET = 'smoke'  # é: smoke | cpu\nSEED: int = 7; RUN = False\nOTHER = SEED"


def test_an_unknown_parameter_and_a_missing_cell_are_named():
    with pytest.raises(NotebookError, match="03 has no parameter LR; its parameters cell sets: SEED"):
        notebooks._set_parameters(with_parameters("SEED = 0"), {"SEED": 1, "LR": 2}, "03")
    with pytest.raises(NotebookError, match="03 has no parameters cell"):
        notebooks._set_parameters(new_notebook(cells=[new_code_cell("SEED = 0")]), {"SEED": 1}, "03")


# Running


def test_execute_runs_this_python_in_the_root_and_writes_a_canonical_notebook(repo, tmp_path, capsys):
    out = tmp_path / "out" / "run.ipynb"
    done = notebooks.execute(notebooks.find("03", repo), "smoke", out, seed=5, root=repo)
    notebook = nbformat.read(out, as_version=4)
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == [1, 2, 3, 4, 5]
    last = notebook.cells[-1].outputs
    assert len(last) == 1, "standard error was kept"
    python = sys.executable.replace(str(notebooks.Path.home()), "~")
    assert last[0].text == f"smoke 5 {python} .\n"
    assert done.path == out and 0 < done.seconds < 120
    assert list(done.section_seconds) == ["Toy", "The idea", "Train"]
    assert 0.3 <= done.section_seconds["Train"] < done.seconds
    printed = capsys.readouterr().out.splitlines()  # no terminal: one line a section
    assert [re.sub(r"\d+ s$", "N s", line) for line in printed] == [
        "03_toy  cell 1/5  Toy  N s",
        "03_toy  cell 2/5  The idea  N s",
        "03_toy  cell 5/5  Train  N s",
    ]


def test_the_students_build_runs_to_the_end_and_fails_only_where_it_may(repo, tmp_path):
    path = notebooks.save(notebooks.build("03", repo).student, tmp_path / "student.ipynb")
    notebooks.execute(path, "smoke", tmp_path / "out.ipynb", root=repo, quiet=True)
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    failed = [cell.source for cell in cells if any(o.output_type == "error" for o in cell.get("outputs", ()))]
    assert failed == ["print(double(4))"]


def test_a_failure_names_cell_section_and_exception(tmp_path):
    source = SOURCE.replace("import os, sys, time", 'raise ValueError("two\\nlines")')
    root, out = write(tmp_path, source), tmp_path / "out.ipynb"
    with pytest.raises(NotebookError) as error:
        notebooks.execute(notebooks.find("03", root), "smoke", out, root=root, quiet=True)
    assert str(error.value).startswith(
        "03_toy.py: code cell 5 of 5 (section 'Train') failed with ValueError: two lines (everything up to there is in "
    )
    assert nbformat.read(out, as_version=4).cells[-1].outputs[-1].ename == "ValueError"


def test_run_leaves_the_published_notebook_alone_and_returns_the_result_table(repo):
    table = '\n# %% tags=["results"]\nprint("size  reward")\nPRESET\n'
    done = notebooks.run("03", "smoke", root=write(repo, SOURCE + table))
    assert done.path == repo / "runs" / "03_toy" / "03_toy.ipynb" and done.path.exists()
    assert done.table == "size  reward\n'smoke'"
    assert not (repo / "notebooks" / "03_toy.ipynb").exists()
    assert notebooks.run("03", "smoke", out=repo / "mine.ipynb", root=write(repo, SOURCE)).table == ""
    assert (repo / "mine.ipynb").exists()


def test_a_cell_that_takes_too_long_is_named(tmp_path):
    source = (
        '# %% tags=["parameters"]\nPRESET, SEED = "cpu", 0\nPRESET = "cpu"\nSEED = 0\nimport time; time.sleep(60)\n'
    )
    root = write(tmp_path, source)
    with pytest.raises(NotebookError, match="code cell 1 of 1 .* did not finish within 1 seconds"):
        notebooks.execute(notebooks.find("03", root), "smoke", tmp_path / "o.ipynb", timeout=1, root=root, quiet=True)


def test_a_kernel_that_dies_is_reported(tmp_path):
    root = write(tmp_path, SOURCE.replace("import os, sys, time", "import os; os._exit(9)"))
    with pytest.raises(
        NotebookError, match="code cell 5 of 5 .*'Train'.* ended the Python process, most likely because"
    ):
        notebooks.execute(notebooks.find("03", root), "smoke", tmp_path / "o.ipynb", root=root, quiet=True)


def test_publish_writes_both_builds_and_keeps_the_old_one_when_a_run_fails(repo):
    solution, student = repo / "notebooks" / "03_toy.ipynb", repo / "notebooks" / "student" / "03_toy.ipynb"
    done = notebooks.publish("03", "smoke", root=repo)
    assert done.path == solution and notebooks.stale("03", repo) == []
    assert nbformat.read(solution, as_version=4).metadata.memlab.build == "solution"
    assert not any(cell.get("outputs") for cell in nbformat.read(student, as_version=4).cells)
    before = solution.read_bytes()
    write(repo, SOURCE.replace("import os, sys, time", "1 / 0"))
    with pytest.raises(NotebookError, match="ZeroDivisionError"):
        notebooks.publish("03", "smoke", root=repo)
    assert solution.read_bytes() == before


class Terminal:
    """A standard output that says it is a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True

    def fileno(self):
        return 1


def test_a_terminal_sees_one_line_rewritten(monkeypatch):
    notebook = new_notebook(cells=[new_markdown_cell("# A long first section"), new_code_cell("1"), new_code_cell("2")])
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(notebooks.os, "get_terminal_size", lambda fd: notebooks.os.terminal_size((40, 24)))
    progress = notebooks._Progress("03_toy", notebook, quiet=False)
    with progress:
        for index, cell in enumerate(notebook.cells):
            progress.start(cell, index)
            progress.executed(cell, index)
    assert terminal.text.count("\n") == 1 and terminal.text.endswith("\n")
    shown = terminal.text.strip().split("\r")
    assert len(shown) == 3 and all(len(line) < 40 for line in shown)
    assert shown[0].startswith("03_toy  cell 1/2  A long") and shown[1].startswith("03_toy  cell 2/2")


def test_headings_ignore_code_blocks():
    texts = ["# One", "text\n\n```\n# not a heading\n```", "## Two", "### Three"]
    assert notebooks.headings(new_notebook(cells=[new_markdown_cell(t) for t in texts])) == [
        "One",
        "One",
        "Two",
        "Three",
    ]


# Canonical form


def executed(*outputs, root="/home/ada/memlab"):
    cell = new_code_cell("x", execution_count=17, outputs=list(outputs))
    cell.metadata.update({"execution": {"iopub.status.busy": "now"}, "tags": ["keep"], "ExecuteTime": 1})
    notebook = new_notebook(cells=[new_code_cell("y", execution_count=3), cell])
    notebook.metadata.update({"widgets": {"state": {}}, "kernelspec": {"name": "ada-private", "display_name": "Ada"}})
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.4"}
    return notebooks.canonicalise(notebook, notebooks.Path(root), notebooks.Path("/home/ada"))


def test_canonical_metadata_and_counts():
    result = new_output("execute_result", {"text/plain": "1"}, execution_count=17)
    notebook = executed(result)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3" and "version" not in notebook.metadata.language_info
    assert notebook.cells[1].metadata == {"tags": ["keep"]}
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    assert notebook.cells[1].outputs[0].execution_count == 2


def test_canonical_streams():
    notebook = executed(
        new_output("stream", name="stdout", text="10%"),
        new_output("stream", name="stderr", text="Warning: slow"),
        new_output("stream", name="stdout", text="\r90%\r100%\nreward 0.9\n"),
        new_output("stream", name="stderr", text="more"),
    )
    assert [output.text for output in notebook.cells[1].outputs] == ["100%\nreward 0.9\n"]


def test_canonical_paths_and_addresses():
    text = "/home/ada/memlab/runs/03 /home/ada/memlab-old /home/ada/x <Policy object at 0x7f01ab> /home/adamant"
    notebook = executed(
        new_output("display_data", {"text/html": [text], "image/png": "/home/ada"}),
        new_output("error", ename="E", evalue="/home/ada/memlab/a", traceback=["File /tmp/ipykernel_12/345.py:1"]),
    )
    display, error = notebook.cells[1].outputs
    assert display.data["text/html"] == ["./runs/03 ~/memlab-old ~/x <Policy object at 0x0> /home/adamant"]
    assert display.data["image/png"] == "/home/ada", "an image is not text"
    assert error.evalue == "./a" and error.traceback == ["File <cell>:1"]


def test_a_widget_leaves_its_table_and_not_a_dead_view():
    view = {notebooks.VIEW: {"model_id": "1"}}
    notebook = executed(
        new_output("display_data", {**view, "text/html": "<table></table>"}), new_output("display_data", view)
    )
    assert [dict(output.data) for output in notebook.cells[1].outputs] == [{"text/html": "<table></table>"}]


def test_canonical_form_is_a_fixed_point():
    once = executed(new_output("stream", name="stdout", text="a\rb\n"))
    assert notebooks.canonicalise(nbformat.from_dict(once), notebooks.Path("/home/ada/memlab")) == once


def test_main_reports_an_error_in_one_line(capsys):
    assert notebooks.main(["99"]) == 1
    assert capsys.readouterr().err.startswith("there is no notebook '99'; choose one of: ")
