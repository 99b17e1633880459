"""Outlines cut by others: holes, many parts, borders in common."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from histosam_core.annotation import mask_to_geometry
from histosam_core.geometry import Frame
from histosam_core.session.objects import cut_objects, without

seeds = st.integers(0, 2**32 - 1)
downsamples = st.sampled_from([1.0, 4.0, 2.0 / 0.499])


def blobs(rng: np.random.Generator) -> np.ndarray:
    return gaussian_filter(rng.normal(size=(70, 70)), 2) > 0


def outline(mask: np.ndarray, d: float):
    return mask_to_geometry(mask, Frame((0, 0), (d, d)))


@settings(max_examples=40, deadline=None)
@given(seeds, downsamples)
def test_what_is_left_is_the_pixels_that_the_others_do_not_have(seed: int, d: float) -> None:
    rng = np.random.default_rng(seed)
    one, two, three = blobs(rng), blobs(rng), blobs(rng)
    left = without(outline(one, d), [outline(two, d), outline(three, d)])
    wanted = outline(one & ~two & ~three, d)
    assert left.is_valid
    assert left.symmetric_difference(wanted).area <= 1e-6 * wanted.area


@settings(max_examples=40, deadline=None)
@given(seeds, downsamples)
def test_neighbours_with_a_border_in_common_do_not_change_each_other(seed: int, d: float) -> None:
    mask = blobs(np.random.default_rng(seed))
    neighbour = SimpleNamespace(geometry=outline(mask, d))
    assert cut_objects([neighbour], outline(~mask, d)) == ([], [])


def test_an_object_in_the_hole_of_another_stays_and_one_that_fills_it_is_cut_to_nothing() -> None:
    hole = shapely.box(10, 10, 20, 20)
    ring = shapely.box(0, 0, 30, 30).difference(hole)
    assert without(hole, [ring]).equals(hole)
    assert without(ring, [hole]).equals(ring)
    assert without(hole, [shapely.box(0, 0, 30, 30)]).is_empty


def test_parts_below_a_size_are_left_out() -> None:
    bar = shapely.box(0, 0, 100, 10)
    left = without(bar, [shapely.box(5, -1, 50, 11)], min_area_px=60)
    assert left.equals(shapely.box(50, 0, 100, 10))
    assert without(bar, [], min_area_px=1000).equals(bar)
    assert without(bar, [], min_area_px=1001).is_empty
