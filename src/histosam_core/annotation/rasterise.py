"""Polygons to masks: a pixel belongs when its centre lies inside.

A scanline over all edges at once. An edge toggles every pixel of a row to the right of where it
crosses that row's centre line; an odd number of toggles means inside (so holes need no care).
Edges are half-open, hence polygons that share an edge share no pixel and leave no gap: a centre
exactly on an outline belongs to what lies to its right, or below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import shapely

if TYPE_CHECKING:
    from histosam_core.geometry import Region

Floats = npt.NDArray[np.float64]
TIE_PX = 1e-7
"""An outline this close to a pixel's centre runs through it: rounding must not break a tie."""
_STRIP_PX = 1 << 22


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of a geometry that cross rows, upper end first: each (N,) float64, level-0 px."""

    x_top: Floats
    y_top: Floats
    x_bottom: Floats
    y_bottom: Floats


def edges_of(geometry: Any) -> Edges:
    """Take a Polygon or MultiPolygon apart into its edges, horizontal ones left out."""
    rings = shapely.get_rings(shapely.get_parts(geometry))
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    joined = ring[1:] == ring[:-1]
    start, end = xy[:-1][joined], xy[1:][joined]
    slanted = start[:, 1] != end[:, 1]
    start, end = start[slanted], end[slanted]
    downward = (start[:, 1] < end[:, 1])[:, None]
    top, bottom = np.where(downward, start, end), np.where(downward, end, start)
    return Edges(top[:, 0], top[:, 1], bottom[:, 0], bottom[:, 1])


def rasterise(
    geometry: Any | Edges, region: Region, slide_mpp: float | None = None
) -> npt.NDArray[np.bool_]:
    """Draw a polygon on a region's pixel grid.

    Parameters
    ----------
    geometry
        Valid shapely Polygon or MultiPolygon in level-0 pixels (pixel centres at whole numbers),
        or its `Edges` where many regions are drawn of one geometry.
    region
        What to draw it on.
    slide_mpp
        The slide's um per level-0 pixel; needed only when the region states an mpp.

    Returns
    -------
    ndarray
        (h, w) bool: True where the pixel's centre lies inside.

    Raises
    ------
    MissingMppError
        The region states an mpp and `slide_mpp` is None.
    """
    width, height = region.size_wh
    frame = region.frame(slide_mpp)
    mask = np.zeros((height, width), dtype=bool)
    edges = geometry if isinstance(geometry, Edges) else edges_of(geometry)
    (ox, oy), (dx, dy) = frame.origin_xy, frame.downsample
    shift_x, shift_y = ox + (dx - 1) / 2, oy + (dy - 1) / 2
    y_top, y_bottom = (edges.y_top - shift_y) / dy, (edges.y_bottom - shift_y) / dy
    x_top, x_bottom = (edges.x_top - shift_x) / dx, (edges.x_bottom - shift_x) / dx

    # Edges wholly to the right toggle nothing that is seen.
    near = (y_bottom > 0) & (y_top < height) & (np.minimum(x_top, x_bottom) < width)
    if not near.any():
        return mask
    x_top, y_top, x_bottom, y_bottom = (a[near] for a in (x_top, y_top, x_bottom, y_bottom))
    first = np.clip(np.ceil(y_top - TIE_PX), 0, height).astype(np.int64)
    last = np.clip(np.ceil(y_bottom - TIE_PX), 0, height).astype(np.int64)
    strip = max(1, _STRIP_PX // (width + 1))
    for row0 in range(int(first.min()), int(last.max()), strip):
        row1 = min(row0 + strip, height)
        begin, end = np.maximum(first, row0), np.minimum(last, row1)
        counts = np.maximum(end - begin, 0)
        total = int(counts.sum())
        if total == 0:
            continue
        edge = np.repeat(np.arange(counts.size), counts)
        within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = begin[edge] + within
        # Clipped, for a tie may put a row a hair beyond the end of a very short edge.
        share = np.clip((rows - y_top[edge]) / (y_bottom - y_top)[edge], 0, 1)
        crossing_x = x_top[edge] + share * (x_bottom - x_top)[edge]
        columns = np.clip(np.ceil(crossing_x - TIE_PX), 0, width).astype(np.int64)
        toggles = np.bincount(
            (rows - row0) * (width + 1) + columns, minlength=(row1 - row0) * (width + 1)
        )
        parity = toggles.astype(np.uint8).reshape(row1 - row0, width + 1) & 1
        np.bitwise_xor.accumulate(parity, axis=1, out=parity)
        mask[row0:row1] = parity[:, :-1].view(bool)
    return mask
