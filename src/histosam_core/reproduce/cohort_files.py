"""What a published data set's folder holds: slides with their annotations, and what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histosam_core.errors import SlideNotFoundError

__all__ = ["CohortFiles", "files_below"]


@dataclass(frozen=True, slots=True)
class CohortFiles:
    """Slides of a data set that have what the paper's patches need.

    Parameters
    ----------
    name
        The data set's.
    folder
        Where it was looked for.
    pairs
        The slide's published name to its file and its annotation's, in order of the names.
    expected
        How many such slides were published.
    missing
        One line for each file, or kind of file, that is not there.
    excluded
        The published name of each slide that is left out on purpose, and why.
    notes
        What else there is to know.
    """

    name: str
    folder: Path
    pairs: Mapping[str, tuple[Path, Path]]
    expected: int
    missing: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def described(self) -> str:
        """Say in a line what is there."""
        line = f"{len(self.pairs)} of {self.expected} annotated slides"
        if self.excluded:
            line += f", {len(self.excluded)} left out"
        return line

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "slides": {name: [str(path) for path in pair] for name, pair in self.pairs.items()},
            "expected": self.expected,
            "missing": list(self.missing),
            "excluded": dict(self.excluded),
            "notes": list(self.notes),
        }


def files_below(folder: Path) -> list[Path]:
    """Return all files of a folder and its subfolders, sorted; hidden ones are passed over.

    Links to folders are followed, each folder once.

    Raises
    ------
    SlideNotFoundError
        There is no such folder.
    """
    if not folder.is_dir():
        raise SlideNotFoundError(f"no folder {folder}; check the name")
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # A patch store has a file for every patch, and no slide.
        folders[:] = [f for f in folders if not f.startswith(".") and not f.endswith(".zarr")]
        yield from (Path(place) / name for name in names if not name.startswith("."))
