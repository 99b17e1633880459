"""Accepted objects as sparse label tiles at every level: what napari's Labels layer shows.

Tiles never change in place: drawing makes new ones and puts each in the old one's place, so that
another thread reads a tile whole, before or after. Reading pastes tiles and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from histosam_core.annotation.labels import (
    Drawing,
    draw_label,
    drawings_of,
    pixels_within,
)
from histosam_core.errors import ConfigError
from histosam_core.geometry import Frame
from napari_histosam.viewer.label_level import TILE_PX, LabelLevel, Labels, LabelTile, TileIndex

MAX_LABEL = 2**16 - 1
SMALLEST_PX = 512

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Object:
    """What is drawn of one label.

    `place`: its height in the stack. `geometry`: its outline, level-0 pixels. `tiles`: per level,
    the tiles in which it has pixels, seen or covered.
    """

    place: int
    geometry: Any
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
    frame
        The grid over level 0.
    """

    def __init__(self, size_wh: tuple[int, int], frame: Frame) -> None:
        self.size_wh = size_wh
        sizes = [size_wh]
        # At least two levels: napari takes a list of one array for a single image.
        while max(sizes[-1]) > SMALLEST_PX or len(sizes) < 2:
            sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
        (dx, dy), factors = frame.downsample, [2**number for number in range(len(sizes))]
        self._frames = [Frame(frame.origin_xy, (dx * f, dy * f)) for f in factors]
        self._levels = [LabelLevel(size) for size in sizes]
        self._objects: dict[int, _Object] = {}
        self._labels: dict[str, int] = {}
        self._in_tile: tuple[dict[TileIndex, set[int]], ...] = tuple({} for _ in sizes)
        self._n_drawn = 0

    @property
    def levels(self) -> list[LabelLevel]:
        """Finest first; the same objects each time, which show whatever is drawn."""
        return list(self._levels)

    def update(self, geometries: Mapping[str, Any]) -> dict[str, int]:
        """Draw objects that are new or have another outline, erase those that are gone.

        Parameters
        ----------
        geometries
            By the objects' ids; one that is the same Python object as before is left alone.

        Returns
        -------
        An object's id -> its label; labels are not used twice.

        Raises
        ------
        ConfigError
            There were more objects than labels.
        """
        for key in self._labels.keys() - geometries.keys():
            self.erase(self._labels.pop(key))
        for key, geometry in geometries.items():
            label = self._labels.get(key)
            if label is None:
                label = self._n_drawn + 1
                if label > MAX_LABEL:
                    raise ConfigError(
                        f"more than {MAX_LABEL} objects were drawn; export them and start a new "
                        "session"
                    )
            elif self._objects[label].geometry is geometry:
                continue
            self.draw(label, geometry)
            self._labels[key] = label
        return dict(self._labels)

    def draw(self, label_id: int, geometry: Any) -> None:
        """Draw a new object on top of all others, or another outline of one in its old place.

        Parameters
        ----------
        label_id
            1 to `MAX_LABEL`.
        geometry
            shapely Polygon or MultiPolygon, level-0 pixels (x, y), pixel centres at whole numbers.
        """
        if not 1 <= label_id <= MAX_LABEL:
            raise ValueError(f"label {label_id} must lie between 1 and {MAX_LABEL}")
        old = self._objects.get(label_id)
        if old is None:
            self._n_drawn += 1
        place = self._n_drawn if old is None else old.place
        drawings = drawings_of(geometry, label_id)
        pixels = [self._pixels_of(number, drawings) for number in range(len(self._levels))]
        tiles = tuple(frozenset(of_level) for of_level in pixels)
        self._objects = {**self._objects, label_id: _Object(place, geometry, drawings, tiles)}
        for number, mine in enumerate(pixels):
            in_tile, level = self._in_tile[number], self._levels[number]
            for index, tile in mine.items():
                in_tile.setdefault(index, set()).add(label_id)
                if old is None:
                    under = level.tiles.get(index)
                    whole = tile if under is None else np.where(tile, tile, under.unpack())
                    level.tiles[index] = LabelTile.pack(whole)
            if old is not None:
                for index in old.tiles[number] - mine.keys():
                    in_tile[index].discard(label_id)
                for index in old.tiles[number] | mine.keys():
                    self._draw_anew(number, index, shapely.total_bounds([old.geometry, geometry]))

    def erase(self, label_id: int) -> None:
        """Take an object away, if it is there; what lay under it comes back."""
        erased = self._objects.get(label_id)
        if erased is None:
            return
        self._objects = {k: v for k, v in self._objects.items() if k != label_id}
        for number, tiles in enumerate(erased.tiles):
            for index in tiles:
                self._in_tile[number][index].discard(label_id)
                self._draw_anew(number, index, erased.geometry.bounds)

    def label_at(self, xy: tuple[float, float]) -> int:
        """Return the topmost object at a level-0 point, by its exact outline; 0: there is none."""
        objects = self._objects
        for label in sorted(objects, key=lambda label: -objects[label].place):
            if any(drawing.holds(xy) for drawing in objects[label].drawings):
                return label
        return 0

    def _pixels_of(self, number: int, drawings: Iterable[Drawing]) -> dict[TileIndex, Labels]:
        """Draw one object on a level: the tiles in which it has pixels, 0 elsewhere."""
        frame, level = self._frames[number], self._levels[number]
        size_wh = level.shape[1], level.shape[0]
        found: dict[TileIndex, Labels] = {}
        for whole in drawings:
            row, drawing = -1, whole
            for index in whole.blocks(frame, size_wh, TILE_PX):
                if index[1] != row:
                    row = index[1]
                    drawing = whole.between(*_rows_of(row, frame))
                tile = found[index] if index in found else _empty_tile()
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
        frame = self._frames[number]
        left, top = index[0] * TILE_PX, index[1] * TILE_PX
        begin_x, begin_y, end_x, end_y = pixels_within(bounds, frame)
        begin_x, begin_y = max(begin_x, left), max(begin_y, top)
        tile = level.tiles[index].unpack() if index in level.tiles else _empty_tile()
        part = tile[begin_y - top : max(end_y - top, 0), begin_x - left : max(end_x - left, 0)]
        part[...] = 0
        rows = _rows_of(index[1], frame)
        present = [self._objects[label] for label in in_tile[index]]
        for one in sorted(present, key=lambda one: one.place):
            if _overlap(one.geometry.bounds, bounds):
                for drawing in one.drawings:
                    draw_label(part, (begin_x, begin_y), drawing.between(*rows), frame)
        level.tiles[index] = LabelTile.pack(tile)


def _empty_tile() -> Labels:
    return np.zeros((TILE_PX, TILE_PX), np.uint16)


def _overlap(a: Bounds, b: Bounds) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _rows_of(row: int, frame: Frame) -> tuple[float, float]:
    """Return the level-0 rows that a row of tiles spans."""
    begin = frame.origin_xy[1] + row * TILE_PX * frame.downsample[1]
    return begin - 1, begin + TILE_PX * frame.downsample[1] + 1
