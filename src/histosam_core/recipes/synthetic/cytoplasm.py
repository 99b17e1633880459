"""Cytoplasm: each nucleus owns the tissue nearest to it (a Voronoi cell), in its own colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .grids import Canvas

Float = NDArray[np.float32]


class Cells:
    """The cell grid divided among nuclei `xy_um`, (N, 2), N >= 1.

    Nuclei in the same cell-grid pixel share their cell.
    """

    def __init__(self, canvas: Canvas, xy_um: Float) -> None:
        hw = canvas.cell_hw
        column = np.clip((xy_um[:, 0] / canvas.cell_um).astype(np.intp), 0, hw[1] - 1)
        row = np.clip((xy_um[:, 1] / canvas.cell_um).astype(np.intp), 0, hw[0] - 1)
        free = np.ones(hw, np.uint8)
        free[row, column] = 0
        _, self._label = cv2.distanceTransformWithLabels(
            free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        self._nucleus_label = self._label[row, column]
        self._labels = int(self._label.max()) + 1

    def paint(self, value: Float) -> Float:
        """Spread each nucleus's value (N,) over its cell: (H, W) float32 on the cell grid."""
        table = np.zeros(self._labels, np.float32)
        table[self._nucleus_label] = value
        return np.asarray(table[self._label], np.float32)

    def borders(self) -> Float:
        """Return 1 where neighbouring cells meet, 0 inside; (H, W) float32, slightly blurred."""
        label = self._label
        edge = np.zeros(label.shape, np.uint8)
        edge[:, 1:] = label[:, 1:] != label[:, :-1]
        edge[1:] |= label[1:] != label[:-1]
        return np.asarray(cv2.GaussianBlur(edge.astype(np.float32), (0, 0), 0.7), np.float32)


def owners(count: int, mean: float, spread: float, rng: np.random.Generator) -> Float:
    """Draw one value per cell: (count,) float32, never below a tenth of the mean."""
    value = rng.normal(mean, spread, count).astype(np.float32)
    return np.maximum(value, np.float32(0.1 * mean))


def ring(
    centre_um: Float, radius_um: float, spacing_um: float, rng: np.random.Generator
) -> tuple[Float, Float]:
    """Nuclei round a lumen: (N, 2) float32 in um, and (N,) radians away from the centre."""
    count = max(4, round(2 * np.pi * radius_um / spacing_um))
    angle = np.arange(count) / count * 2 * np.pi + rng.uniform(0, 2 * np.pi)
    jittered = (angle + rng.normal(0, 0.12 / radius_um * spacing_um, count)).astype(np.float32)
    reach = (radius_um * (1 + 0.06 * rng.standard_normal(count))).astype(np.float32)
    offset = np.stack([np.cos(jittered), np.sin(jittered)], 1) * reach[:, None]
    return (centre_um + offset).astype(np.float32), jittered
