"""The session's thread as the interface thread sees it: requests go in, answers come back."""

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

PROGRESS_S = 0.1
"""Progress is announced no more often than this."""


class SessionThread:
    """One engine at a time on a thread of its own. Called from the interface thread.

    A request is for the engine of the session that was open when it was made; when it is carried
    out after that session was left, its answer is dropped.

    Parameters
    ----------
    post
        Runs a callable soon on the interface thread; may be called from any thread.
    answered
        Gets each `Answer` on the interface thread, and when it was asked for
        (`time.perf_counter`); None where that was for no session, or for one that is over.
    announced
        Gets the phase, a message and facts of a `Status` on the interface thread.

    Attributes
    ----------
    engine
        Of the session that is open or about to be.
    worker
        Carries out the requests.
    """

    def __init__(
        self,
        post: Callable[[Callable[[], None]], None],
        answered: Callable[[Answer, float | None], None],
        announced: Callable[..., None],
    ) -> None:
        self.engine: Engine | None = None
        self.worker = SerialWorker("histosam-session", lambda a: post(lambda: self._take(a)))
        self._post = post
        self._answered = answered
        self._announced = announced
        self._asked_at: dict[int, float] = {}

    @property
    def is_settled(self) -> bool:
        """Whether every request is answered, and every answer handed on."""
        return not self._asked_at and not self.worker.is_busy

    @property
    def is_asked(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._asked_at)

    def open(self, engine: Engine, setup: Setup) -> None:
        """Have a session opened, or go on with another setup in the one that is open."""
        self.engine = engine
        progress = self.progress("loading")
        self._submit("open", lambda: engine.open(setup, progress))

    def ask(
        self,
        name: str,
        work: Callable[[Engine], View],
        at: tuple[float, float] | None = None,
        *,
        is_announced: bool = True,
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
        is_announced
            Whether it is said that the work begins.
        """
        engine = self.engine
        if engine is None:
            raise AssertionError("what was shown has an engine")

        def run() -> View:
            is_ready = at is None or engine.is_ready_at(at)
            phase: Phase = "predicting" if is_ready else "embedding"
            if is_announced:
                self._announce(engine, "working" if at is None else phase)
            return work(engine)

        return self._submit(name, run)

    def progress(self, phase: Phase) -> ProgressCallback:
        """Return a callback that announces how far work of this session has come."""
        last, engine = 0.0, self.engine

        def report(done: int, total: int, message: str = "") -> None:
            nonlocal last
            now = time.perf_counter()
            if now - last > PROGRESS_S or done >= total:
                last = now
                self._announce(engine, phase, message, done=done, total=total)

        return report

    def leave(self) -> None:
        """End the session. What it was asked for is still done, but its answers are dropped."""
        engine, self.engine = self.engine, None
        self._asked_at.clear()
        if engine is not None:
            self.worker.submit("end", engine.close)

    def close(self, timeout_s: float) -> None:
        """End the session and the thread; what is not done in time is done in the background."""
        if self.engine is not None:
            self.worker.submit("end", self.engine.close)
        self.worker.close(timeout_s)

    def _submit(self, name: str, work: Callable[[], View]) -> int:
        number = self.worker.submit(name, work)
        self._asked_at[number] = time.perf_counter()
        return number

    def _take(self, answer: Answer) -> None:
        self._answered(answer, self._asked_at.pop(answer.number, None))

    def _announce(
        self, engine: Engine | None, phase: Phase, message: str = "", **facts: Any
    ) -> None:
        """Say what is going on, unless that session is over; on the session's thread."""

        def say() -> None:
            if engine is self.engine:
                self._announced(phase, message, **facts)

        self._post(say)
