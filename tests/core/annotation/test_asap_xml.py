"""ASAP's XML as other programs write it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely

from histosam_core.annotation import read_asap_xml
from histosam_core.errors import AnnotationError
from histosam_core.geometry import Region


def annotation(name, group, points, kind="Polygon"):
    coordinates = "".join(
        f'<Coordinate Order="{i}" X="{x}" Y="{y}" />' for i, (x, y) in enumerate(points)
    )
    return (
        f'<Annotation Name="{name}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{coordinates}</Coordinates></Annotation>"
    )


def square(x0, y0, x1, y1):
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


@pytest.fixture
def write(tmp_path):
    def write(*annotations):
        path = tmp_path / "slide.xml"
        body = "".join(annotations)
        path.write_text(
            f'<?xml version="1.0"?><ASAP_Annotations><Annotations>{body}</Annotations>'
            "<AnnotationGroups /></ASAP_Annotations>"
        )
        return path

    return write


def test_camelyon16_groups_0_and_1_are_tumour_and_2_is_cut_out(write):
    path = write(
        annotation("a", "_0", square(0, 0, 10, 10)),
        annotation("b", "_1", square(20, 0, 30, 10)),
        annotation("c", "_2", square(2, 2, 5, 5)),
    )
    read = read_asap_xml(path)
    assert [r.label for r in read.regions] == ["Tumor", "Tumor"]
    assert [r.geometry.area for r in read.regions] == [91, 100]
    assert len(read.regions[0].geometry.interiors) == 1
    mask = read.mask(Region((0.0, 0.0), (30, 10)))
    assert mask.sum() == 191
    assert not mask[2:5, 2:5].any()


def test_corner_0_of_the_file_is_minus_a_half_in_memory(write):
    read = read_asap_xml(write(annotation("a", "Tumor", square(0, 0, 10, 10))))
    assert read.regions[0].geometry.bounds == (-0.5, -0.5, 9.5, 9.5)
    assert read.regions[0].name == "a"
    assert read.regions[0].color == (0xF4, 0xFA, 0x58)


def test_island_in_an_exclusion_stays(write):
    read = read_asap_xml(
        write(
            annotation("outer", "Tumor", square(0, 0, 20, 20)),
            annotation("hole", "Exclusion", square(5, 5, 15, 15)),
            annotation("island", "Tumor", square(8, 8, 12, 12)),
        )
    )
    assert [r.geometry.area for r in read.regions] == [300, 16]


def test_exclusion_across_an_outline_takes_a_bite(write):
    read = read_asap_xml(
        write(
            annotation("a", "Tumor", square(0, 0, 10, 10)),
            annotation("b", "Exclusion", square(5, -5, 15, 5)),
        )
    )
    assert [r.geometry.area for r in read.regions] == [75]


def test_exclusion_that_cuts_nothing_is_kept_and_said(write):
    read = read_asap_xml(
        write(
            annotation("a", "Tumor", square(0, 0, 10, 10)),
            annotation("b", "Exclusion", square(50, 50, 60, 60)),
        )
    )
    assert [r.label for r in read.regions] == ["Tumor", "Exclusion"]
    assert "cuts nothing" in read.notes[0]


def test_points_are_sorted_by_their_order(tmp_path, write):
    path = write(annotation("a", "Tumor", square(0, 0, 10, 10)))
    text = path.read_text()
    swapped = text.replace('Order="1"', 'Order="x"').replace('Order="2"', 'Order="1"')
    path.write_text(swapped.replace('Order="x"', 'Order="2"'))
    # In file order this was a square; by Order it crosses itself and is repaired.
    assert "repaired" in read_asap_xml(path).notes[0]


def test_dots_and_short_outlines_are_left_out_and_said(write):
    read = read_asap_xml(
        write(
            annotation("dot", "Tumor", [(1, 1)], kind="Dot"),
            annotation("line", "Tumor", [(1, 1), (2, 2)]),
            annotation("ok", "Tumor", square(0, 0, 3, 3)),
        )
    )
    assert [r.name for r in read.regions] == ["ok"]
    assert "Dot has no area" in read.notes[0]
    assert "fewer than three points" in read.notes[1]


def test_group_none_is_unclassified(write):
    read = read_asap_xml(write(annotation("a", "None", square(0, 0, 3, 3))))
    assert read.regions[0].label == "Unclassified"


def test_coordinate_that_is_no_number_raises(write):
    path = write(annotation("a", "Tumor", [(0, 0), (1, 0), ("far", 1)]))
    with pytest.raises(AnnotationError, match="X='far', not a number"):
        read_asap_xml(path)


@pytest.mark.real_slide
@pytest.mark.parametrize("number", ["001", "002"])
def test_camelyon16_file_holds_the_polygons_of_its_json_twin(data_dir, number):
    twin = json.loads((data_dir / f"annotations/NCRF_Tumor_{number}.json").read_text())
    read = read_asap_xml(data_dir / f"annotations/camelyon16_tumor_{number}_rebuilt.xml")
    assert len(read.regions) == len(twin["positive"])
    for region, entry in zip(read.regions, twin["positive"], strict=True):
        expected = shapely.Polygon(np.array(entry["vertices"], float) - 0.5)
        assert region.label == "Tumor"
        assert region.geometry.is_valid
        assert shapely.make_valid(expected).equals(region.geometry)


@pytest.mark.real_slide
def test_camelyon16_tumour_is_drawn_with_the_area_of_its_outline(data_dir):
    read = read_asap_xml(data_dir / "annotations/camelyon16_tumor_002_rebuilt.xml")
    (region,) = read.regions
    x, y = (int(v) - 10 for v in region.geometry.bounds[:2])
    width, height = (
        int(b - a) // 4 + 10 for a, b in zip((x, y), region.geometry.bounds[2:], strict=True)
    )
    mask = read.mask(Region((x, y), (width, height), mpp=1.0), slide_mpp=0.25)
    assert mask.sum() * 16 == pytest.approx(region.geometry.area, rel=1e-3)
