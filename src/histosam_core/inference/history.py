"""The steps of one object: each click, what answered it, and the canvas after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.inference.canvas import CanvasSnapshot
    from histosam_core.inference.predictor import Timings
    from histosam_core.inference.windows import Window

__all__ = ["History", "Step"]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One click and its answer.

    Parameters
    ----------
    click
        In level-0 pixels.
    window
        Which window answered.
    quality
        The model's own estimate of the window's IoU; None where it gives none.
    timings
        Seconds the answer took.
    is_new_window
        Whether the object had not used the window before.
    was_ready
        Whether the window's embedding was at hand.
    canvas
        The canvas after the answer. Steps share the tiles that did not change; a step of a 400 px
        window holds about 1.5 MB of its own.
    """

    click: Click
    window: Window
    quality: float | None
    timings: Timings
    is_new_window: bool
    was_ready: bool
    canvas: CanvasSnapshot


@dataclass(slots=True, eq=False)
class History:
    """The steps of one object, with undo and redo; a new step forgets what was undone.

    Parameters
    ----------
    start_canvas
        The canvas before the first step.
    start_clicks
        Clicks that came before the first step and cannot be undone.
    """

    start_canvas: CanvasSnapshot = field(default_factory=dict)
    start_clicks: tuple[Click, ...] = ()
    steps: list[Step] = field(default_factory=list)
    undone: list[Step] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Append a step."""
        self.steps.append(step)
        self.undone.clear()

    def undo(self) -> Step | None:
        """Take the last step back and return it; None when there is none."""
        if not self.steps:
            return None
        self.undone.append(self.steps.pop())
        return self.undone[-1]

    def redo(self) -> Step | None:
        """Put the last undone step back and return it; None when there is none."""
        if not self.undone:
            return None
        self.steps.append(self.undone.pop())
        return self.steps[-1]

    @property
    def canvas(self) -> CanvasSnapshot:
        """The canvas after the last step."""
        return self.steps[-1].canvas if self.steps else self.start_canvas

    @property
    def clicks(self) -> tuple[Click, ...]:
        """All clicks in order."""
        return (*self.start_clicks, *(step.click for step in self.steps))

    @property
    def current_window(self) -> Window | None:
        """The window of the last step."""
        return self.steps[-1].window if self.steps else None

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows used, in order of first use."""
        return tuple(dict.fromkeys(step.window for step in self.steps))

    @property
    def quality(self) -> float | None:
        """Mean of the model's own estimates, the latest of each window; None without any."""
        latest = {step.window: step.quality for step in self.steps}
        known = [quality for quality in latest.values() if quality is not None]
        return sum(known) / len(known) if known else None
