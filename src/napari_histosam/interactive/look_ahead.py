"""A second thread that encodes windows ahead of the clicks, where the next one may fall. No Qt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_histosam.viewer.workers import yield_to_interface

if TYPE_CHECKING:
    from histosam_core.geometry import Region
    from histosam_core.session import Predictor

PAUSE_S = 0.02
REST_S = 0.15
BUDGET_S = 30.0
"""A slow model on a slow machine does not encode on and on while nobody clicks."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """How far the look-ahead has come."""

    # Windows encoded, and asked for.
    done: int
    total: int
    error: BaseException | None = None  # what stopped it, if something did


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    predictor: Predictor
    regions: Callable[[], Sequence[Region]]


class LookAhead:
    """Encodes windows; between two of them it gives way to clicks and turns to the newest target.

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
        self._is_on = True
        self._is_busy = is_busy
        self._report = report
        self._condition = threading.Condition()
        self._target: _Target | None = None
        self._is_working = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_on(self) -> bool:
        """Whether `aim` has an effect; switching it off stops what is going on."""
        return self._is_on

    @is_on.setter
    def is_on(self, is_on: bool) -> None:
        self._is_on = is_on
        if not is_on:
            self.stop()

    def aim(self, predictor: Predictor, regions: Callable[[], Sequence[Region]]) -> None:
        """Encode windows that are not ready, in their order, and no others that were asked for.

        `regions` is called on this thread, once the view has rested for `REST_S`.
        """
        if self._is_on:
            self._turn_to(_Target(predictor, regions))

    def stop(self) -> None:
        """Encode nothing more than the current window."""
        self._turn_to(None)

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until everything asked for is encoded; return whether that came in time."""
        with self._condition:
            return self._condition.wait_for(
                lambda: self._target is None and not self._is_working, timeout_s
            )

    def close(self, timeout_s: float = 0.0) -> bool:
        """End after the current window; return whether the thread ended in time."""
        self._closed = True
        self.stop()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _turn_to(self, target: _Target | None) -> None:
        with self._condition:
            self._target = target
            self._condition.notify_all()

    def _run(self) -> None:
        yield_to_interface(10)
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._target is not None or self._closed)
                target = self._target
                if target is None:
                    return
                self._is_working = True
            try:
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
