"""Say a box by clicks, to a model that was never trained on boxes.

A click in the middle says where the object is, one beside each side where it is not, and nothing
outside the box becomes mask. All of it follows from the box and the clicks alone, so that the same
prompts always give the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks import Click

__all__ = ["clicks_for_box", "confine_to_box"]

OUTSIDE_PX = 12.0
"""How far beside the box the negative clicks lie, in region pixels."""
BACKGROUND = -10.0
"""Logits outside the box are at most this: as sure as the models themselves are of background."""

XYXY = tuple[float, float, float, float]


def clicks_for_box(
    box_xyxy: XYXY, size_wh: tuple[int, int], clicks: Sequence[Click]
) -> list[Click]:
    """Return the clicks that stand for a box, then those that were given beside it.

    Parameters
    ----------
    box_xyxy
        (x0, y0, x1, y1) in region pixels, inside the region.
    size_wh
        Width and height of the region in pixels. Where a side of the box lies too near to its
        border, that side has no click.
    clicks
        Given beside the box, in region pixels. One of these outweighs a click of the other sign
        that would stand nearer to it than a quarter of the box's shorter side.
    """
    x0, y0, x1, y1 = box_xyxy
    (w, h), x, y = size_wh, (x0 + x1) / 2, (y0 + y1) / 2
    beside = (
        (x0 - OUTSIDE_PX, y),
        (x1 + OUTSIDE_PX, y),
        (x, y0 - OUTSIDE_PX),
        (x, y1 + OUTSIDE_PX),
    )
    said = [Click((x, y)), *(Click(xy, is_positive=False) for xy in beside)]
    reach = min(x1 - x0, y1 - y0) / 4
    return [
        one
        for one in said
        if -0.5 <= one.xy[0] < w - 0.5
        and -0.5 <= one.xy[1] < h - 0.5
        and not any(
            click.is_positive != one.is_positive and math.dist(click.xy, one.xy) < reach
            for click in clicks
        )
    ] + list(clicks)


def confine_to_box(
    logits: NDArray[np.float32], box_xyxy: XYXY, clicks: Sequence[Click]
) -> NDArray[np.float32]:
    """Make background of what lies outside a box, unless a positive click lies there too.

    Parameters
    ----------
    logits
        (h, w) float32 of the region; is not changed.
    box_xyxy
        (x0, y0, x1, y1) in region pixels. Pixels that it cuts lie inside.
    clicks
        Given beside the box, in region pixels.

    Returns
    -------
    (h, w) float32.
    """
    x0, y0, x1, y1 = box_xyxy
    if any(c.is_positive and not (x0 <= c.xy[0] <= x1 and y0 <= c.xy[1] <= y1) for c in clicks):
        return logits
    height, width = logits.shape
    xs, ys = np.arange(width), np.arange(height)
    inside = ((ys > y0 - 0.5) & (ys < y1 + 0.5))[:, None] & ((xs > x0 - 0.5) & (xs < x1 + 0.5))
    return np.where(inside, logits, np.minimum(logits, np.float32(BACKGROUND)))
