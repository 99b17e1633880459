"""FocalClick's crop round a click, and its merge of a new mask into an old one (Chen et al. 2022).

Pure functions. Boxes are (first row, end row, first column, end column). A mask's bounding box ends
with its last row and column, the box of a whole image behind them, as in FocalClick's own code,
which the numbers here reproduce.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]

FEW_PIXELS = 10
"""A mask of fewer pixels is too small to say where to look."""
CLOSE_LOOK = 0.2
"""Half the side of the box round a click, in the longer sides of the object's box."""


def focus_crop(
    mask: NDArray[np.bool_],
    previous: NDArray[np.bool_],
    bounds: Box,
    click_yx: tuple[int, int],
    ratio: float,
) -> Box:
    """Choose the crop to refine: where the last click has changed the mask.

    Parameters
    ----------
    mask
        (H, W) bool, the coarse answer.
    previous
        (H, W) bool, the answer before.
    bounds
        The crop stays inside.
    click_yx
        Pixel (row, column) of the last click.
    ratio
        How many times the box of the change the crop is.

    Returns
    -------
    tuple of int
        First row, end row, first column, end column. All of `bounds` where nothing would be left.
    """
    box: tuple[float, float, float, float]
    if not previous.any():
        box = mask_box(mask)
    else:
        box = mask_box(_component(mask ^ previous, click_yx))
        object_box = mask_box(mask)
        height, width = object_box[1] - object_box[0], object_box[3] - object_box[2]
        if box[1] - box[0] < height / 3 or box[3] - box[2] < width / 3:
            (y, x), reach = click_yx, CLOSE_LOOK * max(height, width)
            box = y - reach, y + reach, x - reach, x + reach
    y1, y2, x1, x2 = expanded(box, ratio, (mask.shape[0], mask.shape[1]))
    y1, y2 = max(y1, bounds[0]), min(y2, bounds[1])
    x1, x2 = max(x1, bounds[2]), min(x2, bounds[3])
    return (y1, y2, x1, x2) if y1 < y2 and x1 < x2 else bounds


def mask_box(mask: NDArray[np.bool_]) -> Box:
    """Return the bounding box of a mask; that of the image where it has few pixels."""
    if np.count_nonzero(mask) < FEW_PIXELS:
        return 0, mask.shape[0], 0, mask.shape[1]
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def expanded(
    box: tuple[float, float, float, float], ratio: float, image_hw: tuple[int, int]
) -> Box:
    """Return a box `ratio` times as high and wide about its centre, clipped to the image."""
    ends = []
    for low, high, length in ((*box[:2], image_hw[0]), (*box[2:], image_hw[1])):
        middle, side = 0.5 * (low + high), ratio * (high - low + 1)
        ends += [max(0, int(middle - side * 0.5)), min(length, int(middle + side * 0.5))]
    y1, y2, x1, x2 = ends
    return y1, y2, x1, x2


def box_in_input(box: Box, bounds: Box, side: int) -> tuple[float, float, float, float]:
    """Bring a box to pixels of the network's square input, which shows `bounds`, and clip it."""
    scale_y, scale_x = side / (bounds[1] - bounds[0]), side / (bounds[3] - bounds[2])
    y1, y2 = (box[0] - bounds[0]) * scale_y, (box[1] - bounds[0]) * scale_y
    x1, x2 = (box[2] - bounds[2]) * scale_x, (box[3] - bounds[2]) * scale_x
    return max(y1, 0), min(y2, side), max(x1, 0), min(x2, side)


def progressive_merge(
    mask: NDArray[np.bool_], previous: NDArray[np.bool_], click_yx: tuple[int, int]
) -> NDArray[np.bool_]:
    """Take of a new mask only the change that holds the click.

    Parameters
    ----------
    mask
        (H, W) bool, the new one.
    previous
        (H, W) bool, the one that stands.
    click_yx
        Pixel (row, column) of the last click. Where nothing has changed under it, all that has not
        changed is taken for the change, as in FocalClick's evaluation.

    Returns
    -------
    (H, W) bool: `previous` without the change where the click was on it, with it otherwise.
    """
    change = _component(mask ^ previous, click_yx)
    merged: NDArray[np.bool_] = previous & ~change if previous[click_yx] else previous | change
    return merged


def _component(mask: NDArray[np.bool_], point_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the component (8 neighbours) that holds a point; beside all of them, the rest."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8))
    component: NDArray[np.bool_] = labels == labels[point_yx]
    return component
