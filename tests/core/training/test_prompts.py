"""Training clicks in front of a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from histosam_core.clicks import Click
from histosam_core.model.sam.network import SamNetwork, build_network
from histosam_core.training.prompts import (
    add_error_clicks,
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


def test_no_iteration_gives_no_mask_prompt(network: SamNetwork, rng: np.random.Generator) -> None:
    first = [[Click((20, 20))]]
    clicks, previous = add_error_clicks(
        network, torch.zeros(1, 128, 4, 4), [_mask()], first, 0, [rng]
    )
    assert previous is None
    assert clicks == first


def test_each_iteration_adds_a_click_on_an_error_of_the_answer_before(
    network: SamNetwork, rng: np.random.Generator
) -> None:
    gt = [_mask(), np.zeros((48, 48), np.int8)]
    first = [[Click((20, 20))], [Click((3, 3), False)]]
    embeddings = torch.randn(2, 128, 4, 4, generator=torch.Generator().manual_seed(0))
    embeddings.requires_grad_()
    clicks, previous = add_error_clicks(network, embeddings, gt, first, 3, [rng, rng])
    assert previous is not None
    assert previous.shape == (2, 1, 16, 16)
    assert not previous.requires_grad
    assert [len(sample) for sample in first] == [1, 1]
    assert len(clicks[0]) == 4
    for sample, mask in zip(clicks, gt, strict=True):
        for click in sample[1:]:
            x, y = (int(v) for v in click.xy)
            assert (mask[y, x] == 1) == click.is_positive


def test_the_same_draws_give_the_same_clicks(network: SamNetwork) -> None:
    embeddings = torch.randn(1, 128, 4, 4, generator=torch.Generator().manual_seed(0))
    runs = [
        add_error_clicks(
            network, embeddings, [_mask()], [[Click((9, 9))]], 3, [np.random.default_rng(5)]
        )
        for _ in range(2)
    ]
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])


def test_single_clicks_come_as_often_as_set(rng: np.random.Generator) -> None:
    gt = _mask()
    for _ in range(10):
        (click,) = first_clicks(gt, rng, single_click_share=1.0)
        assert click.is_positive
    counts = [len(first_clicks(gt, rng)) for _ in range(200)]
    assert np.mean([count == 1 for count in counts]) < 0.15
    assert max(counts) > 8
