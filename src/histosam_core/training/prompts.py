"""The training's first clicks, and the tensors that networks see of clicks.

Clicks are patch pixels (x, y); SAM's networks see model-input pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.clicks.sample import sample_random_clicks
from histosam_core.model.specialists.click_points import NO_POINT, click_points

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.model.sam.network import SamNetwork


def first_clicks(
    gt_mask: NDArray[np.int8],
    rng: np.random.Generator,
    *,
    max_clicks: int,
    first_at_centre: bool = False,
    single_click_share: float,
) -> list[Click]:
    """Draw the clicks a sample starts with: `sample_random_clicks`, or one central click alone."""
    if rng.random() < single_click_share:
        return sample_random_clicks(gt_mask, rng, max_clicks=1, first_at_centre=True)[:1]
    return sample_random_clicks(
        gt_mask, rng, max_clicks=max_clicks, first_at_centre=first_at_centre
    )


def pack_clicks(
    clicks: Sequence[Sequence[Click]],
    patch_hw: tuple[int, int],
    network: SamNetwork,
    width: int = 1,
) -> tuple[Tensor, Tensor]:
    """Turn B lists of clicks, in pixels of the patches, into what `SamNetwork.decode` takes.

    They are padded to `width` points at least, those of a batch of which these are a part, since
    padding takes part in the attention. With N the longest list, `points_xy` are (B, N, 2) float32
    in model-input pixels, `labels` (B, N) int64: 1 positive, 0 negative, -1 padding.
    """
    longest = max([width, *(len(sample) for sample in clicks)])
    points = np.zeros((len(clicks), longest, 2), np.float32)
    labels = np.full((len(clicks), longest), -1, np.int64)
    input_hw = network.input_size_hw(*patch_hw)
    scale_xy = np.array([input_hw[1] / patch_hw[1], input_hw[0] / patch_hw[0]])
    for row, sample in enumerate(clicks):
        for column, click in enumerate(sample):
            points[row, column] = (np.array(click.xy) + 0.5) * scale_xy - 0.5
            labels[row, column] = int(click.is_positive)
    device = network.device
    return torch.from_numpy(points).to(device), torch.from_numpy(labels).to(device)


def point_table(clicks: Sequence[Sequence[Click]]) -> Tensor:
    """B lists of clicks, pixels (x, y) -> (B, 2N, 3) float32 points, as `disk_maps` takes them."""
    tables = [click_points(sample).reshape(2, -1, 3) for sample in clicks]
    n = max(table.shape[1] for table in tables)
    points = np.full((len(clicks), 2, n, 3), NO_POINT, np.float32)
    for rows, table in zip(points, tables, strict=True):
        rows[:, : table.shape[1]] = table
    return torch.from_numpy(points.reshape(len(clicks), 2 * n, 3))
