from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histosam_core.errors import ClickOutsideSlideError, ConfigError
from histosam_core.inference.windows import Window, WindowGrid

GRID = WindowGrid(slide_wh=(8000, 6000), slide_mpp=0.5, mpp=2.0, window_px=400)

grids = st.builds(
    WindowGrid,
    slide_wh=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    slide_mpp=st.sampled_from([0.25, 0.499, 1.0, 3.0]),
    mpp=st.sampled_from([0.5, 1.0, 2.0]),
    window_px=st.integers(8, 300),
)
unit = st.floats(0, 1, exclude_max=True)


def point_on(grid: WindowGrid, u: float, v: float) -> tuple[float, float]:
    (w, h) = grid.slide_wh
    return min(u * w - 0.5, w - 0.6), min(v * h - 0.5, h - 0.6)


def test_window_has_the_training_geometry_and_stands_on_whole_steps() -> None:
    window = GRID.window_at((4000, 3000))
    assert window == Window((800, 600), 400)
    region = GRID.region(window)
    assert (region.location_xy, region.size_wh, region.mpp) == ((3200.0, 2400.0), (400, 400), 2.0)


def test_neighbouring_clicks_share_a_window() -> None:
    # A step is 100 grid pixels = 400 level-0 pixels; the middle of the window is at 4000.
    assert len({GRID.window_at((x, 3000)) for x in range(3801, 4199, 7)}) == 1
    assert GRID.window_at((4205, 3000)).location_xy == (900, 600)


def test_window_is_shifted_inside_at_each_border() -> None:
    corners = [
        GRID.window_at(xy).location_xy for xy in ((0, 0), (7999, 0), (0, 5999), (7999, 5999))
    ]
    assert corners == [(0, 0), (1600, 0), (0, 1100), (1600, 1100)]


def test_small_slide_lies_in_the_middle_of_its_window() -> None:
    grid = WindowGrid((400, 4000), slide_mpp=0.5, mpp=2.0, window_px=400)
    assert grid.size_wh == (100, 1000)
    assert grid.window_at((10, 10)).location_xy == (-150, 0)


def test_a_slide_that_ends_within_a_grid_pixel_is_covered() -> None:
    grid = WindowGrid((8001, 6000), slide_mpp=0.5, mpp=2.0, window_px=400)
    assert grid.size_wh == (2001, 1500)
    window = grid.window_at((8000, 0))
    assert window.location_xy[0] + 400 == 2001


def test_click_in_the_inner_part_keeps_the_window_and_in_the_rim_does_not() -> None:
    current = GRID.window_at((4000, 3000))  # grid pixels 800 to 1199 along x, rim 50
    assert GRID.serving((4 * 1149, 3000), current) == current
    assert GRID.serving((4 * 1151, 3000), current) != current


def test_click_goes_back_to_an_earlier_window_that_holds_it() -> None:
    first, second = GRID.window_at((4000, 3000)), GRID.window_at((6000, 3000))
    assert GRID.serving((4300, 3200), second, [first, second]) == first


def test_click_goes_to_the_earlier_window_that_holds_it_deepest() -> None:
    near, far = Window((800, 600), 400), Window((600, 600), 400)
    xy = (4 * 925, 4 * 800)
    assert GRID.is_inner(far, GRID.to_grid(xy))
    assert GRID.serving(xy, None, [far, near]) == near


def test_depth_counts_from_the_rim_but_not_from_the_slides_edge() -> None:
    depth = GRID.depth(Window((0, 600), 400))
    assert depth.shape == (400, 400)
    assert depth[200, 0] == 51
    assert list(depth[200, -3:]) == [3, 2, 1]
    assert list(depth[:3, 200]) == [1, 2, 3]
    assert depth[50, 349] == 51
    assert depth[49, 349] == 50


@pytest.mark.parametrize("xy", [(-1, 5), (5, -0.6), (8000, 5), (5, 5999.5), (float("nan"), 5)])
def test_click_off_the_slide_is_refused_with_its_size(xy: tuple[float, float]) -> None:
    with pytest.raises(ClickOutsideSlideError, match="8000 x 6000"):
        GRID.window_at(xy)


def test_nonsense_geometry_is_refused() -> None:
    with pytest.raises(ConfigError, match="mpp"):
        WindowGrid((10, 10), slide_mpp=0.0, mpp=2.0, window_px=400)
    with pytest.raises(ConfigError, match="8 or more"):
        WindowGrid((10, 10), slide_mpp=0.5, mpp=2.0, window_px=4)


@given(grids, unit, unit)
def test_every_point_lies_in_the_inner_part_of_its_window(
    grid: WindowGrid, u: float, v: float
) -> None:
    xy = point_on(grid, u, v)
    window = grid.window_at(xy)
    point = grid.to_grid(xy)
    assert grid.contains(window, point)
    assert grid.is_inner(window, point)
    assert grid.serving(xy, window) == window
    for at, begin, length in zip(point, window.location_xy, grid.size_wh, strict=True):
        inside = begin >= 0 and begin + grid.window_px <= length
        assert inside == (length >= grid.window_px)
        assert -0.5 <= at <= length - 0.5


@given(grids, unit, unit)
def test_inner_part_is_where_the_depth_is_full(grid: WindowGrid, u: float, v: float) -> None:
    window = grid.window_at(point_on(grid, u, v))
    depth = grid.depth(window)
    x0, y0 = window.location_xy
    probes = np.linspace(0, window.side_px - 1, 7).astype(int)
    for row in probes:
        for column in probes:
            inner = grid.is_inner(window, (x0 + int(column), y0 + int(row)))
            assert inner == (depth[row, column] == grid.margin_px + 1)
