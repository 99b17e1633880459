"""A job's events so far, folded into curves, progress and a log. No Qt."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_histosam.jobs.job import Job

READ_BYTES = 512 * 1024
"""At most, at a time: a job of a day is read in pieces, and the window lives between them."""
SMOOTHED_SHARE = 0.04
"""Of a curve's points, that each point of its smoothed form is the mean of."""
ROOM = 1.5
"""Width of the charts, over what is done."""
VALIDATION_NAMES = ("noc80", "noc85", "noc90", "iou_1_click", "iou_5_clicks", "iou_last_click")


@dataclass(slots=True)
class Curve:
    """A line of a chart: `ys` over `xs`; values that are no numbers are left out."""

    xs: list[float] = field(default_factory=list)
    ys: list[float] = field(default_factory=list)

    def add(self, x: float, y: object) -> None:
        """Add a point; points at or behind its x are from before a resume, and go."""
        cut = bisect_left(self.xs, x)
        del self.xs[cut:], self.ys[cut:]
        number = _number(y)
        if number is not None:
            self.xs.append(x)
            self.ys.append(number)

    def smoothed(self) -> Curve:
        """Return the running mean."""
        width = max(1, round(len(self.ys) * SMOOTHED_SHARE))
        means, total = [], 0.0
        for i, y in enumerate(self.ys):
            total += y - (self.ys[i - width] if i >= width else 0.0)
            means.append(total / min(i + 1, width))
        return Curve(list(self.xs), means)


class History:
    """A job's events, folded.

    Attributes
    ----------
    loss, iou : Curve
        Of the training steps, over epochs.
    validation : dict of str to Curve
        By name, over epochs: NoC, and IoU after some clicks.
    best_epoch : int or None
        The epoch whose checkpoint is the best so far.
    notices : list of str
        The job's log.
    result : dict or None
        The facts that it ended with.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.loss, self.iou = Curve(), Curve()
        self.validation = {name: Curve() for name in VALIDATION_NAMES}
        self.best_epoch: int | None = None
        self.notices: list[str] = []
        self.result: dict[str, Any] | None = None
        self._offset = 0
        self._step: Mapping[str, Any] = {}
        self._progress: Mapping[str, Any] = {}

    def update(self) -> bool:
        """Read on; return whether anything was new."""
        events, self._offset = self.job.read_events(self._offset, limit=READ_BYTES)
        for event in events:
            self._take(event)
        return bool(events)

    @property
    def share_done(self) -> float | None:
        """How much is done, 0 to 1; None before that is known."""
        if self.result is not None:
            return 1.0
        done, total = self._progress.get("done"), self._progress.get("total")
        return min(1.0, done / total) if done is not None and total else None

    @property
    def seconds_left(self) -> float | None:
        """The training's own estimate; None before there is one."""
        return _number(self._step.get("seconds_left"))

    @property
    def words(self) -> str:
        """The current work, in words."""
        title, message = (str(self._progress.get(name) or "") for name in ("title", "message"))
        if self.job.kind == "evaluate":  # several models and data sets, one after the other
            return ": ".join(filter(None, (title, message)))
        step, total = self._step.get("step"), self._step.get("steps")
        count = f"step {step} of {total}" if step is not None and total else ""
        return ", ".join(filter(None, (message or title, count)))

    @property
    def headline(self) -> str:
        """The outcome, in a line; empty before the end."""
        result = self.result or {}
        if result.get("headline"):
            return str(result["headline"])
        scores = [result.get(name) or {} for name in ("before", "best")]
        before, best = (_number(score.get("noc85")) for score in scores)
        if before is None or best is None:
            return ""
        words = f"NoC@85 {before:.2f} before, {best:.2f} after epoch {result.get('best_epoch')}"
        worse = "; it needs more clicks than before: train longer, or at a lower rate"
        return words + worse * (best > before)

    @property
    def n_epochs(self) -> float:
        """Width of the charts."""
        ends = [curve.xs[-1] for curve in (self.loss, *self.validation.values()) if curve.xs]
        done = max([1.0, *ends])
        if self.result is not None:
            return done
        known = _number(self._step.get("epochs"))
        # A time limit may end the run long before its epochs: the axis grows with what is done.
        return done if known is None else min(done * ROOM, known)

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "step":
            self._take_step(event)
        elif kind == "validation":
            self._take_validation(event)
        elif kind == "progress":
            self._progress = event
        elif kind == "notice":
            self.notices.append(str(event.get("text", "")))
        elif kind == "error":
            self.notices.append(f"Error: {event.get('text', '')}")
        elif kind == "start":
            if self._offset and self._progress:
                self.notices.append("Resumed")
            self.result = None
        elif kind == "stopped":
            self.notices.append("Stopped; the state is saved")
        elif kind == "result":
            self.result = dict(event)

    def _take_step(self, event: Mapping[str, Any]) -> None:
        self._step = event
        step, steps, epochs = (_number(event.get(name)) for name in ("step", "steps", "epochs"))
        if step is not None and steps and epochs is not None:
            x = step / steps * epochs
            self.loss.add(x, event.get("loss"))
            self.iou.add(x, event.get("iou"))

    def _take_validation(self, event: Mapping[str, Any]) -> None:
        epoch, noc = _number(event.get("epoch")), _number(event.get("noc85"))
        if epoch is None:
            return
        for name, curve in self.validation.items():
            curve.add(epoch, event.get(name))
        if event.get("is_best"):
            self.best_epoch = int(epoch)
        if noc is not None:
            best = ", the best epoch so far" if event.get("is_best") and epoch else ""
            when = f"Epoch {epoch:g}" if epoch else "Before training"
            self.notices.append(f"{when}: NoC@85 {noc:.2f}{best}")


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else None  # type: ignore[arg-type]
