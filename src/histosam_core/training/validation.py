"""Validation by simulated clicks, by the rules of the evaluation, on the model as it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks import Click, logits_to_mask, next_click
from histosam_core.metrics import iou, miou_per_click, noc
from histosam_core.model.interface import as_prediction

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel, Prediction

__all__ = ["ValidationScores", "click_batch", "evenly_spread", "score"]

TARGET_IOU = 0.90


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """How the model answers clicks on the validation patches.

    Parameters
    ----------
    noc80, noc85, noc90
        Mean number of clicks to an IoU of 0.80, 0.85, 0.90; a patch that fails counts the budget.
    miou_per_click
        Mean IoU after click 1, 2, ... up to the budget.
    n_patches
        Patches clicked on.
    """

    noc80: float
    noc85: float
    noc90: float
    miou_per_click: tuple[float, ...]
    n_patches: int

    @property
    def mean_iou(self) -> float:
        """Mean of `miou_per_click`: the area under the curve."""
        return float(np.mean(self.miou_per_click))

    def miou_after(self, clicks: int) -> float:
        """Mean IoU after so many clicks; after the last one when the budget is smaller."""
        return self.miou_per_click[min(clicks, len(self.miou_per_click)) - 1]

    def is_better_than(self, other: ValidationScores | None) -> bool:
        """Whether NoC@85 is lower, or equal and the mean IoU higher."""
        if other is None:
            return True
        return (self.noc85, -self.mean_iou) < (other.noc85, -other.mean_iou)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return {**asdict(self), "miou_per_click": list(self.miou_per_click)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ValidationScores:
        """Rebuild from `as_dict`."""
        return cls(**{**values, "miou_per_click": tuple(values["miou_per_click"])})


def click_batch(
    model: InteractiveModel,
    embeddings: Sequence[Any],
    gt_masks: Sequence[NDArray[np.int8]],
    *,
    max_clicks: int = 20,
    check: Callable[[], None] | None = None,
) -> list[NDArray[np.float32]]:
    """Click on a batch of patches side by side, each until IoU 0.90 or the budget is spent.

    Parameters
    ----------
    model
        Answers the clicks; its network should be in evaluation mode.
    embeddings
        B embeddings.
    gt_masks
        B masks, (H, W) int8: 1 object, 0 background, -1 ignored.
    max_clicks
        The budget.
    check
        Called between clicks; may raise to stop.

    Returns
    -------
    list of (n,) float32
        The IoU after each click.
    """
    clicks: list[list[Click]] = [[] for _ in gt_masks]
    ious: list[list[float]] = [[] for _ in gt_masks]
    masks = [np.zeros(gt.shape, dtype=bool) for gt in gt_masks]
    decode = getattr(model, "decode_batch", None) or _one_by_one(model)
    before: list[Prediction | None] = [None] * len(gt_masks)
    for _ in range(max_clicks):
        open_ones = [i for i, curve in enumerate(ious) if not curve or curve[-1] < TARGET_IOU]
        if not open_ones:
            break
        if check is not None:
            check()
        for i in open_ones:
            clicks[i].append(next_click(gt_masks[i], masks[i], clicks[i]))
        answers = decode(
            [embeddings[i] for i in open_ones],
            [clicks[i] for i in open_ones],
            [before[i] for i in open_ones],
        )
        for i, answer in zip(open_ones, answers, strict=True):
            before[i] = seen = as_prediction(answer)
            masks[i] = logits_to_mask(seen.logits)
            ious[i].append(iou(gt_masks[i], masks[i]))
    return [np.asarray(curve, dtype=np.float32) for curve in ious]


def _one_by_one(model: InteractiveModel) -> Callable[..., list[Prediction]]:
    """Return a `decode_batch` for a model that has none."""

    def decode(*batches: Sequence[Any]) -> list[Prediction]:
        return [model.decode(*one) for one in zip(*batches, strict=True)]

    return decode


def score(iou_curves: Sequence[NDArray[np.float32]], max_clicks: int) -> ValidationScores:
    """Sum up the curves of `click_batch`."""
    return ValidationScores(
        noc80=noc(iou_curves, 0.80, max_clicks),
        noc85=noc(iou_curves, 0.85, max_clicks),
        noc90=noc(iou_curves, 0.90, max_clicks),
        miou_per_click=tuple(float(v) for v in miou_per_click(iou_curves, max_clicks)),
        n_patches=len(iou_curves),
    )


def evenly_spread(count: int, limit: int | None) -> list[int]:
    """Indices of at most `limit` of `count` patches, evenly spread, first one included."""
    if limit is None or limit >= count:
        return list(range(count))
    return [int(i) for i in np.arange(limit) * count // limit]
