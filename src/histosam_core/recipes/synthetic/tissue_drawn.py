"""What both kinds of tissue are drawn with: a tissue under construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from .grids import DYE, OPEN_EDGE, Canvas, Layers
from .noise import cloud, smooth_step
from .nuclei import KINDS, draw_red_cells, draw_stamps, stamp
from .points import discs_into, scatter

if TYPE_CHECKING:
    from .cytoplasm import Cells

Float = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

MARGIN_UM = 24.0  # half of the largest stamp, in um


@dataclass(slots=True)
class Tissue:
    """A piece of tissue on its canvas."""

    # The grids and the dye.
    canvas: Canvas
    layers: Layers
    tissue_um: Float  # (H, W) float32 on the pattern grid: um inside the tissue's edge
    tumour_um: Float  # (H, W) float32 on the pattern grid: um inside the tumour's edge; the truth
    # (H, W) float32 on the pattern grid: the probability that a cell is a tumour cell. One half on
    # the truth's edge, and blurred about it by a width that varies along the border.
    tumour: Float
    _libraries: dict[str, list[UInt8]] = field(default_factory=dict)

    def add_nuclei(
        self,
        kind: str,
        xy_um: Float,
        rng: np.random.Generator,
        angle: Float | None = None,
        *,
        clearance: bool = True,
    ) -> None:
        """Stamp nuclei, except those off the tissue and, with `clearance`, those in openings."""
        keep = self.canvas.at(self.tissue_um, xy_um) > 1.5
        if clearance:
            keep &= self.canvas.at(self.layers.opening, xy_um) < OPEN_EDGE - 12
        if kind not in self._libraries:
            self._libraries[kind] = draw_stamps(KINDS[kind], self.canvas.mpp, rng)
        layers, turned = self.layers, None if angle is None else angle[keep]
        stamps = self._libraries[kind]
        stamp(self.canvas, layers.nuclei, layers.margin_px, stamps, xy_um[keep], rng, turned)

    def add_red_cells(self, probability: Float, rng: np.random.Generator) -> None:
        """Fill openings with red blood cells where a pattern-grid probability allows."""
        canvas, layers = self.canvas, self.layers
        xy_um = scatter(canvas, 5.6, rng, keep=probability, jitter=0.2, warp=0.3)
        keep = canvas.at(layers.opening, xy_um) > OPEN_EDGE + 10
        keep &= canvas.at(self.tissue_um, xy_um) > 6
        stamps = draw_red_cells(canvas.mpp, rng)
        stamp(canvas, layers.red_cells, layers.margin_px, stamps, xy_um[keep], rng)

    def paint_cells(
        self,
        cells: Cells,
        eosin: Float,
        haematoxylin: Float,
        *,
        stroma: Float,
        fibrous: Float,
        paleness: Float | None = None,
    ) -> None:
        """Fill the dye layers: every cell in its own colour, fibres where there is stroma.

        `eosin` and `haematoxylin` (N,) are units of dye per cell. On the pattern grid, (H, W)
        float32: `stroma` is the stroma's weight, `fibrous` the eosin of its fibres, `paleness` the
        share of dye that is missing.
        """
        canvas, layers = self.canvas, self.layers
        weight = canvas.to_cell_grid(stroma)
        full = None if paleness is None else 1 - canvas.to_cell_grid(paleness)
        dye = cells.borders()
        dye *= np.float32(0.13)
        dye += 1
        dye *= cells.paint(eosin)
        if full is not None:
            dye *= full
        dye += (canvas.to_cell_grid(fibrous) - dye) * weight
        _store(layers.eosin, cv2.GaussianBlur(dye, (0, 0), 0.6))
        dye = cells.paint(haematoxylin)
        if full is not None:
            dye *= full
        dye += (np.float32(0.03) - dye) * weight
        _store(layers.haematoxylin, cv2.GaussianBlur(dye, (0, 0), 0.6))

    def open_discs(
        self, xy_um: Float, radius_um: Float, rng: np.random.Generator, roughness: float
    ) -> None:
        """Open round lumina or vacuoles: (N, 2) centres and (N,) mean radii."""
        inside = np.full(self.canvas.cell_hw, -6, np.float32)
        discs_into(self.canvas, inside, xy_um, radius_um, rng, roughness=roughness)
        self.layers.open_field(inside)

    def open_glass(self) -> None:
        """Open everything outside the tissue's edge."""
        self.layers.open_field(self.canvas.to_cell_grid(-self.tissue_um))


def border_probability(
    canvas: Canvas, tumour_um: Float, rng: np.random.Generator, width_um: tuple[float, float]
) -> Float:
    """Probability that a cell is tumour, (H, W) float32, from the distance to the truth's edge.

    `tumour_um` is (H, W) float32 on the pattern grid; `width_um` the sharpest and softest border,
    which vary along the edge.
    """
    softness = smooth_step(cloud(canvas.pattern_hw, 350 / canvas.pattern_um, rng), -1.2, 1.2)
    width = np.float32(width_um[0]) + np.float32(width_um[1] - width_um[0]) * softness
    return np.asarray(0.5 + 0.5 * np.tanh(tumour_um / width), np.float32)


def _store(layer: UInt8, dye: Float) -> None:
    dye *= np.float32(DYE)
    np.copyto(layer, np.clip(dye, 0, 255, out=dye), casting="unsafe")


def direction_along(field_: Float) -> Float:
    """Direction of a field's level lines, radians from x towards y, (H, W) float32."""
    gy, gx = np.gradient(field_)
    return np.asarray(np.arctan2(gx, -gy), np.float32)
