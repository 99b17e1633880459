"""Slides from arrays: every kind of image becomes the RGB it shows, and has a name of its own."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import histosam_core as hs
from histosam_core.errors import ConfigError, ImageError, MissingMppError, SlideError
from histosam_core.slide import open_array


@pytest.fixture
def rgb(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (70, 90, 3), np.uint8)


def whole(slide: hs.slide.Slide) -> np.ndarray:
    return np.asarray(slide.levels[0])


def test_rgb_comes_back_as_it_is(rgb: np.ndarray) -> None:
    slide = hs.open_array(rgb, name="mine", mpp=0.5)
    assert (slide.name, slide.size_wh, slide.mpp) == ("mine", (90, 70), 0.5)
    assert slide.mpp_source == "stated by the user"
    np.testing.assert_array_equal(whole(slide), rgb)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
def test_grey_shows_alike_in_all_colours(shape: tuple[int, ...]) -> None:
    grey = np.arange(35, dtype=np.uint8).reshape(shape)
    shown = whole(open_array(grey, name="grey"))
    assert shown.shape == (5, 7, 3)
    for channel in range(3):
        np.testing.assert_array_equal(shown[..., channel], grey.reshape(5, 7))


def test_transparent_pixels_show_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 127]]], np.uint8)
    shown = whole(open_array(rgba, name="rgba"))
    np.testing.assert_array_equal(shown, [[[10, 20, 30], [255, 255, 255], [128, 128, 128]]])


@pytest.mark.parametrize(
    ("samples", "value_range", "expected"),
    [
        (np.array([[0, 32768, 65535]], np.uint16), None, [0, 128, 255]),
        (np.array([[50, 100, 300, 900]], np.uint16), (100, 300), [0, 0, 255, 255]),
        (np.array([[False, True]]), None, [0, 255]),
        (np.array([[False, True]]), (0, 2), [0, 255]),
        (np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]]), (0, 1), [0, 0, 128, 255, 255]),
        (np.array([[np.nan, np.inf, -np.inf]], np.float32), (0, 1), [0, 255, 0]),
        (np.array([[-100, 0, 100]], np.int16), (-100, 100), [0, 128, 255]),
        (np.array([[0, 64, 128]], np.uint8), (0, 128), [0, 128, 255]),
    ],
)
def test_samples_of_any_depth_show_by_their_range(
    samples: np.ndarray, value_range: Any, expected: list[int]
) -> None:
    shown = whole(open_array(samples, name="deep", value_range=value_range))
    np.testing.assert_array_equal(shown[0, :, 0], expected)


def test_floating_point_alpha_is_laid_over_white() -> None:
    rgba = np.array([[[0, 0, 0, 0.5], [1, 1, 1, 0.0], [0.5, 0.5, 0.5, 1.0]]])
    shown = whole(open_array(rgba, name="rgba", value_range=(0, 1)))
    np.testing.assert_array_equal(shown[0, :, 0], [127, 255, 128])


def test_lazy_arrays_are_read_where_they_are_indexed(rgb: np.ndarray) -> None:
    read: list[tuple[slice, ...]] = []

    class Watched:
        shape, dtype, ndim = (70_000, 90_000, 3), np.dtype(np.uint8), 3

        def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
            read.append(key)
            return np.zeros((key[0].stop - key[0].start, key[1].stop - key[1].start, 3), np.uint8)

    slide = open_array(Watched(), name="watched")
    assert sum((k[0].stop - k[0].start) * (k[1].stop - k[1].start) for k in read) <= 64 * 32 * 32
    read.clear()
    slide.read_level(0, (1000, 2000), (30, 20))
    assert read == [(slice(2000, 2020), slice(1000, 1030))]


def test_dask_and_zarr_show_the_same(rgb: np.ndarray) -> None:
    chunked = da.from_array(rgb, chunks=(32, 40, 3))
    stored = zarr.array(rgb, chunks=(32, 40, 3))
    for array in (chunked, stored):
        slide = open_array(array, name="lazy")
        assert slide.levels[0].layout.tile_wh == (40, 32)
        np.testing.assert_array_equal(whole(slide), rgb)


def test_a_pyramid_has_its_levels(rgb: np.ndarray) -> None:
    slide = open_array([rgb, rgb[::2, ::2], rgb[::4, ::4]], name="pyramid", mpp=0.25)
    assert [level.size_wh for level in slide.levels] == [(90, 70), (45, 35), (23, 18)]
    assert [level.downsample for level in slide.levels] == [1, 2, 4]
    np.testing.assert_array_equal(slide.levels[1][:], rgb[::2, ::2])
    region = hs.Region((0, 0), (20, 10), mpp=1.0)
    np.testing.assert_array_equal(slide.read_region(region), rgb[:40:4, :80:4])


def test_what_is_read_is_a_copy(rgb: np.ndarray) -> None:
    before = rgb.copy()
    slide = open_array(rgb, name="mine")
    slide.levels[0][:10, :10][:] = 0
    np.testing.assert_array_equal(rgb, before)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((4, 5, 6, 3), np.uint8), "4 axes"),
        (np.zeros((9, 5, 6), np.uint8), "a stack, or 6 channels; give one plane"),
        (np.zeros((3, 50, 60), np.uint8), "move them last"),
        (np.zeros((5, 6), np.complex64), "convert them to uint8"),
        (np.zeros((5, 6), np.float32), "pass value_range"),
        (np.zeros((5, 6), np.int16), "pass value_range"),
        (np.zeros(5, np.uint8), "1 axes"),
        ("image.png", "is a str, not an array"),
        ([], "has no levels"),
        ([np.zeros((5, 6), np.uint8), np.zeros((5, 6), np.uint8)], "do not shrink"),
        ([np.zeros((8, 8), np.uint8), np.zeros((4, 4), np.uint16)], "differ in channels or type"),
        ([np.zeros((8, 8), np.uint8), np.zeros((4, 4, 3), np.uint8)], "differ in channels"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_fix(array: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        open_array(array, name="wrong")
    assert "\n" not in str(caught.value)
    assert "wrong" in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"mpp": 0}, {"mpp": float("nan")}, {"value_range": (1, 1)}, {"value_range": (3, 1)}]
)
def test_wrong_settings_are_named(rgb: np.ndarray, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        open_array(rgb, name="mine", **wrong)


def test_without_mpp_the_message_says_how_to_state_it(rgb: np.ndarray) -> None:
    slide = open_array(rgb, name="mine")
    assert slide.mpp is None
    with pytest.raises(MissingMppError, match=r"open_array\(\.\.\., mpp=0\.5\)"):
        slide.read_region(hs.Region((0, 0), (5, 5), mpp=1.0))


def test_a_closed_one_cannot_be_read(rgb: np.ndarray) -> None:
    with open_array(rgb, name="mine") as slide:
        pass
    with pytest.raises(SlideError, match="open the array again"):
        slide.read_level(0, (0, 0), (5, 5))


def test_pickling_takes_the_pixels_along(rgb: np.ndarray) -> None:
    slide = open_array(rgb, name="mine", mpp=0.5)
    again = pickle.loads(pickle.dumps(slide))  # noqa: S301
    np.testing.assert_array_equal(whole(again), rgb)
    assert (again.name, again.mpp, again.fingerprint) == ("mine", 0.5, slide.fingerprint)


def test_its_pyramid_is_dask(rgb: np.ndarray) -> None:
    np.testing.assert_array_equal(open_array(rgb, name="mine").pyramid[0].compute(), rgb)


@given(at=st.tuples(st.integers(0, 69), st.integers(0, 89), st.integers(0, 2)))
def test_one_other_sample_is_another_fingerprint(at: tuple[int, int, int]) -> None:
    image = np.zeros((70, 90, 3), np.uint8)
    before = open_array(image, name="a").fingerprint
    image[at] = 1
    assert open_array(image, name="a").fingerprint != before


def test_fingerprints_tell_shape_type_and_range_apart_not_the_name() -> None:
    image = np.zeros((6, 8), np.uint8)
    kinds = [
        open_array(image, name="a"),
        open_array(image.reshape(8, 6), name="a"),
        open_array(image.astype(np.uint16), name="a"),
        open_array(image, name="a", value_range=(0, 7)),
    ]
    assert len({slide.fingerprint for slide in kinds}) == len(kinds)
    assert open_array(image, name="b").fingerprint == kinds[0].fingerprint


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    code = (
        "import numpy as np, histosam_core as hs;"
        "a = np.arange(60, dtype=np.uint8).reshape(4, 5, 3);"
        "print(hs.open_array(a, name='a').fingerprint)"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = open_array(np.arange(60, dtype=np.uint8).reshape(4, 5, 3), name="a").fingerprint
    assert told == {here}


def test_nearly_blank_arrays_that_differ_where_no_sample_lies_are_told_apart(tmp_path) -> None:
    """A needle biopsy on a large white slide: 64 samples may all show glass."""
    places = [(200, 200), (200, 700)]
    paths = [tmp_path / f"{number}.zarr" for number in range(2)]
    for (y, x), path in zip(places, paths, strict=True):
        stored = zarr.create_array(path, shape=(1100, 4000, 3), chunks=(275, 500, 3), dtype="u1")
        stored[:] = 255
        stored[y : y + 20, x : x + 20] = 40
    one, two = (open_array(zarr.open_array(path), name="a") for path in paths)
    blocks = [one.reader._arrays[0][:], two.reader._arrays[0][:]]
    assert not np.array_equal(*blocks)
    assert one.fingerprint != two.fingerprint
    assert open_array(zarr.open_array(paths[0]), name="b").fingerprint == one.fingerprint
    lazy = [open_array(da.from_array(block, chunks=500), name="a") for block in blocks]
    again = open_array(da.from_array(blocks[0], chunks=500), name="a")
    assert lazy[0].fingerprint != lazy[1].fingerprint
    assert again.fingerprint == lazy[0].fingerprint
