"""The click protocol: a simulated user clicks, the model answers, until the mask is good enough.

One image at a time here, in `run_clicks`; many side by side in `side_by_side`. Both make the same
clicks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.clicks.mask import MASK_THRESHOLD
from histosam_core.clicks.users import IDEAL, User
from histosam_core.errors import ConfigError
from histosam_core.evaluation.trial import ClickRun, Clock, ModelCalls, Trial, checked_truth
from histosam_core.model.interface import complete

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel

__all__ = ["ClickRun", "Clock", "EvaluationPatch", "ProtocolSettings", "run_clicks"]


class EvaluationPatch(Protocol):
    """What evaluation needs of a patch; `histosam_core.dataset.Patch` has it."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""

    @property
    def gt_mask(self) -> NDArray[Any]:
        """(H, W) bool or whole numbers: 1 object, 0 background, -1 ignored."""

    @property
    def id(self) -> str:
        """Name of the patch, unique in its data set."""

    @property
    def slide(self) -> str:
        """Name of the slide it was cut from."""


@dataclass(frozen=True, slots=True)
class ProtocolSettings:
    """When to stop clicking, and where the mask begins.

    Parameters
    ----------
    target_iou
        Stop at this IoU; above 1 means never. NoC can only be told for thresholds up to it.
    max_clicks
        The budget of clicks per image.
    min_clicks
        Clicks made even if the target is reached before.
    mask_threshold
        A pixel is foreground where its probability lies above this, strictly.
    """

    target_iou: float = 0.90
    max_clicks: int = 20
    min_clicks: int = 1
    mask_threshold: float = MASK_THRESHOLD

    def __post_init__(self) -> None:
        wrong = []
        if not self.target_iou > 0:
            wrong.append(f"target_iou {self.target_iou} must be above 0")
        if self.max_clicks < 1:
            wrong.append(f"max_clicks {self.max_clicks} must be at least 1")
        if not 1 <= self.min_clicks <= max(self.max_clicks, 1):
            wrong.append(f"min_clicks {self.min_clicks} must lie in 1 to max_clicks")
        if not 0 < self.mask_threshold < 1:
            wrong.append(f"mask_threshold {self.mask_threshold} must lie between 0 and 1")
        if wrong:
            raise ConfigError("evaluation settings: " + "; ".join(wrong))


def run_clicks(
    model: InteractiveModel,
    image: NDArray[np.uint8],
    gt_mask: ArrayLike,
    *,
    target_iou: float = 0.90,
    max_clicks: int = 20,
    min_clicks: int = 1,
    mask_threshold: float = MASK_THRESHOLD,
    ignore_mask: ArrayLike | None = None,
    user: User = IDEAL,
    rng: np.random.Generator | None = None,
    clock: Clock = time.perf_counter,
) -> ClickRun:
    """Click on one image until its mask reaches the target or the budget is spent.

    Before each click the model's previous `Prediction` goes back into it; the first click has none
    and sees an empty mask.

    Parameters
    ----------
    model
        Any `InteractiveModel`.
    image
        (H, W, 3) uint8 RGB.
    gt_mask
        (H, W) truth, bool or whole numbers: 1 object, 0 background, -1 ignored.
    target_iou, max_clicks, min_clicks, mask_threshold
        See `ProtocolSettings`.
    ignore_mask
        (H, W) bool, True where pixels count neither for clicks nor for the IoU.
    user
        Who clicks.
    rng
        The user's draws, such as ``user.rng(patch.id, repeat)``, which `evaluate` takes. None:
        ``user.rng("")``.
    clock
        Returns seconds.

    Raises
    ------
    ConfigError
        A setting is out of range, image and truth do not fit, or the model's answer does not.
    """
    settings = ProtocolSettings(target_iou, max_clicks, min_clicks, mask_threshold)
    start = clock()
    truth = checked_truth(image, gt_mask, ignore_mask)
    trial = Trial(0, truth, settings, user=user, rng=user.rng("") if rng is None else rng)
    calls = ModelCalls(complete(model), clock, batched=False)
    trial.embedding, trial.encode_s = calls.encode([image])[0]
    while not trial.is_finished:
        trial.click()
        (prediction,), decode_s = calls.decode([trial])
        trial.take(prediction, decode_s)
        now = clock()
        trial.wall_s.append(now - start)
        start = now
    return trial.result()
