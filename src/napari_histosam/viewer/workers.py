"""Background threads: one does the session's work in order, one encodes ahead of the clicks.

Neither knows Qt. They hand their answers to a callback, which they call on their own thread; the
interactive controller brings them to the interface thread. Both run at a lower priority than the
interface where the system allows it, so that a drag stays smooth on two cores.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histosam_core.geometry import Region
    from histosam_core.session import Predictor

__all__ = ["Ahead", "Answer", "LookAhead", "SerialWorker"]

NICENESS = 10
PAUSE_S = 0.02
REST_S = 0.15
BUDGET_S = 30.0
"""A slow model on a slow machine does not encode on and on while nobody clicks."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of a request.

    Parameters
    ----------
    number
        The request's, rising.
    name
        What was asked for, in a word.
    result
        What the work returned; None where it raised.
    error
        What it raised, if it did.
    """

    number: int
    name: str
    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class _Request:
    number: int
    name: str
    work: Callable[[], Any]


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
        self._condition = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._running: _Request | None = None
        self._number = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether a request runs or waits."""
        return self._running is not None or bool(self._waiting)

    def submit(self, name: str, work: Callable[[], Any]) -> int:
        """Append a request; return its number. After `close` nothing is carried out."""
        with self._condition:
            self._number += 1
            if not self._closed:
                self._waiting.append(_Request(self._number, name, work))
                self._condition.notify_all()
            return self._number

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing runs or waits; return whether that came in time."""
        with self._condition:
            return self._condition.wait_for(lambda: not self.is_busy, timeout_s)

    def close(self, timeout_s: float = 0.0) -> bool:
        """Finish what waits, then end; return whether the thread ended in time."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        _yield_to_interface()
        while (request := self._next()) is not None:
            try:
                answer = Answer(request.number, request.name, request.work())
            except Exception as error:
                answer = Answer(request.number, request.name, error=error)
            self._deliver(answer)
            with self._condition:
                self._running = None
                self._condition.notify_all()

    def _next(self) -> _Request | None:
        with self._condition:
            self._condition.wait_for(lambda: bool(self._waiting) or self._closed)
            if not self._waiting:
                return None
            self._running = self._waiting.popleft()
            return self._running


@dataclass(frozen=True, slots=True)
class Ahead:
    """How far the look-ahead has come.

    Parameters
    ----------
    done, total
        Windows encoded, and asked for.
    error
        What stopped it, if something did.
    """

    done: int
    total: int
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    predictor: Predictor
    regions: Callable[[], Sequence[Region]]


class LookAhead:
    """A thread that encodes windows where the next click may fall.

    Between two windows it gives way to clicks, and turns to the newest target.

    Parameters
    ----------
    name
        Of the thread.
    is_busy
        Whether clicks are being answered.
    report
        Gets an `Ahead` after each window, on this thread.
    """

    def __init__(
        self, name: str, is_busy: Callable[[], bool], report: Callable[[Ahead], None]
    ) -> None:
        self._is_busy = is_busy
        self._report = report
        self._condition = threading.Condition()
        self._target: _Target | None = None
        self._is_working = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def aim(self, predictor: Predictor, regions: Callable[[], Sequence[Region]]) -> None:
        """Encode these windows, in this order, and no others that were asked for before.

        Parameters
        ----------
        predictor
            Encodes them, and knows which are ready.
        regions
            Gives them; called on this thread, once the view has rested for `REST_S`.
        """
        with self._condition:
            self._target = _Target(predictor, regions)
            self._condition.notify_all()

    def stop(self) -> None:
        """Encode nothing more than the window at hand."""
        with self._condition:
            self._target = None

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until everything asked for is encoded; return whether that came in time."""
        with self._condition:
            return self._condition.wait_for(
                lambda: self._target is None and not self._is_working, timeout_s
            )

    def close(self, timeout_s: float = 0.0) -> bool:
        """End after the window at hand; return whether the thread ended in time."""
        with self._condition:
            self._closed = True
            self._target = None
            self._condition.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        _yield_to_interface()
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._target is not None or self._closed)
                if self._closed:
                    return
                target = self._target
                self._is_working = True
            try:
                if target is not None:
                    self._encode(target)
            finally:
                with self._condition:
                    self._is_working = False
                    if self._target is target:
                        self._target = None
                    self._condition.notify_all()

    def _encode(self, target: _Target) -> None:
        with self._condition:
            if self._condition.wait_for(lambda: self._target is not target, REST_S):
                return
        done = total = 0
        try:
            regions = target.regions()
            total, until = len(regions), time.monotonic() + BUDGET_S
            for done, region in enumerate(regions):
                while self._is_busy() and self._target is target:
                    with self._condition:
                        self._condition.wait(PAUSE_S)
                if self._target is not target or time.monotonic() > until:
                    return
                n_encoded = target.predictor.embed([region])
                if n_encoded or done + 1 == total:
                    self._report(Ahead(done + 1, total))
        except Exception as error:
            self._report(Ahead(done, total, error))


def _yield_to_interface() -> None:
    if sys.platform == "linux":  # there priorities belong to threads, and their children inherit
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
