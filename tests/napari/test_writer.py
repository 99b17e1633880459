"""What napari's Save writes of a Labels layer."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import shapely
import zarr

from histosam_core.annotation import (
    AnnotatedRegion,
    rasterise,
    read_geojson,
    read_label_zarr,
)
from histosam_core.annotation import write_geojson as write_core_geojson
from histosam_core.errors import EmptyMaskError, HistoSamError, ImageError, OutputExistsError
from histosam_core.geometry import Region
from napari_histosam.viewer.layers import OBJECTS, TAG, LayerTag
from napari_histosam.writer import AnnotationSource, write_geojson, write_label_zarr

WRITERS = {"geojson": write_geojson, "zarr": write_label_zarr}


@dataclass
class Objects:
    """Objects as a controller offers them."""

    accepted: tuple[AnnotatedRegion, ...]
    slide_wh: tuple[int, int] = (3000, 2000)
    slide_mpp: float | None = 0.5
    slide_name: str = "case1.svs"

    def regions(self) -> tuple[AnnotatedRegion, ...]:
        return self.accepted


ACCEPTED = (
    AnnotatedRegion(
        shapely.Point(700.3, 500.9).buffer(300.2),
        "Tumor",
        (200, 0, 0),
        measurements={"Quality": 0.9},
        metadata={"Click list": "1,2,+"},
    ),
    AnnotatedRegion(shapely.box(900, 400, 1500, 800), "Stroma"),
)


def ours(source):
    return {"name": "Annotations", "metadata": {TAG: LayerTag(OBJECTS, owner=None, source=source)}}


@pytest.fixture
def labels():
    """Labels 3 (with a hole) and 300, on both sides of a block's edge."""
    labels = np.zeros((1100, 1300), np.uint16)
    labels[10:1050, 20:1200] = 3
    labels[500:600, 500:600] = 0
    labels[1060:1070, 1000:1100] = 300
    return labels


def test_our_annotations_are_written_as_the_session_writes_them(tmp_path):
    source: AnnotationSource = Objects(ACCEPTED)
    written = write_geojson(str(tmp_path / "a.geojson"), None, ours(source))
    assert written == [str(tmp_path / "a.geojson")]
    expected = write_core_geojson(tmp_path / "b.geojson", ACCEPTED)
    assert (tmp_path / "a.geojson").read_bytes() == expected.read_bytes()


def test_our_annotations_come_back_from_zarr_exactly_with_slide_and_mpp(tmp_path):
    (written,) = write_label_zarr(str(tmp_path / "a.ome.zarr"), None, ours(Objects(ACCEPTED)))
    again = read_label_zarr(written)
    core = write_core_geojson(tmp_path / "b.geojson", ACCEPTED)
    assert again.regions == read_geojson(core).regions
    said = dict(zarr.open_group(written, mode="r").attrs)[TAG]
    assert (said["slide"], said["slide_wh"], said["slide_mpp"]) == ("case1.svs", [3000, 2000], 0.5)


def test_labels_are_saved_again_to_the_same_place(tmp_path):
    path = str(tmp_path / "a.ome.zarr")
    write_label_zarr(path, None, ours(Objects(ACCEPTED)))
    write_label_zarr(path, None, ours(Objects(ACCEPTED[:1])))
    assert len(read_label_zarr(path).regions) == 1


def test_a_folder_that_holds_no_labels_is_not_replaced(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr/thesis.txt").write_text("important")
    with pytest.raises(OutputExistsError):
        write_label_zarr(str(tmp_path / "a.zarr"), None, ours(Objects(ACCEPTED)))
    assert (tmp_path / "a.zarr/thesis.txt").read_text() == "important"


@pytest.mark.parametrize(
    ("name", "writer", "expected"),
    [
        ("a", write_geojson, "a.geojson"),
        ("a.JSON", write_geojson, "a.JSON"),
        ("a.GeoJSON", write_geojson, "a.GeoJSON"),
        ("a", write_label_zarr, "a.ome.zarr"),
        ("a.zarr", write_label_zarr, "a.zarr"),
        ("a.ome.zarr", write_label_zarr, "a.ome.zarr"),
    ],
)
def test_a_missing_suffix_is_added(tmp_path, name, writer, expected):
    (written,) = writer(str(tmp_path / name), None, ours(Objects(ACCEPTED)))
    assert written == str(tmp_path / expected)
    assert [p.name for p in tmp_path.iterdir()] == [expected]


@pytest.mark.parametrize("kind", ["array", "dask", "levels", "multiscale", "no metadata"])
def test_any_other_labels_layer_is_traced_label_by_label(tmp_path, labels, kind):
    meta = {"name": "nuclei", "metadata": {"of": "another plugin"}, "scale": (0.5, 0.5)}
    data = labels
    if kind == "dask":
        data = da.from_array(labels, chunks=400)
    elif kind == "levels":
        data = [labels, labels[::2, ::2]]
    elif kind == "multiscale":
        data, meta["multiscale"] = {0: labels, 1: labels[::2, ::2]}, True
    elif kind == "no metadata":
        meta = {"name": "nuclei"}
    write_geojson(str(tmp_path / "a.geojson"), data, meta)
    write_label_zarr(str(tmp_path / "a.zarr"), data, meta)
    for annotation in (
        read_geojson(tmp_path / "a.geojson"),
        read_label_zarr(tmp_path / "a.zarr"),
    ):
        assert [region.name for region in annotation.regions] == ["nuclei 3", "nuclei 300"]
        for value, region in zip((3, 300), annotation.regions, strict=True):
            on = rasterise(region.geometry, Region((0, 0), (1300, 1100)))
            np.testing.assert_array_equal(on, labels == value)
            assert region.measurements == {"Area px^2": on.sum()}


@pytest.mark.parametrize("is_pyramid", [False, True])
def test_a_layer_is_written_as_napari_hands_it_over(tmp_path, labels, is_pyramid):
    layers = pytest.importorskip("napari.layers", reason="install the extra gui to run this")
    data = [labels, labels[::2, ::2]] if is_pyramid else labels
    handed, meta, _ = layers.Labels(data, multiscale=is_pyramid, name="n").as_layer_data_tuple()
    write_geojson(str(tmp_path / "a.geojson"), handed, meta)
    regions = read_geojson(tmp_path / "a.geojson").regions
    assert [region.name for region in regions] == ["n 3", "n 300"]
    assert [region.geometry.area for region in regions] == [
        np.count_nonzero(labels == 3),
        np.count_nonzero(labels == 300),
    ]


def test_a_mask_of_true_and_false_is_one_object(tmp_path):
    mask = np.zeros((30, 40), bool)
    mask[5:10, 6:12] = True
    write_geojson(str(tmp_path / "a.geojson"), mask, {})
    (region,) = read_geojson(tmp_path / "a.geojson").regions
    assert region.geometry.bounds == (5.5, 4.5, 11.5, 9.5)


MISTAKES = {
    "no object accepted": (None, ours(Objects(())), EmptyMaskError, "accept"),
    "the mask at hand": (np.ones((9, 9), np.uint8), ours(None), EmptyMaskError, "accept it"),
    "no label painted": (np.zeros((9, 9), np.uint8), {"name": "L"}, EmptyMaskError, "paint one"),
    "a volume": (np.ones((3, 9, 9), np.uint8), {"name": "L"}, ImageError, "one plane"),
    "fractions": (SimpleNamespace(ndim=2, dtype="float32"), {"name": "L"}, ImageError, "whole"),
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_the_fix_and_writes_nothing(tmp_path, writer, mistake):
    data, meta, kind, fix = MISTAKES[mistake]
    with pytest.raises(kind, match=fix) as caught:
        writer(str(tmp_path / "a"), data, meta)
    assert isinstance(caught.value, HistoSamError)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
