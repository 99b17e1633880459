"""The current object on the screen: canvas tiles -> one Labels layer, changed in place.

Tiles of a canvas never change, so what must be painted are the tiles that are not the same objects
as last time: undo, redo, an edit and a click all cost the tiles they touched, whatever the size of
the object. The layer covers a stage, a square of the grid round the object; when the object grows
out of it the stage grows, and beyond `MAX_STAGE_PX` it shows every second, fourth ... pixel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from histosam_core.geometry import Frame
from histosam_core.session.canvas.canvas import BACKGROUND_LOGIT, TILE_PX

if TYPE_CHECKING:
    from histosam_core.session import CanvasSnapshot, Tile

__all__ = ["MAX_STAGE_PX", "Stage", "changed_tiles", "heat_of", "paint", "stage_for"]

MAX_STAGE_PX = 2048
MARGIN_TILES = 8
BACKGROUND_HEAT = round(255 * float(expit(BACKGROUND_LOGIT)))

TileIndex = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Stage:
    """The square of grid pixels that is shown.

    Parameters
    ----------
    first_tile_xy
        Canvas tile (x, y) at its upper-left corner.
    side_tiles
        Its side in canvas tiles.
    step
        1 shows every grid pixel, 2 every second one along both axes, ... at most `TILE_PX`.
    """

    first_tile_xy: TileIndex
    side_tiles: int
    step: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of what is shown."""
        side = self.side_tiles * TILE_PX // self.step
        return side, side

    def frame(self, grid_downsample: float) -> Frame:
        """Return where it lies over level 0, of a grid with so many level-0 pixels a pixel."""
        x, y = (t * TILE_PX * grid_downsample for t in self.first_tile_xy)
        d = grid_downsample * self.step
        return Frame((x, y), (d, d))

    def holds(self, tiles: Iterable[TileIndex]) -> bool:
        """Whether all these canvas tiles lie on it."""
        x0, y0 = self.first_tile_xy
        side = self.side_tiles
        return all(0 <= x - x0 < side and 0 <= y - y0 < side for x, y in tiles)

    def place(self, tile: TileIndex) -> tuple[slice, slice]:
        """Return where a canvas tile lies in what is shown: rows, columns."""
        px = TILE_PX // self.step
        x, y = ((t - first) * px for t, first in zip(tile, self.first_tile_xy, strict=True))
        return slice(y, y + px), slice(x, x + px)


def stage_for(tiles: Iterable[TileIndex]) -> Stage:
    """Return a stage that holds these canvas tiles, with room to grow on all sides."""
    at = np.array(list(tiles))
    low, high = at.min(axis=0), at.max(axis=0) + 1
    wanted = int((high - low).max()) + 2 * MARGIN_TILES
    side = MARGIN_TILES
    while side < wanted:
        side *= 2
    step = 1
    while side * TILE_PX // step > MAX_STAGE_PX and step < TILE_PX:
        step *= 2
    first = (low + high - side) // 2
    return Stage((int(first[0]), int(first[1])), side, step)


def changed_tiles(old: CanvasSnapshot, new: CanvasSnapshot) -> list[TileIndex]:
    """Return the tiles that differ between two snapshots of a canvas."""
    changed = [index for index, tile in new.items() if old.get(index) is not tile]
    changed += [index for index in old if index not in new]
    return changed


def paint(
    mask: NDArray[np.uint8],
    stage: Stage,
    snapshot: CanvasSnapshot,
    tiles: Iterable[TileIndex],
    heat: NDArray[np.uint8] | None = None,
) -> None:
    """Bring these tiles of what is shown up to date, in place.

    Parameters
    ----------
    mask
        (H, W) of the stage: 1 on the object.
    stage
        Holds all the tiles.
    snapshot
        The canvas as it is to be seen.
    tiles
        Which of them to paint.
    heat
        (H, W) too: the probability, 0 to 255; None where it is not shown.
    """
    s = stage.step
    for index in tiles:
        rows, columns = stage.place(index)
        tile = snapshot.get(index)
        mask[rows, columns] = 0 if tile is None else tile.mask[::s, ::s]
        if heat is not None:
            heat[rows, columns] = BACKGROUND_HEAT if tile is None else heat_of(tile)[::s, ::s]


def heat_of(tile: Tile) -> Any:
    """Return a tile's probability, (64, 64) uint8, 255 for 1."""
    return np.rint(255 * expit(tile.logits)).astype(np.uint8)
