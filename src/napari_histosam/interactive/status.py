"""What is going on in a session, in one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_histosam.interactive.view import View

Phase = Literal[
    "idle", "loading", "embedding", "predicting", "working", "growing", "ready", "failed"
]


@dataclass(frozen=True, slots=True)
class Status:
    """What is going on, and how the last click went."""

    # Nothing yet (idle), the model is being loaded, a window is being read and encoded, a click is
    # being answered, something else is being done, the object grows, nothing (ready), or the last
    # request failed.
    phase: Phase = "idle"
    message: str = ""  # one line more: what is loaded, what failed and how to mend it
    # Of what is loaded or written; 0 where that is not known.
    done: int = 0
    total: int = 0
    n_waiting: int = 0  # clicks not answered yet
    window: str = ""  # the window of the last answer in words; empty before the first
    click_ms: float | None = None  # milliseconds from the last click to its painted mask
    was_ready: bool = False  # whether that click found its window encoded
    # Windows encoded ahead of clicks, and asked for.
    ahead_done: int = 0
    ahead_total: int = 0

    def painted(self, view: View, painted_ms: float) -> Status:
        """Return the status once a view is painted, so many milliseconds after it was asked for."""
        ready = replace(self, phase="ready", message="", done=0, total=0)
        answer, grid = view.answer, view.grid
        if answer is None:
            return ready
        x, y = (round(v) for v in answer.region.location_xy)
        side_mm = grid.window_px * grid.mpp / 1000
        window = f"{side_mm:.2g} mm at ({x}, {y})"
        return replace(ready, window=window, click_ms=painted_ms, was_ready=answer.was_ready)


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """Why a request could not be carried out; what was there before still is."""

    error: BaseException

    @property
    def message(self) -> str:
        """One line."""
        text = str(self.error).strip() or type(self.error).__name__
        return " ".join(text.split())
