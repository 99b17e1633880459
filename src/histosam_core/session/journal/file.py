"""A session's journal: what a user did, one line of JSON each, written before it is carried out.

A line holds ``n`` (1, 2, ... along the file), ``t`` (UTC), ``op``, and the facts of the operation;
docs/session.md lists the operations. The file only ever grows. A line that was cut off by a crash
is left out on reading, and the next one begins on a line of its own.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import JournalError

if TYPE_CHECKING:
    from histosam_core.file_lock import FileLock

JOURNAL_FORMAT = 1
_ENVELOPE = ("n", "t", "op")


@dataclass(frozen=True, slots=True)
class Event:
    """One line: its number, which rises along the file; when (UTC, ISO 8601); what; the rest."""

    n: int
    t: str
    op: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal, read: its lines in order, and a note on each one that could not be read."""

    events: tuple[Event, ...]
    notes: tuple[str, ...]
    path: Path


class JournalWriter:
    """Appends to a journal; makes the file where there is none.

    Every line is on the disk when `write` returns.

    Parameters
    ----------
    path
        The file; its folder must be there.
    lock
        Released by `close`.
    now
        Returns the time; must know its zone.

    Attributes
    ----------
    owner
        Whose operations the last lines are, where several sessions share the journal.

    Raises
    ------
    JournalError
        The file cannot be read or made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        lock: FileLock | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = Path(path)
        self.owner: object = None
        self._lock = lock
        self._now = now
        self._is_closed = False
        try:
            is_new = not self.path.exists()
            self.path.open("ab").close()
            if is_new:
                sync_folder(self.path.parent)
        except OSError as error:
            raise JournalError(
                f"cannot make the journal {self.path}: {error.strerror}; choose another folder "
                "(HISTOSAM_DATA), or free space"
            ) from error
        events = read_journal(self.path).events
        self._n = max((event.n for event in events), default=0)
        self._has_work = any(_is_work(event.op, event.facts) for event in events)
        self._size, self._is_mid_line = _end_of(self.path)

    @property
    def n_events(self) -> int:
        """The number of the last line; 0 for an empty journal."""
        return self._n

    def write(self, op: str, **facts: Any) -> int:
        """Append a line of JSON values and wait until it is on the disk; return its number.

        Raises
        ------
        JournalError
            The line cannot be written (disk full, folder gone), or the journal is closed.
        """
        if self._is_closed:
            raise JournalError(f"the journal {self.path.name} is closed; begin a new session")
        event = {"n": self._n + 1, "t": self._now().isoformat(timespec="milliseconds"), "op": op}
        line = json.dumps({**event, **facts}, separators=(",", ":"), allow_nan=False)
        text = ("\n" if self._is_mid_line else "") + line + "\n"
        try:
            # Not "a": a file that was taken away is not to be begun again without its beginning.
            with self.path.open("r+b", buffering=0) as file:
                if file.seek(0, os.SEEK_END) != self._size:
                    raise JournalError(
                        f"another window has written to the journal {self.path.name}; begin a new "
                        "session, and keep one window on each journal"
                    )
                self._append(file, text.encode("ascii"))
        except OSError as error:
            raise JournalError(
                f"cannot write the journal {self.path}: {error.strerror}; free space, or bring its "
                "folder back"
            ) from error
        self._is_mid_line = False
        self._n += 1
        self._has_work = self._has_work or _is_work(op, facts)
        return self._n

    def close(self) -> None:
        """Write no more and let others continue the journal."""
        self._is_closed = True
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def discard_if_empty(self) -> None:
        """Take the file away where nothing was done in it; OSError where that fails."""
        if not self._has_work:
            self.path.unlink(missing_ok=True)

    def _append(self, file: FileIO, text: bytes) -> None:
        """Write a line to the disk, or nothing of it where the disk lets it be taken back."""
        left = memoryview(text)
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(self._size)
            self._size, self._is_mid_line = _end_of(self.path)
            raise
        self._size += len(text)

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_journal(path: str | os.PathLike[str]) -> Journal:
    """Read a journal; a damaged line is left out and noted.

    Raises
    ------
    JournalError
        The file cannot be read, or a newer program wrote it.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise JournalError(
            f"cannot read the journal {path}: {error.strerror}; check the name and the folder"
        ) from error
    events: list[Event] = []
    notes = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        event = _event(line)
        if event is not None:
            events.append(event)
        elif number == len(lines):
            notes.append(f"line {number} of {path.name} was cut off and is left out")
        else:
            notes.append(f"line {number} of {path.name} is damaged and is left out")
    for event in events:
        if event.op == "begin" and event.facts.get("format", 0) > JOURNAL_FORMAT:
            raise JournalError(
                f"{path} was written by a newer program (journal format {event.facts['format']}, "
                f"this one reads {JOURNAL_FORMAT}); update napari-histosam"
            )
    return Journal(tuple(events), tuple(notes), path)


def _is_work(op: str, facts: Mapping[str, Any]) -> bool:
    return bool(facts.get("objects")) if op == "begin" else op != "end"


def _event(line: bytes) -> Event | None:
    try:
        entry = json.loads(line, parse_constant=_refuse)
        if not isinstance(entry, dict) or not math.isfinite(entry["n"]):
            return None
        n, t, op = int(entry["n"]), str(entry["t"]), str(entry["op"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return Event(n, t, op, {k: v for k, v in entry.items() if k not in _ENVELOPE})


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def sync_folder(folder: Path) -> None:
    """Have the disk know what a folder lists; a new file may else be gone after a power cut."""
    with suppress(OSError):  # Windows opens no folders, and some file systems sync none
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _end_of(path: Path) -> tuple[int, bool]:
    """Return a file's size, and whether it ends within a line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return 0, False
        file.seek(size - 1)
        return size, file.read(1) != b"\n"
