"""Outlines as labels on a pixel grid, block by block: only blocks that an object touches are drawn.

A pixel takes the label of the last object that holds its centre (rasterise.py), so labels are never
mixed, whatever the grid's resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import shapely

from histosam_core.annotation.rasterise import TIE_PX, Edges, edges_of, rasterise
from histosam_core.geometry import Frame, Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "BLOCK_PX",
    "Block",
    "Drawing",
    "LabelGrid",
    "draw_label",
    "drawings_of",
    "pixels_within",
]

BLOCK_PX = 1024
Block = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """One polygon of an object, ready to be drawn.

    Parameters
    ----------
    label
        What its pixels become, > 0.
    bounds
        x0, y0, x1, y1 in level-0 pixels.
    edges
        Of its exterior and its holes.
    """

    label: int
    bounds: tuple[float, float, float, float]
    edges: Edges

    def blocks(self, frame: Frame, size_wh: tuple[int, int], block_px: int) -> Iterator[Block]:
        """Yield the blocks (column, row) of a grid that its bounds touch, row by row.

        Parameters
        ----------
        frame
            The grid over level 0.
        size_wh
            Width and height of the grid in its own pixels; nothing outside is yielded.
        block_px
            Side of a block in grid pixels.
        """
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

    def is_crossed_within(self, x0: float, x1: float) -> bool:
        """Whether any of its edges reaches into the level-0 columns x0 to x1."""
        e = self.edges
        right, left = np.maximum(e.x_top, e.x_bottom), np.minimum(e.x_top, e.x_bottom)
        return bool(((right >= x0) & (left <= x1)).any())

    def holds(self, xy: tuple[float, float]) -> bool:
        """Whether a level-0 point lies inside; on the outline as for pixels (rasterise.py)."""
        x, y = xy
        x0, y0, x1, y1 = self.bounds
        if not (x0 - TIE_PX <= x <= x1 + TIE_PX and y0 - TIE_PX <= y <= y1 + TIE_PX):
            return False
        e = self.edges
        crossed = (e.y_top - TIE_PX <= y) & (y < e.y_bottom - TIE_PX)
        top, left = e.y_top[crossed], e.x_top[crossed]
        share = np.clip((y - top) / (e.y_bottom[crossed] - top), 0, 1)
        crossing_x = left + share * (e.x_bottom[crossed] - left)
        return bool(np.count_nonzero(crossing_x - TIE_PX <= x) % 2)


def drawings_of(geometry: Any, label: int) -> tuple[Drawing, ...]:
    """Take a Polygon or MultiPolygon (level-0 pixels) apart into one `Drawing` per polygon."""
    return tuple(
        Drawing(label, polygon.bounds, edges_of(polygon)) for polygon in shapely.get_parts(geometry)
    )


def draw_label(
    labels: npt.NDArray[Any], location_xy: tuple[int, int], drawing: Drawing, frame: Frame
) -> None:
    """Draw one polygon on a part of a grid, in place, over what stands there.

    Parameters
    ----------
    labels
        (h, w), of a type that holds the label.
    location_xy
        Grid pixel (x, y) of its upper-left pixel.
    drawing
        The polygon.
    frame
        The grid over level 0; the same downsample along both axes.
    """
    (left, top), (height, width) = location_xy, labels.shape
    x0, y0, x1, y1 = pixels_within(drawing.bounds, frame)
    x0, y0 = max(x0, left), max(y0, top)
    x1, y1 = min(x1, left + width), min(y1, top + height)
    if x0 >= x1 or y0 >= y1:
        return
    part = labels[y0 - top : y1 - top, x0 - left : x1 - left]
    left_x, right_x = frame.to_level0((x0, y0))[0], frame.to_level0((x1 - 1, y0))[0]
    (ox, oy), d = frame.origin_xy, frame.downsample[0]
    # Where nothing toggles between the first and the last column, one column tells them all.
    width = x1 - x0 if drawing.is_crossed_within(left_x - 1, right_x + 1) else 1
    region = Region((ox + x0 * d, oy + y0 * d), (width, y1 - y0), mpp=d)
    mask = rasterise(drawing.edges, region, slide_mpp=1.0)
    if width == 1:
        part[mask[:, 0]] = drawing.label
    else:
        part[mask] = drawing.label


def pixels_within(bounds: tuple[float, ...], frame: Frame) -> tuple[int, int, int, int]:
    """Return the first and end grid pixel (x0, y0, x1, y1) whose centres can lie within bounds.

    Parameters
    ----------
    bounds
        x0, y0, x1, y1 in level-0 pixels.
    frame
        The grid over level 0.
    """
    x0, y0 = frame.from_level0((bounds[0], bounds[1]))
    x1, y1 = frame.from_level0((bounds[2], bounds[3]))
    return math.floor(x0), math.floor(y0), math.ceil(x1) + 1, math.ceil(y1) + 1


@dataclass(frozen=True, slots=True, eq=False)
class LabelGrid:
    """A grid with objects on it, drawn in blocks of `BLOCK_PX` x `BLOCK_PX` when asked for.

    Parameters
    ----------
    frame
        The grid over level 0.
    size_wh
        Its width and height in its own pixels.
    drawings
        By block (column, row): what touches it, undermost first.
    """

    frame: Frame
    size_wh: tuple[int, int]
    drawings: dict[Block, list[Drawing]]

    @classmethod
    def of(cls, drawings: Iterable[Drawing], frame: Frame, size_wh: tuple[int, int]) -> LabelGrid:
        """Sort drawings, undermost first, into a grid's blocks."""
        found: dict[Block, list[Drawing]] = {}
        for drawing in drawings:
            for block in drawing.blocks(frame, size_wh, BLOCK_PX):
                found.setdefault(block, []).append(drawing)
        return cls(frame, size_wh, found)

    def draw(
        self, block: Block, n_blocks: int, dtype: npt.DTypeLike
    ) -> tuple[tuple[slice, slice], npt.NDArray[Any]]:
        """Draw a square of blocks.

        Parameters
        ----------
        block
            Its upper-left block (column, row).
        n_blocks
            Its side in blocks; it is cut at the grid's edge.
        dtype
            Type of the labels.

        Returns
        -------
        place
            Its rows and columns on the grid.
        labels
            (h, w); 0 where there is no object.
        """
        x0, y0 = block[0] * BLOCK_PX, block[1] * BLOCK_PX
        x1 = min(x0 + n_blocks * BLOCK_PX, self.size_wh[0])
        y1 = min(y0 + n_blocks * BLOCK_PX, self.size_wh[1])
        labels = np.zeros((y1 - y0, x1 - x0), dtype)
        for row in range(n_blocks):
            for column in range(n_blocks):
                left, top = column * BLOCK_PX, row * BLOCK_PX
                part = labels[top : top + BLOCK_PX, left : left + BLOCK_PX]
                for drawing in self.drawings.get((block[0] + column, block[1] + row), ()):
                    draw_label(part, (x0 + left, y0 + top), drawing, self.frame)
        return (slice(y0, y1), slice(x0, x1)), labels
