"""Clicks as maps: a binary disk at each, as networks in RITM's line take them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["click_disks", "disk_maps"]


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
    ys = torch.arange(height, device=points_xy.device, dtype=torch.float32)
    xs = torch.arange(width, device=points_xy.device, dtype=torch.float32)
    # Points in double precision are rounded once, after the subtraction, as in RITM's code.
    dy2 = (ys[None, None] - points_xy[..., 1:]).float() ** 2
    dx2 = (xs[None, None] - points_xy[..., :1]).float() ** 2
    inside = dy2[..., :, None] + dx2[..., None, :] <= radius**2
    maps = [(inside & (labels == sign)[..., None, None]).any(1) for sign in (1, 0)]
    return torch.stack(maps, 1).float()


def disk_maps(points: Tensor, size_hw: tuple[int, int], radius: float) -> Tensor:
    """Draw the disks of clicks that come as RITM, FocalClick and SimpleClick hand them on.

    Parameters
    ----------
    points
        (B, 2N, 3): N rows for positive clicks, N for negative ones, each (y, x, number of the
        click); rows whose y and x are both negative are padding.
    size_hw, radius
        As for `click_disks`.

    Returns
    -------
    Tensor
        (B, 2, H, W) float32: positive, negative.
    """
    n = points.shape[1] // 2
    signs = (torch.arange(2 * n, device=points.device) < n).long()
    labels = torch.where(points[..., :2].amax(-1) < 0, -1, signs)
    return click_disks(points[..., :2].flip(-1), labels, size_hw, radius)
