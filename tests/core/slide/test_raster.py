"""PNG, JPEG and other plain images."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from histosam_core.errors import SlideError, SlideFormatError
from histosam_core.geometry import Region
from histosam_core.slide import open_slide

Pixels = NDArray[np.uint8]


def test_png_returns_what_was_written(noise_image: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise_image).save(path)
    with open_slide(path) as slide:
        assert slide.size_wh == (403, 301)
        assert slide.mpp is None
        assert slide.reader.name == "PNG image"
        np.testing.assert_array_equal(slide.read_region(Region((0, 0), (403, 301))), noise_image)
        copy = pickle.loads(pickle.dumps(slide))  # noqa: S301
    np.testing.assert_array_equal(copy.levels[0][:], noise_image)
    with pytest.raises(SlideError, match="closed"):
        slide.read_region(Region((0, 0), (4, 4)))


def test_jpeg_with_a_slides_name_is_read_too(dots_image: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "photo.dat"
    Image.fromarray(dots_image).save(path, format="JPEG", quality=95)
    with open_slide(path) as slide:
        assert np.abs(slide.levels[0][:].astype(int) - dots_image).max() < 12


def test_dpi_gives_mpp_only_where_believable(noise_image: Pixels, tmp_path: Path) -> None:
    for dpi, mpp in ((25400, 1.0), (96, None)):
        path = tmp_path / f"{dpi}.png"
        Image.fromarray(noise_image).save(path, dpi=(dpi, dpi))
        with open_slide(path) as slide:
            assert slide.mpp == (None if mpp is None else pytest.approx(mpp, rel=1e-3))


def test_grey_alpha_and_16_bit(noise_image: Pixels, tmp_path: Path) -> None:
    grey = noise_image[..., 0]
    rgba = np.dstack([noise_image, np.zeros_like(grey)])
    cases = {
        "grey": (Image.fromarray(grey), np.dstack([grey] * 3)),
        "clear": (Image.fromarray(rgba), np.full_like(noise_image, 255)),
        "deep": (Image.fromarray(grey.astype(np.uint16) * 257), np.dstack([grey] * 3)),
    }
    for name, (image, expected) in cases.items():
        image.save(tmp_path / f"{name}.png")
        with open_slide(tmp_path / f"{name}.png") as slide:
            np.testing.assert_array_equal(slide.levels[0][:], expected, err_msg=name)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_image_raises(noise_image: Pixels, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise_image).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SlideFormatError, match="truncated"):
        open_slide(path)


def test_float_image_is_refused_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "float.pfm"
    path.write_bytes(b"Pf\n4 4\n-1.0\n" + np.zeros(16, "<f4").tobytes())
    with pytest.raises(SlideFormatError, match="export"):
        open_slide(path)
