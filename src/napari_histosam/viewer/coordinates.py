"""napari's (row, column) world <-> the core's (x, y) level-0 pixels: axes are swapped only here.

In both, a pixel's centre has whole-number coordinates. The image layer's own transform (scale in
micrometres, translation, rotation, whatever the user set) says where level 0 lies in the world;
our layers lie on coarser grids over level 0 and get that transform with the grid's put before it.
See docs/coordinates.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.geometry import Frame

XY = tuple[float, float]
LEVEL0 = Frame((0.0, 0.0), (1.0, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class ImageFrame:
    """Where an image layer's level-0 pixels lie in napari's world."""

    # (3, 3) float64: level-0 (row, column, 1) -> world (row, column, 1), the last two axes of the
    # world.
    matrix: NDArray[np.float64]

    @classmethod
    def of(cls, layer: Any) -> ImageFrame:
        """Read the transform of a two-dimensional napari layer."""
        at = [np.asarray(layer.data_to_world(p))[-2:] for p in ((0, 0), (1, 0), (0, 1))]
        matrix = np.eye(3)
        matrix[:2, 0], matrix[:2, 1], matrix[:2, 2] = at[1] - at[0], at[2] - at[0], at[0]
        return cls(matrix)

    def to_level0(self, world: Sequence[float]) -> XY:
        """World position (..., row, column) -> level-0 pixels (x, y)."""
        row, column, _ = np.linalg.solve(self.matrix, (*world[-2:], 1.0))
        return float(column), float(row)

    def to_world(self, xy: XY) -> XY:
        """Level-0 pixels (x, y) -> world (row, column)."""
        row, column, _ = self.matrix @ (xy[1], xy[0], 1.0)
        return float(row), float(column)

    def affine(self, frame: Frame = LEVEL0) -> NDArray[np.float64]:
        """Return the ``affine`` of a layer on a grid over level 0, by default level 0 itself.

        (3, 3) float64: grid (row, column, 1) -> world.
        """
        return np.asarray(self.matrix @ grid_matrix(frame))

    def equals(self, other: ImageFrame) -> bool:
        """Whether both put level 0 at the same place."""
        return bool(np.array_equal(self.matrix, other.matrix))


def grid_matrix(frame: Frame) -> NDArray[np.float64]:
    """(3, 3): a grid's (row, column, 1) -> level-0 (row, column, 1), the half pixel included."""
    (x, y), (dx, dy) = frame.to_level0((0.0, 0.0)), frame.downsample
    return np.array(((dy, 0.0, y), (0.0, dx, x), (0.0, 0.0, 1.0)))


def to_row_column(points_xy: Iterable[XY]) -> NDArray[np.float64]:
    """Points (x, y) -> (N, 2) rows and columns, as napari's point layers take them."""
    return np.array([(y, x) for x, y in points_xy], dtype=np.float64).reshape(-1, 2)


def to_xy(row_column: Sequence[float]) -> XY:
    """One (..., row, column) -> (x, y)."""
    return float(row_column[-1]), float(row_column[-2])
