"""What an annotation says nothing of is ignored."""

from __future__ import annotations

import numpy as np
import shapely

from histosam_core.annotation import AnnotatedRegion, PolygonAnnotation, write_mask_tiff
from histosam_core.annotation.formats.mask_tiff import read_mask_tiff
from histosam_core.dataset import extract_patches, open_patches
from histosam_core.geometry import Region

SLIDE = (200, 100)


def labels_of(*regions: AnnotatedRegion, margin: float = 5.0) -> np.ndarray:
    annotation = PolygonAnnotation(regions).known_within(SLIDE, margin)
    return annotation.mask(Region((0, 0), SLIDE))


def box(x0, y0, x1, y1, label="Tumor") -> AnnotatedRegion:
    return AnnotatedRegion(shapely.box(x0 - 0.5, y0 - 0.5, x1 - 0.5, y1 - 0.5), label)


def test_tumour_and_a_margin_are_known_and_nothing_else() -> None:
    labels = labels_of(box(20, 20, 40, 40))
    assert (labels[20:40, 20:40] == 1).all()
    assert (labels[30, [15, 19, 40, 44]] == 0).all()
    assert (labels[30, [14, 45, 199]] == 255).all()
    assert labels[0, 0] == 255


def test_a_hole_was_drawn_and_is_known() -> None:
    ring = shapely.box(20, 20, 80, 80).difference(shapely.box(30, 30, 70, 70))
    labels = labels_of(AnnotatedRegion(ring, "Tumor"))
    assert labels[50, 50] == 0
    assert labels[50, 25] == 1


def test_an_annotated_area_is_known_throughout_and_an_ignored_part_of_it_is_not() -> None:
    labels = labels_of(
        box(20, 20, 40, 40), box(10, 0, 150, 100, "Region*"), box(60, 60, 70, 70, "Ignore*")
    )
    assert labels[80, 140] == 0
    assert labels[65, 65] == 255
    assert labels[80, 160] == 255


def test_excluded_tissue_is_known(tmp_path) -> None:
    labels = labels_of(box(20, 20, 40, 40), box(100, 20, 120, 40, "Normal"))
    assert (labels[20:40, 100:120] == 0).all()
    assert labels[45, 110] == 255


def test_a_mask_says_something_of_every_pixel(tmp_path) -> None:
    path = write_mask_tiff(tmp_path / "mask.tif", np.zeros((100, 200), bool))
    annotation = read_mask_tiff(path).fitted(SLIDE)
    assert annotation.known_within(SLIDE, 5.0) is annotation


def test_patches_lie_where_the_annotation_knows_enough(new_slide, tmp_path) -> None:
    slide, annotation = new_slide(size=768)
    small = {"mpp": 2.0, "patch_size_px": 64, "stride_px": 32, "min_tissue": 0.0}
    call = {**small, "splits": {"all": 1}, "tumor_fraction": (0.05, 0.95)}
    extract_patches([(slide, annotation)], tmp_path / "whole", **call)
    extract_patches(
        [(slide, annotation)], tmp_path / "near", **call, known_within_um=20.0, min_known=0.5
    )
    whole, near = open_patches(tmp_path / "whole"), open_patches(tmp_path / "near")
    assert 0 < len(near) <= len(whole)
    for patch in near:
        assert (patch.gt_mask >= 0).mean() >= 0.5
    assert any((patch.gt_mask == -1).any() for patch in near)
