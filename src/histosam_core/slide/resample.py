"""A level's pixels on another grid: averaged by area going down, interpolated linearly going up.

Both kernels are separable and their weights sum to one. At the same scale they agree (a shift by
part of a pixel mixes two neighbours), so the choice changes nothing abruptly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_OUT_BLOCK = 1024
_SOURCE_BLOCK = 1024
_SAME = 1e-3  # pixels by which a grid may be off and still count as the level's own

ReadSource = Callable[[int, int, int, int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class AxisGrid:
    """The `count` output pixels along one axis, in corner coordinates of the source axis.

    Output pixel i covers ``[start + i * step, start + (i + 1) * step)``; source pixel j covers
    ``[j, j + 1)``.
    """

    start: float
    step: float
    count: int

    @property
    def whole_offset(self) -> int | None:
        """The first source pixel when the grids coincide, so that nothing need be resampled."""
        offset = round(self.start)
        same_step = abs(self.step - 1) * self.count < _SAME
        return offset if same_step and abs(self.start - offset) < _SAME else None

    def part(self, first: int, count: int) -> AxisGrid:
        """`count` output pixels from `first` on."""
        return AxisGrid(self.start + first * self.step, self.step, count)

    @property
    def source_span(self) -> tuple[int, int]:
        """First source pixel used, and one past the last."""
        if self.step >= 1:
            return (
                math.floor(self.start),
                math.ceil(self.start + self.count * self.step),
            )
        centre = self.start + self.step / 2 - 0.5
        return math.floor(centre), math.floor(centre + (self.count - 1) * self.step) + 2

    def weights(self, first: int, count: int) -> Any:
        """Share of source pixels ``first .. first + count`` in each output pixel.

        A (self.count, count) float32 sparse matrix; over all source pixels each row sums to one.
        """
        from scipy.sparse import csr_array

        i = np.arange(self.count)
        if self.step >= 1:
            low = self.start + i * self.step
            taps = math.ceil(self.step) + 1
            j = np.floor(low).astype(np.int64)[:, None] + np.arange(taps)
            covered = np.minimum(j + 1, (low + self.step)[:, None]) - np.maximum(j, low[:, None])
            weight = np.maximum(covered, 0) / self.step
        else:
            centre = self.start + (i + 0.5) * self.step - 0.5
            j = np.floor(centre).astype(np.int64)[:, None] + np.arange(2)
            weight = 1 - np.abs(centre[:, None] - j)
        row = np.broadcast_to(i[:, None], j.shape)
        held = (weight > 0) & (j >= first) & (j < first + count)
        entries = weight[held].astype(np.float32), (row[held], j[held] - first)
        return csr_array(entries, shape=(self.count, count))


def resample(read: ReadSource, x: AxisGrid, y: AxisGrid) -> NDArray[np.uint8]:
    """Read a (y.count, x.count, 3) uint8 grid of pixels from a source of another scale.

    ``read(x, y, w, h)`` returns (h, w, 3) uint8 source pixels, white beyond the slide. It is
    called for blocks of the source, so memory does not grow with the scale.
    """
    x0, y0 = x.whole_offset, y.whole_offset
    if x0 is not None and y0 is not None:
        return read(x0, y0, x.count, y.count)
    image = np.empty((y.count, x.count, 3), np.uint8)
    for top, height in _blocks(0, y.count, _OUT_BLOCK):
        for left, width in _blocks(0, x.count, _OUT_BLOCK):
            block = _resample_block(read, x.part(left, width), y.part(top, height))
            image[top : top + height, left : left + width] = block
    return image


def _resample_block(read: ReadSource, x: AxisGrid, y: AxisGrid) -> NDArray[np.uint8]:
    total = np.zeros((y.count, x.count, 3), np.float32)
    for source_y, h in _blocks(*y.source_span, _SOURCE_BLOCK):
        rows = _touched(y, source_y, h)
        for source_x, w in _blocks(*x.source_span, _SOURCE_BLOCK):
            columns = _touched(x, source_x, w)
            source = read(source_x, source_y, w, h)
            some_y, some_x = y.part(*rows), x.part(*columns)
            down = some_y.weights(source_y, h) @ source.reshape(h, w * 3).astype(np.float32)
            turned = np.ascontiguousarray(down.reshape(-1, w, 3).swapaxes(0, 1))
            both = some_x.weights(source_x, w) @ turned.reshape(w, -1)
            total[rows[0] : sum(rows), columns[0] : sum(columns)] += both.reshape(
                some_x.count, some_y.count, 3
            ).swapaxes(0, 1)
    return np.rint(np.clip(total, 0, 255)).astype(np.uint8)


def _blocks(first: int, end: int, length: int) -> Iterator[tuple[int, int]]:
    for start in range(first, end, length):
        yield start, min(length, end - start)


def _touched(grid: AxisGrid, first: int, count: int) -> tuple[int, int]:
    """First output pixel that source pixels ``first .. first + count`` reach, and how many."""
    low = math.floor((first - 1 - grid.start) / grid.step) - 1
    high = math.ceil((first + count + 1 - grid.start) / grid.step) + 1
    low, high = max(low, 0), min(high, grid.count)
    return low, max(high - low, 0)
