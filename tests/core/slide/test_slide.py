"""Opening and reading slides: errors, scale, threads, pickling, the dask pyramid."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from histosam_core.errors import (
    ConfigError,
    HistoSamError,
    MissingMppError,
    RegionError,
    SlideError,
    SlideFormatError,
    SlideNotFoundError,
)
from histosam_core.geometry import Region
from histosam_core.slide import Slide, open_slide

Image = NDArray[np.uint8]
WriteTiff = Callable[..., Path]


def test_region_at_level0_returns_the_stored_pixels(
    noise_image: Image, write_tiff: WriteTiff
) -> None:
    with open_slide(write_tiff(noise_image, downsamples=(1, 2, 4))) as slide:
        region = slide.read_region(Region((37, 61), (130, 99)))
        same = slide.read_region(Region((37, 61), (130, 99), mpp=slide.mpp))
    np.testing.assert_array_equal(region, noise_image[61:160, 37:167])
    np.testing.assert_array_equal(same, region)


def test_region_on_a_lower_levels_grid_returns_its_pixels(
    noise_image: Image, write_tiff: WriteTiff
) -> None:
    with open_slide(write_tiff(noise_image, downsamples=(1, 2, 4))) as slide:
        region = slide.read_region(Region((40, 80), (30, 20), mpp=4 * 0.5))
        np.testing.assert_array_equal(region, slide.read_level(2, (10, 20), (30, 20)))


def test_outside_the_slide_is_white(noise_image: Image, write_tiff: WriteTiff) -> None:
    height, width = noise_image.shape[:2]
    with open_slide(write_tiff(noise_image, downsamples=(1, 4))) as slide:
        region = slide.read_region(Region((-20, -10), (width + 50, height + 40)))
        np.testing.assert_array_equal(region[10 : 10 + height, 20 : 20 + width], noise_image)
        assert (region[:10] == 255).all()
        assert (region[:, :20] == 255).all()
        assert (region[10 + height :] == 255).all()
        assert (region[:, 20 + width :] == 255).all()
        coarse = slide.read_region(Region((-80, -80), (60, 60), mpp=2.0))
        assert (coarse[:20] == 255).all()
        assert (coarse[20:, 20:] != 255).any()


def test_incomplete_last_pixel_of_a_level_leaves_no_white_seam(write_tiff: WriteTiff) -> None:
    image = np.full((203, 307, 3), 60, np.uint8)  # the level of 4 covers 200 x 304 of it
    with open_slide(write_tiff(image, downsamples=(1, 4))) as slide:
        edge = slide.read_region(Region((300, 196), (4, 4), mpp=2.0))
    assert (edge[:2, :2] == 60).all()
    assert (edge[2:] == 255).all()
    assert (edge[:, 2:] == 255).all()


def test_region_wholly_outside_raises(noise_image: Image, write_tiff: WriteTiff) -> None:
    height, width = noise_image.shape[:2]
    with open_slide(write_tiff(noise_image)) as slide:
        for corner in ((width, 0), (0, height), (-50, 0), (0, -50)):
            with pytest.raises(RegionError, match="outside"):
                slide.read_region(Region(corner, (50, 50)))
        slide.read_region(Region((width - 1, height - 1), (50, 50)))


def test_region_needs_pixels() -> None:
    with pytest.raises(RegionError, match="no pixels"):
        Region((0, 0), (0, 10))


def test_mpp_on_a_slide_without_mpp_raises_with_the_fix(
    noise_image: Image, write_tiff: WriteTiff
) -> None:
    path = write_tiff(noise_image, resolution=None, resolutionunit=None)
    with open_slide(path) as slide:
        assert slide.mpp is None
        assert slide.read_region(Region((0, 0), (5, 5))).shape == (5, 5, 3)
        with pytest.raises(MissingMppError, match="--mpp"):
            slide.read_region(Region((0, 0), (5, 5), mpp=2.0))
    with open_slide(path, mpp=0.5) as slide:
        assert slide.mpp_source == "stated by the user"
        assert slide.read_region(Region((0, 0), (5, 5), mpp=2.0)).shape == (5, 5, 3)


def test_magnification_without_mpp_is_kept_and_only_suggests(
    noise_image: Image, write_tiff: WriteTiff
) -> None:
    path = write_tiff(
        noise_image,
        name="x.svs",
        description="Aperio Image Library v1\r\nfoo|AppMag = 40",
        resolution=None,
        resolutionunit=None,
    )
    with open_slide(path) as slide:
        assert slide.magnification == 40
        assert slide.mpp is None
        assert slide.assumable_mpp == 0.25
        with pytest.raises(MissingMppError, match=r"40x, suggests 0\.25"):
            slide.read_region(Region((0, 0), (5, 5), mpp=2.0))


def test_users_mpp_overrides_the_file(noise_image: Image, write_tiff: WriteTiff) -> None:
    with open_slide(write_tiff(noise_image), mpp=0.25) as slide:
        assert (slide.mpp, slide.mpp_xy) == (0.25, (0.25, 0.25))


@pytest.mark.parametrize("mpp", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_mpp_is_refused(noise_image: Image, write_tiff: WriteTiff, mpp: float) -> None:
    with pytest.raises(ConfigError, match="positive"):
        open_slide(write_tiff(noise_image), mpp=mpp)


def test_unusable_files_raise_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").write_bytes(b"")
    (tmp_path / "text.svs").write_text("this is no slide\n" * 50)
    (tmp_path / "text.png").write_text("this is no image\n" * 50)
    (tmp_path / "head.tif").write_bytes(b"II*\0\x08\0\0\0")
    (tmp_path / "folder.svs").mkdir()
    cases = {
        "missing.svs": (SlideNotFoundError, "no file"),
        "empty.svs": (SlideFormatError, "empty"),
        "text.svs": (SlideFormatError, "not an image"),
        "text.png": (SlideFormatError, "not an image"),
        "head.tif": (SlideFormatError, "truncated"),
        "folder.svs": (SlideFormatError, "folder"),
    }
    for name, (kind, words) in cases.items():
        with pytest.raises(kind, match=words) as caught:
            open_slide(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs an ordinary POSIX user")
def test_unreadable_permission_raises(tmp_path: Path) -> None:
    path = tmp_path / "locked.svs"
    path.write_bytes(b"II*\0")
    path.chmod(0)
    with pytest.raises(SlideFormatError, match="permission"):
        open_slide(path)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_truncated_slide_raises_and_never_returns_pixels(
    noise_image: Image, write_tiff: WriteTiff, keep: float
) -> None:
    path = write_tiff(noise_image, downsamples=(1, 2, 4), compression="jpeg")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(SlideFormatError, match=r"truncated|damaged"):
        open_slide(path)


def test_file_cut_while_open_raises_on_reading(noise_image: Image, write_tiff: WriteTiff) -> None:
    path = write_tiff(noise_image, compression="jpeg")
    with open_slide(path) as slide:
        os.truncate(path, 1000)
        with pytest.raises(SlideFormatError, match="truncated"):
            slide.read_region(Region((0, 0), noise_image.shape[1::-1]))


def test_closed_slide_refuses_to_read(noise_image: Image, write_tiff: WriteTiff) -> None:
    slide = open_slide(write_tiff(noise_image))
    slide.close()
    slide.close()
    with pytest.raises(SlideError, match="closed"):
        slide.read_region(Region((0, 0), (5, 5)))


def test_pickled_slide_and_level_reopen(noise_image: Image, write_tiff: WriteTiff) -> None:
    with open_slide(write_tiff(noise_image, downsamples=(1, 2)), mpp=0.3) as slide:
        slide.read_region(Region((0, 0), (300, 300)))
        packed, packed_level = pickle.dumps(slide), pickle.dumps(slide.levels[1])
        expected = slide.levels[1][:]
    assert len(packed) < 5000
    copy: Slide = pickle.loads(packed)  # noqa: S301
    assert copy.mpp == 0.3
    np.testing.assert_array_equal(copy.levels[0][:], noise_image)
    np.testing.assert_array_equal(pickle.loads(packed_level)[:], expected)  # noqa: S301
    copy.close()


def test_threads_read_the_same_pixels(noise_image: Image, write_tiff: WriteTiff) -> None:
    path = write_tiff(noise_image, compression="lzw")
    corners = np.random.default_rng(3).integers(0, 200, (200, 2)).tolist()
    with open_slide(path, cache_bytes=5 * 64 * 64 * 3) as slide, ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda xy: slide.read_region(Region(xy, (90, 80))), corners)
        for (x, y), region in zip(corners, found, strict=True):
            np.testing.assert_array_equal(region, noise_image[y : y + 80, x : x + 90])


def test_returned_pixels_may_be_written_without_harm(
    noise_image: Image, write_tiff: WriteTiff
) -> None:
    with open_slide(write_tiff(noise_image)) as slide:
        slide.read_region(Region((0, 0), (64, 64)))[:] = 0
        again = slide.read_region(Region((0, 0), (64, 64)))
    np.testing.assert_array_equal(again, noise_image[:64, :64])


def test_pyramid_is_lazy_dask_of_the_levels(noise_image: Image, write_tiff: WriteTiff) -> None:
    with open_slide(write_tiff(noise_image, downsamples=(1, 2, 4))) as slide:
        pyramid = slide.pyramid
        assert [p.shape for p in pyramid] == [level.shape for level in slide.levels]
        assert all(p.dtype == np.uint8 for p in pyramid)
        assert len(slide.reader.cache) == 0  # type: ignore[attr-defined]
        np.testing.assert_array_equal(pyramid[0].compute(), noise_image)
        np.testing.assert_array_equal(
            pyramid[1][10:50, 20:90].compute(scheduler="threads"), slide.levels[1][10:50, 20:90]
        )


def test_pyramid_chunks_hold_whole_tiles_or_bands(write_tiff: WriteTiff) -> None:
    image = np.zeros((3000, 2500, 3), np.uint8)
    with open_slide(write_tiff(image, tile=(240, 240))) as slide:
        assert slide.pyramid[0].chunksize == (960, 960, 3)
    with open_slide(write_tiff(image, tile=None, rowsperstrip=2)) as slide:
        assert slide.pyramid[0].chunksize == (1024, 2500, 3)


def test_thumbnail_shows_the_whole_slide(dots_image: Image, write_tiff: WriteTiff) -> None:
    with open_slide(write_tiff(dots_image, downsamples=(1, 2))) as slide:
        small = slide.thumbnail(100)
        assert small.shape == (80, 100, 3)
        row, column = np.unravel_index(small[:30, :40, 0].argmax(), (30, 40))
        assert abs((column + 0.5) * 7.01 - 150.5) < 7
        assert abs((row + 0.5) * 7.04 - 130.5) < 7
        assert slide.thumbnail(5000).shape == dots_image.shape


def test_fingerprint_follows_the_content(noise_image: Image, write_tiff: WriteTiff) -> None:
    path = write_tiff(noise_image)
    with open_slide(path) as slide:
        first = slide.fingerprint
        assert slide.fingerprint == first
    twin = path.with_name("twin.tif")
    shutil.copy2(path, twin)
    with open_slide(twin) as slide:
        assert slide.fingerprint == first
    os.utime(path, ns=(1, 1))
    with open_slide(path) as slide:
        assert slide.fingerprint != first


def test_level_outside_the_pyramid_raises(noise_image: Image, write_tiff: WriteTiff) -> None:
    with open_slide(write_tiff(noise_image)) as slide:
        with pytest.raises(RegionError, match="levels 0 to 0"):
            slide.read_level(1, (0, 0), (5, 5))
        with pytest.raises(RegionError, match="no pixels"):
            slide.read_level(0, (0, 0), (0, 5))


def test_every_slide_error_is_ours_and_a_builtin(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_slide(tmp_path / "nothing.svs")
    assert isinstance(caught.value, HistoSamError)


@pytest.mark.real_slide
def test_real_damaged_slides_raise(data_dir: Path) -> None:
    with pytest.raises(SlideFormatError, match="cannot be opened"):
        open_slide(data_dir / "slides/unopenable.tiff")
    with (
        pytest.raises(SlideFormatError, match="damaged"),
        open_slide(data_dir / "slides/unreadable.svs") as slide,
    ):
        slide.read_region(Region((0, 0), (16, 16)))
