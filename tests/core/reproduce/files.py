"""Empty files, to look for a data set's layout in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["touch"]


def touch(folder: Path, names: Iterable[str], n_bytes: int = 1) -> Path:
    """Make files below a folder; return the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * n_bytes)
    return folder
