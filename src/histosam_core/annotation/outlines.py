"""A mask's outline along exact pixel edges, holes and islands kept.

How it works. Only the corners where the outline turns are looked at. Sorted by row they pair up
into its horizontal edges, sorted by column into its vertical ones; following the pairs in turn
walks every ring. At a corner where two set pixels touch diagonally the outline passes twice;
there the rings are joined such that pixels belong together only along an edge (4-connectivity),
and a ring that meets itself is cut in two, which is what makes every polygon valid: parts and
holes touch at single points at most.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import shapely

from histosam_core.geometry import Frame

Ints = npt.NDArray[np.int64]
LEVEL0 = Frame(origin_xy=(0.0, 0.0), downsample=(1.0, 1.0))


def mask_to_geometry(mask: npt.NDArray[Any], frame: Frame = LEVEL0) -> Any:
    """Trace a mask into polygons whose outline runs along its pixels' edges.

    Rasterising the result in the same frame gives the mask back exactly.

    Parameters
    ----------
    mask
        (H, W) bool, or anything whose non-zero pixels are meant.
    frame
        Where the mask's pixel grid lies over level 0. Default: it is level 0.

    Returns
    -------
    shapely.MultiPolygon
        Level-0 pixels, (x, y), pixel centres at whole numbers. One valid polygon per
        4-connected component, in the order of their first pixels; exterior and hole rings turn
        in opposite directions. Empty for an empty mask.
    """
    if mask.ndim != 2:
        raise ValueError(f"a mask has two axes (H, W), not {mask.ndim}")
    mask = np.asarray(mask) != 0
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return shapely.MultiPolygon()
    top, left = int(rows[0]), int(columns[0])
    padded = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1).view(np.uint8)
    corner_x, corner_y, ring_starts, ring_pixels = _rings(padded)
    # Padding put corner 0 at the crop's edge; a corner k is the pixel edge k - 0.5.
    edge_xy = np.column_stack((corner_x + left, corner_y + top)).astype(np.float64) - 0.5
    (ox, oy), (dx, dy) = frame.origin_xy, frame.downsample
    coordinates = edge_xy * (dx, dy) + (ox + (dx - 1) / 2, oy + (dy - 1) / 2)

    _, labels = cv2.connectedComponents(padded, connectivity=4, ltype=cv2.CV_32S)
    ring_labels = labels.ravel()[ring_pixels]
    return _polygons(coordinates, corner_x, corner_y, ring_starts, ring_labels)


def _turns(padded: npt.NDArray[np.uint8]) -> tuple[Ints, Ints, Ints]:
    """Find the corners where the outline turns, in row-major order; touching corners twice.

    Returns x, y, and which diagonal is set at a touching corner: 1 from upper left to lower
    right, 2 the other, 0 elsewhere.
    """
    width = padded.shape[1] - 1
    block = padded[:-1, :-1] | padded[:-1, 1:] << 1 | padded[1:, :-1] << 2 | padded[1:, 1:] << 3
    # By number of the 2 x 2 block: 1 = one turn, 2 and 3 = touching on diagonal 1 and 2.
    kinds = np.zeros(16, dtype=np.uint8)
    kinds[[1, 2, 4, 7, 8, 11, 13, 14]] = 1
    kinds[0b1001], kinds[0b0110] = 2, 3
    found = np.flatnonzero(kinds[block])
    kind = kinds[block.ravel()[found]]
    times = np.where(kind > 1, 2, 1)
    y, x = np.divmod(np.repeat(found, times), width)
    return x, y, np.repeat(np.where(kind > 1, kind - 1, 0), times)


def _rings(padded: npt.NDArray[np.uint8]) -> tuple[Ints, Ints, Ints, Ints]:
    """Walk the outline.

    Returns corner x and y, ring after ring, each ring's first index (and the end), and for each
    ring the flat index of a set pixel that it borders.
    """
    x, y, diagonal = _turns(padded)
    n = x.size
    # Row-major order pairs corners 2 e and 2 e + 1 into horizontal edge e. In column-major order
    # the first of the two passes at a touching corner ends the upper edge: on diagonal 1 that one
    # is the pass of the left edge (first already), on diagonal 2 that of the right edge.
    passes = np.zeros(n, dtype=np.int64)
    second = np.flatnonzero((diagonal[1:] > 0) & (x[1:] == x[:-1]) & (y[1:] == y[:-1])) + 1
    passes[second] = 1
    passes[diagonal == 2] ^= 1
    by_column = np.lexsort((passes, y, x))
    vertical = np.empty(n, dtype=np.int64)
    vertical[by_column[0::2]], vertical[by_column[1::2]] = by_column[1::2], by_column[0::2]

    # Direct every horizontal edge so that the set pixel lies on the same side all along a ring.
    first = np.arange(0, n, 2)
    set_below = padded[y[first] + 1, x[first] + 1] != 0
    tail, head = np.where(set_below, first, first + 1), np.where(set_below, first + 1, first)
    ring_of = _cycles(vertical[head] >> 1)[1]
    pairs = second[ring_of[second >> 1] == ring_of[(second - 1) >> 1]]
    swapped = np.arange(n)
    swapped[pairs], swapped[pairs - 1] = pairs - 1, pairs
    vertical = swapped[vertical[swapped]]

    order, ring_of = _cycles(vertical[head] >> 1)
    corners = np.column_stack((tail[order], head[order])).ravel()
    edge_starts = np.flatnonzero(np.diff(ring_of[order], prepend=-1))
    leaders = order[edge_starts]
    pixel_y = y[first[leaders]] + set_below[leaders]
    pixels = pixel_y * padded.shape[1] + x[first[leaders]] + 1
    return x[corners], y[corners], np.append(2 * edge_starts, corners.size), pixels


def _cycles(successor: Ints) -> tuple[Ints, Ints]:
    """Order the elements of a permutation cycle after cycle, and number each one's cycle."""
    following: list[int] = successor.tolist()
    ring_of = [-1] * len(following)
    order: list[int] = []
    ring = 0
    for start in range(len(following)):
        if ring_of[start] >= 0:
            continue
        at = start
        while ring_of[at] < 0:
            ring_of[at] = ring
            order.append(at)
            at = following[at]
        ring += 1
    return np.array(order, dtype=np.int64), np.array(ring_of, dtype=np.int64)


def _polygons(
    coordinates: npt.NDArray[np.float64], x: Ints, y: Ints, starts: Ints, labels: Ints
) -> Any:
    """Build one polygon per label from its rings; the ring that turns outward is the exterior."""
    sizes = np.diff(starts)
    following = np.arange(1, x.size + 1)
    following[starts[1:] - 1] = starts[:-1]
    doubled_area = np.add.reduceat(x * y[following] - x[following] * y, starts[:-1])
    is_exterior = doubled_area > 0

    rings = shapely.linearrings(coordinates, indices=np.repeat(np.arange(sizes.size), sizes))
    exteriors = {int(labels[i]): rings[i] for i in np.flatnonzero(is_exterior)}
    holes: dict[int, list[Any]] = {}
    for i in np.flatnonzero(~is_exterior):
        holes.setdefault(int(labels[i]), []).append(rings[i])
    return shapely.MultiPolygon(
        [shapely.Polygon(ring, holes.get(label)) for label, ring in exteriors.items()]
    )
