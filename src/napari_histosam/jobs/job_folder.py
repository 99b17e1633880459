"""A job's folder, and the process that works on it, apart from this one.

``job.json`` is the request, ``settings.json`` the settings that the command reads, ``sitting.json``
the process that works on it or did so last, ``events.jsonl`` and ``stderr.log`` the output of all
its processes, ``control`` their orders.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import psutil

from histosam_core.atomic import new_file
from histosam_core.errors import OutputWriteError
from histosam_core.file_lock import is_locked

Document = Literal["job", "settings", "sitting"]
Event = dict[str, Any]

PROGRAM = ("-P", "-m", "histosam_core")
"""What Python runs; -P: a file in the working folder is not taken for one of our modules."""
PIECE_BYTES = 64 * 1024
"""Of a process's events that are searched for its first and last ones."""
FRAME = " \t│╭╰─╮╯"
"""The frame that the command line draws round the error of a wrong call."""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """A job's files, and how they are written and read; what cannot be read is empty.

    Writing raises OutputWriteError where the folder cannot be written.
    """

    path: Path

    @property
    def control(self) -> Path:
        """The process's orders: run, pause or stop."""
        return self.path / "control"

    @property
    def events(self) -> Path:
        """A line of JSON per event."""
        return self.path / "events.jsonl"

    @property
    def errors(self) -> Path:
        """Standard error."""
        return self.path / "stderr.log"

    @property
    def settings(self) -> Path:
        """The settings that the command reads; not there where it has arguments instead."""
        return self.path / "settings.json"

    def read(self, name: Document) -> dict[str, Any]:
        """Read one of the JSON files."""
        try:
            read = json.loads(_read(self.path / f"{name}.json"))
        except ValueError:
            return {}
        return read if isinstance(read, dict) else {}

    def write(self, name: Document, values: Mapping[str, object]) -> None:
        """Write one of the JSON files."""
        with new_file(self.path / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(values, indent=1, default=str), encoding="utf-8")

    def begin_attempt(self) -> dict[str, int]:
        """Prepare for a process; return where in the files its events and errors will begin."""
        self.write_order("run")
        try:
            with self.events.open("ab+") as file:
                file.seek(max(0, file.tell() - 1))
                if file.read(1) not in (b"", b"\n"):  # the last process died within a line
                    file.write(b"\n")
            errors_from = self.errors.stat().st_size if self.errors.exists() else 0
            return {"events_from": self.events.stat().st_size, "errors_from": errors_from}
        except OSError as error:
            raise self.unwritable(error) from error

    def order(self) -> str:
        """Return the process's order."""
        return _read(self.control).decode(errors="replace").strip()

    def write_order(self, word: str) -> None:
        """Give the process an order."""
        try:
            # In place: the lock is on the file that is there.
            self.control.write_text(word + "\n", encoding="utf-8")
        except OSError as error:
            raise self.unwritable(error) from error

    def is_held(self) -> bool:
        """Whether a process works on it."""
        return is_locked(self.control)

    def first_event(self) -> Event:
        """Return the first event of the last process, which names it."""
        start = self.read("sitting").get("events_from", 0)
        events = _parse(_read(self.events, start, PIECE_BYTES))
        return next((event for event in events if event["event"] == "start"), {})

    def tail(self) -> list[Event]:
        """Return the last events of the last process."""
        begin = self.read("sitting").get("events_from", 0)
        with suppress(OSError):
            begin = max(begin, self.events.stat().st_size - PIECE_BYTES)
        return _parse(_read(self.events, begin))

    def read_events(self, offset: int, limit: int | None = None) -> tuple[list[Event], int]:
        """Return events from an offset on, and the offset to go on from; as `Job.read_events`."""
        read = _read(self.events, offset, -1 if limit is None else limit)
        whole = read[: read.rfind(b"\n") + 1]
        return _parse(whole), offset + len(whole)

    def last_words(self) -> str:
        """Return the last line that the last process wrote to standard error."""
        text = _read(self.errors, self.read("sitting").get("errors_from", 0))
        lines = [line.strip(FRAME) for line in text.decode(errors="replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        return last.removeprefix("histosam: error: ")

    def unwritable(self, error: OSError) -> OutputWriteError:
        """Return the error for a folder that cannot be written."""
        return OutputWriteError(
            f"cannot write {self.path}: {error.strerror}; free space, or let HISTOSAM_DATA name a "
            "folder that can be written"
        )


def free_folder(stem: Path) -> Path:
    """Return a folder for what a job makes, named after `stem` and a number, not there yet."""
    numbered = (stem.with_name(f"{stem.name}-{number}") for number in count(1))
    return next(path for path in numbered if not path.exists())


def start_process(
    arguments: Sequence[str], *, events: Path, errors: Path, working_folder: str, name: str
) -> int:
    """Start the command in a session of its own; return the process's number.

    Its output is added to two files. It works in `working_folder`, or in this process's where that
    is gone; `name` is that of the thread that waits for its end. OSError where a file cannot be
    written or no process can be started.
    """
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        apart = {"creationflags": flags}
    with events.open("ab") as output, errors.open("ab") as complaints:
        process = subprocess.Popen(  # noqa: S603 - this Python, our own command
            [sys.executable, *PROGRAM, *arguments],
            cwd=working_folder if Path(working_folder).is_dir() else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
            **apart,
        )
    # Its end is waited for, else it would stay in the process table as long as this process lives.
    threading.Thread(target=process.wait, name=f"waits for {name}", daemon=True).start()
    return process.pid


def is_alive(pid: int | None) -> bool:
    """Whether a process of that number runs."""
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it is another user's
        return True


def end_process(pid: int) -> None:
    """End a process, and those that it has started, at once; nothing where it has gone."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.Error):
                one.kill()


def _parse(lines: bytes) -> list[Event]:
    """The events in some lines; half lines and other output are left out."""
    events = []
    for line in lines.splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                events.append(event)
    return events


def _read(path: Path, begin: int = 0, size: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(begin)
            return file.read(size)
    except OSError:
        return b""
