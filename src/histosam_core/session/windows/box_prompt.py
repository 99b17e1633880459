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

OUTSIDE_PX = 16.0
"""How far beside the box the negative clicks lie, in region pixels."""
BACKGROUND = -10.0
"""Logits outside the box are at most this: as sure as the models themselves are of background."""

XYXY = tuple[float, float, float, float]


def clicks_for_box(
    box_xyxy: XYXY, size_wh: tuple[int, int], clicks: Sequence[Click]
) -> list[Click]:
    """Return the clicks that stand for a box, then those that were given beside it.

    All in region pixels; a side of the box too near to the region's border has no click. A given
    click outweighs one of the other sign that would stand nearer to it than a quarter of the box's
    shorter side; the one in the middle only where another positive click says where the object is.
    """
    x0, y0, x1, y1 = box_xyxy
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    beside = (
        (x0 - OUTSIDE_PX, y),
        (x1 + OUTSIDE_PX, y),
        (x, y0 - OUTSIDE_PX),
        (x, y1 + OUTSIDE_PX),
    )
    reach = min(x1 - x0, y1 - y0) / 4

    def is_outweighed(one: Click) -> bool:
        return any(
            click.is_positive != one.is_positive and math.dist(click.xy, one.xy) < reach
            for click in clicks
        )

    middle, said = Click((x, y)), [Click(xy, is_positive=False) for xy in beside]
    said = [c for c in said if _lies_in(size_wh, c) and not is_outweighed(c)]
    if not (is_outweighed(middle) and any(click.is_positive for click in clicks)):
        said = [middle, *said]
    return [*said, *clicks]


def confine_to_box(
    logits: NDArray[np.float32], box_xyxy: XYXY, clicks: Sequence[Click]
) -> NDArray[np.float32]:
    """Make background of what lies outside a box, unless a positive click lies there too.

    Box and clicks are in region pixels; pixels that the box cuts lie inside. The logits, (h, w)
    float32, are not changed in place.
    """
    x0, y0, x1, y1 = box_xyxy
    if any(c.is_positive and not (x0 <= c.xy[0] <= x1 and y0 <= c.xy[1] <= y1) for c in clicks):
        return logits
    first_x, first_y = math.floor(x0 + 0.5), math.floor(y0 + 0.5)
    end_x, end_y = (max(math.ceil(v - 0.5), f) + 1 for v, f in ((x1, first_x), (y1, first_y)))
    confined = np.minimum(logits, np.float32(BACKGROUND))
    inside = np.s_[max(first_y, 0) : end_y, max(first_x, 0) : end_x]
    confined[inside] = logits[inside]
    return confined


def _lies_in(size_wh: tuple[int, int], click: Click) -> bool:
    return all(-0.5 <= at < length - 0.5 for at, length in zip(click.xy, size_wh, strict=True))
