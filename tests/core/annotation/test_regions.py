"""Annotated regions, the words that mean tumour, and repair."""

from __future__ import annotations

import uuid

import pytest
import shapely

from histosam_core.annotation import AnnotatedRegion
from histosam_core.annotation.regions import is_exclusion, is_ignore, is_tumor, polygonal
from histosam_core.errors import AnnotationError, MissingMppError

BOW_TIE = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])


def test_area_is_in_square_millimetres():
    region = AnnotatedRegion(shapely.box(0, 0, 4000, 2000))
    assert region.area_mm2(0.5) == pytest.approx(2.0)
    assert region.measured(0.5).measurements == {"Area mm^2": pytest.approx(2.0)}


def test_area_in_mm_needs_an_mpp_and_falls_back_to_pixels_when_measured():
    region = AnnotatedRegion(shapely.box(0, 0, 4, 2), measurements={"Clicks": 3.0})
    with pytest.raises(MissingMppError, match="mpp"):
        region.area_mm2(None)
    assert region.measured(None).measurements == {"Clicks": 3.0, "Area px^2": 8.0}


def test_every_region_gets_a_uuid_of_its_own():
    ids = {AnnotatedRegion(shapely.box(0, 0, 1, 1)).id for _ in range(3)}
    assert len(ids) == 3
    assert all(str(uuid.UUID(i)) == i for i in ids)


@pytest.mark.parametrize("geometry", [shapely.Polygon(), shapely.Point(1, 2), None])
def test_region_without_an_area_is_refused(geometry):
    with pytest.raises(AnnotationError, match="Polygon"):
        AnnotatedRegion(geometry)


@pytest.mark.parametrize("label", ["Tumor", "tumour", "_0", "_1", "metastases", "Viable tumor"])
def test_label_means_tumour(label):
    assert is_tumor(label)


@pytest.mark.parametrize(
    "label", ["_2", "Normal", "non-tumor", "Stroma", "Exclusion", "peritumoral"]
)
def test_label_does_not_mean_tumour(label):
    assert not is_tumor(label)


def test_exclusions_and_ignored_regions_are_told_by_their_label():
    assert all(is_exclusion(label) for label in ("_2", "Exclusion", "normal"))
    assert all(is_ignore(label) for label in ("Ignore*", "ignore"))
    assert not is_exclusion("Tumor")
    assert not is_ignore("Tumor")


def test_self_crossing_outline_is_repaired_and_said():
    geometry, note = polygonal(BOW_TIE)
    assert geometry.is_valid
    assert geometry.area == 8
    assert note == "was repaired (Self-intersection)"


def test_valid_outline_is_left_alone():
    box = shapely.box(0, 0, 1, 1)
    assert polygonal(box) == (box, None)


def test_outline_without_area_is_dropped_and_said():
    geometry, note = polygonal(shapely.Polygon([(0, 0), (5, 5), (2, 2)]))
    assert geometry is None
    assert note == "has no area"
