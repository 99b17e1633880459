"""Polygons to masks by pixel centres."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.annotation import rasterise
from histosam_core.annotation.rasterise import edges_of
from histosam_core.errors import MissingMppError
from histosam_core.geometry import Region

LEVEL0 = Region((0.0, 0.0), (20, 16))
COORDINATES = st.floats(-8, 28, width=32)


@st.composite
def triangles(draw):
    points = [(draw(COORDINATES), draw(COORDINATES)) for _ in range(3)]
    polygon = shapely.Polygon(points)
    return polygon if polygon.is_valid and polygon.area > 1e-3 else shapely.box(2, 2, 9, 7)


def centres_inside(geometry, region, slide_mpp=None):
    """Reference: every pixel centre against the geometry; NaN-free, borders left open."""
    frame = region.frame(slide_mpp)
    width, height = region.size_wh
    xy = np.array([frame.to_level0((c, r)) for r in range(height) for c in range(width)])
    points = shapely.points(xy)
    inside = shapely.contains(geometry, points).reshape(height, width)
    unclear = shapely.dwithin(geometry.boundary, points, 1e-6).reshape(height, width)
    return inside, unclear


@settings(deadline=None, max_examples=100)
@given(geometry=triangles(), downsample=st.floats(0.3, 5), x=st.floats(-9, 9), y=st.floats(-9, 9))
def test_pixel_is_set_when_its_centre_lies_inside(geometry, downsample, x, y):
    region = Region((x, y), (13, 11), mpp=downsample)
    inside, unclear = centres_inside(geometry, region, 1.0)
    mask = rasterise(geometry, region, 1.0)
    np.testing.assert_array_equal(mask[~unclear], inside[~unclear])


@settings(deadline=None, max_examples=100)
@given(x=st.floats(-5, 25), slope=st.floats(-30, 30))
def test_polygons_that_share_an_edge_share_no_pixel_and_leave_no_gap(x, slope):
    top, bottom = (x, -5.0), (x + slope, 25.0)
    left = shapely.Polygon([(-99, -5), top, bottom, (-99, 25)])
    right = shapely.Polygon([bottom, top, (99, -5), (99, 25)])
    drawn = rasterise(left, LEVEL0).astype(int) + rasterise(right, LEVEL0)
    assert (drawn == 1).all()


def test_centre_on_an_outline_belongs_to_what_lies_right_or_below():
    mask = rasterise(shapely.box(2, 3, 5, 6), LEVEL0)
    expected = np.zeros((16, 20), bool)
    expected[3:6, 2:5] = True
    np.testing.assert_array_equal(mask, expected)


def test_edges_far_shorter_than_a_pixel_do_no_harm():
    points = [(1, 1), (5, 1), (5, 3), (5 + 1e-9, 3 + 1e-300), (5, 6), (1, 6), (1, 1 + 5e-324)]
    assert rasterise(shapely.Polygon(points), LEVEL0).sum() == 4 * 5


def test_hole_is_not_drawn():
    ring = shapely.box(0.5, 0.5, 9.5, 9.5).exterior
    hole = shapely.box(2.5, 2.5, 6.5, 6.5).exterior
    mask = rasterise(shapely.Polygon(ring, [hole]), LEVEL0)
    assert mask.sum() == 81 - 16
    assert not mask[3:7, 3:7].any()


def test_polygon_round_the_whole_region_fills_it():
    assert rasterise(shapely.box(-100, -100, 100, 100), LEVEL0).all()


def test_polygon_elsewhere_draws_nothing():
    assert not rasterise(shapely.box(50, 2, 60, 9), LEVEL0).any()
    assert not rasterise(shapely.box(-60, 2, -50, 9), LEVEL0).any()
    assert not rasterise(shapely.box(2, -60, 9, -50), LEVEL0).any()


def test_window_of_a_mask_equals_the_whole_mask_cut(rng):
    angles = np.sort(rng.uniform(0, 2 * np.pi, 3000))
    radii = rng.uniform(300, 400, 3000)
    polygon = shapely.Polygon(np.column_stack((np.cos(angles), np.sin(angles))) * radii[:, None])
    polygon = shapely.affinity.translate(polygon, 450, 450)
    whole = rasterise(polygon, Region((0.0, 0.0), (450, 450), 2.0), 1.0)
    part = rasterise(edges_of(polygon), Region((200.0, 400.0), (90, 70), 2.0), 1.0)
    np.testing.assert_array_equal(part, whole[200:270, 100:190])


def test_large_masks_are_drawn_in_strips_without_a_seam():
    region = Region((0.0, 0.0), (3000, 3000))
    mask = rasterise(shapely.box(9.5, 9.5, 2989.5, 2989.5), region)
    assert mask.sum() == 2980**2


def test_resolution_without_slide_mpp_raises():
    with pytest.raises(MissingMppError):
        rasterise(shapely.box(0, 0, 1, 1), Region((0.0, 0.0), (4, 4), mpp=2.0))
