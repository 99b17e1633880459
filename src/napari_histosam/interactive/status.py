"""What the interface says of a session's state, in one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_histosam.interactive.view import View

__all__ = ["Failure", "Phase", "Status", "status_of"]

Phase = Literal["idle", "loading", "embedding", "predicting", "working", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a session.

    Parameters
    ----------
    phase
        What is going on: nothing yet, the model is being loaded, a window is being read and
        encoded, a click is being answered, something else is being done, nothing (ready), or the
        last request failed.
    message
        One line more: what is loaded, what failed and how to mend it.
    done, total
        Of what is loaded or written; 0 where it cannot be told.
    n_clicks
        Clicks of the current object.
    n_waiting
        Clicks not answered yet.
    window
        The window of the last answer in words; empty before the first.
    click_ms
        Milliseconds from the last click to its painted mask.
    was_ready
        Whether that click found its window encoded.
    quality
        The model's own estimate of the IoU, 0 to 1.
    area_mm2
        Of the current object.
    ahead_done, ahead_total
        Windows encoded ahead of clicks, and asked for.
    """

    phase: Phase = "idle"
    message: str = ""
    done: int = 0
    total: int = 0
    n_clicks: int = 0
    n_waiting: int = 0
    window: str = ""
    click_ms: float | None = None
    was_ready: bool = False
    quality: float | None = None
    area_mm2: float | None = None
    ahead_done: int = 0
    ahead_total: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """A request that could not be carried out; what was there before still is.

    Parameters
    ----------
    name
        What was asked for, in a word.
    error
        Why not.
    """

    name: str
    error: BaseException

    @property
    def message(self) -> str:
        """One line."""
        text = str(self.error).strip() or type(self.error).__name__
        return " ".join(text.split())


def status_of(view: View, before: Status, painted_ms: float | None) -> Status:
    """Return the state when a view has been painted.

    Parameters
    ----------
    view
        What is shown.
    before
        The state so far.
    painted_ms
        From the request to the painted answer.
    """
    status = replace(
        before,
        phase="ready",
        message="",
        done=0,
        total=0,
        n_clicks=len(view.clicks),
        quality=view.quality,
        area_mm2=view.area_mm2,
    )
    answer, grid = view.answer, view.grid
    if answer is None:
        return status
    x, y = (round(v) for v in answer.region.location_xy)
    side_mm = grid.window_px * grid.mpp / 1000
    window = f"{grid.window_px} px of {grid.mpp:g} um ({side_mm:.2g} mm) at ({x}, {y})"
    return replace(status, window=window, click_ms=painted_ms, was_ready=answer.was_ready)
