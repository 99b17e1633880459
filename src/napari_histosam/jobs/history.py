"""What a job has told so far, folded into curves and a few words. No Qt."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_histosam.jobs.job import Job

__all__ = ["Curve", "History"]

READ_BYTES = 512 * 1024
"""At most, at a time: a job of a day is read in pieces, and the window lives between them."""
SMOOTHED_SHARE = 0.04
"""Of a curve's points, that each point of its smoothed form is the mean of."""
ROOM = 1.5
"""Width of the charts, of what is done."""
VALIDATION_NAMES = ("noc80", "noc85", "noc90", "iou_1_click", "iou_5_clicks", "iou_last_click")


@dataclass(slots=True)
class Curve:
    """A line of a chart: `ys` over `xs`, in epochs; values that are no numbers are left out."""

    xs: list[float] = field(default_factory=list)
    ys: list[float] = field(default_factory=list)

    def add(self, x: float, y: object) -> None:
        """Add a point; what lies at or behind its x is from before a resume, and goes."""
        cut = bisect_left(self.xs, x)
        del self.xs[cut:], self.ys[cut:]
        if isinstance(y, int | float) and math.isfinite(y):
            self.xs.append(x)
            self.ys.append(float(y))

    def smoothed(self) -> Curve:
        """Return the running mean."""
        width = max(1, round(len(self.ys) * SMOOTHED_SHARE))
        means, total = [], 0.0
        for i, y in enumerate(self.ys):
            total += y
            if i >= width:
                total -= self.ys[i - width]
            means.append(total / min(i + 1, width))
        return Curve(list(self.xs), means)


class History:
    """A job's events, folded.

    Parameters
    ----------
    job
        Whose events are read.

    Attributes
    ----------
    loss, iou : Curve
        Of the training steps.
    validation : dict of str to Curve
        By name: NoC and IoU after some clicks.
    best_epoch : int or None
        The epoch whose checkpoint is the best so far.
    notices : list of str
        What the job said in words.
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
        """What the training says of itself; None before that is known."""
        left = self._step.get("seconds_left")
        return float(left) if isinstance(left, int | float) else None

    @property
    def words(self) -> str:
        """What it does now."""
        message = str(self._progress.get("message") or self._progress.get("title") or "")
        step, total = self._step.get("step"), self._step.get("steps")
        count = f"step {step} of {total}" if step is not None and total else ""
        return ", ".join(filter(None, (message, count)))

    @property
    def headline(self) -> str:
        """What came of it, in a line; empty before its end."""
        result = self.result or {}
        told = result.get("headline")
        if told:
            return str(told)
        before, best = (_noc85(result.get(name)) for name in ("before", "best"))
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
        known = self._step.get("epochs")
        # A time limit may end the run long before its epochs: the axis grows with what is done.
        return min(done * ROOM, float(known)) if isinstance(known, int | float) else done

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
        x = _epochs_done(event)
        if x is not None:
            self.loss.add(x, event.get("loss"))
            self.iou.add(x, event.get("iou"))

    def _take_validation(self, event: Mapping[str, Any]) -> None:
        epoch = event.get("epoch")
        if not isinstance(epoch, int | float):
            return
        for name, curve in self.validation.items():
            curve.add(float(epoch), event.get(name))
        if event.get("is_best"):
            self.best_epoch = int(epoch)
        noc = event.get("noc85")
        if isinstance(noc, int | float):
            best = ", the best epoch so far" if event.get("is_best") and epoch else ""
            when = f"Epoch {epoch:g}" if epoch else "Before training"
            self.notices.append(f"{when}: NoC@85 {noc:.2f}{best}")


def _noc85(scores: object) -> float | None:
    value = scores.get("noc85") if isinstance(scores, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _epochs_done(event: Mapping[str, Any]) -> float | None:
    """Where a step lies on the axis of epochs."""
    step, steps, epochs = (event.get(name) for name in ("step", "steps", "epochs"))
    numbers: Sequence[object] = (step, steps, epochs)
    if not all(isinstance(number, int | float) for number in numbers) or not steps:
        return None
    return float(step / steps * epochs)
