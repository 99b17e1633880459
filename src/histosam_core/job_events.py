"""`--events` and `--control`: how a long command talks with the program that started it.

Events are JSON lines on standard output, for napari's widgets and for anybody's scripts; the
control file is polled whenever the work reports progress. See docs/napari_finetune.md.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pydantic_core import to_json

from histosam_core.errors import HistoSamError, JobError
from histosam_core.file_lock import FileLock, lock_file
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.progress import ProgressCallback

LEAST_SECONDS = 0.2
"""Between two events of one of the kinds that come often."""
FREQUENT = frozenset(("progress", "step"))
POLL_SECONDS = 0.1
"""Between looks at the control file while the work is paused."""
_TRIES, _PAUSE_S = 10, 0.02  # whoever asks whether the job lives holds its lock for a moment


def _call_later(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.name, timer.daemon = "writes held events", True
    timer.start()


class JobEvents:
    """Writes events and obeys the control file; from `job_events`.

    Parameters
    ----------
    stream
        Where events are written, a line each; None shows a progress bar instead.
    control
        The file that holds "run", "pause" or "stop"; None, or a file that cannot be read, is
        "run".
    clock
        Returns seconds that never fall.
    sleep
        Waits for so many seconds.
    later
        Calls something, on a thread of its own, when so many seconds have passed.
    """

    def __init__(
        self,
        stream: TextIO | None,
        control: Path | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        later: Callable[[float, Callable[[], None]], None] = _call_later,
    ) -> None:
        self._stream = stream
        self._control = control
        self._clock = clock
        self._sleep = sleep
        self._later = later
        self._lock = threading.Lock()
        self._is_due = False
        self._last: dict[str, float] = {}
        self._held: dict[str, Mapping[str, object]] = {}

    @property
    def wanted(self) -> bool:
        """Whether events are written, so that nothing else belongs on standard output."""
        return self._stream is not None

    def emit(self, event: Mapping[str, object]) -> None:
        """Write an event, the time added.

        Of "step" and of "progress" at most five a second; the latest one held back is written a
        little later, or before the next event of another kind, so that the last step and the
        first are always written.

        Parameters
        ----------
        event
            Plain values by name, "event" among them; a number that is none becomes null.
        """
        if self._stream is None:
            return
        kind = str(event["event"])
        with self._lock:
            if kind not in FREQUENT:
                self._write_held()
            elif self._clock() - self._last.get(kind, -math.inf) < LEAST_SECONDS:
                self._held[kind] = {"time": time.time(), **event}
                if not self._is_due:
                    self._is_due = True
                    self._later(LEAST_SECONDS, self._on_due)
                return
            else:
                self._held.pop(kind, None)
                self._last[kind] = self._clock()
            self._write({"time": time.time(), **event})

    def report(self, event: Mapping[str, object]) -> None:
        """Write an event; where none are written, print a notice for people."""
        self.emit(event)
        if self._stream is None and event["event"] == "notice":
            from histosam_core.console import note

            note(str(event["text"]))

    def result(self, **facts: object) -> None:
        """Write the event that ends a job that has done what it was asked for."""
        self.emit({"event": "result", **facts})

    @contextmanager
    def progress_bar(self, title: str) -> Iterator[ProgressCallback]:
        """Yield a callback that reports progress, and pauses or stops as the control file says.

        The callback raises KeyboardInterrupt where the control file says "stop". Called again with
        the same, it writes nothing new, but looks at the control file.
        """
        if self._stream is None:
            from histosam_core.console import progress_bar

            with progress_bar(title) as bar:

                def show(done: int, total: int, message: str = "") -> None:
                    bar(done, total, message)
                    self.obey()

                yield show
            return

        last: dict[str, object] = {}

        def write(done: int, total: int, message: str = "") -> None:
            nonlocal last
            counted = {"done": done, "total": total, "message": message, "title": title}
            if counted != last:
                last = counted
                self.emit({"event": "progress", **counted})
            self.obey()

        yield write

    def obey(self) -> None:
        """Do what the control file says: go on, wait until it says so, or stop.

        Raises
        ------
        KeyboardInterrupt
            It says "stop".
        """
        word = self._read_control()
        if word == "pause":
            self.emit({"event": "paused"})
            while word == "pause":
                self._sleep(POLL_SECONDS)
                word = self._read_control()
            if word != "stop":
                self.emit({"event": "resumed"})
        if word == "stop":
            raise KeyboardInterrupt

    def _on_due(self) -> None:
        with self._lock:
            self._is_due = False
            self._write_held()

    def _write_held(self) -> None:
        for kind, held in self._held.items():
            self._last[kind] = self._clock()
            self._write(held)
        self._held.clear()

    def _read_control(self) -> str:
        if self._control is None:
            return "run"
        try:
            return self._control.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return "run"

    def _write(self, event: Mapping[str, object]) -> None:
        if self._stream is None:
            return
        line = to_json(
            dict(event), ensure_ascii=True, inf_nan_mode="null", fallback=_other
        ).decode()
        # A full disk or a closed pipe does not end the work.
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()


@contextmanager
def job_events(events: bool, control: Path | None) -> Iterator[JobEvents]:
    """Run a command's work as a job: its end, an error included, is the last event.

    While it runs, the control file is locked, by which others know that it lives.

    Parameters
    ----------
    events
        Write events to standard output.
    control
        File to poll; made where it is missing.

    Raises
    ------
    JobError
        The control file cannot be made, or another process works with it.
    """
    job = JobEvents(sys.stdout if events else None, control)
    lock = _lock(control) if control is not None else None
    try:
        job.emit({"event": "start", "pid": os.getpid(), "version": __version__})
        try:
            yield job
        except KeyboardInterrupt:
            job.emit({"event": "stopped"})
            raise
        except HistoSamError as error:
            job.emit({"event": "error", "text": str(error)})
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            job.emit({"event": "error", "text": f"unexpected error: {text}; see the log"})
            raise
    finally:
        if lock is not None:
            lock.release()


def _lock(control: Path) -> FileLock | None:
    for tries_left in range(_TRIES - 1, -1, -1):
        try:
            if not control.exists():
                control.write_text("run\n", encoding="utf-8")
            return lock_file(control)
        except BlockingIOError as error:
            if not tries_left:
                raise JobError(
                    f"another process uses {control}; wait until it ends, or name another file"
                ) from error
            time.sleep(_PAUSE_S)
        except OSError as error:
            raise JobError(
                f"cannot use the control file {control}: {error.strerror}; name one that can be "
                "written"
            ) from error
    raise AssertionError("the last try returns or raises")


def _other(value: Any) -> Any:
    """What JSON does not know: NumPy's numbers, and anything else as text."""
    if isinstance(value, Mapping):
        return dict(value)
    return value.item() if hasattr(value, "item") else str(value)
