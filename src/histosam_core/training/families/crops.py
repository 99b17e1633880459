"""Training crops: a random part of a patch at the size that a specialist's network takes.

RITM and SimpleClick see patches scaled by 0.75 to 1.40 and cut to size; what is smaller than the
crop is continued by reflection, so that the scale stays what was drawn. FocalClick sees windows of
0.3 to 1.3 of the patch's height and width, drawn apart and squashed to size, since its use squashes
objects too. Image and mask go the same way; -1 stays ignored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from histosam_core.dataset.augment import RESIZE_RANGE, AugmentSettings, augment

WINDOW_RANGE = (0.3, 1.3)
WINDOW_MEAN, WINDOW_DEVIATION = 0.8, 0.4
"""FocalClick's window over the patch: a normal distribution cut off at the ends of the range."""
KEEP_EMPTY = 0.05
"""Chance that a crop without object is kept (RITM)."""
LEAST_OBJECT, MOST_OBJECT = 1000 / 256**2, 0.85
"""FocalClick's bounds on the object's share of a crop; RITM takes any."""
DRAWS = 10
"""After so many crops that were not kept, the last one is: the patch has none better."""

Image = NDArray[np.uint8]
Mask = NDArray[np.int8]
Crop = tuple[Image, Mask]
Way = Literal["scaled", "window"]


def draw_crop(
    image: Image,
    gt_mask: Mask,
    rng: np.random.Generator,
    *,
    size_hw: tuple[int, int],
    augmentation: AugmentSettings,
    way: Way = "scaled",
) -> Crop:
    """Draw a crop, augmented; a crop without object is drawn again, as a rule.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    gt_mask
        (H, W) int8: 1 object, 0 background, -1 ignored.
    rng
        Source of all randomness.
    size_hw
        Of the crop.
    augmentation
        What is on. Without ``resize`` scaled crops keep the patch's scale, and windows are the
        whole patch.
    way
        "scaled", as for RITM and SimpleClick, or "window", as for FocalClick.

    Returns
    -------
    image, gt_mask
        Of that size, and of the types given.
    """
    # Turned while it is still square, if it is.
    image, gt_mask = augment(image, gt_mask, replace(augmentation, resize=False), rng)
    cut = _scaled if way == "scaled" else _window
    drawn = cut(image, gt_mask, size_hw, augmentation.resize, rng)
    for _ in range(DRAWS - 1):
        if _is_kept(drawn[1], way, rng):
            break
        drawn = cut(image, gt_mask, size_hw, augmentation.resize, rng)
    return np.ascontiguousarray(drawn[0]), np.ascontiguousarray(drawn[1])


def _is_kept(gt_mask: Mask, way: str, rng: np.random.Generator) -> bool:
    share = float((gt_mask == 1).mean())
    if way == "window":
        return LEAST_OBJECT < share < MOST_OBJECT
    return share > 0 or bool(rng.random() < KEEP_EMPTY)


def _scaled(
    image: Image, gt_mask: Mask, size_hw: tuple[int, int], resize: bool, rng: np.random.Generator
) -> Crop:
    if resize:
        scale = float(rng.uniform(*RESIZE_RANGE))
        height, width = (max(1, round(side * scale)) for side in gt_mask.shape)
        shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image, gt_mask = _resized(image, gt_mask, (height, width), shrinks)
    return _cut_out(image, gt_mask, size_hw, rng)


def _window(
    image: Image, gt_mask: Mask, size_hw: tuple[int, int], resize: bool, rng: np.random.Generator
) -> Crop:
    height, width = gt_mask.shape
    if resize:
        shares = [_window_share(rng) for _ in range(2)]
        window = max(1, int(height * shares[0])), max(1, int(width * shares[1]))
        image, gt_mask = _cut_out(image, gt_mask, window, rng)
    return _resized(image, gt_mask, size_hw, cv2.INTER_LINEAR)


def _window_share(rng: np.random.Generator) -> float:
    low, high = WINDOW_RANGE
    while True:  # three draws of four lie inside
        share = float(rng.normal(WINDOW_MEAN, WINDOW_DEVIATION))
        if low <= share <= high:
            return share


def _cut_out(
    image: Image, gt_mask: Mask, size_hw: tuple[int, int], rng: np.random.Generator
) -> Crop:
    """Cut a window of that size at a random place, continued by reflection where it is larger."""
    missing = [max(0, side - have) for side, have in zip(size_hw, gt_mask.shape, strict=True)]
    if any(missing):
        top, left = (int(rng.integers(lack + 1)) for lack in missing)
        border = (top, missing[0] - top, left, missing[1] - left)
        image = cv2.copyMakeBorder(image, *border, cv2.BORDER_REFLECT)
        gt_mask = cv2.copyMakeBorder(gt_mask, *border, cv2.BORDER_REFLECT)
    y, x = (
        int(rng.integers(have - side + 1))
        for side, have in zip(size_hw, gt_mask.shape, strict=True)
    )
    there = np.s_[y : y + size_hw[0], x : x + size_hw[1]]
    return image[there], gt_mask[there]


def _resized(image: Image, gt_mask: Mask, size_hw: tuple[int, int], interpolation: int) -> Crop:
    size_wh = size_hw[::-1]
    image = cv2.resize(np.ascontiguousarray(image), size_wh, interpolation=interpolation)
    gt_mask = cv2.resize(
        np.ascontiguousarray(gt_mask), size_wh, interpolation=cv2.INTER_NEAREST_EXACT
    )
    return image, gt_mask
