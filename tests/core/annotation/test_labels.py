"""Labels drawn or traced block by block are those drawn or traced in one piece."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.annotation import mask_to_geometry, rasterise
from histosam_core.annotation.labels import (
    BLOCK_PX,
    Drawing,
    LabelGrid,
    draw_label,
    drawings_of,
    trace_labels,
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


def blocks_of(labels, side):
    for y in range(0, labels.shape[0], side):
        for x in range(0, labels.shape[1], side):
            yield x, y, labels[y : y + side, x : x + side]


@st.composite
def label_images(draw):
    shape = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = draw(st.sampled_from([[0, 1], [0, 1, 1, 1], [3, 7], [0, 2, 70_000], [-4, 0, 5]]))
    return rng.choice(np.array(values, np.int32), shape)


@settings(deadline=None, max_examples=150)
@given(labels=label_images(), side=st.integers(1, 8), d=st.sampled_from([1.0, 4.0, 6.5, 0.3]))
def test_drawing_what_was_traced_gives_the_labels_back_whatever_the_blocks(labels, side, d):
    frame = Frame((-3.25, 11.0), (d, d))
    traced = trace_labels(blocks_of(labels, side), frame)
    assert list(traced) == sorted(set(labels.ravel().tolist()) - {0})
    region = Region((-3.25, 11.0), labels.shape[::-1], mpp=d)
    for label, geometry in traced.items():
        assert geometry.is_valid, shapely.is_valid_reason(geometry)
        np.testing.assert_array_equal(rasterise(geometry, region, slide_mpp=1.0), labels == label)


@settings(deadline=None, max_examples=100)
@given(labels=label_images(), side=st.integers(1, 8))
def test_blocks_leave_no_corners_and_part_nothing(labels, side):
    level0 = Frame((0.0, 0.0), (1.0, 1.0))
    for label, geometry in trace_labels(blocks_of(labels, side), level0).items():
        whole = mask_to_geometry(labels == label)
        assert geometry.equals(whole)
        assert len(shapely.get_parts(geometry)) == len(whole.geoms)
        assert shapely.get_num_coordinates(geometry) == shapely.get_num_coordinates(whole)


def test_only_wanted_labels_are_traced():
    labels = np.array([[1, 2, 3]])
    assert list(trace_labels([(0, 0, labels)], Frame((0.0, 0.0), (1.0, 1.0)), {2, 5})) == [2]


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_single_part_is_a_polygon_and_parts_are_a_multipolygon(side):
    labels = np.array([[1, 1, 2], [0, 0, 0], [0, 0, 2]])
    traced = trace_labels(blocks_of(labels, side), Frame((0.0, 0.0), (1.0, 1.0)))
    assert [g.geom_type for g in traced.values()] == ["Polygon", "MultiPolygon"]
