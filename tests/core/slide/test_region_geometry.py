"""Where a region's pixels lie: dots at known places, read at every kind of scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from histosam_core.geometry import Frame, Region
from histosam_core.slide import Slide, open_slide

from .conftest import DOT_SIGMA_PX, DOTS_XY

Image = NDArray[np.uint8]


def dots_in(image: Image, frame: Frame) -> list[tuple[float, float]]:
    """Level-0 centre of mass round every dot."""
    found = []
    for dot in DOTS_XY:
        column, row = frame.from_level0(dot)
        reach = 4.5 * DOT_SIGMA_PX / frame.downsample[0]
        x0, y0 = round(column - reach), round(row - reach)
        x1, y1 = round(column + reach) + 1, round(row + reach) + 1
        part = image[max(y0, 0) : y1, max(x0, 0) : x1, 0].astype(float)
        y, x = np.mgrid[
            max(y0, 0) : max(y0, 0) + part.shape[0], max(x0, 0) : max(x0, 0) + part.shape[1]
        ]
        centre = (x * part).sum() / part.sum(), (y * part).sum() / part.sum()
        found.append(frame.to_level0(centre))
    return found


def largest_shift(slide: Slide, factor: float, corner_xy: tuple[float, float]) -> float:
    assert slide.mpp is not None
    size = round(700 / factor) + 2, round(560 / factor) + 2
    region = Region(corner_xy, size, mpp=slide.mpp * factor)
    found = dots_in(slide.read_region(region), region.frame(slide.mpp))
    return float(np.abs(np.subtract(found, DOTS_XY)).max())


@pytest.mark.parametrize("corner_xy", [(0, 0), (3, 5), (-2.5, 1.25), (10.4, 7.7)])
@pytest.mark.parametrize("factor", [0.6, 1, 1.002, 1.5, 2, 2.0005, 3.97, 4, 5.3, 8])
def test_dots_stay_in_place_at_any_scale(
    dots_image: Image,
    write_tiff: Callable[..., Path],
    factor: float,
    corner_xy: tuple[float, float],
) -> None:
    # 701 x 563: the levels have 350 x 281 and 175 x 140 pixels, quotients 2.003 to 4.02
    with open_slide(write_tiff(dots_image, downsamples=(1, 2, 4))) as slide:
        assert largest_shift(slide, factor, corner_xy) < 0.1


@pytest.mark.parametrize("factor", [1, 2, 2.0005, 4, 5.3])
def test_dots_stay_in_place_without_a_pyramid(
    dots_image: Image, write_tiff: Callable[..., Path], factor: float
) -> None:
    with open_slide(write_tiff(dots_image)) as slide:
        assert largest_shift(slide, factor, (1.5, 2)) < 0.1


def test_dots_stay_in_place_on_a_level_that_no_whole_factor_explains(
    tmp_path: Path, dots_image: Image
) -> None:
    import cv2
    import tifffile

    reduced = cv2.resize(dots_image, (260, 209), interpolation=cv2.INTER_AREA)
    path = tmp_path / "odd.tif"
    with tifffile.TiffWriter(path) as tiff:
        for index, level in enumerate((dots_image, reduced)):
            tiff.write(
                level,
                photometric="rgb",
                tile=(64, 64),
                subfiletype=index,
                resolution=(20000, 20000),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    with open_slide(path) as slide:
        assert slide.levels[1].downsample_xy == pytest.approx((701 / 260, 563 / 209))
        for factor in (2.7, 3.1, 5.3):
            assert largest_shift(slide, factor, (0, 0)) < 0.15


def test_scaling_down_averages(write_tiff: Callable[..., Path]) -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    with open_slide(write_tiff(stripes)) as slide:
        for factor in (2.0, 5.3, 16.0):
            region = slide.read_region(Region((0, 0), (12, 12), mpp=0.5 * factor))
            assert np.abs(region.astype(int) - 100).max() <= 100 / factor


def test_neighbouring_regions_join_without_seam(
    noise_image: Image, write_tiff: Callable[..., Path]
) -> None:
    with open_slide(write_tiff(noise_image, downsamples=(1, 2))) as slide:
        whole = slide.read_region(Region((3, 4), (100, 60), mpp=1.3))
        step = 40 * 1.3 / 0.5
        left = slide.read_region(Region((3, 4), (40, 60), mpp=1.3))
        right = slide.read_region(Region((3 + step, 4), (60, 60), mpp=1.3))
    joined = np.concatenate([left, right], axis=1).astype(int)
    assert np.abs(joined - whole).max() <= 1
