"""Disks of clicks: which pixels belong to one, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from histosam_core.model.specialists.click_disks import disk_maps


def test_the_border_belongs_to_a_disk() -> None:
    maps = disk_maps(torch.tensor([[[6.0, 7, 0], [-1, -1, -1]]]), (13, 15), 5.0)
    assert maps[0, 0].sum() == 81  # whole points in a circle of radius 5
    assert maps[0, 0, 9, 11] == 1  # 3, 4, 5
    assert maps[0, 1].sum() == 0


def test_a_click_outside_shows_what_reaches_in_and_padding_shows_nothing() -> None:
    points = torch.tensor([[[-2.0, 3, 0], [-1, -1, -1]]])
    assert disk_maps(points, (8, 8), 3.0)[0, 0].nonzero().tolist() == [
        [0, 1], [0, 2], [0, 3], [0, 4], [0, 5], [1, 3]
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_distance_is_rounded_once(kind: torch.dtype) -> None:
    """A point in double precision is subtracted before anything is rounded to single."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        y, x = np.round(rng.random(2) * (64, 80), 1)
        point = torch.tensor([[[y, x, 0], [-1, -1, -1]]], dtype=kind)
        dy, dx = (
            np.float32(np.arange(side) - float(at))
            for side, at in zip((64, 80), point[0, 0, :2], strict=True)
        )
        expected = dy[:, None] ** 2 + dx**2 <= np.float32(25)
        assert (disk_maps(point, (64, 80), 5.0)[0, 0].numpy() == expected).all()
