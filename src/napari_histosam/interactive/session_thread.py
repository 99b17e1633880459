"""The session's thread as the interface thread sees it: requests go in, answers come back.

A request finds the engine of the session that it was made for, and the answers of a session that
is over are dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_histosam.viewer.workers import Answer, SerialWorker

if TYPE_CHECKING:
    from histosam_core.progress import ProgressCallback
    from napari_histosam.interactive.engine import Engine
    from napari_histosam.interactive.status import Phase
    from napari_histosam.interactive.view import Setup, View

__all__ = ["SessionThread"]

PROGRESS_S = 0.1
"""Progress is announced no more often than this."""


class _Seat:
    """Where a session's engine is, once its thread has made it; another session has another seat.

    A request that is still on its way when another slide is started finds its own engine here.
    """

    def __init__(self) -> None:
        self.engine: Engine | None = None

    def close(self) -> None:
        """End the engine that is there; on the session's thread."""
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.close()


class SessionThread:
    """One engine at a time on a thread of its own. Called from the interface thread.

    Parameters
    ----------
    post
        Runs a callable soon on the interface thread; may be called from any thread.
    engine_for
        Makes the engine for an image layer, on the session's thread.
    answered
        Gets each `Answer` on the interface thread, and when it was asked for
        (`time.perf_counter`); None where that was for no session, or for one that is over.
    announced
        Gets the phase, a message and facts of a `Status` on the interface thread.
    """

    def __init__(
        self,
        post: Callable[[Callable[[], None]], None],
        engine_for: Callable[[Any], Engine],
        answered: Callable[[Answer, float | None], None],
        announced: Callable[..., None],
    ) -> None:
        self.engine_for = engine_for
        self.worker = SerialWorker("histosam-session", lambda a: post(lambda: self._take(a)))
        self._post = post
        self._answered = answered
        self._announced = announced
        self._seat = _Seat()
        self._asked_at: dict[int, float] = {}

    @property
    def engine(self) -> Engine | None:
        """The engine of the session that is open."""
        return self._seat.engine

    @property
    def is_settled(self) -> bool:
        """Whether every request is answered, and every answer handed on."""
        return not self._asked_at and not self.worker.is_busy

    def open(self, image: Any, setup: Setup) -> None:
        """Have the session on an image layer opened, or go on with another setup."""
        seat, progress = self._seat, self.progress("loading")

        def work() -> View:
            engine = seat.engine or self.engine_for(image)
            try:
                view = engine.open(setup, progress)
            except BaseException:
                if seat.engine is None:
                    engine.close()
                raise
            seat.engine = engine
            return view

        self._asked_at[self.worker.submit("open", work)] = time.perf_counter()

    def ask(
        self, name: str, work: Callable[[Engine], View], at: tuple[float, float] | None = None
    ) -> int:
        """Have the open session do some work; return the request's number.

        Parameters
        ----------
        name
            What is asked for, in a word.
        work
            Called with the engine, on the session's thread.
        at
            Where a model must look, level-0 pixels; None: nowhere.
        """
        seat = self._seat

        def run() -> View:
            engine = seat.engine
            if engine is None:
                raise AssertionError("what was shown has an engine")
            is_ready = at is None or engine.is_ready_at(at)
            phase: Phase = "predicting" if is_ready else "embedding"
            self._announce(seat, "working" if at is None else phase)
            return work(engine)

        number = self.worker.submit(name, run)
        self._asked_at[number] = time.perf_counter()
        return number

    def progress(self, phase: Phase) -> ProgressCallback:
        """Return a callback that announces how far work of this session has come."""
        last, seat = 0.0, self._seat

        def report(done: int, total: int, message: str = "") -> None:
            nonlocal last
            now = time.perf_counter()
            if now - last > PROGRESS_S or done >= total:
                last = now
                self._announce(seat, phase, message, done=done, total=total)

        return report

    def leave(self) -> None:
        """End the session. What it was asked for is still done, but its answers are dropped."""
        seat, self._seat = self._seat, _Seat()
        self._asked_at.clear()
        self.worker.submit("end", seat.close)

    def close(self, timeout_s: float) -> None:
        """End the session and the thread; what is not done in time is done in the background."""
        self.worker.submit("end", self._seat.close)
        self.worker.close(timeout_s)

    def _take(self, answer: Answer) -> None:
        self._answered(answer, self._asked_at.pop(answer.number, None))

    def _announce(self, seat: _Seat, phase: Phase, message: str = "", **facts: Any) -> None:
        """Say what is going on, unless that session is over; on the session's thread."""

        def say() -> None:
            if seat is self._seat:
                self._announced(phase, message, **facts)

        self._post(say)
