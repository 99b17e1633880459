"""Which reader takes a file, and which file belongs to a slide."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from histosam_core.annotation import (
    AnnotatedRegion,
    find_annotation,
    read_annotations,
    write_asap_xml,
    write_geojson,
    write_imagescope_xml,
    write_label_zarr,
    write_mask_tiff,
)
from histosam_core.errors import AnnotationError
from histosam_core.geometry import Region

BOX = AnnotatedRegion(shapely.box(9.5, 9.5, 29.5, 19.5))


def test_every_kind_of_file_gives_the_same_mask(tmp_path):
    region = Region((0.0, 0.0), (40, 40))
    expected = np.zeros((40, 40), np.uint8)
    expected[10:20, 10:30] = 1
    written = [
        write_asap_xml(tmp_path / "asap.xml", [BOX]),
        write_imagescope_xml(tmp_path / "imagescope.xml", [BOX], mpp=0.5),
        write_geojson(tmp_path / "a.geojson", [BOX]),
        write_geojson(tmp_path / "a.json", [BOX]),
        write_mask_tiff(tmp_path / "a.tif", expected),
        write_label_zarr(tmp_path / "a.ome.zarr", [BOX], slide_wh=(40, 40)),
    ]
    for path in written:
        annotation = read_annotations(path)
        assert annotation.path == path
        np.testing.assert_array_equal(annotation.mask(region), expected)


def test_labels_are_passed_on(tmp_path):
    stroma = [AnnotatedRegion(BOX.geometry, "Stroma")]
    for path in (
        write_geojson(tmp_path / "a.geojson", stroma),
        write_label_zarr(tmp_path / "a.zarr", stroma, slide_wh=(40, 40)),
    ):
        annotation = read_annotations(path, labels=["Stroma"])
        assert annotation.mask(Region((0.0, 0.0), (40, 40))).sum() == 200


def test_zarr_folders_are_found_for_no_slide(tmp_path):
    write_label_zarr(tmp_path / "case1.zarr", [BOX], slide_wh=(40, 40))
    (tmp_path / "case1.svs").touch()
    with pytest.raises(AnnotationError, match="no annotation for"):
        find_annotation(tmp_path / "case1.svs")


def test_a_folder_that_is_no_zarr_is_no_annotation(tmp_path):
    with pytest.raises(AnnotationError, match="no annotation file"):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", "", "is empty"),
        ("a.xml", "<Annotations>", "not well-formed"),
        ("a.xml", "<Other />", "neither ASAP's nor ImageScope's"),
        ("a.txt", "0 0 1 1", "not a known kind"),
        ("a.tif", "no tiff", "not a TIFF"),
        ("a.xml", '<!DOCTYPE x [<!ENTITY e "boom">]><Annotations>&e;</Annotations>', "DTD"),
        ("a.xml", '<!DOCTYPE Annotations SYSTEM "file:///etc/passwd"><Annotations />', "DTD"),
    ],
)
def test_bad_file_raises_one_line_with_its_name(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_annotations(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_raises(tmp_path):
    with pytest.raises(AnnotationError, match="no annotation file"):
        read_annotations(tmp_path / "none.xml")


@pytest.mark.parametrize(
    "name", ["case1.xml", "Case1.GeoJSON", "case1_mask.tif", "case1_viable.tif", "CASE1_Mask.tif"]
)
def test_annotation_is_found_by_the_slides_name(tmp_path, name):
    slide = tmp_path / "case1.tif"
    slide.touch()
    (tmp_path / "case10.xml").touch()
    (tmp_path / name).touch()
    assert find_annotation(slide) == tmp_path / name


def test_plain_name_wins_over_one_with_an_ending(tmp_path):
    for name in ("case1.svs", "case1_mask.tif", "case1.xml"):
        (tmp_path / name).touch()
    assert find_annotation(tmp_path / "case1.svs").name == "case1.xml"


def test_folder_annotations_beside_the_slides_is_searched(tmp_path):
    (tmp_path / "slides").mkdir()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "slides/case1.ome.tif").touch()
    (tmp_path / "annotations/case1.xml").touch()
    found = find_annotation(tmp_path / "slides/case1.ome.tif")
    assert found == tmp_path / "annotations/case1.xml"


def test_slide_is_not_its_own_annotation_and_the_names_tried_are_said(tmp_path):
    slide = tmp_path / "case1.tif"
    slide.touch()
    with pytest.raises(
        AnnotationError, match=r"case1\.tif.*tried case1\[_mask\|.*geojson\|json\|xml"
    ):
        find_annotation(slide)


def test_missing_folder_is_said(tmp_path):
    with pytest.raises(AnnotationError, match="no folder"):
        find_annotation(tmp_path / "case1.svs", tmp_path / "nowhere")
