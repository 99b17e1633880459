"""The reader: which files are ours, and what the layer of a slide says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from histosam_core.slide import open_slide
from napari_histosam.reader import get_reader, read_slide, slide_layer, tag_of_slide

RGB = np.arange(40 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 3)
GREY = RGB[..., 0]


def write_tiff(path: Path, data: np.ndarray, **how: Any) -> Path:
    tifffile.imwrite(path, data, **how)
    return path


def write_image(path: Path, data: np.ndarray) -> Path:
    Image.fromarray(data).save(path)
    return path


OURS: dict[str, Callable[[Path], Path]] = {
    "RGB TIFF": lambda f: write_tiff(f / "a.tif", RGB, photometric="rgb"),
    "RGBA TIFF": lambda f: write_tiff(
        f / "a.tif", np.dstack([RGB, GREY]), photometric="rgb", extrasamples=["unassalpha"]
    ),
    "16-bit RGB TIFF": lambda f: write_tiff(
        f / "a.tif", RGB.astype(np.uint16) * 257, photometric="rgb"
    ),
    "tiled JPEG TIFF": lambda f: write_tiff(
        f / "a.tiff", RGB, photometric="rgb", tile=(16, 16), compression="jpeg"
    ),
    "planar RGB TIFF": lambda f: write_tiff(
        f / "a.tif", np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate"
    ),
    "palette TIFF": lambda f: write_tiff(
        f / "a.tif", GREY, photometric="palette", colormap=np.zeros((3, 256), np.uint16)
    ),
    "OME-TIFF": lambda f: write_tiff(f / "a.ome.tif", RGB, photometric="rgb", ome=True),
    "ImageJ RGB": lambda f: write_tiff(f / "a.tif", RGB, imagej=True),
    "PNG": lambda f: write_image(f / "a.png", RGB),
    "RGBA PNG": lambda f: write_image(f / "a.png", np.dstack([RGB, GREY])),
    "JPEG": lambda f: write_image(f / "a.jpg", RGB),
}
OTHERS: dict[str, Callable[[Path], Path]] = {
    "label mask": lambda f: write_tiff(f / "a.tif", GREY.astype(np.uint16)),
    "tiled mask": lambda f: write_tiff(f / "a.tif", GREY, tile=(16, 16), compression="deflate"),
    "float": lambda f: write_tiff(f / "a.tif", GREY.astype(np.float32)),
    "float RGB": lambda f: write_tiff(f / "a.tif", RGB.astype(np.float32), photometric="rgb"),
    "z-stack": lambda f: write_tiff(f / "a.tif", np.stack([GREY] * 5), photometric="minisblack"),
    "RGB stack": lambda f: write_tiff(f / "a.tif", np.stack([RGB] * 4), photometric="rgb"),
    "ImageJ channels": lambda f: write_tiff(
        f / "a.tif", np.stack([GREY.astype(np.uint16)] * 4), imagej=True, metadata={"axes": "CYX"}
    ),
    "ImageJ three channels of a stack": lambda f: write_tiff(
        f / "a.tif",
        np.stack([np.stack([GREY] * 3)] * 2),
        imagej=True,
        metadata={"axes": "ZCYX"},
    ),
    "OME channels": lambda f: write_tiff(
        f / "a.ome.tif", np.stack([GREY.astype(np.uint16)] * 5), ome=True, metadata={"axes": "CYX"}
    ),
    "OME time": lambda f: write_tiff(
        f / "a.ome.tif", np.stack([GREY] * 5), ome=True, metadata={"axes": "TYX"}
    ),
    "grey PNG": lambda f: write_image(f / "a.png", GREY),
    "16-bit PNG": lambda f: write_image(f / "a.png", GREY.astype(np.uint16)),
}


@pytest.mark.parametrize("kind", OURS)
def test_slides_and_colour_images_are_ours(tmp_path: Path, kind: str) -> None:
    path = OURS[kind](tmp_path)
    assert get_reader(str(path)) is read_slide
    data, attributes, layer_type = read_slide(str(path))[0]
    assert layer_type == "image"
    assert attributes["rgb"]
    assert data.shape == (40, 60, 3)


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_colour_image_is_left_to_naparis_readers(tmp_path: Path, kind: str) -> None:
    assert get_reader(str(OTHERS[kind](tmp_path))) is None


def test_an_svs_is_ours(slide_path: Path) -> None:
    assert get_reader(str(slide_path)) is read_slide


def test_several_files_folders_and_missing_ones_are_not_ours(tmp_path: Path) -> None:
    path = str(OURS["PNG"](tmp_path))
    assert get_reader([path, path]) is None
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "nothing.svs")) is None


@pytest.mark.parametrize("suffix", [".dcm", ".mrxs", ".czi", ".vms"])
def test_a_file_that_openslide_does_not_know_is_not_ours(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"other{suffix}"
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 128)
    assert get_reader(str(path)) is None


@pytest.mark.parametrize("name", ["cut.svs", "cut.png"])
def test_a_damaged_file_of_ours_is_ours_and_says_what_is_wrong(
    tmp_path: Path, slide_path: Path, name: str
) -> None:
    from napari.utils.notifications import notification_manager

    whole = slide_path if name.endswith("svs") else OURS["PNG"](tmp_path)
    path = tmp_path / name
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    before = len(notification_manager.records)
    assert get_reader(str(path)) is read_slide
    assert read_slide(str(path)) == [(None,)]
    (noted,) = notification_manager.records[before:]
    assert "copy or export it again" in noted.message
    assert "\n" not in noted.message
    assert noted.severity == "error"


def test_the_scale_is_in_micrometres(slide_path: Path) -> None:
    _, attributes, _ = read_slide(slide_path)[0]
    assert attributes["scale"] == (0.5, 0.5)
    assert attributes["units"] == ("um", "um")
    assert attributes["name"] == "textured"
    assert attributes["metadata"]["histosam"].slide.path == slide_path


def test_unequal_sides_of_a_pixel_go_to_their_axes(tmp_path: Path) -> None:
    path = write_tiff(
        tmp_path / "a.tif",
        RGB,
        photometric="rgb",
        resolution=(1e4 / 0.25, 1e4 / 0.5),
        resolutionunit="CENTIMETER",
    )
    _, attributes, _ = read_slide(path)[0]
    np.testing.assert_allclose(attributes["scale"], (0.5, 0.25))


def test_without_mpp_the_scale_is_in_pixels(tmp_path: Path) -> None:
    _, attributes, _ = read_slide(OURS["PNG"](tmp_path))[0]
    assert "scale" not in attributes
    assert "units" not in attributes


def test_a_stated_mpp_is_the_scale(tmp_path: Path) -> None:
    _, attributes, _ = slide_layer(open_slide(OURS["PNG"](tmp_path), mpp=0.25))
    assert attributes["scale"] == (0.25, 0.25)


def test_deciding_reads_headers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = OURS["PNG"](tmp_path)

    def decoded(*_: Any) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decoded)
    monkeypatch.setattr("tifffile.TiffPage.asarray", decoded)
    assert get_reader(str(path)) is read_slide
    assert get_reader(str(OURS["RGB TIFF"](tmp_path))) is read_slide


@pytest.mark.gui
def test_the_viewer_shows_a_slide_at_its_place(viewer: Any, slide_path: Path) -> None:
    (layer,) = viewer.open(slide_path, plugin="napari-histosam")
    assert layer.multiscale
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
    np.testing.assert_allclose(layer.extent.world, [[0, 0], [3699 * 0.5, 4999 * 0.5]])
    assert tag_of_slide(layer).slide.mpp == 0.5
    assert layer.thumbnail[..., :3].std() > 10


@pytest.mark.gui
def test_once_chosen_for_a_suffix_our_reader_is_used_unasked(viewer: Any, slide_path: Path) -> None:
    from napari.settings import get_settings

    plugins = get_settings().plugins
    before = plugins.extension2reader
    plugins.extension2reader = {"*.svs": "napari-histosam"}
    try:
        (layer,) = viewer.open(slide_path, plugin=None)
    finally:
        plugins.extension2reader = before
    assert layer.source.reader_plugin == "napari-histosam"


@pytest.mark.gui
def test_a_damaged_slide_adds_nothing_to_the_viewer(
    viewer: Any, slide_path: Path, tmp_path: Path
) -> None:
    from napari.utils.notifications import notification_manager

    path = tmp_path / "cut.svs"
    path.write_bytes(slide_path.read_bytes()[:100_000])
    viewer.open(path, plugin="napari-histosam")
    assert len(viewer.layers) == 0
    assert "truncated" in notification_manager.records[-1].message


@pytest.mark.gui
def test_what_is_not_ours_is_opened_by_napari(viewer: Any, tmp_path: Path) -> None:
    from npe2 import io_utils

    path = OTHERS["z-stack"](tmp_path)
    (data, *_), reader = io_utils.read_get_reader([str(path)], stack=False)
    assert reader.plugin_name != "napari-histosam"
    assert data[0].shape == (5, 40, 60)


PROBE = """
import json, sys, time
start = time.perf_counter()
import napari_histosam, napari_histosam.reader, napari_histosam.sample_data
napari_histosam.reader.get_reader({path!r})
print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))
"""


def test_importing_the_plugin_and_deciding_is_quick_and_loads_no_torch(slide_path: Path) -> None:
    def probe() -> tuple[float, set[str]]:
        done = subprocess.run(
            [sys.executable, "-c", PROBE.format(path=str(slide_path))],
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, loaded = json.loads(done.stdout)
        return seconds, {name.split(".")[0] for name in loaded}

    probes = [probe() for _ in range(3)]
    assert probes[0][1].isdisjoint({"torch", "torchvision", "napari", "qtpy", "matplotlib"})
    # The best of several: a busy machine can only make it slower.
    assert min(seconds for seconds, _ in probes) < 1.0
