"""Training clicks in front of a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from histosam_core.clicks import Click
from histosam_core.model.sam.network import SamNetwork, build_network
from histosam_core.training.prompts import (
    first_clicks,
    pack_clicks,
)


@pytest.fixture
def network() -> SamNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_network("histosam_tiny", decoder="refining", image_size=32)


def _mask(size: int = 48) -> np.ndarray:
    gt = np.zeros((size, size), np.int8)
    gt[8:30, 10:40] = 1
    return gt


def test_clicks_are_scaled_about_pixel_corners_and_padded(network: SamNetwork) -> None:
    clicks = [[Click((0, 0)), Click((63, 63), False)], [Click((31.5, 31.5))], []]
    points_xy, labels = pack_clicks(clicks, (64, 64), network)
    assert points_xy.dtype == torch.float32
    assert points_xy[0].tolist() == [[-0.25, -0.25], [31.25, 31.25]]
    assert points_xy[1, 0].tolist() == [15.5, 15.5]
    assert labels.tolist() == [[1, 0], [1, -1], [-1, -1]]


def test_no_click_at_all_still_gives_one_padding_point(network: SamNetwork) -> None:
    points_xy, labels = pack_clicks([[]], (64, 64), network)
    assert points_xy.shape == (1, 1, 2)
    assert labels.tolist() == [[-1]]


def test_a_patch_that_is_not_square_fills_a_part_of_the_input(network: SamNetwork) -> None:
    points_xy, _ = pack_clicks([[Click((63, 31))]], (32, 64), network)
    assert points_xy[0, 0].tolist() == [31.25, 15.25]


def test_single_clicks_come_as_often_as_set(rng: np.random.Generator) -> None:
    gt = _mask()
    for _ in range(10):
        (click,) = first_clicks(gt, rng, max_clicks=24, single_click_share=1.0)
        assert click.is_positive
    counts = [len(first_clicks(gt, rng, max_clicks=24, single_click_share=0.0)) for _ in range(200)]
    assert np.mean([count == 1 for count in counts]) < 0.15
    assert max(counts) > 8
