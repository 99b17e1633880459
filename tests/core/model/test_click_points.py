from __future__ import annotations

import pytest

from histosam_core.clicks import Click
from histosam_core.errors import ClickOutsideSlideError, ConfigError
from histosam_core.model.specialists.click_points import click_points, mirrored, pixel_yx, points_in

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
