"""Published data sets. Each says where its data came from (`source`); none falls back to synthetic data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read(pattern: str, fix: str, path: str | os.PathLike | None = None) -> tuple[Any, str]:
    """Read a data set's one JSON file. Returns what it holds and the file's name.

    pattern: FOLDER/NAME, where NAME may be a glob. It is looked for with and without its FOLDER.
    fix: the command that gets the data, said in the errors that it mends.
    path: a file, or the folder to look in instead of MEMLAB_DATA.

    Raises FileNotFoundError when there is no such file, and ValueError for several or one that is not valid JSON.
    """
    where = path or os.environ.get("MEMLAB_DATA")
    if not where:
        raise FileNotFoundError(f"{pattern} was not found, because MEMLAB_DATA is not set; download it with: {fix}")
    file = _find(Path(where), pattern, fix)
    try:
        return json.loads(file.read_text(encoding="utf-8")), str(file)
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON ({error}); it may be cut short, download it again: {fix}") from None


def _find(where: Path, pattern: str, fix: str) -> Path:
    if where.is_file():
        return where
    files = sorted(where.glob(pattern)) or sorted(where.glob(pattern.split("/")[-1]))
    if not files:
        raise FileNotFoundError(f"there is no {pattern} in {where}; download it with: {fix}")
    if len(files) > 1:  # reading them all would mix training with test questions
        names = ", ".join(f.name for f in files)
        raise ValueError(f"{files[0].parent} holds more than one JSON file ({names}); leave only the one to read")
    return files[0]
