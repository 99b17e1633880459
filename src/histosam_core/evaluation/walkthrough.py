"""Recorded clicks once more: the mask after each of them, on the model that was clicked or another.

An evaluation keeps clicks and IoUs, and no mask but the last. Here the clicks go through the
protocol again, so that every mask can be looked at and two models compared on the same clicks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.clicks.mask import MASK_THRESHOLD
from histosam_core.errors import ConfigError
from histosam_core.evaluation.protocol.click_loop import ModelAnswers, run_trials
from histosam_core.evaluation.protocol.trial import ProtocolSettings, Trial, checked_truth
from histosam_core.model.interface import complete
from histosam_core.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.model.interface import InteractiveModel

BOTH_RIGHT, ONLY_A_RIGHT, ONLY_B_RIGHT, BOTH_WRONG = 1, 2, 3, 4
"""Classes of `disagreement`; 0 is background that both leave out, and what is ignored."""
TOLERANCE = 0.005
"""Batches, other devices and other numbers of threads move a logit at the threshold, not more."""


@dataclass(frozen=True, slots=True)
class RecordedClicks:
    """A user who makes recorded clicks again, whatever the model answers; there must be one."""

    clicks: Sequence[Click]

    def __post_init__(self) -> None:
        if not self.clicks:
            raise ConfigError(
                "there is no click to give again; choose a patch or region that was clicked on"
            )

    def next_click(
        self, gt_mask: ArrayLike, pred_mask: ArrayLike, clicked: Iterable[Click] = (), *, rng: Any
    ) -> Click:
        """Return the recorded click that follows those made."""
        return self.clicks[sum(1 for _ in clicked)]

    def settings(self, mask_threshold: float) -> ProtocolSettings:
        """Return the protocol that makes all of the clicks."""
        n = len(self.clicks)
        return ProtocolSettings(2.0, max_clicks=n, min_clicks=n, mask_threshold=mask_threshold)


@dataclass(frozen=True, slots=True, eq=False)
class Walkthrough:
    """What a model answered to each click."""

    clicks: tuple[Click, ...]  # the n clicks, image pixels (x, y)
    masks: NDArray[np.bool_]  # (n, H, W) bool, the mask after each click
    ious: NDArray[np.float32]  # (n,) float32, the IoU after each click


def walk_through(
    model: InteractiveModel,
    image: NDArray[np.uint8],
    gt_mask: ArrayLike,
    clicks: Sequence[Click],
    *,
    mask_threshold: float = MASK_THRESHOLD,
    progress: ProgressCallback = silent,
) -> Walkthrough:
    """Give recorded clicks to a model, one after the other, and keep every mask.

    The model that the clicks were made for gives the IoUs that were recorded; see `mismatch`.

    Parameters
    ----------
    model
        Any `InteractiveModel`.
    image
        (H, W, 3) uint8 RGB.
    gt_mask
        (H, W) truth, bool or whole numbers: 1 object, 0 background, -1 ignored.
    clicks
        Of a `PatchRecord` or a `ClickRun`, image pixels (x, y).
    mask_threshold
        The run's: a pixel is foreground where its probability lies above this, strictly.
    progress
        Called with the clicks done.

    Raises
    ------
    ConfigError
        There is no click, one lies outside the image, or image, truth and answer differ in size.
    PredictionError
        The model answers with what is not a number.
    """
    user = RecordedClicks(clicks)
    truth = checked_truth(image, gt_mask)
    height, width = truth.shape
    for click in clicks:
        x, y = click.xy
        if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
            raise ConfigError(
                f"the click at {click.xy} lies outside the image of {width} x {height} px; the "
                "records belong to other patches"
            )
    n = len(clicks)
    masks = np.zeros((n, height, width), dtype=bool)
    progress(0, n)
    answer = ModelAnswers(complete(model), batched=False)
    trial = Trial(truth, user.settings(mask_threshold), user, np.random.default_rng(0))
    trial.embedding, _ = answer.encode([image])[0]

    def on_step() -> None:
        masks[len(trial.ious) - 1] = trial.mask
        progress(len(trial.ious), n)

    for _ in run_trials(iter([[trial]]), answer, on_step=on_step):
        pass
    return Walkthrough(tuple(clicks), masks, trial.result().ious)


def mismatch(walkthrough: Walkthrough, ious: ArrayLike, tolerance: float = TOLERANCE) -> str:
    """Say where a walkthrough departs from (n,) recorded IoUs by more than a tolerance, or ""."""
    recorded = np.asarray(ious, dtype=np.float32)
    if recorded.shape != walkthrough.ious.shape:
        return f"{recorded.size} clicks were recorded, {walkthrough.ious.size} were given"
    beyond = np.flatnonzero(np.abs(walkthrough.ious - recorded) > tolerance)
    if not beyond.size:
        return ""
    i = int(beyond[0])
    return (
        f"after click {i + 1} the IoU is {walkthrough.ious[i]:.3f}, recorded was "
        f"{recorded[i]:.3f}: the checkpoint or the patches have changed since; evaluate again"
    )


def disagreement(mask_a: ArrayLike, mask_b: ArrayLike, gt_mask: ArrayLike) -> NDArray[np.uint8]:
    """Return pixel by pixel which of two masks is right.

    Parameters
    ----------
    mask_a, mask_b, gt_mask
        (H, W) bool, and the truth as in `walk_through`.

    Returns
    -------
    (H, W) uint8
        `BOTH_RIGHT` on the object, `ONLY_A_RIGHT`, `ONLY_B_RIGHT`, `BOTH_WRONG`; 0 on background
        that both leave out and where the truth is ignored.

    Raises
    ------
    ConfigError
        The three differ in shape.
    """
    a, b = np.asarray(mask_a, dtype=bool), np.asarray(mask_b, dtype=bool)
    truth = np.asarray(gt_mask).astype(np.int8)
    if not a.shape == b.shape == truth.shape:
        raise ConfigError(
            f"masks {a.shape} and {b.shape} and truth {truth.shape} must be of one shape"
        )
    right_a, right_b = a == (truth == 1), b == (truth == 1)
    one_wrong = np.where(right_a, ONLY_A_RIGHT, ONLY_B_RIGHT)
    both = np.where(right_a, np.where(truth == 1, BOTH_RIGHT, 0), BOTH_WRONG)
    classes: NDArray[np.uint8] = np.where(right_a == right_b, both, one_wrong).astype(np.uint8)
    classes[truth == -1] = 0
    return classes
