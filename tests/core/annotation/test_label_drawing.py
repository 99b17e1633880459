"""Labels drawn block by block are those drawn in one piece."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.annotation import mask_to_geometry, rasterise
from histosam_core.annotation.formats.label_drawing import (
    BLOCK_PX,
    Drawing,
    LabelGrid,
    draw_label,
    drawings_of,
)
from histosam_core.geometry import Frame, Region

LEVEL0 = Frame((0.0, 0.0), (1.0, 1.0))


@st.composite
def outlines(draw):
    bits = draw(st.integers(1, 2**36 - 1))
    mask = (bits >> np.arange(36) & 1).reshape(6, 6)
    d = draw(st.sampled_from([1.0, 2.5, 7.0]))
    x, y = draw(st.integers(-80, 160)) / 4, draw(st.integers(-80, 160)) / 4
    return mask_to_geometry(mask, Frame((x, y), (d, d)))


@settings(deadline=None, max_examples=150)
@given(
    geometry=outlines(),
    at=st.tuples(st.integers(-5, 30), st.integers(-5, 30)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    d=st.sampled_from([1.0, 2.0, 3.5]),
)
def test_a_part_of_a_grid_is_drawn_as_the_whole_grid_is(geometry, at, size, d):
    (x, y), (w, h) = at, size
    labels = np.full((h, w), 9, np.uint16)
    for drawing in drawings_of(geometry, 5):
        draw_label(labels, at, drawing, Frame((0.0, 0.0), (d, d)))
    mask = rasterise(geometry, Region((x * d, y * d), (w, h), mpp=d), slide_mpp=1.0)
    np.testing.assert_array_equal(labels, np.where(mask, 5, 9))


@settings(deadline=None, max_examples=150)
@given(geometry=outlines(), row=st.integers(-20, 60), height=st.integers(1, 20))
def test_edges_between_rows_are_all_that_these_rows_need(geometry, row, height):
    mask = rasterise(geometry, Region((-30, row), (120, height)))
    labels = np.zeros(mask.shape, np.uint8)
    for drawing in drawings_of(geometry, 1):
        draw_label(labels, (-30, row), drawing.between(row, row + height - 1), LEVEL0)
    np.testing.assert_array_equal(labels != 0, mask)


@settings(deadline=None, max_examples=100)
@given(geometry=outlines())
def test_a_point_lies_inside_exactly_where_its_pixel_would_be_drawn(geometry):
    mask = rasterise(geometry, Region((-30, -30), (120, 120)))
    drawings = drawings_of(geometry, 1)
    for y, x in np.random.default_rng(0).integers(0, 120, (40, 2)).tolist():
        point = float(x - 30), float(y - 30)
        assert any(d.holds(point) for d in drawings) == mask[y, x]


def test_blocks_touched_are_those_of_each_polygon_and_lie_on_the_grid():
    geometry = shapely.MultiPolygon(
        [shapely.box(-50, -50, 100, 100), shapely.box(3000, 5000, 3300, 99_999)]
    )
    grid = LabelGrid.of(drawings_of(geometry, 1), LEVEL0, (4000, 6000))
    assert set(grid.drawings) == {(0, 0), (2, 4), (3, 4), (2, 5), (3, 5)}


def test_a_square_of_blocks_is_cut_at_the_grids_edge_and_later_drawings_lie_on_top():
    first, second = shapely.box(100, 100, 2100, 2100), shapely.box(1500, 1500, 2090, 2150)
    drawings: list[Drawing] = [*drawings_of(first, 1), *drawings_of(second, 2)]
    grid = LabelGrid.of(drawings, LEVEL0, (2200, 2120))
    (rows, columns), labels = grid.draw((1, 1), 2, np.uint16)
    assert (rows, columns) == (slice(BLOCK_PX, 2120), slice(BLOCK_PX, 2200))
    region = Region((BLOCK_PX, BLOCK_PX), labels.shape[::-1])
    expected = np.where(rasterise(second, region), 2, rasterise(first, region))
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_labels_have_the_type_asked_for(dtype):
    _, labels = LabelGrid.of((), LEVEL0, (5, 4)).draw((0, 0), 1, dtype)
    assert labels.dtype == dtype
    assert labels.shape == (4, 5)
