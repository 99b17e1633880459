"""The grids a slide is drawn on, and the layers of dye that the tissue fills."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
Scalar = TypeVar("Scalar", bound=np.generic)

DYE = 80  # layer value of one unit of dye
OPEN_EDGE = 128  # value of `Layers.opening` on the edge of an opening ...
OPEN_PER_UM = 24  # ... and its rise per micrometre into the opening
_CELL_UM = 1.0
_PATTERN_UM = 2.0


@dataclass(frozen=True, slots=True)
class Canvas:
    """Three grids over one slide: level 0, the cell grid (1 um) and the pattern grid (2 um).

    Points are (x, y) in micrometres from the slide's upper-left corner (an edge of the pixels, so
    pixel i covers ``[i, i + 1) * step``).

    Parameters
    ----------
    size_wh
        Width and height in level-0 pixels.
    mpp
        Micrometres per level-0 pixel.
    """

    size_wh: tuple[int, int]
    mpp: float

    @property
    def cell_px(self) -> int:
        """Level-0 pixels per cell-grid pixel."""
        return max(1, round(_CELL_UM / self.mpp))

    @property
    def pattern_px(self) -> int:
        """Level-0 pixels per pattern-grid pixel, a multiple of `cell_px`."""
        return self.cell_px * max(1, round(_PATTERN_UM / self.mpp / self.cell_px))

    @property
    def cell_um(self) -> float:
        """Micrometres per cell-grid pixel."""
        return self.cell_px * self.mpp

    @property
    def pattern_um(self) -> float:
        """Micrometres per pattern-grid pixel."""
        return self.pattern_px * self.mpp

    @property
    def pattern_hw(self) -> tuple[int, int]:
        """Rows and columns of the pattern grid; it covers the slide and up to a pixel more."""
        width, height = self.size_wh
        return math.ceil(height / self.pattern_px), math.ceil(width / self.pattern_px)

    @property
    def cell_hw(self) -> tuple[int, int]:
        """Rows and columns of the cell grid; it covers what the pattern grid covers."""
        factor = self.pattern_px // self.cell_px
        return self.pattern_hw[0] * factor, self.pattern_hw[1] * factor

    @property
    def extent_um(self) -> tuple[float, float]:
        """Width and height covered by the pattern grid, in micrometres."""
        return self.pattern_hw[1] * self.pattern_um, self.pattern_hw[0] * self.pattern_um

    def coordinates_um(self) -> tuple[Float, Float]:
        """Return x as (1, W) and y as (H, 1): the centres of the pattern grid's pixels, in um."""
        height, width = self.pattern_hw
        x = (np.arange(width, dtype=np.float32) + 0.5) * np.float32(self.pattern_um)
        y = (np.arange(height, dtype=np.float32) + 0.5) * np.float32(self.pattern_um)
        return x[None], y[:, None]

    def to_cell_grid(self, field: Float) -> Float:
        """Interpolate a pattern-grid field (H, W) float32 onto the cell grid."""
        fine: Float = cv2.resize(field, self.cell_hw[::-1], interpolation=cv2.INTER_LINEAR)
        return fine

    def at(self, field: NDArray[Scalar], xy_um: Float) -> NDArray[Scalar]:
        """Look a field of either grid up at points (N, 2), nearest pixel, clamped to the slide."""
        step = self.extent_um[0] / field.shape[1]
        column = np.clip((xy_um[:, 0] / step).astype(np.intp), 0, field.shape[1] - 1)
        row = np.clip((xy_um[:, 1] / step).astype(np.intp), 0, field.shape[0] - 1)
        found: NDArray[Scalar] = field[row, column]
        return found

    def band(self, field: UInt8 | Float, row: int, rows: int) -> Float:
        """Interpolate rows of a cell- or pattern-grid field, (H, W) uint8 or float32, to level 0.

        `row` is the first level-0 row, a multiple of the grid's step. Returns (rows, slide width)
        float32.
        """
        factor = round(self.extent_um[1] / self.mpp) // field.shape[0]
        first, last = row // factor - 1, math.ceil((row + rows) / factor) + 1
        inside = field[max(first, 0) : last]
        above = max(-first, 0)
        below = last - first - above - len(inside)
        edged = cv2.copyMakeBorder(inside, above, below, 0, 0, cv2.BORDER_REPLICATE)
        size_wh = edged.shape[1] * factor, edged.shape[0] * factor
        fine = cv2.resize(edged, size_wh, interpolation=cv2.INTER_LINEAR)
        return np.asarray(fine[factor : factor + rows, : self.size_wh[0]], np.float32)


@dataclass(slots=True)
class Layers:
    """What the tissue deposits on a canvas."""

    # (H, W) uint8 on the cell grid: dye of cytoplasm and fibres, `DYE` per unit. One unit of eosin
    # is ordinary cytoplasm, one unit of haematoxylin a dense nucleus.
    eosin: UInt8
    haematoxylin: UInt8
    # (H, W) uint8 on the cell grid: lumina, sinusoids, vacuoles and bare glass, as a signed
    # distance: `OPEN_EDGE` on the edge, more inside the opening.
    opening: UInt8
    # (H, W) uint8 at level 0 with `margin_px` round it: chromatin, 255 per unit, and eosin of red
    # blood cells, 255 per three units.
    nuclei: UInt8
    red_cells: UInt8
    margin_px: int  # level-0 pixels round `nuclei` and `red_cells`, so that stamps need no clipping

    @classmethod
    def empty(cls, canvas: Canvas, margin_px: int) -> Layers:
        """Return layers without dye and without openings."""
        width, height = (n + 2 * margin_px for n in canvas.size_wh)
        return cls(
            eosin=np.zeros(canvas.cell_hw, np.uint8),
            haematoxylin=np.zeros(canvas.cell_hw, np.uint8),
            opening=np.zeros(canvas.cell_hw, np.uint8),
            nuclei=np.zeros((height, width), np.uint8),
            red_cells=np.zeros((height, width), np.uint8),
            margin_px=margin_px,
        )

    def open_field(self, inside_um: Float) -> None:
        """Open the tissue where a cell-grid field, micrometres into the opening, is positive."""
        value = inside_um * np.float32(OPEN_PER_UM)
        value += np.float32(OPEN_EDGE)
        np.clip(value, 0, 255, out=value)
        np.maximum(self.opening, value.astype(np.uint8), out=self.opening)
