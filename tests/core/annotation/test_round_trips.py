"""Every format gives back what was written to it."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histosam_core.annotation import (
    AnnotatedRegion,
    mask_to_geometry,
    read_annotations,
    write_asap_xml,
    write_geojson,
    write_imagescope_xml,
)
from histosam_core.annotation.regions import UNCLASSIFIED
from histosam_core.geometry import Frame

WRITERS = {
    "asap.xml": write_asap_xml,
    "imagescope.xml": write_imagescope_xml,
    "qupath.geojson": write_geojson,
}
BITS = st.integers(1, 2**64 - 1)
# Quarters are exact in binary, so that adding and taking away half a pixel loses nothing.
QUARTERS = st.integers(-4000, 400_000).map(lambda n: n / 4)
NAMES = st.text("aZ09 <>&'\"#-_éµ漢", min_size=1, max_size=9).filter(lambda s: s == s.strip())
LABELS = st.sampled_from(["Tumor", "Stroma", "Exclusion", "Ignore*", "Größe", UNCLASSIFIED])
COLORS = st.none() | st.tuples(*[st.integers(0, 255)] * 3)


@st.composite
def regions(draw):
    mask = np.unpackbits(np.array([draw(BITS)], np.uint64).view(np.uint8)).reshape(8, 8)
    downsample = draw(st.sampled_from([1.0, 2.0, 4.0, 6.5, 32.0]))
    frame = Frame((draw(QUARTERS), draw(QUARTERS)), (downsample, downsample))
    geometry = mask_to_geometry(mask, frame)
    if len(geometry.geoms) == 1:
        geometry = geometry.geoms[0]
    return AnnotatedRegion(
        geometry, label=draw(LABELS), color=draw(COLORS), name=draw(st.none() | NAMES)
    )


@pytest.mark.parametrize("name", WRITERS)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
@given(written=st.lists(regions(), max_size=3))
def test_outlines_holes_class_colour_name_and_id_survive(tmp_path, name, written):
    WRITERS[name](tmp_path / name, written)
    annotation = read_annotations(tmp_path / name)
    found = {r.id: r for r in annotation.regions}
    assert annotation.notes == ()
    assert len(found) == len(annotation.regions) == len(written)
    for region in written:
        again = found[region.id]
        assert shapely.equals_exact(again.geometry, region.geometry)
        assert (again.label, again.color, again.name) == (region.label, region.color, region.name)


@pytest.mark.parametrize("name", WRITERS)
def test_files_hold_pixel_corners_at_whole_numbers(tmp_path, name):
    pixel = AnnotatedRegion(
        mask_to_geometry(np.ones((1, 1), bool), Frame((10.0, 20.0), (1.0, 1.0)))
    )
    WRITERS[name](tmp_path / name, [pixel])
    text = (tmp_path / name).read_text()
    assert "10" in text
    assert "21" in text
    assert "9.5" not in text
    assert "10.5" not in text


@pytest.mark.parametrize("name", WRITERS)
def test_regions_stay_in_the_order_written_within_a_class(tmp_path, name):
    boxes = [AnnotatedRegion(shapely.box(i, 0, i + 1, 1)) for i in range(5)]
    WRITERS[name](tmp_path / name, boxes)
    assert [r.id for r in read_annotations(tmp_path / name).regions] == [b.id for b in boxes]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None
)
@given(
    measurements=st.dictionaries(NAMES, st.floats(allow_nan=False, allow_infinity=False)),
    metadata=st.dictionaries(NAMES, NAMES),
    is_locked=st.booleans(),
    object_type=st.sampled_from(["annotation", "detection"]),
)
def test_geojson_keeps_measurements_and_metadata(
    tmp_path, measurements, metadata, is_locked, object_type
):
    region = AnnotatedRegion(
        shapely.box(0, 0, 3, 2),
        measurements=measurements,
        metadata=metadata,
        is_locked=is_locked,
        object_type=object_type,
    )
    write_geojson(tmp_path / "a.geojson", [region])
    assert read_annotations(tmp_path / "a.geojson").regions == (region,)
