"""Outlines of masks: exact, valid, holes and islands kept."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.annotation import mask_to_geometry, rasterise
from histosam_core.geometry import Frame, Region

SIDES = st.integers(1, 12)
DOWNSAMPLES = st.floats(0.25, 64)
ORIGINS = st.floats(-1e5, 1e5)


@st.composite
def masks(draw):
    height, width = draw(SIDES), draw(SIDES)
    bits = draw(st.integers(0, 2 ** (height * width) - 1))
    text = np.array(list(np.binary_repr(bits, height * width)))
    return (text == "1").reshape(height, width)


quick = settings(deadline=None, max_examples=100)


@quick
@given(mask=masks(), downsample=DOWNSAMPLES, x=ORIGINS, y=ORIGINS)
def test_rasterising_the_outline_gives_the_mask_back_in_any_frame(mask, downsample, x, y):
    geometry = mask_to_geometry(mask, Frame((x, y), (downsample, downsample)))
    region = Region((x, y), (mask.shape[1], mask.shape[0]), mpp=downsample)
    np.testing.assert_array_equal(rasterise(geometry, region, slide_mpp=1.0), mask)


@quick
@given(mask=masks())
def test_outline_is_valid_with_one_polygon_per_edge_connected_component(mask):
    geometry = mask_to_geometry(mask)
    n_components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1
    assert geometry.geom_type == "MultiPolygon"
    assert geometry.is_valid, shapely.is_valid_reason(geometry)
    assert len(geometry.geoms) == n_components
    assert geometry.area == mask.sum()


@quick
@given(mask=masks())
def test_outline_vertices_are_pixel_corners_where_it_turns(mask):
    for polygon in mask_to_geometry(mask).geoms:
        for ring in (polygon.exterior, *polygon.interiors):
            xy = np.array(ring.coords)
            assert (xy - np.floor(xy) == 0.5).all()
            steps = np.diff(xy, axis=0)
            assert ((steps == 0).sum(axis=1) == 1).all()
            horizontal = steps[:, 0] != 0
            assert (horizontal[1:] != horizontal[:-1]).all()


def test_single_pixel_spans_half_a_pixel_round_its_centre():
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    assert mask_to_geometry(mask).bounds == (1.5, 0.5, 2.5, 1.5)


def test_coarse_pixel_spans_its_level0_pixels():
    geometry = mask_to_geometry(np.ones((1, 1), bool), Frame((8.0, 16.0), (4.0, 4.0)))
    assert geometry.bounds == (7.5, 15.5, 11.5, 19.5)


def test_hole_and_island_within_it_are_kept():
    mask = np.ones((7, 7), bool)
    mask[1:6, 1:6] = False
    mask[3, 3] = True
    outer, island = mask_to_geometry(mask).geoms
    assert len(outer.interiors) == 1
    assert outer.area == 24
    assert island.area == 1


@pytest.mark.parametrize("diagonal", [np.eye(2), np.eye(2)[::-1]])
def test_diagonal_neighbours_are_two_polygons_that_touch(diagonal):
    first, second = mask_to_geometry(diagonal == 1).geoms
    assert first.touches(second)


def test_holes_that_touch_at_a_corner_stay_two():
    mask = np.ones((4, 4), bool)
    mask[1, 1] = mask[2, 2] = False
    (polygon,) = mask_to_geometry(mask).geoms
    assert len(polygon.interiors) == 2
    assert polygon.is_valid


def test_empty_mask_gives_an_empty_geometry():
    assert mask_to_geometry(np.zeros((5, 5), bool)).is_empty


def test_label_values_other_than_zero_count_as_set():
    assert mask_to_geometry(np.array([[0, 7]], np.uint16)).area == 1
