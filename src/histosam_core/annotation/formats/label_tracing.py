"""Label pixels to polygons, block by block: the outline of a large object needs no large array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from scipy.ndimage import find_objects

from histosam_core.annotation.outlines import mask_to_geometry
from histosam_core.geometry import Frame

__all__ = ["trace_labels"]

Blocks = Iterable[tuple[int, int, npt.NDArray[Any]]]


def trace_labels(blocks: Blocks, frame: Frame, wanted: Set[int] | None = None) -> dict[int, Any]:
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
        for label, rows, columns, mask in _masks(labels):
            if wanted is None or label in wanted:
                place = Frame((float(x0 + columns), float(y0 + rows)), (1.0, 1.0))
                parts.setdefault(label, []).append(mask_to_geometry(mask, place))
    return {label: _placed(_united(parts[label]), frame) for label in sorted(parts)}


def _masks(labels: npt.NDArray[Any]) -> Iterator[tuple[int, int, int, npt.NDArray[np.bool_]]]:
    """Yield each label of a block, the first row and column of its box, and its mask there."""
    values, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(labels.shape).astype(np.int32)
    # A number is one more than its place, for find_objects takes 0 for background.
    for number, box in enumerate(find_objects(numbers + 1)):
        if box is not None and values[number] != 0:
            rows, columns = box
            yield int(values[number]), rows.start, columns.start, numbers[box] == number


def _united(parts: list[Any]) -> Any:
    """Join the outlines of one label, exactly: all corners are whole numbers less a half."""
    if len(parts) > 1:
        # Uniting leaves corners where blocks met; they lie on straight lines.
        joined = shapely.simplify(shapely.unary_union(parts), 0)
        return joined
    polygons = parts[0].geoms
    return polygons[0] if len(polygons) == 1 else parts[0]


def _placed(geometry: Any, frame: Frame) -> Any:
    (x, y), (dx, dy) = frame.to_level0((0.0, 0.0)), frame.downsample
    return shapely.transform(geometry, lambda xy: xy * (dx, dy) + (x, y))
