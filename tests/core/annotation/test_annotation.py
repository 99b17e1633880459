"""Label masks drawn from regions, and whether they belong to a slide."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import shapely

from histosam_core.annotation import AnnotatedRegion, PolygonAnnotation
from histosam_core.errors import AnnotationError
from histosam_core.geometry import Region

LEVEL0 = Region((0.0, 0.0), (10, 10))


def boxed(x0, y0, x1, y1, label="Tumor"):
    """Region of whole pixels x0 to x1 and y0 to y1, ends left out."""
    return AnnotatedRegion(shapely.box(x0 - 0.5, y0 - 0.5, x1 - 0.5, y1 - 0.5), label)


def test_mask_is_one_in_tumour_and_zero_elsewhere():
    mask = PolygonAnnotation([boxed(2, 3, 6, 8), boxed(5, 3, 8, 8)]).mask(LEVEL0)
    expected = np.zeros((10, 10), np.uint8)
    expected[3:8, 2:8] = 1
    np.testing.assert_array_equal(mask, expected)


def test_exclusion_is_cut_out_and_ignored_wins_over_both():
    annotation = PolygonAnnotation(
        [boxed(4, 4, 6, 6, "Ignore*"), boxed(2, 2, 5, 5, "Exclusion"), boxed(0, 0, 8, 8)]
    )
    mask = annotation.mask(LEVEL0)
    assert mask[1, 1] == 1
    assert mask[3, 3] == 0
    assert mask[4, 4] == mask[5, 5] == 255


def test_mask_is_drawn_at_the_resolution_asked_for():
    annotation = PolygonAnnotation([boxed(8, 0, 16, 24)])
    mask = annotation.mask(Region((0.0, 0.0), (6, 6), mpp=2.0), slide_mpp=0.5)
    assert mask[:, 2:4].all()
    assert mask.sum() == 12


def test_unclassified_regions_are_tumour_where_no_other_is():
    only = PolygonAnnotation([boxed(0, 0, 2, 2, "Unclassified")])
    beside = PolygonAnnotation([boxed(0, 0, 2, 2, "Unclassified"), boxed(4, 4, 6, 6)])
    assert only.mask(LEVEL0)[0, 0] == 1
    assert beside.mask(LEVEL0)[0, 0] == 0


def test_labels_choose_what_counts():
    regions = [boxed(0, 0, 2, 2), boxed(4, 4, 6, 6, "Necrosis")]
    mask = PolygonAnnotation(regions, labels=["necrosis"]).mask(LEVEL0)
    assert mask[0, 0] == 0
    assert mask[4, 4] == 1


def test_no_class_that_means_tumour_raises_and_lists_the_classes():
    annotation = PolygonAnnotation([boxed(0, 0, 2, 2, "Stroma"), boxed(0, 0, 2, 2, "Necrosis")])
    with pytest.raises(AnnotationError, match="'Necrosis', 'Stroma'"):
        annotation.mask(LEVEL0)


def test_annotation_without_regions_has_no_tumour_and_fits_any_slide():
    annotation = PolygonAnnotation([])
    assert not annotation.mask(LEVEL0).any()
    assert annotation.fitted((5, 5)) is annotation


def test_annotation_off_the_slide_raises_naming_file_and_slide(tmp_path):
    annotation = PolygonAnnotation([boxed(500, 700, 510, 720)], path=tmp_path / "case1.xml")
    assert annotation.fitted((501, 701)) is annotation
    with pytest.raises(AnnotationError):
        annotation.fitted((400, 400))
    with pytest.raises(AnnotationError, match=r"case1\.xml.*case2\.svs.*x 500 to 510.*400 x 400"):
        annotation.fitted((400, 400), "case2.svs")


def test_annotation_pickles():
    annotation = PolygonAnnotation([boxed(2, 3, 6, 8)], notes=["a note"])
    mask = annotation.mask(LEVEL0)
    again = pickle.loads(pickle.dumps(annotation))  # noqa: S301
    np.testing.assert_array_equal(again.mask(LEVEL0), mask)
    assert again.notes == annotation.notes
