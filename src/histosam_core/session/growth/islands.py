"""What of a mask hangs together with the places that were clicked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from histosam_core.session.canvas.canvas import TILE_PX, Tile

if TYPE_CHECKING:
    from histosam_core.session.canvas.canvas import Canvas

COARSE_PX = 8
"""Parts of a mask that come this near to each other count as one."""
TAKEN_AWAY_LOGIT = -1.0


def without_islands(canvas: Canvas, held: Canvas, kept: Sequence[tuple[float, float]]) -> Canvas:
    """Take away the parts of a mask that hold none of the grid pixels (x, y) that are kept.

    What is `held`, drawn by hand, stays, and so does what hangs together with it.
    """
    set_tiles = {index: tile for index, tile in canvas.tiles.items() if tile.area_px}
    if not set_tiles:
        return canvas
    per_tile = TILE_PX // COARSE_PX
    (left, top), (right, bottom) = np.min([*set_tiles], axis=0), np.max([*set_tiles], axis=0) + 1
    shape = ((bottom - top) * per_tile, (right - left) * per_tile)
    coarse, is_kept = np.zeros(shape, np.uint8), np.zeros(shape, np.bool_)
    for (tx, ty), tile in set_tiles.items():
        part = _part(tx - left, ty - top)
        squares = (per_tile, COARSE_PX, per_tile, COARSE_PX)
        coarse[part] = tile.mask.reshape(squares).any(axis=(1, 3))
        drawn = held.tiles.get((tx, ty))
        if drawn is not None:
            is_kept[part] = (drawn.depth > 0).reshape(squares).any(axis=(1, 3))
    for x, y in kept:
        column, row = int(x // COARSE_PX) - left * per_tile, int(y // COARSE_PX) - top * per_tile
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            is_kept[row, column] = True
    _, parts = cv2.connectedComponents(coarse, connectivity=8)
    stays = np.isin(parts, np.unique(parts[is_kept & (coarse > 0)]))
    tiles = dict(canvas.tiles)
    for (tx, ty), tile in set_tiles.items():
        here = stays[_part(tx - left, ty - top)]
        gone = np.kron(~here, np.ones((COARSE_PX, COARSE_PX), np.bool_)) & tile.mask
        if gone.any():
            logits = np.where(gone, np.float32(TAKEN_AWAY_LOGIT), tile.logits)
            tiles[tx, ty] = Tile.of(logits, tile.mask & ~gone, tile.depth.copy())
    return replace(canvas, tiles=tiles)


def _part(column: int, row: int) -> tuple[slice, slice]:
    per_tile = TILE_PX // COARSE_PX
    return (
        slice(row * per_tile, (row + 1) * per_tile),
        slice(column * per_tile, (column + 1) * per_tile),
    )
