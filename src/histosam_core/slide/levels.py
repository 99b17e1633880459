"""The levels of a slide as arrays, and which of them serves a resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from histosam_core.geometry import Frame
from histosam_core.slide.colour import WHITE

if TYPE_CHECKING:
    from histosam_core.slide.readers import LevelLayout, Reader

_COARSER = 1.05  # how much coarser than asked for a level may be


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One resolution of a slide: an array (H, W, 3) uint8 that is read where it is indexed.

    Parameters
    ----------
    index
        0 is the finest.
    size_wh
        Width and height in the level's own pixels.
    downsample_xy
        Level-0 pixels per level pixel, along x and y. See `level_downsample`.
    layout
        How the level is stored.
    reader
        The open file.
    """

    index: int
    size_wh: tuple[int, int]
    downsample_xy: tuple[float, float]
    layout: LevelLayout
    reader: Reader

    @property
    def downsample(self) -> float:
        """Level-0 pixels per level pixel, the mean of x and y."""
        return sum(self.downsample_xy) / 2

    @property
    def frame(self) -> Frame:
        """The level's pixel grid over level 0."""
        return Frame(origin_xy=(0.0, 0.0), downsample=self.downsample_xy)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return self.size_wh[1], self.size_wh[0], 3

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Always uint8."""
        return np.dtype(np.uint8)

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    @property
    def size(self) -> int:
        """Number of samples, H * W * 3."""
        return math.prod(self.shape)

    def read(self, location_xy: tuple[int, int], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
        """Read a rectangle in the level's own pixels.

        Parameters
        ----------
        location_xy
            Its upper-left pixel (x, y); may lie outside the level.
        size_wh
            Width and height in pixels.

        Returns
        -------
        (h, w, 3) uint8 RGB, white outside the level. A new array.
        """
        (x, y), (w, h) = location_xy, size_wh
        x0, x1 = max(x, 0), min(x + w, self.size_wh[0])
        y0, y1 = max(y, 0), min(y + h, self.size_wh[1])
        if (x0, y0, x1, y1) == (x, y, x + w, y + h):
            return self.reader.read(self.index, x, y, w, h)
        image = np.full((h, w, 3), WHITE, np.uint8)
        if x0 < x1 and y0 < y1:
            inside = self.reader.read(self.index, x0, y0, x1 - x0, y1 - y0)
            image[y0 - y : y1 - y, x0 - x : x1 - x] = inside
        return image

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Index like a NumPy array; whole numbers, slices and an ellipsis on the first two axes."""
        rows, columns, rest = split_key(key, self.ndim)
        (y, h, row_key), (x, w, column_key) = (
            span_of(rows, self.shape[0]),
            span_of(columns, self.shape[1]),
        )
        if h == 0 or w == 0:
            block = np.empty((h, w, 3), np.uint8)
        else:
            block = self.reader.read(self.index, x, y, w, h)
        return np.asarray(block[(row_key, column_key, *rest)])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole level."""
        return np.asarray(self[:], dtype=dtype)

    def __len__(self) -> int:
        return self.shape[0]


def level_downsample(size_0: int, size: int) -> float:
    """Level-0 pixels per level pixel, from the two lengths of one axis.

    Writers shrink by a whole factor and cut or pad the last, incomplete pixel: 4001 pixels become
    2000, although 4001 / 2000 = 2.0005. Taking the quotient would shift content by up to a pixel at
    the far edge, so a length that a whole factor explains (to within one pixel) has that factor;
    where several do, as on a tiny level, a power of two is the likeliest.
    """
    quotient = max(1.0, size_0 / size)
    for whole in (2 ** round(math.log2(quotient)), round(quotient)):
        if abs(size_0 / whole - size) < 1:
            return float(whole)
    return quotient


def make_levels(reader: Reader) -> tuple[Level, ...]:
    """Return the levels of an open file, finest first."""
    width, height = reader.layouts[0].size_wh
    levels = []
    for index, layout in enumerate(reader.layouts):
        dx = level_downsample(width, layout.size_wh[0])
        dy = level_downsample(height, layout.size_wh[1])
        # A short side of a tiny level is explained by many factors: trust the long side.
        if dx != dy and min(layout.size_wh) < 64:
            dx = dy = dx if width >= height else dy
        levels.append(Level(index, layout.size_wh, (dx, dy), layout, reader))
    return tuple(levels)


def best_level(levels: Sequence[Level], downsample: float) -> Level:
    """Return the coarsest level that holds the detail asked for.

    Parameters
    ----------
    levels
        Finest first.
    downsample
        Level-0 pixels per pixel wanted. A level may be coarser by a twentieth: enlarging by a few
        per cent loses nothing that the eye sees and saves reading the level below.
    """
    fit = [level for level in levels if level.downsample <= downsample * _COARSER]
    return max(fit, key=lambda level: level.downsample) if fit else levels[0]


def split_key(key: Any, ndim: int) -> tuple[Any, Any, tuple[Any, ...]]:
    """Split the index of an array of `ndim` axes into rows, columns and the rest.

    An ellipsis is resolved; IndexError where there are more keys than axes.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in [k for k in keys if not isinstance(k, np.ndarray)]:
        at = next(i for i, k in enumerate(keys) if k is Ellipsis)
        keys[at : at + 1] = [slice(None)] * (ndim - len(keys) + 1)
    if len(keys) > ndim:
        raise IndexError(f"a level has {ndim} axes, {len(keys)} were indexed")
    keys += [slice(None)] * (2 - len(keys))
    return keys[0], keys[1], tuple(keys[2:])


def span_of(key: Any, length: int) -> tuple[int, int, Any]:
    """Return the first pixel and the number of pixels to read, and the key into what is read.

    `key` is a slice, or a whole number; IndexError where that lies outside an axis of `length`.
    """
    if isinstance(key, slice):
        picked = range(*key.indices(length))
        if len(picked) == 0:
            return 0, 0, slice(None)
        first, last = min(picked[0], picked[-1]), max(picked[0], picked[-1])
        step = slice(None, None, picked.step)
        return first, last - first + 1, step
    index = int(key.__index__())
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of bounds for an axis of {length}")
    return index % length, 1, 0
