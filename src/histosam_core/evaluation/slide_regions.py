"""The annotated tumour regions of a whole slide: which there are, and the truth of each.

A region is a group of tumour pixels that touch, corners count, on the pixel grid of a session: the
model's own resolution. The slide is gone through by strips of rows, so that neither the size of the
slide nor that of its annotation matters to memory; a region's truth is drawn when it is its turn.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from histosam_core.annotation.regions import IGNORE_VALUE, Annotation
from histosam_core.errors import RegionError
from histosam_core.geometry import Region

if TYPE_CHECKING:
    from histosam_core.session.windows.windows import WindowGrid

STRIP_PX = 1 << 24
MAX_TRUTH_PX = 10**8
"""A region's truth, its distance maps and its masks take about 22 bytes per pixel."""

XY = tuple[int, int]
XYXY = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class TumorRegion:
    """One connected tumour region of a slide, in grid pixels."""

    number: int  # 1, 2, ... in the order of their first rows.
    # Its first pixel, row by row; its first and end pixel (x0, y0, x1, y1); its size.
    first_xy: XY
    box_xyxy: XYXY
    area_px: int


@dataclass(frozen=True, slots=True, eq=False)
class RegionTruth:
    """A region and what lies round it."""

    location_xy: XY  # grid pixel (x, y) of the upper-left pixel
    # (h, w) int8: 1 the region, 0 not tumour, -1 ignored: other tumour, and what the annotation
    # says to ignore.
    mask: NDArray[np.int8]

    @property
    def tumor_fraction(self) -> float:
        """Share of the region among the pixels that count."""
        n_counting = int(np.count_nonzero(self.mask >= 0))
        return int(np.count_nonzero(self.mask == 1)) / max(n_counting, 1)

    def region(self, grid: WindowGrid, coarsening: float = 1.0) -> Region:
        """Return the place on the slide, at the grid's resolution or coarser."""
        d = grid.downsample
        x, y = self.location_xy
        h, w = self.mask.shape
        size_wh = max(1, round(w / coarsening)), max(1, round(h / coarsening))
        return Region((x * d, y * d), size_wh, grid.mpp * coarsening)


def find_regions(
    annotation: Annotation, grid: WindowGrid, *, min_area_px: int = 1
) -> tuple[list[TumorRegion], int]:
    """Find the connected tumour regions of a slide.

    Parameters
    ----------
    annotation, grid
        The annotation, fitted to the slide, and the pixels to find them on.
    min_area_px
        Smaller regions are left out.

    Returns
    -------
    regions, n_small
        In the order of their first rows, and how many were left out.

    Raises
    ------
    AnnotationError
        The annotation cannot be read, or has no class that means tumour.
    """
    parts: list[tuple[int, int, XYXY, int]] = []  # first y and x, box, area; one per strip and part
    joins: list[NDArray[np.int64]] = []
    above: NDArray[np.int64] | None = None
    width, height = grid.size_wh
    rows = max(1, STRIP_PX // width)
    for y0 in range(0, height, rows):
        place = Region((0.0, y0 * grid.downsample), (width, min(rows, height - y0)), grid.mpp)
        strip = (annotation.mask(place, grid.slide_mpp) == 1).astype(np.uint8)
        n, labels, stats, _ = cv2.connectedComponentsWithStats(strip, connectivity=8)
        start = len(parts) - 1  # label 1 is the next part
        for label in range(1, n):
            x, y, w, h, area = stats[label].tolist()
            first_x = x + int((labels[y, x : x + w] == label).argmax())
            parts.append((y0 + y, first_x, (x, y0 + y, x + w, y0 + y + h), area))
        top, bottom = (_numbered(labels[row], start) for row in (0, -1))
        if above is not None:
            joins.append(_touching(above, top))
        above = bottom
    found, n_small = [], 0
    for group in _groups(len(parts), joins):
        members = [parts[i] for i in group]
        area = sum(member[3] for member in members)
        if area < min_area_px:
            n_small += 1
            continue
        first_y, first_x = min(member[:2] for member in members)
        boxes = np.array([member[2] for member in members])
        (bx0, by0), (bx1, by1) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        found.append(((first_x, first_y), (int(bx0), int(by0), int(bx1), int(by1)), area))
    found.sort(key=lambda one: (one[0][1], one[0][0]))
    return [TumorRegion(i, *one) for i, one in enumerate(found, 1)], n_small


def draw_truth(
    annotation: Annotation, grid: WindowGrid, region: TumorRegion, margin_px: int
) -> RegionTruth:
    """Draw a region that was found on its box and some grid pixels round it, within the slide.

    Raises
    ------
    RegionError
        It has more than `MAX_TRUTH_PX` pixels.
    """
    width, height = grid.size_wh
    x0, y0 = (max(at - margin_px, 0) for at in region.box_xyxy[:2])
    x1, y1 = min(region.box_xyxy[2] + margin_px, width), min(region.box_xyxy[3] + margin_px, height)
    if (x1 - x0) * (y1 - y0) > MAX_TRUTH_PX:
        raise RegionError(
            f"region {region.number} spans {x1 - x0} x {y1 - y0} px at {grid.mpp:g} um, more than "
            f"{MAX_TRUTH_PX:,} px; evaluate it with a model of coarser resolution"
        )
    d = grid.downsample
    place = Region((x0 * d, y0 * d), (x1 - x0, y1 - y0), grid.mpp)
    labels = annotation.mask(place, grid.slide_mpp)
    ink = (labels == 1).astype(np.uint8)
    first = region.first_xy[0] - x0, region.first_xy[1] - y0
    # All of the region lies in the box, so that whatever does not touch it here is another one.
    cv2.floodFill(ink, None, first, 2, flags=8)
    mask = (ink == 2).astype(np.int8)
    mask[(ink == 1) | (labels == IGNORE_VALUE)] = -1
    return RegionTruth((x0, y0), mask)


def _numbered(row: NDArray[np.int32], start: int) -> NDArray[np.int64]:
    """Return the part of each pixel of a row of labels; -1 where there is none."""
    return np.where(row > 0, row.astype(np.int64) + start, -1)


def _touching(above: NDArray[np.int64], below: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which parts touch over the border of two strips, corners count: (n, 2)."""
    n = above.size
    pairs = []
    for shift in (-1, 0, 1):
        a = above[max(shift, 0) : n + min(shift, 0)]
        b = below[max(-shift, 0) : n + min(-shift, 0)]
        both = (a >= 0) & (b >= 0)
        pairs.append(np.stack((a[both], b[both]), axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _groups(n: int, joins: list[NDArray[np.int64]]) -> list[list[int]]:
    """Gather the parts that are joined, directly or through others."""
    pairs = np.concatenate(joins) if joins else np.empty((0, 2), np.int64)
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, group_of = connected_components(graph, directed=False) if n else (0, np.empty(0, np.int32))
    order = np.argsort(group_of, kind="stable").tolist()
    return [list(g) for _, g in itertools.groupby(order, key=lambda i: int(group_of[i]))]
