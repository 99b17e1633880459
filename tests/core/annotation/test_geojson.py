"""GeoJSON as QuPath writes it, now and in older versions."""

from __future__ import annotations

import json
import uuid

import pytest
import shapely

from histosam_core.annotation import AnnotatedRegion, feature_of, read_geojson, write_geojson
from histosam_core.errors import AnnotationError

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
HOLE = [[2, 2], [2, 5], [5, 5], [5, 2], [2, 2]]


def feature(geometry=None, **properties):
    geometry = geometry or {"type": "Polygon", "coordinates": [SQUARE, HOLE]}
    return {
        "type": "Feature",
        "id": str(uuid.uuid4()),
        "geometry": geometry,
        "properties": properties,
    }


@pytest.fixture
def read(tmp_path):
    def read(document):
        path = tmp_path / "slide.geojson"
        path.write_text(json.dumps(document))
        return read_geojson(path)

    return read


@pytest.mark.parametrize(
    "wrap",
    [lambda f: {"type": "FeatureCollection", "features": [f]}, lambda f: [f], lambda f: f],
    ids=["collection", "array", "feature"],
)
def test_collection_array_and_single_feature_are_read(read, wrap):
    written = feature(
        objectType="annotation", classification={"name": "Tumor", "color": [200, 0, 0]}
    )
    (region,) = read(wrap(written)).regions
    assert region.id == written["id"]
    assert region.label == "Tumor"
    assert region.color == (200, 0, 0)
    assert region.geometry.area == 91
    assert region.geometry.bounds == (-0.5, -0.5, 9.5, 9.5)


def test_older_qupath_colours_measurements_and_ids_are_read(read):
    old = feature(
        classification={"name": "Tumor", "colorRGB": -3670016},
        measurements=[{"name": "Area", "value": 12.5}, {"name": "Broken", "value": "NaN"}],
        isLocked=True,
    )
    old["id"] = "PathAnnotationObject"
    (region,) = read([old]).regions
    assert region.color == (200, 0, 0)
    assert region.measurements == {"Area": 12.5}
    assert region.is_locked
    assert uuid.UUID(region.id)


def test_derived_class_is_joined_by_colons(read):
    (region,) = read(feature(classification={"names": ["Tumor", "Positive"]})).regions
    assert region.label == "Tumor: Positive"


def test_object_without_class_is_unclassified_and_keeps_its_own_colour(read, tmp_path):
    (region,) = read(feature(name="UT", color=[255, 0, 0])).regions
    assert (region.label, region.name, region.color) == ("Unclassified", "UT", (255, 0, 0))
    assert "classification" not in feature_of(region)["properties"]


def test_geometry_collection_gives_its_polygons_and_points_are_left_out(read):
    collection = {
        "type": "GeometryCollection",
        "geometries": [
            {"type": "Polygon", "coordinates": [SQUARE]},
            {"type": "Point", "coordinates": [1, 2]},
        ],
    }
    annotation = read([feature(collection), feature({"type": "Point", "coordinates": [1, 2]})])
    assert [r.geometry.area for r in annotation.regions] == [100]
    assert annotation.notes == ("feature 1 was left out: a Point has no area",)


def test_self_crossing_polygon_is_repaired_and_said(read):
    bow_tie = [[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]
    annotation = read(feature({"type": "Polygon", "coordinates": [bow_tie]}))
    assert annotation.regions[0].geometry.is_valid
    assert annotation.regions[0].geometry.area == 8
    assert "repaired" in annotation.notes[0]


def test_rings_are_closed_and_not_a_number_is_not_written(tmp_path):
    region = AnnotatedRegion(shapely.box(0, 0, 3, 3), measurements={"a": float("nan"), "b": 1.0})
    write_geojson(tmp_path / "a.geojson", [region])
    document = json.loads((tmp_path / "a.geojson").read_text())
    assert document["type"] == "FeatureCollection"
    (written,) = document["features"]
    assert written["properties"]["measurements"] == {"b": 1.0}
    for ring in written["geometry"]["coordinates"]:
        assert ring[0] == ring[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("{}", "not GeoJSON"),
        ("3", "not GeoJSON"),
        ('[{"type": "Polygon"}]', "feature 0"),
        ("[7]", "feature 0"),
        (
            '[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [["a"]]}}]',
            "feature 0",
        ),
    ],
)
def test_what_is_not_geojson_raises_one_line(tmp_path, text, message):
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_geojson(tmp_path / "a.geojson")
    assert "\n" not in str(caught.value)


@pytest.mark.real_slide
def test_qupath_export_survives_a_round_trip(data_dir, tmp_path):
    first = read_geojson(data_dir / "annotations/qupath05.geojson")
    assert [r.name for r in first.regions] == ["UT", "I", "I"]
    assert first.notes == ()
    write_geojson(tmp_path / "again.geojson", first.regions)
    assert read_geojson(tmp_path / "again.geojson").regions == first.regions
    original = json.loads((data_dir / "annotations/qupath05.geojson").read_text())
    again = json.loads((tmp_path / "again.geojson").read_text())
    assert again == original
