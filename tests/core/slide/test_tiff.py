"""The TIFF reader: kinds of storage, colour, metadata, and damage inside the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray

from histosam_core.errors import SlideFormatError
from histosam_core.slide import open_slide

Image = NDArray[np.uint8]
WriteTiff = Callable[..., Path]


def level0(path: Path) -> Image:
    with open_slide(path) as slide:
        return slide.levels[0][:]


@pytest.mark.real_slide
def test_jpeg_svs_equals_openslide_pixel_for_pixel(data_dir: Path) -> None:
    path = data_dir / "slides/CMU-1-Small-Region.svs"
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        expected = np.asarray(other.read_region((0, 0), 0, other.dimensions))[..., :3]
        np.testing.assert_array_equal(slide.levels[0][:], expected)
        assert slide.mpp == 0.499
        assert slide.magnification == 20
        assert len(slide.levels) == 1
        assert slide.properties["aperio.AppMag"] == other.properties["aperio.AppMag"]


@pytest.mark.real_slide
def test_real_pyramid_and_strip_files_read(data_dir: Path) -> None:
    with (
        open_slide(data_dir / "slides/boxes.tiff") as slide,
        openslide.OpenSlide(data_dir / "slides/boxes.tiff") as other,
    ):
        assert [level.size_wh for level in slide.levels] == list(other.level_dimensions)
        assert [level.downsample for level in slide.levels] == [1, 2, 4, 8]
        for index, size in enumerate(other.level_dimensions):
            expected = np.asarray(other.read_region((0, 0), index, size))[..., :3]
            np.testing.assert_array_equal(slide.levels[index][:], expected)
        assert slide.mpp is None
        assert "352.8" in slide.mpp_source
    np.testing.assert_array_equal(
        level0(data_dir / "slides/kidney-48-5.tif"),
        tifffile.imread(data_dir / "slides/kidney-48-5.tif"),
    )
    assert level0(data_dir / "slides/small.svs").shape == (16, 16, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": None},
        {"compression": "lzw", "predictor": True},
        {"compression": "deflate", "planarconfig": "separate"},
        {"compression": None, "tile": None, "rowsperstrip": 2},
        {"compression": None, "tile": None, "rowsperstrip": 301},
        {"compression": "lzw", "tile": None, "rowsperstrip": 7},
        {"compression": "zstd", "tile": None, "rowsperstrip": 64, "planarconfig": "separate"},
        {"compression": "jpeg2000", "compressionargs": {"reversible": True, "level": 0}},
    ],
    ids=str,
)
@pytest.mark.parametrize("byteorder_name", ["little", "big"])
def test_lossless_files_return_what_was_written(
    noise_image: Image, tmp_path: Path, options: dict[str, Any], byteorder_name: str
) -> None:
    path = tmp_path / "slide.tif"
    settings = {"photometric": "rgb", "tile": (64, 48), "metadata": None, **options}
    stored = noise_image
    if settings.get("planarconfig") == "separate":
        stored = np.moveaxis(noise_image, 2, 0)
    with tifffile.TiffWriter(
        path, byteorder="<" if byteorder_name == "little" else ">", bigtiff=True
    ) as tiff:
        tiff.write(stored, **{k: v for k, v in settings.items() if v is not None})
    np.testing.assert_array_equal(level0(path), noise_image)


@pytest.mark.parametrize("tile", [(64, 64), None])
def test_jpeg_with_chroma_subsampling_is_close(
    dots_image: Image, write_tiff: WriteTiff, tile: tuple[int, int] | None
) -> None:
    rows = None if tile else 32
    path = write_tiff(
        dots_image,
        compression="jpeg",  # tifffile stores YCbCr then
        compressionargs={"level": 95},
        subsampling=(2, 2),
        tile=tile,
        rowsperstrip=rows,
    )
    assert np.abs(level0(path).astype(int) - dots_image).max() < 12


def test_grey_becomes_rgb(noise_image: Image, write_tiff: WriteTiff) -> None:
    grey = noise_image[..., 0]
    dark_is_high = write_tiff(grey, name="inverse.tif", photometric="miniswhite")
    np.testing.assert_array_equal(
        level0(write_tiff(grey, photometric="minisblack")), np.repeat(grey[..., None], 3, axis=2)
    )
    np.testing.assert_array_equal(level0(dark_is_high)[..., 1], 255 - grey)


def test_alpha_is_laid_over_white(noise_image: Image, write_tiff: WriteTiff) -> None:
    alpha = np.full((*noise_image.shape[:2], 1), 255, np.uint8)
    alpha[:100], alpha[100:200] = 0, 128
    rgba = np.concatenate([noise_image, alpha], axis=2)
    found = level0(write_tiff(rgba, extrasamples=["unassalpha"]))
    assert (found[:100] == 255).all()
    mixed = noise_image[100:200] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(found[100:200] - mixed).max() <= 0.51
    np.testing.assert_array_equal(found[200:], noise_image[200:])


def test_a_fourth_sample_without_meaning_is_dropped(
    noise_image: Image, write_tiff: WriteTiff
) -> None:
    four = np.concatenate([noise_image, noise_image[..., :1]], axis=2)
    found = level0(write_tiff(four, extrasamples=["unspecified"]))
    np.testing.assert_array_equal(found, noise_image)


def test_16_bit_is_scaled_to_8(noise_image: Image, write_tiff: WriteTiff) -> None:
    deep = noise_image.astype(np.uint16) * 257
    np.testing.assert_array_equal(level0(write_tiff(deep)), noise_image)
    raw = write_tiff(deep, name="raw.tif", tile=None, compression=None)
    np.testing.assert_array_equal(level0(raw), noise_image)


def test_12_bit_in_16_uses_the_stated_maximum(write_tiff: WriteTiff) -> None:
    deep = np.full((64, 64, 3), 4095, np.uint16)
    path = write_tiff(deep, extratags=[(281, "H", 3, (4095, 4095, 4095), False)])
    assert (level0(path) == 255).all()


def test_palette_is_looked_up(rng: np.random.Generator, write_tiff: WriteTiff) -> None:
    index = rng.integers(0, 256, (70, 80), dtype=np.uint8)
    colours = rng.integers(0, 256, (3, 256)).astype(np.uint16)
    path = write_tiff(index, photometric="palette", colormap=colours * 257)
    np.testing.assert_array_equal(level0(path), colours.T[index].astype(np.uint8))


def test_bilevel_becomes_black_and_white(rng: np.random.Generator, write_tiff: WriteTiff) -> None:
    bits = rng.random((64, 96)) > 0.5
    path = write_tiff(bits, photometric="minisblack", tile=None, compression=None)
    np.testing.assert_array_equal(level0(path)[..., 0], np.where(bits, 255, 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16])
def test_samples_without_known_white_are_refused(write_tiff: WriteTiff, dtype: Any) -> None:
    path = write_tiff(np.zeros((64, 64, 3), dtype))
    with pytest.raises(SlideFormatError, match="export"):
        open_slide(path)


def test_ome_tiff_with_subifds_is_a_pyramid(noise_image: Image, tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    small = noise_image[:300:2, :402:2]
    metadata = {
        "axes": "YXS",
        "PhysicalSizeX": 250.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.25,
        "PhysicalSizeYUnit": "µm",
    }
    settings: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64), "compression": "deflate"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(noise_image, subifds=1, metadata=metadata, **settings)
        tiff.write(small, subfiletype=1, **settings)
    with open_slide(path) as slide:
        assert [level.size_wh for level in slide.levels] == [(403, 301), (201, 150)]
        assert slide.mpp == 0.25
        assert slide.mpp_source == "OME-XML PhysicalSize"
        np.testing.assert_array_equal(slide.levels[0][:], noise_image)
        np.testing.assert_array_equal(slide.levels[1][:], small)


def test_ome_tiff_of_three_channel_planes_is_rgb(noise_image: Image, tmp_path: Path) -> None:
    path = tmp_path / "planes.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(
            np.moveaxis(noise_image, 2, 0),
            photometric="minisblack",
            tile=(64, 64),
            metadata={"axes": "CYX"},
        )
    np.testing.assert_array_equal(level0(path), noise_image)


@pytest.mark.parametrize("axes", ["CYX", "ZYX"])
def test_ome_stacks_are_refused_with_the_fix(tmp_path: Path, axes: str) -> None:
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(
        path, np.zeros((5, 64, 64), np.uint8), photometric="minisblack", metadata={"axes": axes}
    )
    with pytest.raises(SlideFormatError, match="one RGB plane"):
        open_slide(path)


def test_label_and_thumbnail_are_no_levels(noise_image: Image, tmp_path: Path) -> None:
    path = tmp_path / "slide.svs"
    with tifffile.TiffWriter(path) as tiff:
        aperio = "Aperio Image Library v12\r\nscan|AppMag = 20|MPP = 0.5"
        tiled: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
        tiff.write(noise_image, description=aperio, **tiled)
        tiff.write(noise_image[::4, ::4], photometric="rgb", rowsperstrip=16, metadata=None)
        tiff.write(noise_image[1:301:2, 1:403:2], **tiled)
        tiff.write(noise_image[:90, :80], photometric="rgb", subfiletype=1, metadata=None)
        tiff.write(noise_image[:50, :200], photometric="rgb", subfiletype=9, metadata=None)
    with open_slide(path) as slide:
        assert [level.size_wh for level in slide.levels] == [(403, 301), (201, 150)]
        assert slide.reader.name == "Aperio SVS"


def test_tile_without_bytes_is_white(noise_image: Image, write_tiff: WriteTiff) -> None:
    path = write_tiff(noise_image)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        counts = list(tiff.pages[0].databytecounts)
        counts[1] = 0
        tiff.pages[0].tags["TileByteCounts"].overwrite(counts)
    found = level0(path)
    assert (found[:64, 64:128] == 255).all()
    np.testing.assert_array_equal(found[64:], noise_image[64:])


@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
def test_damaged_tile_raises_and_its_neighbours_still_read(
    noise_image: Image, write_tiff: WriteTiff, compression: str
) -> None:
    path = write_tiff(noise_image, compression=compression)
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]
    with path.open("r+b") as file:  # as a sparse, unfinished copy would leave it
        file.seek(offset + count // 2)
        file.write(bytes(count - count // 2))
    with open_slide(path) as slide:
        with pytest.raises(SlideFormatError, match="column 0, row 0 is damaged"):
            slide.read_level(0, (0, 0), (64, 64))
        assert slide.read_level(0, (64, 0), (64, 64)).shape == (64, 64, 3)


def test_cache_stays_within_its_bound(noise_image: Image, write_tiff: WriteTiff) -> None:
    bound = 4 * 64 * 64 * 3
    with open_slide(write_tiff(noise_image), cache_bytes=bound) as slide:
        slide.levels[0][:]
        assert 0 < slide.reader.cache.nbytes <= bound  # type: ignore[attr-defined]


def test_circle_of_directories_is_damage(noise_image: Image, write_tiff: WriteTiff) -> None:
    path = write_tiff(noise_image)
    data = bytearray(path.read_bytes())
    start = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[start : start + 2], "little")
    link = start + 2 + 12 * entries
    data[link : link + 4] = data[4:8]
    path.write_bytes(data)
    with pytest.raises(SlideFormatError, match="damaged"):
        open_slide(path)
