"""What both kinds of tissue are drawn with: a tissue under construction, and its layers of dye."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .cells import KINDS, Cytoplasm, draw_stamps, scatter, stamp
from .grids import Canvas, Float, UInt8, smooth_step

DYE = 80  # layer value of one unit of dye
OPEN_EDGE = 128  # value of `Tissue.opening` on the edge of an opening ...
OPEN_PER_UM = 24  # ... and its rise per micrometre into the opening
_MARGIN_UM = 24.0  # half of the largest stamp, in um


class Tissue:
    """A piece of tissue on its canvas.

    Parameters
    ----------
    canvas
        The grids.
    tissue_um, tumour_um
        (H, W) float32 on the pattern grid: um inside the tissue's edge, and inside the tumour's
        edge, which is the truth.
    border_um
        Width of the sharpest and of the softest border of the tumour; it varies along the edge.
    """

    def __init__(
        self, canvas: Canvas, tissue_um: Float, tumour_um: Float, border_um: tuple[float, float]
    ) -> None:
        self.canvas, self.tissue_um, self.tumour_um = canvas, tissue_um, tumour_um
        softness = smooth_step(canvas.cloud(350), -1.2, 1.2)
        width = np.float32(border_um[0]) + np.float32(border_um[1] - border_um[0]) * softness
        # (H, W) float32 on the pattern grid: the probability that a cell is a tumour cell. One half
        # on the truth's edge.
        self.tumour = np.asarray(0.5 + 0.5 * np.tanh(tumour_um / width), np.float32)
        # (H, W) uint8 on the cell grid: dye of cytoplasm and fibres, `DYE` per unit. One unit of
        # eosin is ordinary cytoplasm, one unit of haematoxylin a dense nucleus.
        self.eosin, self.haematoxylin = np.zeros((2, *canvas.cell_hw), np.uint8)
        # (H, W) uint8 on the cell grid: lumina, sinusoids, vacuoles and bare glass, as a signed
        # distance: `OPEN_EDGE` on the edge, more inside the opening.
        self.opening = np.zeros(canvas.cell_hw, np.uint8)
        # (H, W) uint8 at level 0 with `margin_px` round it, so that stamps need no clipping:
        # chromatin, 255 per unit, and eosin of red blood cells, 255 per three units.
        self.margin_px = math.ceil(_MARGIN_UM / canvas.mpp)
        width_px, height_px = (n + 2 * self.margin_px for n in canvas.size_wh)
        self.nuclei, self.red_cells = np.zeros((2, height_px, width_px), np.uint8)
        self._stamps: dict[str, list[UInt8]] = {}

    def add_nuclei(
        self, kind: str, xy_um: Float, angle: Float | None = None, *, clearance: bool = True
    ) -> None:
        """Stamp nuclei, except those off the tissue and, with `clearance`, those in openings."""
        keep = self.canvas.at(self.tissue_um, xy_um) > 1.5
        if clearance:
            keep &= self.canvas.at(self.opening, xy_um) < OPEN_EDGE - 12
        self._stamp(self.nuclei, kind, xy_um[keep], None if angle is None else angle[keep])

    def add_red_cells(self, probability: Float) -> None:
        """Fill openings with red blood cells where a pattern-grid probability allows."""
        xy_um = scatter(self.canvas, 5.6, probability, warp=0.3)
        keep = self.canvas.at(self.opening, xy_um) > OPEN_EDGE + 10
        keep &= self.canvas.at(self.tissue_um, xy_um) > 6
        self._stamp(self.red_cells, "red_cell", xy_um[keep])

    def _stamp(self, layer: UInt8, kind: str, xy_um: Float, angle: Float | None = None) -> None:
        mpp, rng = self.canvas.mpp, self.canvas.rng
        if kind not in self._stamps:
            self._stamps[kind] = draw_stamps(KINDS[kind], mpp, rng)
        centre = np.rint(xy_um / mpp).astype(np.intp) + self.margin_px
        stamp(layer, self._stamps[kind], centre, rng, angle)

    def paint_cells(
        self,
        xy_um: Float,
        eosin: Float,
        haematoxylin: Float,
        *,
        stroma: Float,
        fibrous: Float,
        paleness: Float | None = None,
    ) -> None:
        """Fill the dye layers: every cell in its own colour, fibres where there is stroma.

        `eosin` and `haematoxylin` (N,) are units of dye per cell of the nuclei `xy_um` (N, 2). On
        the pattern grid, (H, W) float32: `stroma` is the stroma's weight, `fibrous` the eosin of
        its fibres, `paleness` the share of dye that is missing.
        """
        canvas = self.canvas
        cells = Cytoplasm(canvas, xy_um)
        weight = canvas.to_cell_grid(stroma)
        full = None if paleness is None else 1 - canvas.to_cell_grid(paleness)

        def fill(layer: UInt8, dye: Float, fibres: Float | np.float32) -> None:
            if full is not None:
                dye *= full
            dye += (fibres - dye) * weight
            dye = cv2.GaussianBlur(dye, (0, 0), 0.6)
            dye *= np.float32(DYE)
            np.copyto(layer, np.clip(dye, 0, 255, out=dye), casting="unsafe")

        pink = cells.borders() * np.float32(0.13) + 1
        pink *= cells.paint(eosin)
        fill(self.eosin, pink, canvas.to_cell_grid(fibrous))
        del pink
        fill(self.haematoxylin, cells.paint(haematoxylin), np.float32(0.03))

    def open_field(self, inside_um: Float) -> None:
        """Open the tissue where a cell-grid field, micrometres into the opening, is positive."""
        value = inside_um * np.float32(OPEN_PER_UM)
        value += np.float32(OPEN_EDGE)
        np.clip(value, 0, 255, out=value)
        np.maximum(self.opening, value.astype(np.uint8), out=self.opening)

    def open_discs(self, xy_um: Float, radius_um: Float, roughness: float) -> None:
        """Open round lumina or vacuoles: (N, 2) centres and (N,) mean radii."""
        self.open_field(self.canvas.discs(xy_um, radius_um, roughness, outside_um=-6, fine=True))

    def open_glass(self) -> None:
        """Open everything outside the tissue's edge."""
        self.open_field(self.canvas.to_cell_grid(-self.tissue_um))
