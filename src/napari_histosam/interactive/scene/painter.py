"""The current object on the screen: canvas tiles -> arrays for layers, changed in place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from histosam_core.geometry import Frame
from histosam_core.session.canvas.canvas import BACKGROUND_LOGIT, TILE_PX

if TYPE_CHECKING:
    from histosam_core.session import CanvasSnapshot

MAX_STAGE_PX = 2048
MARGIN_TILES = 8
BACKGROUND_HEAT = round(255 * float(expit(BACKGROUND_LOGIT)))

TileIndex = tuple[int, int]


class Stage:
    """A square of the pixel grid round the object, with room to grow on all sides.

    Tiles of a canvas never change, so what must be painted are the tiles that are not the same
    objects as last time: undo, redo, an edit and a click all cost the tiles they touched, whatever
    the size of the object. Beyond `MAX_STAGE_PX` it shows every second, fourth ... pixel.

    Parameters
    ----------
    canvas
        What it shows first.
    downsample
        Level-0 pixels along the side of a canvas pixel.

    Attributes
    ----------
    mask
        (H, W) uint8, 1 on the object.
    heat
        (H, W) uint8, the probability from 0 to 255; None until `add_heat`.
    frame
        Where the arrays' pixels lie over level 0.
    step
        1 where every canvas pixel is shown, 2 for every second one along both axes, ...
    """

    def __init__(self, canvas: CanvasSnapshot, downsample: float) -> None:
        at = np.array(list(_painted(canvas)) or [(0, 0)])
        low, high = at.min(axis=0), at.max(axis=0) + 1
        wanted = int((high - low).max()) + 2 * MARGIN_TILES
        side, step = MARGIN_TILES, 1
        while side < wanted:
            side *= 2
        while side * TILE_PX // step > MAX_STAGE_PX and step < TILE_PX:
            step *= 2
        x, y = (int(v) for v in (low + high - side) // 2)
        self.downsample, self.step = downsample, step
        self._first, self._side = (x, y), side
        origin_xy = x * TILE_PX * downsample, y * TILE_PX * downsample
        self.frame = Frame(origin_xy, (downsample * step, downsample * step))
        self.mask = np.zeros((side * TILE_PX // step, side * TILE_PX // step), np.uint8)
        self.heat: NDArray[np.uint8] | None = None
        self._canvas: CanvasSnapshot = {}
        self.update(canvas)

    def holds(self, canvas: CanvasSnapshot) -> bool:
        """Whether the whole object on a canvas lies on the stage."""
        return all(self._is_inside(index) for index in _painted(canvas))

    def update(self, canvas: CanvasSnapshot) -> bool:
        """Bring the arrays up to date; return whether anything changed."""
        old, self._canvas = self._canvas, canvas
        changed = [index for index, tile in canvas.items() if old.get(index) is not tile]
        changed += [index for index in old if index not in canvas]
        changed = [index for index in changed if self._is_inside(index)]
        self._paint(changed)
        return bool(changed)

    def add_heat(self) -> NDArray[np.uint8]:
        """Show the probability from now on; return `heat`."""
        self.heat = np.zeros_like(self.mask)
        self._paint(index for index in self._canvas if self._is_inside(index))
        return self.heat

    def _is_inside(self, index: TileIndex) -> bool:
        return all(0 <= i - first < self._side for i, first in zip(index, self._first, strict=True))

    def _paint(self, tiles: Iterable[TileIndex]) -> None:
        s, px = self.step, TILE_PX // self.step
        for index in tiles:
            x, y = ((i - first) * px for i, first in zip(index, self._first, strict=True))
            tile = self._canvas.get(index)
            self.mask[y : y + px, x : x + px] = 0 if tile is None else tile.mask[::s, ::s]
            if self.heat is not None:
                heat: Any = BACKGROUND_HEAT
                if tile is not None:
                    heat = np.rint(255 * expit(tile.logits[::s, ::s]))
                self.heat[y : y + px, x : x + px] = heat


def _painted(canvas: CanvasSnapshot) -> Iterable[TileIndex]:
    """Yield the tiles that the object covers in part."""
    return (index for index, tile in canvas.items() if tile.area_px)
