"""Every image in every notebook has an alternative text: in outputs, in Markdown, and in what the sources will make."""

import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from memlab.notebooks import build, sources
from memlab.paths import ROOT

MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\][(\[]")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
BARE = re.compile(r"\bplt\.show\(|\.savefig\(|\bdisplay\(\s*fig|\bImage\(")  # ways to show a figure that carry no text


class _Images(HTMLParser):
    """Collects the images of some HTML that say nothing."""

    def __init__(self, html):
        super().__init__()
        self.silent = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        text = attributes.get("alt") if tag == "img" else attributes.get("aria-label")
        if (tag == "img" or (tag in ("svg", "canvas") and attributes.get("aria-hidden") != "true")) and not (text or "").strip():
            self.silent.append(self.get_starttag_text()[:80])


def images_without_text(notebook):
    """One line for each image of a notebook node that has no alternative text."""
    found = []
    for number, cell in enumerate(notebook.cells):
        texts = []
        if cell.cell_type == "markdown":
            texts.append(cell.source)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if any(kind.startswith("image/") for kind in data) and "text/html" not in data:
                found.append(f"cell {number}: a bare {' and '.join(sorted(data))}")
            texts += ["".join(data[kind]) for kind in ("text/html", "text/markdown") if kind in data]
        for text in texts:
            found += [f"cell {number}: {tag}" for tag in _Images(text).silent]
            if cell.cell_type == "markdown":
                found += [f"cell {number}: {m[0]}" for m in MARKDOWN_IMAGE.finditer(CODE.sub("", text)) if not m[1].strip()]
        if cell.cell_type == "code" and (bare := BARE.search(cell.source)):
            found.append(f"cell {number}: {bare[0]} shows a figure without a text; use memlab.views.figures.show(fig, alt=...)")
    return found


NOTEBOOKS = sorted(p for p in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_image_of_a_notebook_has_a_text(path):
    assert not images_without_text(nbformat.read(path, as_version=4))


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.stem)
def test_no_source_makes_an_image_without_a_text(path):
    assert not images_without_text(build(path).solution)


def test_the_readme_has_a_text_for_every_image():
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        assert not images_without_text(new_notebook(cells=[new_markdown_cell(path.read_text(encoding="utf-8"))])), path.name


@pytest.mark.parametrize(
    "cell",
    [
        new_markdown_cell("![](figure.png)"),
        new_markdown_cell("![ ][ref]"),
        new_markdown_cell('<img src="figure.png">'),
        new_markdown_cell('<img src="figure.png" alt=" ">'),
        new_code_cell("plt.show()"),
        new_code_cell("x", outputs=[new_output("display_data", data={"image/png": "iVBO", "text/plain": "<Figure>"})]),
        new_code_cell("x", outputs=[new_output("display_data", data={"text/html": "<figure><img src='data:'></figure>"})]),
        new_code_cell("x", outputs=[new_output("execute_result", data={"text/html": "<svg viewBox='0 0 1 1'></svg>"})]),
    ],
)
def test_an_image_without_a_text_is_found(cell):
    assert len(images_without_text(new_notebook(cells=[cell]))) == 1


@pytest.mark.parametrize(
    "cell",
    [
        new_markdown_cell("![a curve](figure.png) and `![](code)`"),
        new_code_cell("show(fig, alt='a curve')"),
        new_code_cell("x", outputs=[new_output("display_data", data={"text/html": "<img alt='a curve' src='data:'>"})]),
        new_code_cell("x", outputs=[new_output("display_data", data={"text/html": "<svg aria-hidden='true'></svg>"})]),
    ],
)
def test_an_image_with_a_text_passes(cell):
    assert not images_without_text(new_notebook(cells=[cell]))
