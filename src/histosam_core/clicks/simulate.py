"""The evaluation's simulated user: where it clicks next, given the truth and the mask so far."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.clicks.click import Click
from histosam_core.errors import ConfigError

IGNORE = -1


def next_click(
    gt_mask: ArrayLike,
    pred_mask: ArrayLike,
    clicked: Iterable[Click] = (),
    ignore_mask: ArrayLike | None = None,
) -> Click:
    """Return the click of the standard protocol: the middle of the deepest error.

    The pixel that lies farthest inside the missed object (false negatives) competes with the one
    that lies farthest inside the wrong foreground (false positives); the image's edge counts as an
    edge of the error. The click is positive only if the former lies strictly deeper. Among equally
    deep pixels the first in row-major order is taken; pixels clicked before are passed over. With
    no error left the answer is a negative click at (0, 0), every time.

    Parameters
    ----------
    gt_mask
        (H, W) truth, bool or whole numbers: 1 is the object, -1 is ignored, the rest is background.
    pred_mask
        (H, W) bool, the mask so far (all False before the first click).
    clicked
        Earlier clicks, image pixels (x, y). Each takes the pixel it lies in out of the choice; one
        outside the image takes none.
    ignore_mask
        (H, W) bool, True where errors do not count, beside the -1 of `gt_mask`.

    Returns
    -------
    Click
        Whole-number (x, y) in image pixels.

    Raises
    ------
    ConfigError
        The masks are not two-dimensional, empty, or of different shapes.

    References
    ----------
    N. Xu et al., "Deep interactive object selection", CVPR 2016; the rule in its present form:
    K. Sofiiuk et al., "Reviving iterative training with mask guidance for interactive
    segmentation", ICIP 2022.
    """
    missed, wrong = error_depths(gt_mask, pred_mask, clicked, ignore_mask)
    is_positive = bool(missed.max() > wrong.max())
    depth = missed if is_positive else wrong
    row, column = divmod(int(depth.argmax()), depth.shape[1])
    return Click(xy=(column, row), is_positive=is_positive)


def error_depths(
    gt_mask: ArrayLike,
    pred_mask: ArrayLike,
    clicked: Iterable[Click] = (),
    ignore_mask: ArrayLike | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how deep every pixel lies in the missed object, and in the wrong foreground.

    Parameters
    ----------
    gt_mask, pred_mask, clicked, ignore_mask
        As for `next_click`.

    Returns
    -------
    missed, wrong
        (H, W) float32, the exact Euclidean distance in pixels to the nearest pixel without that
        error; 0 where there is none, and at pixels clicked before.

    Raises
    ------
    ConfigError
        The masks are not two-dimensional, empty, or of different shapes.
    """
    gt = np.asarray(gt_mask)
    pred = np.asarray(pred_mask, dtype=bool)
    if gt.ndim != 2 or gt.size == 0 or gt.shape != pred.shape:
        raise ConfigError(
            f"gt_mask {gt.shape} and pred_mask {pred.shape} must be (H, W), not empty, of one shape"
        )
    is_object = gt == 1
    counts = gt != IGNORE
    if ignore_mask is not None:
        ignored = np.asarray(ignore_mask, dtype=bool)
        if ignored.shape != gt.shape:
            raise ConfigError(f"ignore_mask {ignored.shape} must have gt_mask's shape {gt.shape}")
        counts &= ~ignored

    missed = inner_depth(is_object & ~pred & counts)
    wrong = inner_depth(~is_object & pred & counts)
    height, width = gt.shape
    for click in clicked:
        x, y = (math.floor(v + 0.5) for v in click.xy)
        if 0 <= x < width and 0 <= y < height:
            missed[y, x] = wrong[y, x] = 0
    return missed, wrong


def inner_depth(area: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Exact Euclidean distance of every pixel of an area, (H, W) bool, to the nearest other one.

    Returns (H, W) float32. The image's edge counts as an edge of the area.
    """
    distance = inner_distance(area, cv2.DIST_MASK_PRECISE)
    # A squared distance is a whole number. OpenCV's last bits may differ from call to call, and
    # would break ties another way each time.
    squared = np.rint(np.square(distance, out=distance), out=distance)
    return np.sqrt(squared, out=distance)


def inner_distance(error: NDArray[np.bool_], mask_size: int) -> NDArray[np.float32]:
    """Distance of every error pixel to the nearest other pixel, (H, W) float32, as OpenCV has it.

    One pixel of background is laid round the image first, so that errors at its edge do not look
    bottomless.
    """
    padded = np.pad(error, 1).astype(np.uint8)
    distance: NDArray[np.float32] = cv2.distanceTransform(padded, cv2.DIST_L2, mask_size)
    return distance[1:-1, 1:-1]
