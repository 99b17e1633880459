"""Tumour regions of a slide: found strip by strip, drawn one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from histosam_core.annotation import (
    AnnotatedRegion,
    PolygonAnnotation,
    read_mask_tiff,
    write_mask_tiff,
)
from histosam_core.annotation.regions import Annotation
from histosam_core.errors import RegionError
from histosam_core.evaluation import slide_regions
from histosam_core.evaluation.slide_regions import TumorRegion, draw_truth, find_regions
from histosam_core.geometry import Region
from histosam_core.session import WindowGrid


class Labels(Annotation):
    """A label per grid pixel, at level 0."""

    path = None
    notes = ()
    regions = ()

    def __init__(self, labels: NDArray[np.uint8]) -> None:
        self.labels = labels

    def mask(self, region: Region, slide_mpp: float | None = None) -> NDArray[np.uint8]:
        (x, y), (w, h) = region.location_xy, region.size_wh
        return self.labels[int(y) : int(y) + h, int(x) : int(x) + w].copy()

    def fitted(self, slide_size_wh: tuple[int, int], slide: object = "") -> Labels:
        return self


def grid_of(labels: NDArray[np.uint8]) -> WindowGrid:
    return WindowGrid((labels.shape[1], labels.shape[0]), 1.0, 1.0, 8)


BITS = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 1)
)


@settings(max_examples=60, deadline=None)
@given(labels=BITS, rows=st.integers(1, 4))
def test_strips_give_the_regions_of_the_whole(labels: NDArray[np.uint8], rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slide_regions, "STRIP_PX", rows * labels.shape[1])
        found, n_small = find_regions(Labels(labels), grid_of(labels))
    whole, n = ndimage.label(labels, structure=np.ones((3, 3)))
    assert n_small == 0
    expected = []
    for i, (ys, xs) in enumerate(ndimage.find_objects(whole), 1):
        y, x = np.argwhere(whole == i)[0].tolist()
        box = (xs.start, ys.start, xs.stop, ys.stop)
        expected.append(((y, x), box, int((whole == i).sum())))
    assert [((r.first_xy[1], r.first_xy[0]), r.box_xyxy, r.area_px) for r in found] == expected
    assert [r.number for r in found] == list(range(1, n + 1))


def test_small_regions_are_counted_not_returned() -> None:
    labels = np.zeros((6, 9), np.uint8)
    labels[1, 1] = labels[0:3, 4:6] = 1
    found, n_small = find_regions(Labels(labels), grid_of(labels), min_area_px=6)
    assert [r.area_px for r in found] == [6]
    assert n_small == 1


def test_other_tumour_and_ignored_pixels_do_not_count() -> None:
    labels = np.zeros((8, 10), np.uint8)
    labels[2:6, 2:5] = 1
    labels[3, 3] = 0  # a hole
    labels[2:4, 7] = 1  # another region
    labels[7, 0:3] = 255
    grid = grid_of(labels)
    one, other = find_regions(Labels(labels), grid)[0]
    truth = draw_truth(Labels(labels), grid, one, margin_px=100)
    assert truth.location_xy == (0, 0)
    expected = labels.astype(np.int8)
    expected[2:4, 7] = expected[7, 0:3] = -1
    np.testing.assert_array_equal(truth.mask, expected)
    assert truth.tumor_fraction == 11 / 75
    near = draw_truth(Labels(labels), grid, other, margin_px=1)
    assert near.location_xy == (6, 1)
    assert near.mask.tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_polygons_and_a_mask_of_them_give_the_same_regions(tmp_path: Path) -> None:
    """Two polygons that share an edge are one region; at 4 times level 0."""
    parts = [shapely.box(39.5, 79.5, 119.5, 159.5), shapely.box(119.5, 79.5, 199.5, 119.5)]
    polygons = PolygonAnnotation([AnnotatedRegion(p) for p in parts])
    drawn = np.zeros((240, 400), bool)
    drawn[80:160, 40:120] = drawn[80:120, 120:200] = True
    mask = read_mask_tiff(write_mask_tiff(tmp_path / "mask.tif", drawn)).fitted((400, 240))
    grid = WindowGrid((400, 240), 0.5, 2.0, 16)
    expected = [TumorRegion(1, (10, 20), (10, 20, 50, 40), 600)]
    for annotation in (polygons, mask):
        found, _ = find_regions(annotation, grid)
        assert found == expected
        truth = draw_truth(annotation, grid, found[0], 16)
        assert truth.location_xy == (0, 4)
        assert truth.region(grid) == Region((0, 16), (66, 52), 2.0)
        assert int((truth.mask == 1).sum()) == 600


def test_a_region_too_large_for_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide_regions, "MAX_TRUTH_PX", 20)
    labels = np.ones((5, 5), np.uint8)
    grid = grid_of(labels)
    (one,), _ = find_regions(Labels(labels), grid)
    with pytest.raises(RegionError, match="coarser resolution"):
        draw_truth(Labels(labels), grid, one, 0)


def test_no_tumour_is_no_region() -> None:
    labels = np.zeros((5, 5), np.uint8)
    assert find_regions(Labels(labels), grid_of(labels)) == ([], 0)
