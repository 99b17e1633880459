"""Clicks as networks take them: a table of points, positive above negative, and maps of disks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
        raise ConfigError(f"the click at ({x}, {y}) has no position; give two finite numbers")
    if not (-1 < x < width and -1 < y < height):
        raise ClickOutsideSlideError(
            f"the click at ({x:g}, {y:g}) lies outside the image of {width} x {height} px; "
            f"give x from 0 to {width - 1} and y from 0 to {height - 1}"
        )
    row, column = (math.floor(v + 0.5) for v in (y, x))
    return min(max(row, 0), height - 1), min(max(column, 0), width - 1)


def click_disks(
    points_xy: Tensor, labels: Tensor, size_hw: tuple[int, int], radius: float
) -> Tensor:
    """Binary disks, d^2 <= r^2 inclusive, fractional centres.

    Parameters
    ----------
    points_xy
        (B, N, 2) in pixels of the map, centres at whole numbers.
    labels
        (B, N): 1 positive, 0 negative, -1 padding.
    size_hw
        Size of the map.
    radius
        In pixels of the map.

    Returns
    -------
    Tensor
        (B, 2, H, W) float32: positive, negative.
    """
    height, width = size_hw
    # Only the pixels round a click are looked at: all of them took longer than some networks.
    reach = math.ceil(radius) + 1
    around = torch.arange(-reach, reach + 1, device=points_xy.device)
    centres = points_xy.round()
    xs, ys = centres[..., :1] + around, centres[..., 1:] + around
    # Points in double precision are rounded once, after the subtraction, as in RITM's code.
    dx2 = torch.where((xs >= 0) & (xs < width), (xs - points_xy[..., :1]).float() ** 2, math.inf)
    dy2 = torch.where((ys >= 0) & (ys < height), (ys - points_xy[..., 1:]).float() ** 2, math.inf)
    inside = dy2[..., :, None] + dx2[..., None, :] <= radius**2
    inside &= ((labels == 0) | (labels == 1))[..., None, None]
    batch = points_xy.shape[0]
    rows = 2 * torch.arange(batch, device=points_xy.device)[:, None] + (labels != 1)
    rows = rows[..., None] * height + ys.long()
    pixels = rows[..., :, None] * width + xs.long()[..., None, :]
    n_pixels = batch * 2 * height * width
    maps = points_xy.new_zeros(n_pixels + 1, dtype=torch.float32)  # the last one is for the rest
    maps.index_fill_(0, torch.where(inside, pixels, n_pixels).flatten(), 1)
    return maps[:-1].view(batch, 2, height, width)


def disk_maps(points: Tensor, size_hw: tuple[int, int], radius: float) -> Tensor:
    """`click_disks` of clicks as RITM, FocalClick and SimpleClick hand them on.

    `points` are (B, 2N, 3): N rows for positive clicks, N for negative ones, each (y, x, number of
    the click); rows whose y and x are both negative are padding.
    """
    n = points.shape[1] // 2
    signs = (torch.arange(2 * n, device=points.device) < n).long()
    labels = torch.where(points[..., :2].amax(-1) < 0, -1, signs)
    return click_disks(points[..., :2].flip(-1), labels, size_hw, radius)
