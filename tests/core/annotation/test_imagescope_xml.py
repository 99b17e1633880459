"""ImageScope's XML as other programs write it."""

from __future__ import annotations

import numpy as np
import pytest

from histosam_core.annotation import read_imagescope_xml
from histosam_core.errors import AnnotationError


def region(number, points, negative=0, kind=0, text=""):
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0" />' for x, y in points)
    return (
        f'<Region Id="{number}" Type="{kind}" Text="{text}" NegativeROA="{negative}" '
        f'InputRegionId="0"><Attributes /><Vertices>{vertices}</Vertices></Region>'
    )


def layer(*regions, name="", attribute="", color=255):
    attributes = f'<Attribute Name="Description" Id="0" Value="{attribute}" />'
    return (
        f'<Annotation Id="1" Name="{name}" LineColor="{color}"><Attributes>{attributes}'
        f"</Attributes><Regions><RegionAttributeHeaders />{''.join(regions)}</Regions></Annotation>"
    )


def square(x0, y0, x1, y1):
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


@pytest.fixture
def read(tmp_path):
    def read(*layers):
        path = tmp_path / "slide.xml"
        path.write_text(f'<Annotations MicronsPerPixel="0.5">{"".join(layers)}</Annotations>')
        return read_imagescope_xml(path)

    return read


def test_negative_region_is_a_hole_of_its_layer_only(read):
    hole = region(2, square(2, 2, 5, 5), negative=1)
    annotation = read(
        layer(region(1, square(0, 0, 10, 10)), hole, name="Tumor"),
        layer(region(1, square(0, 0, 10, 10)), name="Stroma"),
    )
    assert [(r.label, r.geometry.area) for r in annotation.regions] == [
        ("Tumor", 91),
        ("Stroma", 100),
    ]


def test_class_comes_from_the_attributes_where_the_layer_has_no_name(read):
    annotation = read(layer(region(1, square(0, 0, 9, 9), text="A"), attribute="tumor"))
    assert annotation.regions[0].label == "tumor"
    assert annotation.regions[0].name == "A"


def test_line_colour_has_red_in_the_low_byte(read):
    annotation = read(layer(region(1, square(0, 0, 9, 9)), color=0x0000FF + (0x20 << 16)))
    assert annotation.regions[0].color == (255, 0, 0x20)


def test_rectangle_may_be_two_corners_and_ellipse_is_its_bounding_box(read):
    corners = [(0, 0), (20, 10)]
    annotation = read(layer(region(1, corners, kind=1), region(2, corners, kind=2)))
    rectangle, ellipse = annotation.regions
    assert rectangle.geometry.area == 200
    assert ellipse.geometry.area == pytest.approx(np.pi * 50, rel=1e-3)
    assert ellipse.geometry.bounds == pytest.approx((-0.5, -0.5, 19.5, 9.5))


def test_arrow_and_ruler_are_left_out_and_said(read):
    annotation = read(
        layer(region(1, [(0, 0), (5, 5)], kind=3), region(2, [(0, 0), (5, 5)], kind=4))
    )
    assert annotation.regions == ()
    assert len(annotation.notes) == 2


def test_comma_as_decimal_sign_is_read(read):
    points = [("0,5", 0), ("9,5", 0), ("9,5", 9)]
    assert read(layer(region(1, points))).regions[0].geometry.bounds[0] == 0


def test_file_of_another_program_raises(tmp_path):
    (tmp_path / "a.xml").write_text("<ASAP_Annotations />")
    with pytest.raises(AnnotationError, match="ASAP_Annotations"):
        read_imagescope_xml(tmp_path / "a.xml")
