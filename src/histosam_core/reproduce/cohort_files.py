"""What a published data set's folder holds: slides with their annotations, and what is missing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from histosam_core.errors import SlideNotFoundError

__all__ = ["CohortFiles", "files_below"]


@dataclass(frozen=True, slots=True)
class CohortFiles:
    """Slides of a data set that have what the paper's patches need."""

    name: str  # the data set's
    folder: Path
    pairs: Mapping[str, tuple[Path, Path]]  # a slide's published name to its and its annotation's
    expected: int  # how many such slides were published
    missing: tuple[str, ...] = ()  # a line for each file, or kind of file, that is not there
    excluded: Mapping[str, str] = field(default_factory=dict)  # slides left out, and why
    notes: tuple[str, ...] = ()

    def described(self) -> str:
        """Say in a line what is there."""
        left_out = f", {len(self.excluded)} left out" if self.excluded else ""
        return f"{len(self.pairs)} of {self.expected} annotated slides{left_out}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "pairs"}
        slides = {name: [str(path) for path in pair] for name, pair in self.pairs.items()}
        return {**values, "folder": str(self.folder), "slides": slides}


def files_below(folder: Path) -> list[Path]:
    """Return all files of a folder and its subfolders, sorted; hidden ones are passed over.

    Links to folders are followed, each folder once. SlideNotFoundError where there is no folder.
    """
    if not folder.is_dir():
        raise SlideNotFoundError(f"no folder {folder}; check the name")
    found: list[Path] = []
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # A patch store has a file for every patch, and no slide.
        folders[:] = [f for f in folders if not f.startswith(".") and not f.endswith(".zarr")]
        found += (Path(place) / name for name in names if not name.startswith("."))
    return sorted(found)
