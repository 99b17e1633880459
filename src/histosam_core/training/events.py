"""What a run tells of itself while it goes on: flat dicts of plain values, and the time left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histosam_core.training.validation import ValidationScores

__all__ = ["OnEvent", "StepPace", "notice_event", "silent_event", "validation_event"]

OnEvent = Callable[[Mapping[str, object]], None]
"""Called with ``{"event": "step" | "validation" | "notice", ...}``; may raise to stop the run."""

NEWEST_SHARE = 0.1
"""Weight of the newest step in the running mean: later epochs find their embeddings kept."""


def silent_event(event: Mapping[str, object]) -> None:
    """Tell nobody: the default."""


def validation_event(epoch: int, scores: ValidationScores, *, is_best: bool) -> dict[str, object]:
    """Return how the model answered clicks after `epoch`; epoch 0 is before training."""
    return {
        "event": "validation",
        "epoch": epoch,
        "noc80": scores.noc80,
        "noc85": scores.noc85,
        "noc90": scores.noc90,
        "iou_1_click": scores.miou_after(1),
        "iou_5_clicks": scores.miou_after(5),
        "iou_last_click": scores.miou_per_click[-1],
        "is_best": is_best,
    }


def notice_event(text: str) -> dict[str, object]:
    """Return something that the user should know and that does not end the run."""
    return {"event": "notice", "text": text}


class StepPace:
    """How long steps take of late, in seconds, and so how long the rest will take."""

    def __init__(self) -> None:
        self.step_seconds = 0.0

    def add(self, seconds: float) -> None:
        """Take in what one step took."""
        share = NEWEST_SHARE if self.step_seconds else 1.0
        self.step_seconds += share * (seconds - self.step_seconds)

    def seconds_left(self, steps: int, validations: int, validation_seconds: float) -> float:
        """Return what so many steps and validations will take, if things stay as they are."""
        return steps * self.step_seconds + validations * validation_seconds
