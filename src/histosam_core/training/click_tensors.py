"""Training crops and their clicks as tensors, for the specialists' networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.model.specialists.click_points import NO_POINT

if TYPE_CHECKING:
    from histosam_core.clicks import Click

__all__ = ["image_planes", "mask_planes", "point_table", "points_in_focus"]


def image_planes(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """B images (H, W, 3) uint8 -> (B, 3, H, W) float32 in 0..1."""
    planes = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
    return torch.from_numpy(planes).float().div(255)


def mask_planes(masks: Sequence[NDArray[np.int8]]) -> Tensor:
    """B masks (H, W) -> (B, 1, H, W) int8."""
    return torch.from_numpy(np.stack(masks)[:, None])


def point_table(clicks: Sequence[Sequence[Click]]) -> Tensor:
    """B lists of clicks, pixels (x, y) -> (B, 2N, 3) float32 points, as `disk_maps` takes them."""
    counts = [sum(c.is_positive is sign for c in one) for one in clicks for sign in (True, False)]
    n = max([1, *counts])
    points = np.full((len(clicks), 2 * n, 3), NO_POINT, np.float32)
    for rows, one in zip(points, clicks, strict=True):
        free = {True: 0, False: n}
        for number, click in enumerate(one):
            rows[free[click.is_positive]] = (click.xy[1], click.xy[0], number)
            free[click.is_positive] += 1
    return torch.from_numpy(points)


def points_in_focus(points: Tensor, boxes: NDArray[Any], size_hw: tuple[int, int]) -> Tensor:
    """Bring clicks to pixels of an enlarged part of their crop.

    Parameters
    ----------
    points
        (B, 2N, 3) from `point_table`.
    boxes
        (B, 4): y1, y2, x1, x2 of the part.
    size_hw
        What it is enlarged to.

    Returns
    -------
    Tensor
        (B, 2N, 3). A click above and left of the part has two negative coordinates, and so counts
        for none, as in FocalClick's training.
    """
    y1, y2, x1, x2 = torch.from_numpy(np.asarray(boxes, np.float32)).unbind(1)
    origin = torch.stack((y1, x1), 1)[:, None]
    scale = torch.stack((size_hw[0] / (y2 - y1), size_hw[1] / (x2 - x1)), 1)[:, None]
    moved = (points[..., :2] - origin) * scale
    is_there = points[..., 2:] >= 0
    return torch.cat((torch.where(is_there, moved, points[..., :2]), points[..., 2:]), -1)
