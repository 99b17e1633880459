"""Accepted objects as sparse label tiles at every level: what napari's Labels layer shows.

Tiles never change in place: drawing makes new ones and puts each in the old one's place, so that
another thread reads a tile whole, before or after. Reading pastes tiles and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.annotation.label_drawing import Drawing, draw_label, drawings_of
from histosam_core.geometry import Frame

__all__ = ["MAX_LABEL", "LabelLevel", "LabelPyramid"]

MAX_LABEL = 2**16 - 1
TILE_PX = 256
SMALLEST_PX = 512

Tile = NDArray[np.uint16]
TileIndex = tuple[int, int]


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
        self.tiles: dict[TileIndex, Tile] = {}
        """By (column, row); missing ones hold no object."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Read by whole numbers and slices, as from an array of two axes."""
        rows, columns = _spans(key, self.shape)
        y0, y1 = _hull(rows)
        x0, x1 = _hull(columns)
        block = np.zeros((y1 - y0, x1 - x0), np.uint16)
        for ty in range(y0 // TILE_PX, -(-y1 // TILE_PX)):
            for tx in range(x0 // TILE_PX, -(-x1 // TILE_PX)):
                tile = self.tiles.get((tx, ty))
                if tile is not None:
                    of_block, of_tile = _overlap(ty, y0, y1), _overlap(tx, x0, x1)
                    block[of_block[0], of_tile[0]] = tile[of_block[1], of_tile[1]]
        return block[_within(rows, y0), _within(columns, x0)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole level; only for small ones."""
        whole: NDArray[Any] = self[:, :]
        return whole if dtype is None else whole.astype(dtype)


@dataclass(frozen=True, slots=True, eq=False)
class _Object:
    """What is drawn of one label.

    `place`: its height in the stack. `tiles`: per level, the tiles in which it has pixels, seen or
    covered.
    """

    place: int
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
        while max(sizes[-1]) > SMALLEST_PX:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        self._levels = tuple(LabelLevel(size) for size in sizes)
        self._objects: dict[int, _Object] = {}
        self._in_tile: tuple[dict[TileIndex, set[int]], ...] = tuple({} for _ in sizes)
        self._frame: Frame | None = None
        self._next_place = 0
        self.tiles_drawn = 0
        """Tiles made so far, a count of the work done."""

    @property
    def levels(self) -> list[LabelLevel]:
        """Finest first; the same objects each time, which show whatever is drawn."""
        return list(self._levels)

    @property
    def labels(self) -> tuple[int, ...]:
        """What is drawn, undermost first."""
        return tuple(sorted(self._objects, key=lambda label: self._objects[label].place))

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
        self.erase(label_id)
        self._next_place += 1
        self._put(label_id, geometry, frame, self._next_place)

    def redraw(self, label_id: int, geometry: Any, frame: Frame) -> None:
        """Give an object another outline; it keeps its height in the stack. See `draw`.

        Raises
        ------
        KeyError
            Nothing has that label.
        """
        place = self._objects[label_id].place
        self.erase(label_id)
        self._put(label_id, geometry, frame, place)

    def erase(self, label_id: int) -> None:
        """Take an object away; what lay under it comes back. Nothing happens when it is not there.

        Parameters
        ----------
        label_id
            As given to `draw`.
        """
        erased = self._objects.pop(label_id, None)
        if erased is None:
            return
        for number, tiles in enumerate(erased.tiles):
            for index in tiles:
                self._in_tile[number][index].discard(label_id)
                self._draw_anew(number, index)

    def label_at(self, xy: tuple[float, float]) -> int:
        """Return the topmost object at a point, by its exact outline; 0 where there is none.

        Parameters
        ----------
        xy
            Level-0 pixels (x, y).
        """
        for label in reversed(self.labels):
            if any(drawing.holds(xy) for drawing in self._objects[label].drawings):
                return label
        return 0

    def _put(self, label: int, geometry: Any, frame: Frame, place: int) -> None:
        if not 1 <= label <= MAX_LABEL:
            raise ValueError(f"label {label} must lie between 1 and {MAX_LABEL}")
        if self._objects and frame != self._frame:
            raise ValueError("all objects of a pyramid lie on one grid; erase the others first")
        self._frame = frame
        drawings = drawings_of(geometry, label)
        is_topmost = all(place > other.place for other in self._objects.values())
        touched = []
        for number in range(len(self._levels)):
            mine = self._pixels_of(number, drawings)
            for index, pixels in mine.items():
                self._in_tile[number].setdefault(index, set()).add(label)
                if is_topmost:
                    under = self._levels[number].tiles.get(index)
                    if under is not None:
                        pixels = np.where(pixels == 0, under, pixels)
                    self._store(number, index, pixels)
            touched.append(frozenset(mine))
        self._objects[label] = _Object(place, drawings, tuple(touched))
        if not is_topmost:
            for number, tiles in enumerate(touched):
                for index in tiles:
                    self._draw_anew(number, index)

    def _pixels_of(self, number: int, drawings: Iterable[Drawing]) -> dict[TileIndex, Tile]:
        """Draw one object on a level: the tiles in which it has pixels, 0 elsewhere."""
        frame, level = self._level_frame(number), self._levels[number]
        size_wh = level.shape[1], level.shape[0]
        found: dict[TileIndex, Tile] = {}
        for whole in drawings:
            row, drawing = -1, whole
            for index in whole.blocks(frame, size_wh, TILE_PX):
                if index[1] != row:
                    row = index[1]
                    drawing = whole.between(*_rows_of(row, frame))
                tile = found.get(index)
                if tile is None:
                    tile = np.zeros((TILE_PX, TILE_PX), np.uint16)
                draw_label(tile, (index[0] * TILE_PX, row * TILE_PX), drawing, frame)
                if tile.any():
                    found[index] = tile
        return found

    def _draw_anew(self, number: int, index: TileIndex) -> None:
        """Make one tile from all objects in it, undermost first."""
        present = self._in_tile[number][index]
        if not present:
            del self._in_tile[number][index]
            self._levels[number].tiles.pop(index, None)
            return
        frame = self._level_frame(number)
        rows = _rows_of(index[1], frame)
        tile = np.zeros((TILE_PX, TILE_PX), np.uint16)
        for label in sorted(present, key=lambda label: self._objects[label].place):
            for drawing in self._objects[label].drawings:
                if index in set(drawing.blocks(frame, self.size_wh, TILE_PX)):
                    at = (index[0] * TILE_PX, index[1] * TILE_PX)
                    draw_label(tile, at, drawing.between(*rows), frame)
        self._store(number, index, tile)

    def _store(self, number: int, index: TileIndex, tile: Tile) -> None:
        first = tile[0, 0]
        if (tile == first).all():  # inside large objects: two bytes instead of 128 KiB
            tile = np.broadcast_to(first, tile.shape)
        tile.flags.writeable = False
        self._levels[number].tiles[index] = tile
        self.tiles_drawn += 1

    def _level_frame(self, number: int) -> Frame:
        assert self._frame is not None
        (dx, dy), factor = self._frame.downsample, 2**number
        return Frame(self._frame.origin_xy, (dx * factor, dy * factor))


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
