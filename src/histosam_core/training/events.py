"""What a run tells of itself while it goes on: flat dicts of plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histosam_core.training.validation import ValidationScores

__all__ = ["OnEvent", "notice_event", "silent_event", "step_event", "validation_event"]

OnEvent = Callable[[Mapping[str, object]], None]
"""Called with ``{"event": "step" | "validation" | "notice", ...}``; may raise to stop the run."""


def silent_event(event: Mapping[str, object]) -> None:
    """Tell nobody: the default."""


def step_event(
    *,
    epoch: int,
    epochs: int,
    step: int,
    steps: int,
    loss: float,
    iou: float,
    learning_rate: float,
    seconds: float,
    seconds_left: float,
) -> dict[str, object]:
    """Return what one optimiser step was like; `steps` is the run's total, times are of the run."""
    return {
        "event": "step",
        "epoch": epoch,
        "epochs": epochs,
        "step": step,
        "steps": steps,
        "loss": loss,
        "iou": iou,
        "learning_rate": learning_rate,
        "seconds": seconds,
        "seconds_left": seconds_left,
    }


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
