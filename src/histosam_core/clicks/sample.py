"""Clicks for training: random first clicks, and next clicks drawn from the error region.

Both follow RITM (Sofiiuk et al. 2022). Positions are whole-number pixels (x, y) of the mask given.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.clicks.click import Click
from histosam_core.clicks.mask import MASK_THRESHOLD
from histosam_core.clicks.simulate import IGNORE, inner_distance

COUNT_DECAY = 0.8
"""Each further click is 0.8 times as likely as the one before."""
ERODE_PROBABILITY, ERODE_ITERATIONS, ERODE_MIN_PIXELS = 0.9, 3, 10
BORDER_PROBABILITY = 0.5
"""Share of negative clicks near the object's border. RITM: background .1, other objects .4, border
.5; where no other object is, "other" is the background too."""
BORDER_REACH = 0.1
"""Width of the border band over the square root of the object's area."""
CENTRE_DIVISOR = 1.7
"""A first click at the centre lies deeper than the deepest pixel over this (FocalClick)."""

Bool = NDArray[np.bool_]


def click_count_probabilities(n_values: int, decay: float = COUNT_DECAY) -> NDArray[np.float64]:
    """Probabilities of 0, 1, ..., `n_values` - 1 further clicks: decay^k, summing to one."""
    weights = decay ** np.arange(n_values, dtype=np.float64)
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


def sample_random_clicks(
    gt_mask: ArrayLike,
    rng: np.random.Generator,
    *,
    max_clicks: int = 24,
    first_at_centre: bool = False,
) -> list[Click]:
    """Draw the clicks that a training sample starts with.

    1 + k positives (k < `max_clicks`) and k negatives (k <= `max_clicks`), k with probability in
    proportion to 0.8^k. Positives lie in the object, in nine draws of ten in the object eroded by
    3 px (if more than 10 px are left of it). A negative lies with equal chance anywhere in the
    background or in a band round the object whose width is a tenth of the square root of its area.

    One mask stands for RITM's set of objects here, so its "other objects" draw falls on the
    background, as it does there when an image has one object, and objects are never merged.
    Pixels of label -1 get no click (RITM has none in training).

    Parameters
    ----------
    gt_mask
        (H, W): 1 is the object, -1 is unlabelled, the rest is background.
    rng
        Source of all randomness.
    max_clicks
        Most positives, and most negatives.
    first_at_centre
        Draw the first positive from the object's middle (FocalClick's option).

    Returns
    -------
    list of Click
        Positives, then negatives. A mask without object gives negatives only; a strategy that has
        no pixel gives no click.
    """
    gt = np.asarray(gt_mask)
    is_object = gt == 1
    background = ~is_object & (gt != IGNORE)
    n_positive = 1 + int(rng.choice(max_clicks, p=click_count_probabilities(max_clicks)))
    n_negative = int(rng.choice(max_clicks + 1, p=click_count_probabilities(max_clicks + 1)))

    clicks: list[Click] = []
    if is_object.any():
        inner = np.flatnonzero(_maybe_eroded(is_object, rng))
        for index in range(n_positive):
            if index == 0 and first_at_centre:
                clicks += _draw(np.flatnonzero(first_click_candidates(is_object)), gt, True, rng)
            else:
                clicks += _draw(inner, gt, True, rng)
    if n_negative:
        places = np.flatnonzero(background), np.flatnonzero(_border(is_object) & background)
        for _ in range(n_negative):
            near_border = rng.random() < BORDER_PROBABILITY
            clicks += _draw(places[int(near_border)], gt, False, rng)
    return clicks


def first_click_candidates(gt_mask: ArrayLike) -> Bool:
    """(H, W) bool: the pixels of the object deeper than its deepest pixel over 1.7.

    Depth is the exact Euclidean distance to the nearest pixel outside, the image's edge included.
    """
    depth = inner_distance(np.asarray(gt_mask) == 1, cv2.DIST_MASK_PRECISE)
    candidates: Bool = depth > depth.max() / CENTRE_DIVISOR
    return candidates


def next_click_candidates(
    gt_mask: ArrayLike, probability: ArrayLike, *, threshold: float = MASK_THRESHOLD
) -> tuple[Bool, bool]:
    """Pixels from which the next training click is drawn.

    Missed object (probability below the threshold) and wrong foreground (above it) compete by
    their deepest pixel; the click is positive only if the missed object is strictly deeper. The
    candidates are the pixels of the winner deeper than half its depth. Depth is the chamfer
    distance of mask size 5, with one pixel of no error laid round the image. Ignored pixels count
    as background, as in RITM.

    Parameters
    ----------
    gt_mask
        (H, W) labels; above 0.5 is the object.
    probability
        (H, W) float, the previous prediction.
    threshold
        Of the probability.

    Returns
    -------
    candidates
        (H, W) bool; none set when there is no error.
    is_positive
        The sign of the click.
    """
    is_object = np.asarray(gt_mask) > 0.5
    predicted = np.asarray(probability)
    missed = inner_distance(is_object & (predicted < threshold), cv2.DIST_MASK_5)
    wrong = inner_distance(~is_object & (predicted > threshold), cv2.DIST_MASK_5)
    is_positive = bool(missed.max() > wrong.max())
    depth = missed if is_positive else wrong
    candidates: Bool = depth > depth.max() / 2.0
    return candidates, is_positive


def sample_next_click(
    gt_mask: ArrayLike,
    probability: ArrayLike,
    rng: np.random.Generator,
    *,
    threshold: float = MASK_THRESHOLD,
) -> Click | None:
    """Draw one click uniformly from `next_click_candidates`; None when no error is left."""
    candidates, is_positive = next_click_candidates(gt_mask, probability, threshold=threshold)
    drawn = _draw(np.flatnonzero(candidates), candidates, is_positive, rng)
    return drawn[0] if drawn else None


def _draw(
    places: NDArray[np.intp], grid: NDArray[np.generic], is_positive: bool, rng: np.random.Generator
) -> list[Click]:
    """One click at one of `places` (row-major indices into `grid`), or none if there is none."""
    if places.size == 0:
        return []
    row, column = divmod(int(places[rng.integers(places.size)]), grid.shape[1])
    return [Click(xy=(column, row), is_positive=is_positive)]


def _maybe_eroded(is_object: Bool, rng: np.random.Generator) -> Bool:
    if rng.random() > ERODE_PROBABILITY:
        return is_object
    kernel = np.ones((3, 3), np.uint8)
    eroded = cv2.erode(is_object.astype(np.uint8), kernel, iterations=ERODE_ITERATIONS) > 0
    return eroded if int(eroded.sum()) > ERODE_MIN_PIXELS else is_object


def _border(is_object: Bool) -> Bool:
    """Band outside the object."""
    reach = math.ceil(BORDER_REACH * math.sqrt(int(is_object.sum())))
    # Dilating r times by 3 x 3 is dilating once by a (2r + 1)-square, which is separable.
    size = 2 * reach + 1
    grown = is_object.astype(np.uint8)
    for shape in ((1, size), (size, 1)):
        grown = cv2.dilate(grown, np.ones(shape, np.uint8))
    band: Bool = (grown > 0) & ~is_object
    return band
