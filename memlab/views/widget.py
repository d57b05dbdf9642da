"""What the widgets share: their files, and a table for wherever no widget can run (GitHub, nbviewer, exported HTML)."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import anywidget

STATIC = Path(__file__).parent / "static"


def module(name: str) -> str:
    """The ES module of one widget: the shared helpers, then its own file. Nothing is fetched from anywhere."""
    return (STATIC / "dom.js").read_text(encoding="utf-8") + (STATIC / name).read_text(encoding="utf-8")


class View(anywidget.AnyWidget):
    """A widget that decorates and never gates: its output also holds `fallback()`, the same content as HTML tables."""

    _css = (STATIC / "memlab.css").read_text(encoding="utf-8")

    def fallback(self) -> str:
        """HTML that says what the widget shows, without a script."""
        raise NotImplementedError

    def plain(self) -> str:
        """One line for a terminal."""
        return type(self).__name__

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return {**data, "text/html": self.fallback(), "text/plain": self.plain()}, metadata


def heading(text: str) -> str:
    """A title above a fallback table, safe for any text. Bold rather than <h4>: it is no section of the notebook."""
    return f"<p><b><bdi>{html.escape(text)}</bdi></b></p>"
