"""What a run tells while it goes on: progress to look at, events to log, notices to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from histosam_core.training.events import notice_event

if TYPE_CHECKING:
    from histosam_core.progress import ProgressCallback
    from histosam_core.training.events import OnEvent
    from histosam_core.training.tensorboard_log import TensorBoardLog
    from histosam_core.training.time_budget import TimeBudget

__all__ = ["Narrator"]


class Narrator:
    """Tells of one run.

    Parameters
    ----------
    progress
        Called with steps done and in all, or with seconds where the run has a time budget.
    on_event
        Called with every event; may raise to stop the run.
    time
        Of the run.
    position
        Returns steps done and in all.

    Attributes
    ----------
    tensorboard : TensorBoardLog or None
        Gets every event too.
    """

    def __init__(
        self,
        progress: ProgressCallback,
        on_event: OnEvent,
        time: TimeBudget,
        position: Callable[[], tuple[int, int]],
    ) -> None:
        self._progress, self._on_event = progress, on_event
        self._time, self._position = time, position
        self.tensorboard: TensorBoardLog | None = None
        self._doing, self._n_encoded = "", 0

    def tell(self, event: Mapping[str, object]) -> None:
        """Hand on an event."""
        if self.tensorboard is not None:
            self.tensorboard.write(event, self._position()[0])
        self._on_event(event)

    def notice(self, text: str) -> None:
        """Tell something that the user should know and that does not end the run."""
        self.tell(notice_event(text))

    def begin(self, doing: str) -> None:
        """Remember what the run is at, for what is said before it is done."""
        self._doing = doing

    def say(self, message: str, *, is_over: bool = False) -> None:
        """Report progress, and remember what the run is at."""
        self._doing = message
        self._report(message, is_over=is_over)

    def repeat(self) -> None:
        """Report the same again: whoever listens may want to pause or to stop."""
        self._report(self._doing)

    def encoded(self) -> None:
        """Report one more patch that went through the image encoder."""
        self._n_encoded += 1
        self._report(f"{self._doing}, {self._n_encoded} patches encoded")

    def close(self) -> None:
        """Close files."""
        if self.tensorboard is not None:
            self.tensorboard.close()

    def _report(self, message: str, *, is_over: bool = False) -> None:
        if self._time.max_seconds is None:
            self._progress(*self._position(), message)
            return
        total = round(self._time.max_seconds)
        done = total if is_over else min(int(self._time.seconds), total)
        self._progress(done, total, message)
