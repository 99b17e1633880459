"""The resampling kernel by itself."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from histosam_core.slide import resample as resample_module
from histosam_core.slide.resample import AxisGrid, resample

starts = st.floats(-50, 50, allow_nan=False)
steps = st.floats(0.2, 9, allow_nan=False)


def reader_of(image: NDArray[np.uint8]):  # type: ignore[no-untyped-def]
    """Read from an array laid on an endless grid that repeats its border."""

    def read(x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        rows = np.clip(np.arange(y, y + h), 0, image.shape[0] - 1)
        columns = np.clip(np.arange(x, x + w), 0, image.shape[1] - 1)
        return image[np.ix_(rows, columns)]

    return read


@given(start=starts, step=steps, count=st.integers(1, 20))
def test_weights_sum_to_one_and_centre_on_the_pixel(start: float, step: float, count: int) -> None:
    grid = AxisGrid(start, step, count)
    first, end = grid.source_span
    weights = grid.weights(first, end - first).toarray()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    centres = weights @ (np.arange(first, end) + 0.5)
    wanted = start + (np.arange(count) + 0.5) * step
    # An area's partial pixels count at their centres: off by an eighth of a source pixel at most.
    assert np.abs(centres - wanted).max() <= 0.126 / max(step, 1) + 1e-3


@given(start=starts, step=steps, cut=st.integers(1, 60))
def test_weights_of_two_blocks_add_up(start: float, step: float, cut: int) -> None:
    grid = AxisGrid(start, step, 12)
    first, end = grid.source_span
    cut = min(cut, end - first - 1) if end - first > 1 else 0
    whole = grid.weights(first, end - first).toarray()
    parts = [grid.weights(first, cut).toarray(), grid.weights(first + cut, end - first - cut)]
    np.testing.assert_array_equal(np.hstack([parts[0], parts[1].toarray()]), whole)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_whole_factor_equals_area_averaging(rng: np.random.Generator, factor: int) -> None:
    image = rng.integers(0, 256, (60, 96, 3), dtype=np.uint8)
    grid = AxisGrid(0, factor, 96 // factor), AxisGrid(0, factor, 60 // factor)
    expected = cv2.resize(image, (96 // factor, 60 // factor), interpolation=cv2.INTER_AREA)
    assert np.abs(resample(reader_of(image), *grid).astype(int) - expected).max() <= 1


def test_small_blocks_give_the_same_answer(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = rng.integers(0, 256, (80, 90, 3), dtype=np.uint8)
    for step in (0.7, 1.0, 1.3, 4.6):
        grids = AxisGrid(3.3, step, 15), AxisGrid(-2.6, step, 13)
        whole = resample(reader_of(image), *grids)
        with monkeypatch.context() as patch:
            patch.setattr(resample_module, "_SOURCE_BLOCK", 7)
            patch.setattr(resample_module, "_OUT_BLOCK", 4)
            parts = resample(reader_of(image), *grids)
        assert np.abs(parts.astype(int) - whole).max() <= 1


def test_half_pixel_shift_mixes_two_neighbours() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 4] = 200
    shifted = resample(reader_of(image), AxisGrid(0.5, 1, 6), AxisGrid(0, 1, 4))
    np.testing.assert_array_equal(shifted[0, :, 0], [0, 0, 0, 100, 100, 0])


def test_same_grid_is_copied_in_one_read() -> None:
    calls = []

    def read(*rectangle: int) -> NDArray[np.uint8]:
        calls.append(rectangle)
        return np.zeros((rectangle[3], rectangle[2], 3), np.uint8)

    resample(read, AxisGrid(5 + 1e-9, 1 + 1e-10, 3000), AxisGrid(-7, 1, 20))
    assert calls == [(5, -7, 3000, 20)]
