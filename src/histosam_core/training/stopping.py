"""When a run stops: at a signal, once a step is whole, or when its time budget is spent."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

    from histosam_core.training.compute import Processes

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NEWEST_SHARE = 0.1
"""Weight of the newest step in the running mean: later epochs find their embeddings kept."""


class StopRequest:
    """While entered, turns the first SIGINT or SIGTERM into a request that `check` honours.

    A second signal stops at once, as without this class. Outside the main thread, where Python
    delivers no signals, it does nothing. Processes that train together stop only where all of them
    look, in `agree`.
    """

    def __init__(self, processes: Processes) -> None:
        self.requested = False
        self._processes = processes
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in SIGNALS}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt if a stop was asked for and no other process waits for this."""
        if self.requested and self._processes.count == 1:
            raise KeyboardInterrupt

    def agree(self, time: TimeBudget) -> None:
        """Stop if it was asked for, and agree on the time, so that all processes do the same."""
        self.check()
        if self._processes.count > 1:
            wishes = [float(self.requested), time.seconds]
            stop, time.agreed_seconds = self._processes.largest(wishes)
            if stop:
                raise KeyboardInterrupt

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


class TimeBudget:
    """The time of a run, in seconds of a clock, over all attempts; bounded or not.

    Attributes
    ----------
    seconds_before, validation_seconds, step_seconds : float
        Of earlier attempts, of the last validation, and of a step of late.
    agreed_seconds : float or None
        Seconds so far that all processes agreed on; None where there is one.
    """

    def __init__(self, max_minutes: float | None, clock: Callable[[], float]) -> None:
        self.max_seconds = None if max_minutes is None else max_minutes * 60
        self.clock = clock
        self._started = clock()
        self.seconds_before = 0.0
        self.validation_seconds = self.step_seconds = 0.0
        self.agreed_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return self.seconds_before + self.clock() - self._started

    def add_step(self, seconds: float) -> None:
        """Take in what one step took."""
        share = NEWEST_SHARE if self.step_seconds else 1.0
        self.step_seconds += share * (seconds - self.step_seconds)

    def share_used(self) -> float:
        """Share of the time for training that is used; 0 where there is no budget."""
        return self._used() / self._training_seconds()

    def is_spent(self, coming_validations: int = 0) -> bool:
        """Whether training must end, so that the last validation still fits."""
        soon = self._used() + coming_validations * self.validation_seconds
        return soon >= self._training_seconds()

    def seconds_left(self, steps: int, validations: int) -> float:
        """What so many steps and validations will take if things stay as they are."""
        left = steps * self.step_seconds + validations * self.validation_seconds
        if self.max_seconds is not None:
            left = min(left, max(0.0, self.max_seconds - self.seconds))
        return left

    def _used(self) -> float:
        return self.seconds if self.agreed_seconds is None else self.agreed_seconds

    def _training_seconds(self) -> float:
        if self.max_seconds is None:
            return math.inf
        return max(self.max_seconds - self.validation_seconds, 0.1 * self.max_seconds)
