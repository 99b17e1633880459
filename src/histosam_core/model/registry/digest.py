"""Hashes of files of weights: those that are published, and those that were seen at first.

Where no hash is published, the sha256 of the file that came first is noted in a small JSON file
beside it, and the file is refused when it changes.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import xxhash

from histosam_core.atomic import new_file
from histosam_core.errors import DownloadError, OutputWriteError

__all__ = ["Digest", "note_hash", "noted_hash", "noted_hash_path"]


@dataclass(frozen=True, slots=True)
class Digest:
    """The hash a file must have.

    Parameters
    ----------
    algorithm
        "sha256", or "xxh128" where no sha256 is published.
    value
        In hexadecimal.
    """

    algorithm: str
    value: str

    @staticmethod
    def of(path: Path, algorithm: str = "sha256") -> Digest:
        """Return the hash of the file at `path`."""
        with path.open("rb") as file:
            made = hashlib.file_digest(file, xxhash.xxh128 if algorithm == "xxh128" else algorithm)
        return Digest(algorithm, made.hexdigest())

    def matches(self, path: Path) -> bool:
        """Whether the file at `path` has this hash."""
        return Digest.of(path, self.algorithm).value == self.value.lower()

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value}"


def noted_hash_path(path: Path) -> Path:
    """Where the hash of the file at `path` is noted."""
    return path.with_name(f"{path.name}.sha256.json")


def noted_hash(path: Path) -> Digest | None:
    """Return the sha256 that the file at `path` had at first; None where none was noted.

    Raises
    ------
    DownloadError
        The note cannot be read.
    """
    note = noted_hash_path(path)
    try:
        return Digest("sha256", str(json.loads(note.read_text(encoding="utf-8"))["sha256"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DownloadError(
            f"{note}, which notes the sha256 of {path.name}, cannot be read; delete it if you "
            "trust the file beside it"
        ) from error


def note_hash(path: Path, sha256: str, source: str) -> None:
    """Note the sha256 of a file that came for the first time, and from where.

    In a folder that cannot be written nothing is noted.
    """
    facts = {
        "file": path.name,
        "sha256": sha256,
        "size_bytes": path.stat().st_size,
        "source": source,
        "noted": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with suppress(OutputWriteError), new_file(noted_hash_path(path)) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
