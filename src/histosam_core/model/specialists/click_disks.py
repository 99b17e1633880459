"""Clicks as maps: a binary disk at each, as networks in RITM's line take them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
