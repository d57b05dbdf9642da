"""Which files a directory should hold, and the sha256 of each: for converted models, checkpoints and shipped data.

A copy that was cut short or altered is refused by the name of the file, instead of failing later as a strange model.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


class ManifestError(ValueError):
    """A directory is not what its manifest says. The message names every file at fault."""


def sha256(path: str | os.PathLike) -> str:
    """The sha256 of a file as 64 hexadecimal digits, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(directory: str | os.PathLike, name: str = MANIFEST, **extra: Any) -> Path:
    """Write `directory/name` as {**extra, "files": {relative name: sha256}} over every file there. Returns its path.

    The manifest appears whole or not at all: it is written under another name and then renamed. Hidden files are left
    out.
    """
    directory = Path(directory)
    manifest = {**extra, "files": {file: sha256(directory / file) for file in _files(directory, name)}}
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".manifest-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private, but what it describes may be shared
        os.replace(temporary, directory / name)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return directory / name


def verify_manifest(directory: str | os.PathLike, name: str = MANIFEST) -> dict[str, Any]:
    """Check every file of `directory` against `directory/name` and return the manifest.

    Raises ManifestError naming each file that is missing, truncated or altered, or unlisted. An unlisted file counts
    because loaders act on files that are merely there: an `adapter_config.json` changes the model.
    """
    directory = Path(directory)
    try:
        manifest = json.loads((directory / name).read_text(encoding="utf-8"))
        listed = dict(manifest["files"])
    except FileNotFoundError:
        raise ManifestError(f"{directory} has no {name}, so its files cannot be verified (a copy cut short?)") from None
    except (ValueError, TypeError, KeyError):
        raise ManifestError(
            f'{directory / name} is truncated or altered: it is not JSON with a "files" table'
        ) from None
    present = set(_files(directory, name))
    faults = [f"{file} is missing" for file in sorted(listed.keys() - present)]
    faults += [
        f"{file} is truncated or altered"
        for file in sorted(listed.keys() & present)
        if sha256(directory / file) != listed[file]
    ]
    faults += [f"{file} is not listed in {name}" for file in sorted(present - listed.keys())]
    if faults:
        raise ManifestError(f"{directory} was refused: {'; '.join(faults)}")
    return manifest


def _files(directory: Path, manifest: str) -> list[str]:
    """Relative names of all files below `directory`, without the manifest and without hidden files."""
    paths = (path.relative_to(directory) for path in sorted(directory.rglob("*")) if path.is_file())
    names = [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]
    return [name for name in names if name != manifest]
