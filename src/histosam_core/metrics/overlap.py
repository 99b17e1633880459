"""How well a mask covers the truth: intersection over union, and Dice."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from histosam_core.errors import ConfigError

IGNORE = -1


def iou(gt_mask: ArrayLike, pred_mask: ArrayLike, ignore_mask: ArrayLike | None = None) -> float:
    """Intersection over union, ``|gt & pred| / |gt | pred|``, over the pixels that count.

    Parameters
    ----------
    gt_mask
        Truth, bool or whole numbers, any shape: 1 is the object, -1 is ignored, the rest is not.
    pred_mask
        Bool, the same shape.
    ignore_mask
        Bool, the same shape: True where a pixel does not count, beside the -1 of `gt_mask`.

    Returns
    -------
    float
        0 to 1. Two empty masks agree wholly: 1.0.

    Raises
    ------
    ConfigError
        The shapes differ.
    """
    both, n_gt, n_pred = _areas(gt_mask, pred_mask, ignore_mask)
    union = n_gt + n_pred - both
    return both / union if union else 1.0


def dice(gt_mask: ArrayLike, pred_mask: ArrayLike, ignore_mask: ArrayLike | None = None) -> float:
    """Dice coefficient, ``2 |gt & pred| / (|gt| + |pred|)``, over the pixels that count.

    Parameters, empty case and errors as for `iou`; ``dice = 2 iou / (1 + iou)``.
    """
    both, n_gt, n_pred = _areas(gt_mask, pred_mask, ignore_mask)
    return 2 * both / (n_gt + n_pred) if n_gt + n_pred else 1.0


def _areas(
    gt_mask: ArrayLike, pred_mask: ArrayLike, ignore_mask: ArrayLike | None
) -> tuple[int, int, int]:
    """Pixels in both masks, in the truth, and in the prediction, ignored ones left out."""
    gt = np.asarray(gt_mask)
    pred = np.asarray(pred_mask, dtype=bool)
    if gt.shape != pred.shape:
        raise ConfigError(f"gt_mask {gt.shape} and pred_mask {pred.shape} must have one shape")
    counts = gt != IGNORE
    if ignore_mask is not None:
        ignored = np.asarray(ignore_mask, dtype=bool)
        if ignored.shape != gt.shape:
            raise ConfigError(f"ignore_mask {ignored.shape} must have gt_mask's shape {gt.shape}")
        counts &= ~ignored
    is_object = (gt == 1) & counts
    pred = pred & counts
    return (
        int(np.count_nonzero(is_object & pred)),
        int(np.count_nonzero(is_object)),
        int(np.count_nonzero(pred)),
    )
