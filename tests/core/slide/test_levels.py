"""Levels as arrays; choosing a level."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from histosam_core.slide import best_level, open_slide
from histosam_core.slide.levels import level_downsample

Image = NDArray[np.uint8]
WriteTiff = Callable[..., Path]


def test_level_behaves_like_the_array_it_stands_for(
    noise_image: Image, write_tiff: WriteTiff
) -> None:
    with open_slide(write_tiff(noise_image)) as slide:
        level = slide.levels[0]
        assert level.shape == noise_image.shape
        assert level.ndim == 3
        assert level.dtype == np.uint8
        assert level.size == noise_image.size
        assert len(level) == len(noise_image)
        assert not hasattr(level, "chunks")
        keys = [
            np.s_[:],
            np.s_[10:50, 60:130],
            np.s_[10:50:3, ::7],
            np.s_[-20:, -30:-10, 1],
            np.s_[5],
            np.s_[5, 7],
            np.s_[-1, -1, -1],
            np.s_[..., 2],
            np.s_[3:9, ..., :2],
            np.s_[40:10:-4, ::-1],
            np.s_[10:10, 5:9],
            np.s_[250:9999, 390:9999],
        ]
        for key in keys:
            np.testing.assert_array_equal(level[key], noise_image[key], err_msg=str(key))
        np.testing.assert_array_equal(np.asarray(level), noise_image)
        for bad in (np.s_[301], np.s_[0, -404], np.s_[0, 0, 0, 0]):
            with pytest.raises(IndexError):
                level[bad]


def test_read_level_pads_with_white(noise_image: Image, write_tiff: WriteTiff) -> None:
    with open_slide(write_tiff(noise_image)) as slide:
        found = slide.read_level(0, (-3, 299), (10, 5))
        assert (slide.read_level(0, (5000, 0), (4, 4)) == 255).all()
    np.testing.assert_array_equal(found[:2, 3:], noise_image[299:, :7])
    assert (found[2:] == 255).all()
    assert (found[:, :3] == 255).all()


@given(size=st.integers(200, 200_000), factor=st.integers(1, 32), up=st.booleans())
def test_rounded_sizes_reveal_the_whole_factor(size: int, factor: int, up: bool) -> None:
    level = -(-size // factor) if up else size // factor
    if level > factor * factor:  # below that several factors explain the size
        assert level_downsample(size, level) == factor


def test_downsample_that_is_not_whole_is_kept() -> None:
    assert level_downsample(4001, 2000) == 2
    assert level_downsample(40_010, 20_000) == 2.0005
    assert level_downsample(1000, 400) == 2.5


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(0.3, 0), (1, 0), (1.8, 0), (1.95, 1), (2, 1), (2.0005, 1), (3.7, 1), (3.9, 2), (64, 2)],
)
def test_best_level_is_the_coarsest_with_enough_detail(
    noise_image: Image, write_tiff: WriteTiff, wanted: float, index: int
) -> None:
    with open_slide(write_tiff(noise_image, downsamples=(1, 2, 4))) as slide:
        assert best_level(slide.levels, wanted).index == index
