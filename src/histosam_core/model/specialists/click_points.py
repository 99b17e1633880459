"""Clicks as the specialists' networks take them: one table of points, positive above negative."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import ClickOutsideSlideError, ConfigError

if TYPE_CHECKING:
    from histosam_core.clicks import Click

Roi = tuple[int, int, int, int]
"""A rectangle of pixels: first row, last row, first column, last column, all inclusive."""

NO_POINT = (-1.0, -1.0, -1.0)


def click_points(clicks: Sequence[Click], max_clicks: int | None = None) -> NDArray[np.float64]:
    """Put clicks, in pixels (x, y), into a table; of many the first `max_clicks` alone.

    Returns
    -------
    (2N, 3) float64: N rows for positive clicks, N for negative ones, each (y, x, number of the
    click), what is left of them `NO_POINT`. N is the larger count among all clicks, at most
    `max_clicks`, at least 1. A click above and left of the middle of the corner pixel is put in its
    middle, since it would read as `NO_POINT`.
    """
    counts = [sum(click.is_positive is sign for click in clicks) for sign in (True, False)]
    n = max(1, min(max(counts), len(clicks) if max_clicks is None else max_clicks))
    points = np.full((2 * n, 3), NO_POINT)
    filled = {True: 0, False: n}
    for number, click in enumerate(clicks[:max_clicks]):
        x, y = click.xy
        points[filled[click.is_positive]] = (*((0, 0) if x < 0 and y < 0 else (y, x)), number)
        filled[click.is_positive] += 1
    return points


def points_in(
    points: NDArray[np.float64], roi: Roi, size_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Bring points from `click_points` to pixels of a region resized to `size_hw`, as RITM does."""
    top, bottom, left, right = roi
    moved = points.copy()
    real = points[:, 2] >= 0
    moved[real, 0] = size_hw[0] * (points[real, 0] - top) / (bottom - top + 1)
    moved[real, 1] = size_hw[1] * (points[real, 1] - left) / (right - left + 1)
    return moved


def mirrored(points: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Bring points to the mirror image of an input that is `width` pixels wide."""
    moved = points.copy()
    real = points[:, 2] >= 0
    moved[real, 1] = width - points[real, 1] - 1
    return moved


def pixel_yx(click: Click, image_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the pixel (row, column) that a click lies in; off by less than one is on the border.

    A click elsewhere, or nowhere, is refused.
    """
    height, width = image_hw
    x, y = click.xy
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ConfigError(f"the click at ({x}, {y}) is nowhere; give it numbers")
    if not (-1 < x < width and -1 < y < height):
        raise ClickOutsideSlideError(
            f"the click at ({x:g}, {y:g}) lies outside the image of {width} x {height} px; "
            f"give x from 0 to {width - 1} and y from 0 to {height - 1}"
        )
    row, column = (math.floor(v + 0.5) for v in (y, x))
    return min(max(row, 0), height - 1), min(max(column, 0), width - 1)
