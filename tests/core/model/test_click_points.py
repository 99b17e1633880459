from __future__ import annotations

import numpy as np
import pytest
import torch

from histosam_core.clicks import Click
from histosam_core.errors import ClickOutsideSlideError, ConfigError
from histosam_core.model.specialists.click_points import (
    click_points,
    disk_maps,
    mirrored,
    pixel_yx,
    points_in,
)

CLICKS = [Click((3, 4)), Click((5, 6), is_positive=False), Click((7.5, 8))]
NONE = [-1, -1, -1]


def test_positive_rows_stand_above_negative_ones() -> None:
    assert click_points(CLICKS).tolist() == [[4, 3, 0], [8, 7.5, 2], [6, 5, 1], NONE]


def test_limit_takes_the_first_clicks_and_counts_all() -> None:
    # As in RITM, rows are made for the larger count of all clicks, up to the limit.
    assert click_points(CLICKS, 2).tolist() == [[4, 3, 0], NONE, [6, 5, 1], NONE]
    assert click_points(CLICKS, 1).tolist() == [[4, 3, 0], NONE]


def test_click_beyond_the_middle_of_the_corner_pixel_is_not_taken_for_padding() -> None:
    clicks = [Click((-0.4, -0.1)), Click((-0.4, 5), is_positive=False)]
    assert click_points(clicks).tolist() == [[0, 0, 0], [5, -0.4, 1]]


def test_padding_is_not_moved() -> None:
    points = click_points([Click((10, 20))])
    assert points_in(points, (10, 29, 5, 14), (40, 30)).tolist() == [[20, 15, 0], NONE]
    assert mirrored(points, 30).tolist() == [[20, 19, 0], NONE]


@pytest.mark.parametrize(
    ("xy", "pixel"), [((2.4, 3.5), (4, 2)), ((-0.9, 0), (0, 0)), ((9.9, 5.9), (5, 9))]
)
def test_click_lies_in_the_nearest_pixel(xy: tuple[float, float], pixel: tuple[int, int]) -> None:
    assert pixel_yx(Click(xy), (6, 10)) == pixel


def test_click_outside_or_nowhere_is_refused() -> None:
    for xy in ((10, 0), (0, 6), (-1, 0), (0, -1)):
        with pytest.raises(ClickOutsideSlideError, match="outside the image of 10 x 6"):
            pixel_yx(Click(xy), (6, 10))
    with pytest.raises(ConfigError, match="numbers"):
        pixel_yx(Click((float("inf"), 0)), (6, 10))


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
