"""A background thread that carries out requests in order, at a lower priority than the interface.

Knows no Qt: answers go to a callback on the thread's side; a controller brings them to the
interface thread.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Queue
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of a request."""

    number: int  # the request's, rising
    name: str  # what was asked for, in a word
    result: Any = None  # what the work returned; None where it raised
    error: BaseException | None = None  # what it raised, if it did


class SerialWorker:
    """A thread that carries out requests one after another.

    Parameters
    ----------
    name
        Of the thread.
    deliver
        Gets each `Answer`, on the worker's thread.
    """

    def __init__(self, name: str, deliver: Callable[[Answer], None]) -> None:
        self._deliver = deliver
        self._requests: Queue[tuple[int, str, Callable[[], Any]] | None] = Queue()
        self._number = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether a request runs or waits."""
        return self._requests.unfinished_tasks > 0

    def submit(self, name: str, work: Callable[[], Any]) -> int:
        """Append a request; return its number. After `close` nothing is carried out."""
        self._number += 1
        if not self._closed:
            self._requests.put((self._number, name, work))
        return self._number

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing runs or waits; return whether that came in time."""
        with self._requests.all_tasks_done:
            return self._requests.all_tasks_done.wait_for(lambda: not self.is_busy, timeout_s)

    def close(self, timeout_s: float = 0.0) -> bool:
        """Finish what waits, then end; return whether the thread ended in time."""
        if not self._closed:
            self._closed = True
            self._requests.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        yield_to_interface(10)
        while (request := self._requests.get()) is not None:
            number, name, work = request
            try:
                answer = Answer(number, name, work())
            except Exception as error:
                answer = Answer(number, name, error=error)
            self._deliver(answer)
            del request, work, answer  # while it waits, the thread keeps nothing alive
            self._requests.task_done()
        self._requests.task_done()


def yield_to_interface(niceness: int) -> None:
    """Lower this thread's priority where that is possible; a drag stays smooth on two cores."""
    if sys.platform == "linux":  # there priorities belong to threads, and their children inherit
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
