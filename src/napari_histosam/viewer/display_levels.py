"""The levels that a slide is shown at, and their tiles: the file's own and averaged ones between.

napari shows the coarsest level that has as many pixels as the screen, so with levels a factor 4
apart a view may hold 16 times the pixels that it needs. Between levels more than 2 apart come
levels made by averaging, and above the last as many as it takes until one is small.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import SlideFormatError

if TYPE_CHECKING:
    from histosam_core.slide import Level, Slide

OVERVIEW_PX = 1500
"""Greatest side of the coarsest level."""
DAMAGED = 190
"""The grey of pixels whose stored bytes are damaged."""

_TILE_PX = 512
_AVERAGED_TILE_PX = 256
_SOURCE_TILE_PX = 2048
_BAND_PX = 4 * 2**20

Pixels = NDArray[np.uint8]
Rectangle = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class DisplayLevel:
    """A level as it is shown."""

    source: Level  # the file's level it is made from
    # How many pixels of the source, along x and y, one pixel is the mean of; 1: the file's own.
    factor: int
    size_wh: tuple[int, int]  # width and height in its own pixels; a last, incomplete pixel counts
    tile_wh: tuple[int, int]  # width and height of the pieces that it is loaded in

    @property
    def n_source_px(self) -> int:
        """Pixels of the file to read for the whole level."""
        return math.prod(self.source.size_wh)

    def tiles(self) -> Iterator[tuple[int, int]]:
        """Yield (column, row) of every tile, row by row."""
        across, down = (-(-s // t) for s, t in zip(self.size_wh, self.tile_wh, strict=True))
        for row in range(down):
            for column in range(across):
                yield column, row

    def bounds(self, column: int, row: int) -> Rectangle:
        """Return a tile's x, y, width and height; those at the edge are smaller."""
        (tile_w, tile_h), (width, height) = self.tile_wh, self.size_wh
        x, y = column * tile_w, row * tile_h
        return x, y, min(tile_w, width - x), min(tile_h, height - y)

    def read(self, x: int, y: int, w: int, h: int, damage: list[str] | None = None) -> Pixels:
        """Return (h, w, 3) uint8, a rectangle inside the level.

        Parameters
        ----------
        x, y, w, h
            In the level's own pixels.
        damage
            Gets a message for each part that is damaged, which is then shown grey.

        Raises
        ------
        SlideFormatError
            Stored bytes in it are damaged, and no list takes the message.
        """

        def stored(x: int, y: int, w: int, h: int) -> Pixels:
            if damage is None:
                return self.source.read((x, y), (w, h))
            return _read_forgiving(self.source, (x, y, w, h), damage)

        factor = self.factor
        if factor == 1:
            return stored(x, y, w, h)
        width, height = self.source.size_wh
        left, right = x * factor, min((x + w) * factor, width)
        rows = max(1, _BAND_PX // ((right - left) * factor))
        averaged = np.empty((h, w, 3), np.uint8)
        for top in range(0, h, rows):
            bottom = min(top + rows, h)
            y0, y1 = (y + top) * factor, min((y + bottom) * factor, height)
            _average(stored(left, y0, right - left, y1 - y0), averaged[top:bottom], factor)
        return averaged


def plan_levels(slide: Slide) -> tuple[DisplayLevel, ...]:
    """Return the levels to show a slide at, finest first, each at most about 2 from the next.

    The last is at most `OVERVIEW_PX` a side; coarser ones in the file are left out.
    """
    planned: list[DisplayLevel] = []
    for level, coarser in zip(slide.levels, (*slide.levels[1:], None), strict=True):
        ratio = math.inf if coarser is None else coarser.downsample / level.downsample
        factor = 1
        while factor == 1 or 1.5 * factor < ratio:
            planned.append(_display_level(level, factor))
            if max(planned[-1].size_wh) <= OVERVIEW_PX:
                return tuple(planned)
            factor *= 2
    return tuple(planned)


def _display_level(level: Level, factor: int) -> DisplayLevel:
    width, height = (-(-side // factor) for side in level.size_wh)
    tile_wh = level.layout.tile_wh
    if factor > 1:
        side = max(16, min(_AVERAGED_TILE_PX, _SOURCE_TILE_PX // factor))
        tile_wh = side, side
    elif min(tile_wh) < 128 or max(tile_wh) > 1024:  # strips, or tiles too large to wait for
        tile_wh = _TILE_PX, _TILE_PX
    return DisplayLevel(level, factor, (width, height), tile_wh)


def _average(source: Pixels, into: Pixels, factor: int) -> None:
    """Write the mean of each factor x factor pixels; what lacks at the far edges is repeated."""
    h, w = into.shape[:2]
    below, right = h * factor - source.shape[0], w * factor - source.shape[1]
    if below or right:
        source = cv2.copyMakeBorder(source, 0, below, 0, right, cv2.BORDER_REPLICATE)
    into[:] = cv2.resize(source, (w, h), interpolation=cv2.INTER_AREA)


def _read_forgiving(level: Level, at: Rectangle, messages: list[str]) -> Pixels:
    x, y, w, h = at
    try:
        return level.read((x, y), (w, h))
    except SlideFormatError as error:
        messages.append(str(error))
    tile_w, tile_h = level.layout.tile_wh
    image = np.full((h, w, 3), DAMAGED, np.uint8)
    if x // tile_w == (x + w - 1) // tile_w and y // tile_h == (y + h - 1) // tile_h:
        return image
    for row in range(y // tile_h, (y + h - 1) // tile_h + 1):
        y0, y1 = max(y, row * tile_h), min(y + h, (row + 1) * tile_h)
        for column in range(x // tile_w, (x + w - 1) // tile_w + 1):
            x0, x1 = max(x, column * tile_w), min(x + w, (column + 1) * tile_w)
            try:
                piece = level.read((x0, y0), (x1 - x0, y1 - y0))
            except SlideFormatError:
                continue
            image[y0 - y : y1 - y, x0 - x : x1 - x] = piece
    return image
