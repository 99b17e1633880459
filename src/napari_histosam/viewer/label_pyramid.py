"""Accepted objects as sparse label tiles at every level: what napari's Labels layer shows.

Tiles never change in place: drawing makes new ones and puts each in the old one's place, so that
another thread reads a tile whole, before or after. Reading pastes tiles and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.annotation.labels import (
    Drawing,
    draw_label,
    drawings_of,
    pixels_within,
)
from histosam_core.geometry import Frame
from napari_histosam.viewer.label_tile import TILE_PX, LabelTile

__all__ = ["MAX_LABEL", "LabelLevel", "LabelPyramid"]

MAX_LABEL = 2**16 - 1
SMALLEST_PX = 512

Labels = NDArray[np.uint16]
TileIndex = tuple[int, int]
Bounds = tuple[float, float, float, float]


class LabelLevel:
    """One level, as much of an array as napari needs: a new (h, w) uint16 array for every read.

    Parameters
    ----------
    size_wh
        Width and height in its own pixels.
    """

    ndim = 2
    dtype = np.dtype(np.uint16)

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self.shape = size_wh[1], size_wh[0]
        self.size = size_wh[0] * size_wh[1]
        self.tiles: dict[TileIndex, LabelTile] = {}
        """By (column, row); missing ones hold no object."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Read by whole numbers and slices, as from an array of two axes.

        Raises
        ------
        IndexError
            A whole number lies outside, a step is below 1, or there are more than two axes.
        """
        rows, columns = _spans(key, self.shape)
        y0, y1 = _hull(rows)
        x0, x1 = _hull(columns)
        block = np.zeros((y1 - y0, x1 - x0), np.uint16)
        for ty in range(y0 // TILE_PX, -(-y1 // TILE_PX)):
            for tx in range(x0 // TILE_PX, -(-x1 // TILE_PX)):
                tile = self.tiles.get((tx, ty))
                if tile is not None:
                    of_block, of_tile = _overlap(ty, y0, y1), _overlap(tx, x0, x1)
                    block[of_block[0], of_tile[0]] = tile.unpack()[of_block[1], of_tile[1]]
        return block[_within(rows, y0), _within(columns, x0)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole level; only for small ones."""
        whole: NDArray[Any] = self[:, :]
        return whole if dtype is None else whole.astype(dtype)


@dataclass(frozen=True, slots=True, eq=False)
class _Object:
    """What is drawn of one label.

    `place`: its height in the stack. `bounds`: x0, y0, x1, y1, level-0 pixels. `tiles`: per level,
    the tiles in which it has pixels, seen or covered.
    """

    place: int
    bounds: Bounds
    drawings: tuple[Drawing, ...]
    tiles: tuple[frozenset[TileIndex], ...]


class LabelPyramid:
    """Objects as labels on a grid and at every factor 2 below, later objects on top.

    One thread draws; any thread may read. What drawing and erasing cost depends on the tiles that
    the object touches and on what lies under them, not on how many objects there are.

    Parameters
    ----------
    size_wh
        Width and height of the grid in its own pixels.
    """

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self.size_wh = size_wh
        sizes = [size_wh]
        # At least two levels: napari takes a list of one array for a single image.
        while max(sizes[-1]) > SMALLEST_PX or len(sizes) < 2:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        self._levels = tuple(LabelLevel(size) for size in sizes)
        self._objects: dict[int, _Object] = {}
        self._in_tile: tuple[dict[TileIndex, set[int]], ...] = tuple({} for _ in sizes)
        self._frame = Frame((0.0, 0.0), (1.0, 1.0))
        self._next_place = 0

    @property
    def levels(self) -> list[LabelLevel]:
        """Finest first; the same objects each time, which show whatever is drawn."""
        return list(self._levels)

    @property
    def labels(self) -> tuple[int, ...]:
        """What is drawn, undermost first."""
        objects = self._objects
        return tuple(sorted(objects, key=lambda label: objects[label].place))

    def draw(self, label_id: int, geometry: Any, frame: Frame) -> None:
        """Draw an object on top of all others; one that has that label already is replaced.

        Parameters
        ----------
        label_id
            1 to `MAX_LABEL`.
        geometry
            shapely Polygon or MultiPolygon, level-0 pixels (x, y), pixel centres at whole numbers.
        frame
            The grid over level 0; the same for all objects.
        """
        self._next_place += 1
        self._put(label_id, geometry, frame, self._next_place)

    def redraw(self, label_id: int, geometry: Any, frame: Frame) -> None:
        """Give an object another outline; it keeps its height in the stack. See `draw`.

        Raises
        ------
        KeyError
            Nothing has that label.
        """
        self._put(label_id, geometry, frame, self._objects[label_id].place)

    def erase(self, label_id: int) -> None:
        """Take an object away; what lay under it comes back. Nothing happens when it is not there.

        Parameters
        ----------
        label_id
            As given to `draw`.
        """
        erased = self._objects.get(label_id)
        if erased is None:
            return
        self._objects = {k: v for k, v in self._objects.items() if k != label_id}
        for number, tiles in enumerate(erased.tiles):
            for index in tiles:
                self._in_tile[number][index].discard(label_id)
                self._draw_anew(number, index, erased.bounds)

    def label_at(self, xy: tuple[float, float]) -> int:
        """Return the topmost object at a point, by its exact outline; 0 where there is none.

        Parameters
        ----------
        xy
            Level-0 pixels (x, y).
        """
        objects = self._objects
        for label in sorted(objects, key=lambda label: -objects[label].place):
            if any(drawing.holds(xy) for drawing in objects[label].drawings):
                return label
        return 0

    def _put(self, label: int, geometry: Any, frame: Frame, place: int) -> None:
        if not 1 <= label <= MAX_LABEL:
            raise ValueError(f"label {label} must lie between 1 and {MAX_LABEL}")
        if frame != self._frame and self._objects.keys() - {label}:
            raise ValueError("all objects of a pyramid lie on one grid; erase the others first")
        old = self._objects.get(label)
        self._frame = frame
        drawings = drawings_of(geometry, label)
        pixels = [self._pixels_of(number, drawings) for number in range(len(self._levels))]
        tiles = tuple(frozenset(of_level) for of_level in pixels)
        self._objects = {
            **self._objects,
            label: _Object(place, geometry.bounds, drawings, tiles),
        }
        is_topmost = place == self._next_place
        changed = geometry.bounds if old is None else _hull_of(geometry.bounds, old.bounds)
        for number, (in_tile, mine) in enumerate(zip(self._in_tile, pixels, strict=True)):
            before = frozenset() if old is None else old.tiles[number]
            for index in before - mine.keys():
                in_tile[index].discard(label)
                self._draw_anew(number, index, changed)
            for index, tile in mine.items():
                in_tile.setdefault(index, set()).add(label)
                if index in before or not is_topmost:
                    self._draw_anew(number, index, changed)
                    continue
                under = self._levels[number].tiles.get(index)
                if under is not None:
                    tile = np.where(tile, tile, under.unpack())
                self._levels[number].tiles[index] = LabelTile.pack(tile)

    def _pixels_of(self, number: int, drawings: Iterable[Drawing]) -> dict[TileIndex, Labels]:
        """Draw one object on a level: the tiles in which it has pixels, 0 elsewhere."""
        frame, level = self._level_frame(number), self._levels[number]
        size_wh = level.shape[1], level.shape[0]
        found: dict[TileIndex, Labels] = {}
        for whole in drawings:
            row, drawing = -1, whole
            for index in whole.blocks(frame, size_wh, TILE_PX):
                if index[1] != row:
                    row = index[1]
                    drawing = whole.between(*_rows_of(row, frame))
                tile = found.get(index)
                if tile is None:
                    tile = _empty_tile()
                draw_label(tile, (index[0] * TILE_PX, row * TILE_PX), drawing, frame)
                if tile.any():
                    found[index] = tile
        return found

    def _draw_anew(self, number: int, index: TileIndex, bounds: Bounds) -> None:
        """Make one tile from the objects in it, undermost first, where it lies within bounds."""
        in_tile, level = self._in_tile[number], self._levels[number]
        if not in_tile[index]:
            del in_tile[index]
            level.tiles.pop(index, None)
            return
        frame = self._level_frame(number)
        left, top = index[0] * TILE_PX, index[1] * TILE_PX
        x0, y0, x1, y1 = pixels_within(bounds, frame)
        x0, y0 = max(x0, left), max(y0, top)
        tile = level.tiles[index].unpack() if index in level.tiles else _empty_tile()
        part = tile[y0 - top : max(y1 - top, 0), x0 - left : max(x1 - left, 0)]
        part[...] = 0
        rows = _rows_of(index[1], frame)
        present = [self._objects[label] for label in in_tile[index]]
        for one in sorted(present, key=lambda one: one.place):
            if _overlap_each_other(one.bounds, bounds):
                for drawing in one.drawings:
                    draw_label(part, (x0, y0), drawing.between(*rows), frame)
        level.tiles[index] = LabelTile.pack(tile)

    def _level_frame(self, number: int) -> Frame:
        (dx, dy), factor = self._frame.downsample, 2**number
        return Frame(self._frame.origin_xy, (dx * factor, dy * factor))


def _empty_tile() -> Labels:
    return np.zeros((TILE_PX, TILE_PX), np.uint16)


def _hull_of(a: Bounds, b: Bounds) -> Bounds:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _overlap_each_other(a: Bounds, b: Bounds) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _rows_of(row: int, frame: Frame) -> tuple[float, float]:
    """Return the level-0 rows that a row of tiles spans."""
    begin = frame.origin_xy[1] + row * TILE_PX * frame.downsample[1]
    return begin - 1, begin + TILE_PX * frame.downsample[1] + 1


def _spans(key: Any, shape: tuple[int, int]) -> tuple[slice | int, slice | int]:
    """Return rows and columns as whole numbers, or as slices with begin, end and step."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (3 - len(keys))
    keys += [slice(None)] * (2 - len(keys))
    if len(keys) != 2:
        raise IndexError(f"labels have two axes, not {len(keys)}")
    rows, columns = (_span(one, length) for one, length in zip(keys, shape, strict=True))
    return rows, columns


def _span(key: Any, length: int) -> slice | int:
    if isinstance(key, slice):
        begin, end, step = key.indices(length)
        if step < 0:
            raise IndexError("labels are read forwards; give a step above 0")
        return slice(begin, max(begin, end), step)
    at = int(key)
    if not -length <= at < length:
        raise IndexError(f"{at} lies outside an axis of {length}")
    return at % length


def _hull(span: slice | int) -> tuple[int, int]:
    return (span.start, span.stop) if isinstance(span, slice) else (span, span + 1)


def _within(span: slice | int, begin: int) -> slice | int:
    return slice(None, None, span.step) if isinstance(span, slice) else span - begin


def _overlap(tile: int, begin: int, end: int) -> tuple[slice, slice]:
    """Return where a row or column of tiles lies in what is read, and the part of it that does."""
    first, last = max(begin, tile * TILE_PX), min(end, (tile + 1) * TILE_PX)
    return slice(first - begin, last - begin), slice(first - tile * TILE_PX, last - tile * TILE_PX)
