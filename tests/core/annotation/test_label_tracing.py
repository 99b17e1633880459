"""Labels traced block by block are those traced in one piece."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.annotation import mask_to_geometry, rasterise
from histosam_core.annotation.formats.label_tracing import trace_labels
from histosam_core.geometry import Frame, Region


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
