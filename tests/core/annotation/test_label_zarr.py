"""OME-Zarr labels: lossless where nobody edits them, the pixels where somebody did."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import shapely
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histosam_core.annotation import (
    AnnotatedRegion,
    feature_of,
    mask_to_geometry,
    rasterise,
    read_annotations,
    read_geojson,
    read_label_zarr,
    write_geojson,
    write_label_zarr,
)
from histosam_core.annotation.regions import UNCLASSIFIED
from histosam_core.errors import AnnotationError, OutputExistsError
from histosam_core.geometry import Frame, Region

SLIDE_WH = (2500, 1900)
RED, GREEN = (200, 0, 0), (0, 150, 0)


def ring(x, y, radius, hole):
    centre = shapely.Point(x, y)
    return centre.buffer(radius).difference(centre.buffer(hole))


@pytest.fixture
def regions():
    """A ring with an island in its hole, an object over it, and a MultiPolygon; odd coordinates."""
    island = ring(600.3, 500.7, 400.2, 250.1).union(shapely.Point(600, 500).buffer(60.6))
    return (
        AnnotatedRegion(island, "Tumor", RED, measurements={"Clicks": 3.0}, metadata={"Tool": "x"}),
        AnnotatedRegion(shapely.box(850.2, 300.4, 1300.9, 700.1), "Stroma", GREEN, name="one"),
        AnnotatedRegion(
            shapely.MultiPolygon(
                [shapely.box(1500, 1500, 1600.5, 1600.5), shapely.box(2000, 100, 2100, 1100)]
            ),
            UNCLASSIFIED,
            is_locked=True,
        ),
    )


@pytest.fixture
def folder(tmp_path, regions):
    path = tmp_path / "a.ome.zarr"
    return write_label_zarr(path, regions, slide_wh=SLIDE_WH, slide_mpp=0.5, slide_name="a.svs")


def features(regions):
    return [feature_of(region) for region in regions]


def drawn(regions, downsample=1, size_wh=SLIDE_WH):
    w, h = (-(-side // downsample) for side in size_wh)
    labels = np.zeros((h, w), np.uint16)
    for label, region in enumerate(regions, start=1):
        on = rasterise(region.geometry, Region((0, 0), (w, h), mpp=downsample), slide_mpp=1.0)
        labels[on] = label
    return labels


def ome(path):
    return json.loads((path / "zarr.json").read_text())["attributes"]["ome"]


def put_ome(path, ome, *, is_own=False):
    document = json.loads((path / "zarr.json").read_text())
    mark = document["attributes"]["histosam"]
    document["attributes"] = {"ome": ome} | ({"histosam": mark} if is_own else {})
    (path / "zarr.json").write_text(json.dumps(document))


# What is written


def test_every_level_holds_the_labels_drawn_at_its_own_pixel_centres_later_ones_on_top(
    folder, regions
):
    levels = [
        zarr.open_array(folder / d["path"]) for d in ome(folder)["multiscales"][0]["datasets"]
    ]
    assert [level.shape for level in levels] == [(1900, 2500), (950, 1250), (475, 625)]
    for number, level in enumerate(levels):
        np.testing.assert_array_equal(level[:], drawn(regions, 2**number))


@pytest.mark.parametrize("downsample", [1, 4])
def test_transforms_put_every_levels_pixel_centres_where_they_lie_on_the_slide(
    tmp_path, regions, downsample
):
    path = write_label_zarr(
        tmp_path / "a.zarr", regions, slide_wh=SLIDE_WH, slide_mpp=0.5, downsample=downsample
    )
    for number, dataset in enumerate(ome(path)["multiscales"][0]["datasets"]):
        d = float(downsample * 2**number)
        first = Frame((0.0, 0.0), (d, d)).to_level0((0.0, 0.0))
        scale, translation = dataset["coordinateTransformations"]
        assert scale == {"type": "scale", "scale": [0.5 * d, 0.5 * d]}
        assert translation["type"] == "translation"
        assert translation["translation"] == [0.5 * first[1], 0.5 * first[0]]


def test_metadata_has_the_structure_that_ome_zarr_0_5_asks_of_a_label_image(folder, regions):
    """Required keys, allowed values and matching lengths, as the specification states them."""
    said = ome(folder)
    assert said["version"] == "0.5"
    (multiscale,) = said["multiscales"]
    assert [(a["name"], a["type"], a["unit"]) for a in multiscale["axes"]] == [
        ("y", "space", "micrometer"),
        ("x", "space", "micrometer"),
    ]
    previous = np.inf
    for dataset in multiscale["datasets"]:
        array = zarr.open_array(folder / dataset["path"], mode="r")
        assert array.metadata.zarr_format == 3
        assert array.metadata.dimension_names == ("y", "x")
        assert array.dtype.kind == "u"
        assert array.ndim == len(multiscale["axes"])
        assert array.size < previous
        previous = array.size
        kinds = [step["type"] for step in dataset["coordinateTransformations"]]
        assert kinds == ["scale", "translation"]
        for step in dataset["coordinateTransformations"]:
            assert len(step[step["type"]]) == array.ndim
    label = said["image-label"]
    assert set(label) <= {"colors", "properties", "source"}
    for entries in label["colors"], label["properties"]:
        assert [entry["label-value"] for entry in entries] == [1, 2, 3]
    colors = [entry["rgba"] for entry in label["colors"]]
    assert colors[:2] == [[200, 0, 0, 255], [0, 150, 0, 255]]
    assert all(0 <= v <= 255 for rgba in colors for v in rgba)
    assert [entry["class"] for entry in label["properties"]] == [r.label for r in regions]


def test_a_slide_without_mpp_states_no_unit(tmp_path, regions):
    path = write_label_zarr(tmp_path / "a.zarr", regions, slide_wh=SLIDE_WH)
    (multiscale,) = ome(path)["multiscales"]
    assert all("unit" not in axis for axis in multiscale["axes"])
    assert multiscale["datasets"][1]["coordinateTransformations"][0]["scale"] == [2.0, 2.0]


def test_attributes_say_which_slide_at_which_mpp(folder):
    said = dict(zarr.open_group(folder, mode="r").attrs)["histosam"]
    assert said["slide"] == "a.svs"
    assert said["slide_wh"] == [2500, 1900]
    assert said["slide_mpp"] == 0.5


def test_only_chunks_with_a_label_are_stored(tmp_path):
    spots = [shapely.box(x, x, x + 50, x + 50) for x in (100, 5000, 30_000)]
    diagonal = shapely.MultiPolygon([spots[0], spots[2]])
    path = write_label_zarr(
        tmp_path / "a.zarr",
        [AnnotatedRegion(diagonal), AnnotatedRegion(spots[1])],
        slide_wh=(40_000, 40_000),
    )
    stored = sorted(p.relative_to(path / "0").as_posix() for p in (path / "0/c").rglob("*/*"))
    assert stored == ["c/0/0", "c/29/29", "c/4/4"]


def test_a_level_of_many_chunks_is_stored_in_few_files(tmp_path, monkeypatch):
    monkeypatch.setattr("histosam_core.annotation.formats.label_zarr.MANY_CHUNKS", 30)
    wide = AnnotatedRegion(ring(4000, 4000, 3800.5, 2500.5))
    path = write_label_zarr(tmp_path / "a.zarr", [wide], slide_wh=(8000, 8000))
    assert zarr.open_array(path / "0").shards == (4096, 4096)
    assert zarr.open_array(path / "1").shards is None
    assert len([p for p in (path / "0/c").rglob("*") if p.is_file()]) == 4
    np.testing.assert_array_equal(zarr.open_array(path / "0")[:], drawn([wide], 1, (8000, 8000)))
    assert features(read_label_zarr(path).regions) == features([wide])


@pytest.mark.slow
def test_more_labels_than_16_bits_hold_get_32(tmp_path):
    box = shapely.box(0, 0, 3, 3)
    many = [AnnotatedRegion(box, id=str(n)) for n in range(2**16 - 1)]
    last = AnnotatedRegion(shapely.box(3, 0, 6, 3))
    path = write_label_zarr(tmp_path / "a.zarr", [*many, last], slide_wh=(8, 8))
    assert zarr.open_array(path / "0")[1, 5] == 2**16


def test_progress_reaches_its_end(tmp_path, regions):
    steps = []
    write_label_zarr(
        tmp_path / "a.zarr", regions, slide_wh=SLIDE_WH, progress=lambda *step: steps.append(step)
    )
    done, totals = [s[0] for s in steps], {s[1] for s in steps}
    assert done == sorted(done)
    assert totals == {done[-1]}


def test_raising_from_progress_leaves_nothing(tmp_path, regions):
    def stop(*step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_label_zarr(tmp_path / "a.zarr", regions, slide_wh=SLIDE_WH, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_labels_are_replaced_only_when_asked(folder, regions):
    with pytest.raises(OutputExistsError, match="exists"):
        write_label_zarr(folder, regions[:1], slide_wh=SLIDE_WH)
    assert len(read_label_zarr(folder).regions) == 3
    write_label_zarr(folder, regions[:1], slide_wh=SLIDE_WH, overwrite=True)
    assert len(read_label_zarr(folder).regions) == 1


@pytest.mark.parametrize("content", ["image", "files", "damaged"])
def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path, regions, content):
    path = tmp_path / "slide.zarr"
    if content == "image":
        zarr.create_group(path, attributes={"ome": {"version": "0.5", "multiscales": []}})
    else:
        path.mkdir()
        (path / ("zarr.json" if content == "damaged" else "a.txt")).write_text("{")
    before = sorted(p.name for p in path.iterdir())
    with pytest.raises(OutputExistsError, match="something other than"):
        write_label_zarr(path, regions, slide_wh=SLIDE_WH, overwrite=True)
    assert sorted(p.name for p in path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        ({"slide_wh": (0, 5)}, "pass its size"),
        ({"slide_wh": SLIDE_WH, "downsample": 0.5}, "1 or more"),
        ({"slide_wh": SLIDE_WH, "downsample": float("nan")}, "1 or more"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(tmp_path, regions, arguments, fix):
    with pytest.raises(AnnotationError, match=fix):
        write_label_zarr(tmp_path / "a.zarr", regions, **arguments)


# Back again, unchanged


@pytest.mark.parametrize("downsample", [1, 4, 2.5])
def test_regions_come_back_exactly_with_holes_islands_overlaps_and_all_they_carry(
    tmp_path, regions, downsample
):
    path = write_label_zarr(
        tmp_path / "a.zarr", regions, slide_wh=SLIDE_WH, slide_mpp=0.5, downsample=downsample
    )
    annotation = read_label_zarr(path)
    assert annotation.notes == ()
    assert features(annotation.regions) == features(regions)


def test_geojson_to_zarr_to_geojson_gives_the_same_file(tmp_path, regions):
    first = write_geojson(tmp_path / "first.geojson", regions)
    write_label_zarr(
        tmp_path / "a.zarr", read_geojson(first).regions, slide_wh=SLIDE_WH, slide_mpp=0.25
    )
    again = write_geojson(tmp_path / "again.geojson", read_label_zarr(tmp_path / "a.zarr").regions)
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.real_slide
def test_qupaths_own_file_comes_back_through_zarr(data_dir, tmp_path):
    read = read_geojson(data_dir / "annotations/qupath05.geojson").regions
    x1, y1 = shapely.total_bounds([r.geometry for r in read])[2:]
    write_label_zarr(tmp_path / "a.zarr", read, slide_wh=(int(x1) + 2, int(y1) + 2))
    assert features(read_label_zarr(tmp_path / "a.zarr").regions) == features(read)


def test_objects_that_have_no_pixel_of_their_own_come_back_too(tmp_path):
    covered = AnnotatedRegion(shapely.box(10, 10, 20, 20))
    cover = AnnotatedRegion(shapely.box(5, 5, 30, 30))
    speck = AnnotatedRegion(shapely.box(50.1, 50.1, 50.2, 50.2))
    outside = AnnotatedRegion(shapely.box(500, 500, 600, 600))
    written = [covered, cover, speck, outside]
    path = write_label_zarr(tmp_path / "a.zarr", written, slide_wh=(100, 100), downsample=4)
    annotation = read_label_zarr(path)
    assert features(annotation.regions) == features(written)
    assert annotation.notes == ()


def test_no_regions_come_back_as_none(tmp_path):
    write_label_zarr(tmp_path / "a.zarr", [], slide_wh=SLIDE_WH)
    assert read_label_zarr(tmp_path / "a.zarr").regions == ()


BITS = st.integers(1, 2**64 - 1)


@st.composite
def masks_on_a_slide(draw):
    mask = np.unpackbits(np.array([draw(BITS)], np.uint64).view(np.uint8)).reshape(8, 8)
    d = draw(st.sampled_from([1.0, 3.0, 6.5, 17.25]))
    x, y = draw(st.integers(-100, 900)) / 4, draw(st.integers(-100, 900)) / 4
    return AnnotatedRegion(mask_to_geometry(mask, Frame((x, y), (d, d))))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
@given(written=st.lists(masks_on_a_slide(), max_size=4), downsample=st.sampled_from([1, 4]))
def test_random_masks_come_back_exactly(tmp_path, written, downsample):
    path = tmp_path / "a.zarr"
    write_label_zarr(
        path, written, slide_wh=(300, 260), slide_mpp=0.5, downsample=downsample, overwrite=True
    )
    annotation = read_label_zarr(path)
    assert annotation.regions == tuple(written)
    assert annotation.notes == ()


# Edited by another program


def test_an_edited_label_is_traced_from_its_pixels_and_keeps_what_it_carries(folder, regions):
    array = zarr.open_array(folder / "0", mode="r+")
    array[1700:1800, 2300:2400] = 2
    edited = array[:]
    annotation = read_label_zarr(folder)
    first, second, third = annotation.regions
    assert features([first, third]) == features([regions[0], regions[2]])
    assert replace(second, geometry=regions[1].geometry) == regions[1]
    np.testing.assert_array_equal(drawn([first, second, third]), edited)
    assert len(annotation.notes) == 1
    assert "label 2 (Stroma)" in annotation.notes[0]


def test_an_edited_labels_area_is_measured_anew(tmp_path):
    region = AnnotatedRegion(shapely.box(9.5, 9.5, 19.5, 19.5)).measured(0.5)
    path = write_label_zarr(tmp_path / "a.zarr", [region], slide_wh=(100, 80), slide_mpp=0.5)
    zarr.open_array(path / "0", mode="r+")[30:40, 30:60] = 1
    (again,) = read_label_zarr(path).regions
    assert again.measurements == {"Area mm^2": pytest.approx(400 * 0.25e-6)}


def test_an_erased_label_is_left_out_and_an_added_one_comes_in(folder, regions):
    array = zarr.open_array(folder / "0", mode="r+")
    labels = array[:]
    labels[labels == 3] = 0
    labels[1000:1010, 0:10] = 77
    array[:] = labels
    annotation = read_label_zarr(folder)
    first, second, added = annotation.regions
    assert features([first, second]) == features(regions[:2])
    assert added.geometry.equals(shapely.box(-0.5, 999.5, 9.5, 1009.5))
    assert added.label == UNCLASSIFIED
    assert len(annotation.notes) == 2


def test_taking_away_what_lay_on_top_leaves_the_object_under_it_whole_only_if_painted_so(
    folder, regions
):
    array = zarr.open_array(folder / "0", mode="r+")
    labels = array[:]
    labels[labels == 2] = drawn(regions[:1])[labels == 2]
    array[:] = labels
    first, third = read_label_zarr(folder).regions
    np.testing.assert_array_equal(drawn([first]) > 0, labels == 1)
    assert features([third]) == features(regions[2:])


def test_pixels_that_do_not_cover_the_slide_are_an_error(folder):
    zarr.create_array(folder / "0", shape=(50, 50), dtype="u2", overwrite=True)
    with pytest.raises(AnnotationError, match="do not cover"):
        read_label_zarr(folder)


# Of other programs


def foreign(path, labels, *, zarr_format, ome, chunks=(64, 64)):
    """Write a label image as another program would."""
    datasets = ome["multiscales"][0]["datasets"]
    version = {2: "0.4", 3: "0.5"}[zarr_format]
    ome = {**ome, "version": version} if zarr_format == 3 else ome
    attributes = {"ome": ome} if zarr_format == 3 else ome
    group = zarr.create_group(path, zarr_format=zarr_format, attributes=attributes)
    group.create_array(datasets[0]["path"], data=labels, chunks=chunks)
    return path


def multiscales(*steps, path="s0", ndim=2):
    datasets = [{"path": path, "coordinateTransformations": list(steps)}]
    axes = [{"name": n, "type": "space"} for n in "zyx"[-ndim:]]
    return [{"axes": axes, "datasets": datasets}]


def scale(*values):
    return {"type": "scale", "scale": list(values)}


def translation(*values):
    return {"type": "translation", "translation": list(values)}


@pytest.fixture
def spotted(rng):
    """Labels 0, 4, 9 in specks and in areas that span chunks."""
    labels = rng.choice(np.array([0, 0, 0, 4, 9], np.int32), (150, 210))
    labels[20:130, 10:200] = 4
    labels[50:90, 60:150] = 9
    labels[60:70, 70:100] = 0
    return labels


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_labels_of_another_program_are_traced_exactly_with_class_and_colour(
    tmp_path, spotted, zarr_format
):
    image_label = {
        "colors": [{"label-value": 4, "rgba": [1, 2, 3, 255]}, {"label-value": 8}],
        "properties": [{"label-value": 9, "area": 3, "class": "Necrosis"}, "garbled"],
    }
    path = foreign(
        tmp_path / "labels.zarr",
        spotted,
        zarr_format=zarr_format,
        ome={"multiscales": multiscales(scale(0.5, 0.5)), "image-label": image_label},
    )
    annotation = read_label_zarr(path)
    four, nine = annotation.regions
    assert (four.label, four.color) == (UNCLASSIFIED, (1, 2, 3))
    assert (nine.label, nine.color) == ("Necrosis", None)
    for value, region in ((4, four), (9, nine)):
        assert region.geometry.is_valid
        on = rasterise(region.geometry, Region((0, 0), (210, 150)))
        np.testing.assert_array_equal(on, spotted == value)
    assert "level-0 pixels" in annotation.notes[0]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("has_translation", [True, False])
def test_labels_under_an_image_lie_where_its_transforms_say(tmp_path, zarr_format, has_translation):
    home = tmp_path / "image.zarr"
    foreign(
        home,
        np.zeros((400, 600), np.uint8),
        zarr_format=zarr_format,
        ome={"multiscales": multiscales(scale(0.25, 0.25), translation(5.0, 7.0))},
    )
    zarr.create_group(
        home / "labels",
        zarr_format=zarr_format,
        attributes={"labels": ["a"]} if zarr_format == 2 else {"ome": {"labels": ["a"]}},
    )
    # Four times coarser, from the slide's corner on: its first pixel's centre is 1.5 px in.
    steps = [scale(1.0, 1.0)]
    if has_translation:
        steps.append(translation(5.0 + 1.5 * 0.25, 7.0 + 1.5 * 0.25))
    labels = np.zeros((100, 150), np.uint8)
    labels[10:20, 30:50] = 1
    foreign(
        home / "labels/a",
        labels,
        zarr_format=zarr_format,
        ome={"multiscales": multiscales(*steps), "image-label": {}},
    )
    for path in (home, home / "labels", home / "labels/a"):
        annotation = read_annotations(path)
        (region,) = annotation.regions
        assert region.geometry.bounds == (119.5, 39.5, 199.5, 79.5)
        assert annotation.notes == ()


def test_an_image_named_as_source_is_looked_up_where_it_lies(tmp_path):
    scales = {"image.zarr": 0.25, "labels.zarr": 0.5}
    labels = np.zeros((20, 30), np.uint8)
    labels[2:4, 3:7] = 1
    for name, step in scales.items():
        ome = {"multiscales": multiscales(scale(step, step))}
        if name == "labels.zarr":
            ome["image-label"] = {"source": {"image": "../image.zarr"}}
        foreign(tmp_path / name, labels, zarr_format=3, ome=ome)
    annotation = read_label_zarr(tmp_path / "labels.zarr")
    assert annotation.regions[0].geometry.bounds == (5.5, 3.5, 13.5, 7.5)
    assert annotation.notes == ()


def test_leading_axes_of_one_plane_are_left_out(tmp_path):
    labels = np.zeros((1, 40, 30), np.uint16)
    labels[0, 5:9, 3:8] = 2
    path = foreign(
        tmp_path / "labels.zarr",
        labels,
        zarr_format=2,
        chunks=(1, 16, 16),
        ome={"multiscales": multiscales(scale(1, 1, 1), ndim=3), "image-label": {}},
    )
    (region,) = read_label_zarr(path).regions
    assert region.geometry.bounds == (2.5, 4.5, 7.5, 8.5)


@pytest.mark.parametrize(
    ("array", "fix"),
    [(np.zeros((2, 9, 9), np.uint8), "two axes"), (np.zeros((9, 9), np.float32), "whole numbers")],
)
def test_volumes_and_fractions_are_refused(tmp_path, array, fix):
    path = foreign(
        tmp_path / "labels.zarr",
        array,
        zarr_format=3,
        chunks=array.shape,
        ome={"multiscales": multiscales(scale(1, 1)), "image-label": {}},
    )
    with pytest.raises(AnnotationError, match=fix):
        read_label_zarr(path)


def test_several_label_images_are_named_in_the_error(tmp_path):
    zarr.create_group(tmp_path / "a.zarr/labels", attributes={"ome": {"labels": ["x", "y"]}})
    with pytest.raises(AnnotationError, match=r"x, y; give one of them"):
        read_label_zarr(tmp_path / "a.zarr/labels")


def test_a_background_that_is_stored_nowhere_may_be_a_label(tmp_path):
    path = tmp_path / "labels.zarr"
    ome = {"version": "0.5", "multiscales": multiscales(scale(1, 1)), "image-label": {}}
    group = zarr.create_group(path, attributes={"ome": ome})
    group.create_array("s0", shape=(2000, 30), dtype="u1", chunks=(64, 30), fill_value=5)
    (region,) = read_label_zarr(path).regions
    assert region.geometry.equals(shapely.box(-0.5, -0.5, 29.5, 1999.5))


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "not JSON", "feature", "no array", "chunk", "image"]
)
def test_what_is_no_label_image_is_one_error_that_says_the_fix(tmp_path, folder, damage):
    path = folder
    if damage == "missing":
        path = tmp_path / "b.zarr"
    elif damage == "empty":
        path = tmp_path / "b.zarr"
        path.mkdir()
    elif damage == "not JSON":
        (path / "zarr.json").write_text("{")
    elif damage == "feature":
        text = (path / "zarr.json").read_text()
        (path / "zarr.json").write_text(text.replace('"Feature"', '"Creature"'))
    elif damage == "chunk":
        chunk = path / "0/c/0/0"
        chunk.write_bytes(chunk.read_bytes()[:30])
    elif damage == "no array":
        shutil.rmtree(path / "0")
    else:
        said = ome(path)
        del said["image-label"]
        put_ome(path, said)
    with pytest.raises(AnnotationError) as caught:
        read_label_zarr(path)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)


def test_without_our_attribute_our_labels_are_read_as_any_others(folder, regions):
    put_ome(folder, ome(folder))
    again = read_label_zarr(folder).regions
    assert [r.label for r in again] == [r.label for r in regions]
    assert [r.color for r in again[:2]] == [RED, GREEN]
    np.testing.assert_array_equal(drawn(again), drawn(regions))
