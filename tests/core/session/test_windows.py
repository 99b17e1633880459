from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histosam_core.errors import ClickOutsideSlideError, ConfigError
from histosam_core.session.windows.axis import WindowAxis
from histosam_core.session.windows.windows import Window, WindowGrid

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


def distance(grid: WindowGrid, window: Window, xy: tuple[float, float]) -> float:
    """From the middle of a window to a level-0 point, in grid pixels."""
    middle = (at + (window.side_px - 1) / 2 for at in window.location_xy)
    return math.dist(tuple(middle), grid.frame.from_level0(xy))


def test_around_begins_with_the_window_of_the_point_and_goes_outwards() -> None:
    found = GRID.around((4000, 3200), (2000, 1000, 6000, 5000), 9)
    assert found[0] == GRID.window_at((4000, 3200)) == Window((800, 600), 400)
    assert {w.location_xy for w in found} == {
        (x, y) for x in (700, 800, 900) for y in (500, 600, 700)
    }
    steps = [distance(GRID, window, (4000, 3200)) for window in found]
    assert steps == sorted(steps)


def test_around_gives_every_window_that_a_click_in_the_rectangle_would_get() -> None:
    rect = (2500.0, 100.0, 4100.0, 1300.0)
    xs, ys = np.linspace(rect[0], rect[2], 60), np.linspace(rect[1], rect[3], 60)
    clicked = {GRID.window_at((float(x), float(y))) for x in xs for y in ys}
    found = GRID.around((3000, 500), rect, 1000)
    assert set(found) == clicked
    assert len(found) == len(clicked)


def test_around_is_clipped_to_the_slide_and_empty_off_it() -> None:
    whole = GRID.around((4000, 3000), (-1e9, -1e9, 1e9, 1e9), 10_000)
    assert len(whole) == len(set(whole)) == 17 * 12  # the last row begins at 1100 of 1500 - 400
    assert GRID.around((0, 0), (-50, -50, -1, -1), 10) == ()
    assert GRID.around((0, 0), (8000, 0, 9000, 100), 10) == ()
    assert GRID.around((0, 0), (0, 0, 100, 100), 0) == ()


def test_around_a_point_off_the_slide_begins_at_the_nearest_edge() -> None:
    found = GRID.around((-5000, 9000), (-9000, -9000, 9000, 9000), 3)
    assert found[0].location_xy == (0, 1100)


def test_around_looks_at_few_windows_of_a_very_large_slide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid = WindowGrid((100_000, 100_000), slide_mpp=0.25, mpp=0.25, window_px=8)
    looked_at: list[int] = []
    begin = WindowAxis.begin
    monkeypatch.setattr(
        WindowAxis, "begin", lambda axis, number: looked_at.append(number) or begin(axis, number)
    )
    found = grid.around((60_000, 5), (0, 0, 100_000, 100_000), 24)
    assert len(found) == 24
    assert found[0] == Window((59_996, 2), 8)
    assert len(looked_at) < 100


small_grids = st.builds(
    WindowGrid,
    slide_wh=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    slide_mpp=st.sampled_from([0.499, 1.0]),
    mpp=st.sampled_from([1.0, 2.0]),
    window_px=st.integers(20, 90),
)


@given(small_grids, unit, unit, st.integers(1, 30), st.tuples(unit, unit, unit, unit))
def test_around_gives_the_nearest_of_all(
    grid: WindowGrid,
    u: float,
    v: float,
    limit: int,
    corners: tuple[float, float, float, float],
) -> None:
    centre = point_on(grid, u, v)
    (x0, y0), (x1, y1) = point_on(grid, *corners[:2]), point_on(grid, *corners[2:])
    rect = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    found = grid.around(centre, rect, limit)
    everything = grid.around(centre, rect, 10**6)
    assert found == everything[:limit]
    assert len(set(everything)) == len(everything)
    assert grid.window_at((x0, y0)) in everything
    assert grid.window_at((x1, y1)) in everything
    if rect[0] <= centre[0] <= rect[2] and rect[1] <= centre[1] <= rect[3]:
        assert found[0] == grid.window_at(centre)


def test_a_box_in_one_inner_part_gets_the_window_of_its_middle() -> None:
    assert GRID.covering((3900, 3100, 4100, 3300)) == (GRID.window_at((4000, 3200)),)
    # 1100 level-0 pixels are 275 grid pixels, of the inner part's 300.
    assert GRID.covering((3450, 2650, 4550, 3750)) == (GRID.window_at((4000, 3200)),)


def test_a_box_between_the_steps_gets_one_window_of_its_own() -> None:
    # From grid pixel 890 to 1165: the steps' inner parts are 850 to 1149 and 950 to 1249.
    box = (4 * 890, 3100, 4 * 1165, 3300)
    (window,) = GRID.covering(box)
    assert window.location_xy[0] % GRID.step_px != 0
    assert window.location_xy[1] == 600
    assert GRID.is_inner(window, (890, 800))
    assert GRID.is_inner(window, (1165, 800))


def test_a_wide_box_gets_windows_side_by_side_that_share_what_is_over() -> None:
    # 500 grid pixels, from 950 to 1450; two inner parts of 300.
    windows = GRID.covering((4 * 950, 3190, 4 * 1450, 3210))
    assert [w.location_xy for w in windows] == [(900, 600), (1200, 600)]
    assert len(GRID.covering((4 * 950, 4 * 400, 4 * 1450, 4 * 900))) == 4


def test_a_box_at_the_slides_edge_has_no_rim_there() -> None:
    (window,) = GRID.covering((-500, -500, 4 * 349, 4 * 349))
    assert window.location_xy == (0, 0)
    (window,) = GRID.covering((4 * 1651, 4 * 1151, 1e6, 1e6))
    assert window.location_xy == (1600, 1100)


def test_a_box_for_too_many_windows_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"needs 35 windows.*draw a smaller box, or choose a coa"):
        GRID.covering((0, 0, 8000, 6000))
    with pytest.raises(ConfigError, match="coarser magnification"):
        WindowGrid((100_000, 100_000), 0.25, 0.25, 8).covering((0, 0, 1e5, 1e5))


def test_a_box_off_the_slide_is_refused() -> None:
    with pytest.raises(ClickOutsideSlideError, match="draw it on the slide"):
        GRID.covering((8000, 0, 8100, 100))


@given(grids, st.tuples(unit, unit), st.tuples(st.floats(0, 900), st.floats(0, 900)))
def test_covering_leaves_no_gap_and_wastes_no_window(
    grid: WindowGrid, at: tuple[float, float], size_px: tuple[float, float]
) -> None:
    x0, y0 = point_on(grid, *at)
    d = grid.downsample
    box = (x0, y0, x0 + size_px[0] * d, y0 + size_px[1] * d)
    try:
        windows = grid.covering(box)
    except ConfigError:
        return
    assert len(set(windows)) == len(windows) <= 16
    low = grid.frame.from_level0((x0, y0))
    high = grid.frame.from_level0((box[2], box[3]))
    high = tuple(min(v, s - 0.5) for v, s in zip(high, grid.size_wh, strict=True))
    probes = [
        np.linspace(a, b, 25).clip(-0.5, length - 0.5 - 1e-5)
        for a, b, length in zip(low, high, grid.size_wh, strict=True)
    ]
    for x in probes[0]:
        for y in probes[1]:
            assert any(grid.is_inner(window, (float(x), float(y))) for window in windows)
    for begins, span, length in zip(
        zip(*(w.location_xy for w in windows), strict=True),
        (high[0] - low[0], high[1] - low[1]),
        grid.size_wh,
        strict=True,
    ):
        inner = grid.window_px - 2 * grid.margin_px
        assert len(set(begins)) <= max(1, math.ceil(span / (inner - 1)))
        assert all(0 <= b <= length - grid.window_px for b in begins) or length < grid.window_px
