"""The object's mask in slide coordinates: sparse tiles of logits, changed by whole windows.

Tiles of 64 px on the window grid are made where an answer first reaches them. Neither they nor a
canvas ever change: an answer makes a canvas that shares with the one before all tiles that it does
not reach.

How an answer replaces what was there. In the inner part of its window it stands as the model gave
it. In the rim, where the model saw too little round a pixel, an earlier answer may stand that lay
deeper in its own window; there the two are mixed, the new one by the ratio of the depths, so that
it fades out towards the window's edge and leaves no seam. Where nothing stood, it stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from histosam_core.annotation import mask_to_geometry
from histosam_core.clicks.mask import logits_to_mask
from histosam_core.geometry import Frame, Region
from histosam_core.session.windows.windows import shared

if TYPE_CHECKING:
    from histosam_core.session.windows.windows import Window, WindowGrid

TILE_PX = 64
BACKGROUND_LOGIT = -8.0
"""Stands for "not the object" where no window has answered yet."""

TileIndex = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One square of the canvas; its arrays, each (64, 64), are read-only.

    Parameters
    ----------
    logits
        float32; `BACKGROUND_LOGIT` where unknown.
    mask
        bool.
    depth
        uint8, how deep the pixel lay in the window that answered; 0: none has.
    area_px
        Pixels set in the mask.
    """

    logits: NDArray[np.float32]
    mask: NDArray[np.bool_]
    depth: NDArray[np.uint8]
    area_px: int

    @classmethod
    def of(
        cls, logits: NDArray[np.float32], mask: NDArray[np.bool_], depth: NDArray[np.uint8]
    ) -> Tile:
        """Take over arrays that nobody else writes to."""
        for flags in (logits.flags, mask.flags, depth.flags):
            flags.writeable = False
        return cls(logits, mask, depth, int(np.count_nonzero(mask)))


CanvasSnapshot = Mapping[TileIndex, Tile]


@dataclass(frozen=True, slots=True, eq=False)
class CanvasPart:
    """A rectangle read from the canvas, each array (h, w); see `Tile`."""

    logits: NDArray[np.float32]
    mask: NDArray[np.bool_]
    depth: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """The mask of one object on a `WindowGrid`.

    Parameters
    ----------
    grid
        Its pixels are the canvas's pixels; nothing outside the slide is ever set.
    mask_threshold
        A pixel belongs to the object where the probability exceeds it.
    """

    grid: WindowGrid
    mask_threshold: float
    tiles: CanvasSnapshot = field(default_factory=dict)

    def answered(self, window: Window, logits: NDArray[np.float32]) -> Canvas:
        """Let a window's answer, (side, side) float32, replace what stands in it."""
        side = window.side_px
        if logits.shape != (side, side):
            raise ValueError(f"logits {logits.shape} do not fill a window of {side} px")
        x0, y0, inside, old = self._on_slide(window)
        new, depth = logits[inside].astype(np.float32), self.grid.depth(window)[inside]
        stood = np.minimum(old.depth, self.grid.margin_px + 1)  # grown answers say more
        weight = np.ones(new.shape, np.float32)
        shallow = depth < stood
        weight[shallow] = depth[shallow].astype(np.float32) / stood[shallow]
        mixed = np.where(weight < 1, weight * new + (1 - weight) * old.logits, new)
        return self._with(x0, y0, mixed.astype(np.float32), np.maximum(depth, old.depth))

    def grown(self, window: Window, logits: NDArray[np.float32], held: NDArray[np.bool_]) -> Canvas:
        """Blend a window's answer to no click, (side, side) float32, with what stands in it.

        Each pixel is the mean of both answers, weighted by how deep it lies in either window, up to
        their middles, so that no window's edge shows. What is `held`, (side, side) bool, stays.
        """
        x0, y0, inside, old = self._on_slide(window)
        depth = self.grid.tent(window)[inside]
        weight = depth.astype(np.float32) / (depth.astype(np.float32) + old.depth)
        weight[held[inside]] = 0
        mixed = weight * logits[inside] + (1 - weight) * old.logits
        return self._with(x0, y0, mixed.astype(np.float32), np.maximum(depth, old.depth))

    def forgotten(self, gone: Sequence[Window], left: Sequence[Window], held: Canvas) -> Canvas:
        """Return the canvas as if the windows that are `gone` had never answered.

        What other windows, `left`, reach stays as it stands, and so does what is `held`: it counts
        as known where its depth is above 0.
        """
        canvas = self
        for window in gone:
            known = held.read_window(window).depth
            for other in left:
                if (parts := shared(window, other)) is not None:
                    here, there = parts
                    known[here] = np.maximum(known[here], self.grid.tent(other)[there])
            x0, y0, inside, part = canvas._on_slide(window)
            logits = np.where(known[inside] > 0, part.logits, np.float32(BACKGROUND_LOGIT))
            canvas = canvas._with(x0, y0, logits, np.minimum(part.depth, known[inside]))
        return canvas

    def drawn(
        self, location_xy: tuple[int, int], inside: NDArray[np.bool_], *, is_positive: bool
    ) -> Canvas:
        """Return the canvas where the pixels of an area are set or cleared, as sure as can be.

        `inside`, (h, w) bool, begins at the grid pixel `location_xy`; what lies off the slide is
        left out. It counts as an answer in the inner part of a window: a later window's inner part
        replaces it, and fades into it along the rim.
        """
        x, y = location_xy
        x0, y0, x1, y1 = self._clipped(x, y, inside.shape[1], inside.shape[0])
        if x0 >= x1 or y0 >= y1:
            return self
        area = inside[y0 - y : y1 - y, x0 - x : x1 - x]
        part = self.read((x0, y0), (x1 - x0, y1 - y0))
        logit = -BACKGROUND_LOGIT if is_positive else BACKGROUND_LOGIT
        logits = np.where(area, np.float32(logit), part.logits)
        depth = np.where(area, np.uint8(self.grid.margin_px + 1), part.depth)
        return self._with(x0, y0, logits, depth)

    def read(self, location_xy: tuple[int, int], size_wh: tuple[int, int]) -> CanvasPart:
        """Read a rectangle of grid pixels: new arrays, background where nothing is known."""
        (x, y), (w, h) = location_xy, size_wh
        part = CanvasPart(
            np.full((h, w), BACKGROUND_LOGIT, np.float32),
            np.zeros((h, w), np.bool_),
            np.zeros((h, w), np.uint8),
        )
        for index, of_part, of_tile in tile_spans(x, y, w, h):
            tile = self.tiles.get(index)
            if tile is not None:
                part.logits[of_part] = tile.logits[of_tile]
                part.mask[of_part] = tile.mask[of_tile]
                part.depth[of_part] = tile.depth[of_tile]
        return part

    def read_window(self, window: Window) -> CanvasPart:
        """Read what stands in a window: the previous-mask prompt of its next answer."""
        return self.read(window.location_xy, (window.side_px, window.side_px))

    @property
    def area_px(self) -> int:
        """Pixels of the mask."""
        return sum(tile.area_px for tile in self.tiles.values())

    @property
    def area_um2(self) -> float:
        """Area of the mask in square micrometres."""
        return self.area_px * self.grid.mpp**2

    @property
    def bounding_box(self) -> tuple[int, int, int, int] | None:
        """First and end pixel (x0, y0, x1, y1) of the mask in grid pixels; None when empty."""
        boxes = [_box(index, tile) for index, tile in self.tiles.items() if tile.area_px]
        if not boxes:
            return None
        lows, highs = np.min(boxes, axis=0), np.max(boxes, axis=0)
        return int(lows[0]), int(lows[1]), int(highs[2]), int(highs[3])

    def region(self, box_xyxy: tuple[int, int, int, int]) -> Region:
        """Return a rectangle of grid pixels (x0, y0, x1, y1) as a `Region`."""
        x0, y0, x1, y1 = box_xyxy
        d = self.grid.downsample
        return Region((x0 * d, y0 * d), (x1 - x0, y1 - y0), self.grid.mpp)

    def to_geometry(self, *, min_island_px: int = 0) -> Any:
        """Trace the whole mask; islands of fewer grid pixels than `min_island_px` are left out.

        Returns
        -------
        shapely.MultiPolygon
            Level-0 pixels (x, y), pixel centres at whole numbers, along exact pixel edges, holes
            and islands kept, cut at the slide's edge. Empty for an empty mask.
        """
        d = self.grid.downsample
        polygons: list[Any] = []
        for x0, y0, mask in self._connected():
            traced = mask_to_geometry(mask, Frame((x0 * d, y0 * d), (d, d)))
            polygons += [p for p in traced.geoms if p.area >= min_island_px * d * d - 1e-6]
        w, h = self.grid.slide_wh
        if any(p.bounds[2] > w - 0.5 or p.bounds[3] > h - 0.5 for p in polygons):
            # The last grid pixel may reach beyond the slide.
            slide = shapely.box(-0.5, -0.5, w - 0.5, h - 0.5)
            cut = [q for p in polygons for q in shapely.get_parts(shapely.intersection(p, slide))]
            polygons = [q for q in cut if q.geom_type == "Polygon" and q.area > 0]
        return shapely.MultiPolygon(polygons)

    def _clipped(self, x: int, y: int, w: int, h: int) -> tuple[int, int, int, int]:
        width, height = self.grid.size_wh
        return max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)

    def _on_slide(self, window: Window) -> tuple[int, int, tuple[slice, slice], CanvasPart]:
        """Return a window's part on the slide: first pixel x, y, its pixels, and what stands."""
        (x, y), side = window.location_xy, window.side_px
        x0, y0, x1, y1 = self._clipped(x, y, side, side)
        inside = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
        return x0, y0, inside, self.read((x0, y0), (x1 - x0, y1 - y0))

    def _with(
        self, x: int, y: int, logits: NDArray[np.float32], depth: NDArray[np.uint8]
    ) -> Canvas:
        """Put new tiles where a rectangle from (x, y) on has changed."""
        h, w = logits.shape
        mask = logits_to_mask(logits, self.mask_threshold)
        tiles = dict(self.tiles)
        for index, of_part, of_tile in tile_spans(x, y, w, h):
            tiles[index] = _replaced(
                tiles.get(index), of_tile, logits[of_part], mask[of_part], depth[of_part]
            )
        return replace(self, tiles=tiles)

    def _connected(self) -> list[tuple[int, int, NDArray[np.bool_]]]:
        """Groups of touching tiles (corners count): first grid pixel x, y and the group's mask."""
        left = {index for index, tile in self.tiles.items() if tile.area_px}
        groups = []
        for start in sorted(left, key=lambda index: (index[1], index[0])):
            if start not in left:
                continue
            left.remove(start)
            group, waiting = [start], [start]
            while waiting:
                tx, ty = waiting.pop()
                near = {(tx + i, ty + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
                left -= near
                group += near
                waiting += near
            (tx0, ty0), (tx1, ty1) = np.min(group, axis=0), np.max(group, axis=0) + 1
            mask = np.zeros(((ty1 - ty0) * TILE_PX, (tx1 - tx0) * TILE_PX), np.bool_)
            for tx, ty in group:
                y, x = (ty - ty0) * TILE_PX, (tx - tx0) * TILE_PX
                mask[y : y + TILE_PX, x : x + TILE_PX] = self.tiles[tx, ty].mask
            groups.append((int(tx0) * TILE_PX, int(ty0) * TILE_PX, mask))
        return groups


def _replaced(
    tile: Tile | None,
    of_tile: tuple[slice, slice],
    logits: NDArray[np.float32],
    mask: NDArray[np.bool_],
    depth: NDArray[np.uint8],
) -> Tile:
    shape = (TILE_PX, TILE_PX)
    if tile is None:
        new_logits = np.full(shape, BACKGROUND_LOGIT, np.float32)
        new_mask, new_depth = np.zeros(shape, np.bool_), np.zeros(shape, np.uint8)
    else:
        new_logits, new_mask, new_depth = tile.logits.copy(), tile.mask.copy(), tile.depth.copy()
    new_logits[of_tile], new_mask[of_tile], new_depth[of_tile] = logits, mask, depth
    return Tile.of(new_logits, new_mask, new_depth)


def tile_spans(
    x: int, y: int, w: int, h: int
) -> list[tuple[TileIndex, tuple[slice, slice], tuple[slice, slice]]]:
    """List the tiles under a rectangle of grid pixels: index, slices of the rectangle and of it."""
    spans = []
    for ty in range(y // TILE_PX, -(-(y + h) // TILE_PX)):
        rows, tile_rows = _overlap(ty, y, h)
        for tx in range(x // TILE_PX, -(-(x + w) // TILE_PX)):
            columns, tile_columns = _overlap(tx, x, w)
            spans.append(((tx, ty), (rows, columns), (tile_rows, tile_columns)))
    return spans


def _overlap(tile: int, begin: int, length: int) -> tuple[slice, slice]:
    first = max(begin, tile * TILE_PX)
    end = min(begin + length, (tile + 1) * TILE_PX)
    return (
        slice(first - begin, end - begin),
        slice(first - tile * TILE_PX, end - tile * TILE_PX),
    )


def _box(index: TileIndex, tile: Tile) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(tile.mask.any(axis=1)), np.flatnonzero(tile.mask.any(axis=0))
    x, y = index[0] * TILE_PX, index[1] * TILE_PX
    return x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1
