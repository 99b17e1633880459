from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from histosam_core.model.focalclick.focus import (
    box_in_input,
    expanded,
    focus_crop,
    mask_box,
    progressive_merge,
)

HW = (60, 80)
BOUNDS = (0, 60, 0, 80)


def block(rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.bool_]:
    """True from the first row and column up to, and without, the second."""
    mask = np.zeros(HW, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


EMPTY = np.zeros(HW, bool)


@pytest.mark.real_slide
def test_functions_are_those_of_focalclick(data_dir: Path) -> None:
    stored = np.load(data_dir / "reference" / "focal_eval.npz")
    names = [k.removesuffix("_args") for k in stored if k.endswith("_args")]
    assert len(names) == 20
    for name in names:
        height, width, y, x, *bounds = stored[f"{name}_args"].tolist()
        ratio = float(stored[f"{name}_ratio"])
        previous, mask, merged = (
            np.unpackbits(stored[f"{name}_{kind}"], count=height * width)
            .reshape(height, width)
            .astype(bool)
            for kind in ("prev", "cur", "progressive_merge")
        )
        y1, y2, x1, x2 = bounds
        crop = focus_crop(mask, previous, (y1, y2, x1, x2), (y, x), ratio)
        assert crop == tuple(stored[f"{name}_focus_cropv1"])
        assert mask_box(mask) == tuple(stored[f"{name}_bbox_cur"])
        box = expanded(mask_box(mask), ratio, (height, width))
        assert box == tuple(stored[f"{name}_expand"])
        np.testing.assert_array_equal(progressive_merge(mask, previous, (y, x)), merged)


def test_first_answer_is_refined_round_the_object() -> None:
    # Rows 20..29, centre 24.5, height 14; columns 40..59, centre 49.5, width 28.
    assert focus_crop(block((20, 30), (40, 60)), EMPTY, BOUNDS, (0, 0), 1.4) == (17, 31, 35, 63)


def test_later_answers_are_refined_round_the_change_under_the_click() -> None:
    previous = block((10, 40), (10, 40))
    mask = previous | block((10, 40), (40, 70)) | block((50, 60), (0, 10))
    # The component is rows 10..39, columns 40..69.
    assert focus_crop(mask, previous, BOUNDS, (20, 50), 1.0) == (9, 39, 39, 69)


def test_small_change_is_seen_from_the_click() -> None:
    previous = block((10, 40), (10, 40))
    mask = previous | block((20, 24), (40, 44))
    # A fifth of 33 columns to each side of the click at (22, 42).
    assert focus_crop(mask, previous, BOUNDS, (22, 42), 1.0) == (14, 29, 34, 49)


def test_crop_stays_inside_its_bounds_and_is_never_empty() -> None:
    mask = block((20, 30), (40, 60))
    assert focus_crop(mask, EMPTY, (22, 60, 0, 50), (25, 45), 1.4) == (22, 31, 35, 50)
    assert focus_crop(mask, EMPTY, (0, 10, 0, 10), (5, 5), 1.4) == (0, 10, 0, 10)


@pytest.mark.parametrize("n", [0, 9])
def test_mask_of_few_pixels_tells_nothing(n: int) -> None:
    assert mask_box(block((5, 6), (10, 10 + n))) == BOUNDS


def test_box_of_a_mask_ends_with_its_last_pixels() -> None:
    assert mask_box(block((5, 8), (10, 20))) == (5, 7, 10, 19)


def test_box_in_the_input() -> None:
    assert box_in_input((20, 40, 30, 50), (10, 60, 20, 120), 100) == (20, 60, 10, 30)
    assert box_in_input((0, 99, 0, 199), (10, 60, 20, 120), 100) == (0, 100, 0, 100)


def test_merge_adds_the_change_under_a_click_on_background() -> None:
    previous = block((10, 20), (10, 20))
    mask = block((10, 20), (10, 25)) | block((40, 50), (40, 50))
    merged = progressive_merge(mask, previous, (15, 22))
    np.testing.assert_array_equal(merged, block((10, 20), (10, 25)))


def test_merge_removes_the_change_under_a_click_on_the_mask() -> None:
    previous = block((10, 20), (10, 25)) | block((40, 50), (40, 50))
    merged = progressive_merge(EMPTY, previous, (45, 45))
    np.testing.assert_array_equal(merged, block((10, 20), (10, 25)))


def test_merge_takes_all_that_is_unchanged_where_the_click_changed_nothing() -> None:
    mask, previous = block((10, 20), (10, 20)), block((10, 20), (15, 25))
    np.testing.assert_array_equal(
        progressive_merge(mask, previous, (12, 17)), block((10, 20), (20, 25))
    )


@given(st.integers(0, 2**32 - 1), st.integers(0, 59), st.integers(0, 79))
def test_crop_is_whole_numbers_within_bounds(seed: int, y: int, x: int) -> None:
    rng = np.random.default_rng(seed)
    mask, previous = (rng.random((2, *HW)) < rng.random((2, 1, 1)) ** 3).astype(bool)
    (y1, y2), (x1, x2) = (sorted(rng.choice(n + 1, 2, replace=False).tolist()) for n in HW)
    crop = focus_crop(mask, previous, (y1, y2, x1, x2), (y, x), 1.4)
    assert all(isinstance(end, int) for end in crop)
    assert y1 <= crop[0] < crop[1] <= y2
    assert x1 <= crop[2] < crop[3] <= x2
