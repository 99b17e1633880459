"""Labels on a pixel grid, block by block: drawn from outlines, and traced back to outlines.

A pixel takes the label of the last object that holds its centre (rasterise.py), so labels are never
mixed, whatever the grid's resolution. Only blocks that an object touches are drawn, and the outline
of a large object needs no large array.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from scipy.ndimage import find_objects

from histosam_core.annotation.outlines import mask_to_geometry
from histosam_core.annotation.rasterise import TIE_PX, Edges, edges_of, rasterise
from histosam_core.geometry import Frame, Region

BLOCK_PX = 1024
Block = tuple[int, int]
"""Column and row of a block on its grid."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """One polygon of an object, ready to be drawn."""

    label: int  # what its pixels become, > 0
    bounds: tuple[float, float, float, float]  # x0, y0, x1, y1 in level-0 pixels
    edges: Edges  # of its exterior and its holes

    def blocks(self, frame: Frame, size_wh: tuple[int, int], block_px: int) -> Iterator[Block]:
        """Yield the blocks of `block_px` pixels of a grid that its bounds touch, row by row."""
        x0, y0, x1, y1 = pixels_within(self.bounds, frame)
        x1, y1 = min(x1, size_wh[0]), min(y1, size_wh[1])
        for row in range(max(y0, 0) // block_px, -(-y1 // block_px)):
            for column in range(max(x0, 0) // block_px, -(-x1 // block_px)):
                yield column, row

    def between(self, y0: float, y1: float) -> Drawing:
        """Return it with only the edges that matter to level-0 rows y0 to y1: fewer to look at."""
        e = self.edges
        near = (e.y_bottom >= y0) & (e.y_top <= y1)
        if near.all():
            return self
        kept = Edges(e.x_top[near], e.y_top[near], e.x_bottom[near], e.y_bottom[near])
        return Drawing(self.label, self.bounds, kept)

    def holds(self, xy: tuple[float, float]) -> bool:
        """Whether a level-0 point lies inside; on the outline as for pixels (rasterise.py)."""
        (x, y), (x0, y0, x1, y1) = xy, self.bounds
        if not (x0 - TIE_PX <= x <= x1 + TIE_PX and y0 - TIE_PX <= y <= y1 + TIE_PX):
            return False
        return bool(rasterise(self.edges, Region(xy, (1, 1)))[0, 0])


def drawings_of(geometry: Any, label: int) -> tuple[Drawing, ...]:
    """Take a Polygon or MultiPolygon (level-0 pixels) apart into one `Drawing` per polygon."""
    return tuple(
        Drawing(label, polygon.bounds, edges_of(polygon)) for polygon in shapely.get_parts(geometry)
    )


def draw_label(
    labels: npt.NDArray[Any], location_xy: tuple[int, int], drawing: Drawing, frame: Frame
) -> None:
    """Draw one polygon on a part of a grid, in place, over what stands there.

    `labels` (h, w) begins at the pixel `location_xy` of the grid, whose `frame` has the same
    downsample along both axes.
    """
    (left, top), (height, width) = location_xy, labels.shape
    x0, y0, x1, y1 = pixels_within(drawing.bounds, frame)
    x0, y0 = max(x0, left), max(y0, top)
    x1, y1 = min(x1, left + width), min(y1, top + height)
    if x0 >= x1 or y0 >= y1:
        return
    part = labels[y0 - top : y1 - top, x0 - left : x1 - left]
    (ox, oy), d, e = frame.origin_xy, frame.downsample[0], drawing.edges
    first, last = frame.to_level0((x0, y0))[0] - 1, frame.to_level0((x1 - 1, y0))[0] + 1
    crossed = (np.maximum(e.x_top, e.x_bottom) >= first) & (np.minimum(e.x_top, e.x_bottom) <= last)
    # Where no edge passes between the first and the last column, one column stands for all.
    width = x1 - x0 if crossed.any() else 1
    mask = rasterise(e, Region((ox + x0 * d, oy + y0 * d), (width, y1 - y0), mpp=d), slide_mpp=1.0)
    part[mask[:, 0] if width == 1 else mask] = drawing.label


def pixels_within(bounds: tuple[float, ...], frame: Frame) -> tuple[int, int, int, int]:
    """First and end grid pixel (x0, y0, x1, y1) whose centres can lie within level-0 bounds."""
    x0, y0 = frame.from_level0((bounds[0], bounds[1]))
    x1, y1 = frame.from_level0((bounds[2], bounds[3]))
    return math.floor(x0), math.floor(y0), math.ceil(x1) + 1, math.ceil(y1) + 1


@dataclass(frozen=True, slots=True, eq=False)
class LabelGrid:
    """A grid with objects on it, drawn in blocks of `BLOCK_PX` x `BLOCK_PX` when asked for."""

    frame: Frame  # over level 0
    size_wh: tuple[int, int]  # in its own pixels
    drawings: dict[Block, list[Drawing]]  # what touches each block, undermost first

    @classmethod
    def of(cls, drawings: Iterable[Drawing], frame: Frame, size_wh: tuple[int, int]) -> LabelGrid:
        """Sort drawings, undermost first, into a grid's blocks."""
        found: dict[Block, list[Drawing]] = {}
        for drawing in drawings:
            for block in drawing.blocks(frame, size_wh, BLOCK_PX):
                found.setdefault(block, []).append(drawing)
        return cls(frame, size_wh, found)

    def squares(self, side: int) -> list[Block]:
        """Upper-left block of each square of `side` x `side` blocks that an object touches."""
        return list(dict.fromkeys((c // side * side, r // side * side) for c, r in self.drawings))

    def draw(
        self, block: Block, side: int, dtype: npt.DTypeLike
    ) -> tuple[tuple[slice, slice], npt.NDArray[Any]]:
        """Draw a square of `side` x `side` blocks from `block` on, cut at the grid's edge.

        Return its rows and columns on the grid, and its labels (h, w), 0 where there is no object.
        """
        x0, y0 = block[0] * BLOCK_PX, block[1] * BLOCK_PX
        x1 = min(x0 + side * BLOCK_PX, self.size_wh[0])
        y1 = min(y0 + side * BLOCK_PX, self.size_wh[1])
        labels = np.zeros((y1 - y0, x1 - x0), dtype)
        for row in range(side):
            for column in range(side):
                left, top = column * BLOCK_PX, row * BLOCK_PX
                part = labels[top : top + BLOCK_PX, left : left + BLOCK_PX]
                for drawing in self.drawings.get((block[0] + column, block[1] + row), ()):
                    draw_label(part, (x0 + left, y0 + top), drawing, self.frame)
        return (slice(y0, y1), slice(x0, x1)), labels


def trace_labels(
    blocks: Iterable[tuple[int, int, npt.NDArray[Any]]],
    frame: Frame,
    wanted: Set[int] | None = None,
) -> dict[int, Any]:
    """Trace each label along its pixels' edges.

    Parameters
    ----------
    blocks
        Parts of the label image that do not overlap: first column, first row, (h, w) whole numbers.
        0 is background.
    frame
        The image's grid over level 0.
    wanted
        Which labels; None: all.

    Returns
    -------
    dict
        Label -> shapely Polygon or MultiPolygon, valid, level-0 pixels (x, y), pixel centres at
        whole numbers; by rising label. Drawing it in the same frame gives the pixels back.
    """
    parts: dict[int, list[Any]] = {}
    for x0, y0, labels in blocks:
        values, numbers = np.unique(labels, return_inverse=True)
        numbers = numbers.reshape(labels.shape).astype(np.int32)
        # A number is one more than its place, for find_objects takes 0 for background.
        for number, box in enumerate(find_objects(numbers + 1)):
            label = int(values[number])
            if box is None or label == 0 or (wanted is not None and label not in wanted):
                continue
            corner_xy = float(x0 + box[1].start), float(y0 + box[0].start)
            outline = mask_to_geometry(numbers[box] == number, Frame(corner_xy, (1.0, 1.0)))
            parts.setdefault(label, []).append(outline)
    shift, scale = frame.to_level0((0.0, 0.0)), frame.downsample
    return {
        label: shapely.transform(_united(parts[label]), lambda xy: xy * scale + shift)
        for label in sorted(parts)
    }


def _united(parts: list[Any]) -> Any:
    """Join the outlines of one label, exactly: all corners are whole numbers less a half."""
    if len(parts) > 1:
        # Uniting leaves corners where blocks met; they lie on straight lines.
        return shapely.simplify(shapely.unary_union(parts), 0)
    polygons = parts[0].geoms
    return polygons[0] if len(polygons) == 1 else parts[0]
