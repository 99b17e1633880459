"""What tissue looks like, cell by cell: texture of its stains, whatever the model.

A cell is a square of grid pixels, a fortieth of a window wide. Each is described by how much the
optical density varies in it and round it: over all, between neighbouring pixels, and along edges.
Logarithms make these energies add up like the sums that a linear rule takes of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histosam_core.geometry import Region
from histosam_core.slide import tissue_mask
from histosam_core.slide.colour import optical_density

if TYPE_CHECKING:
    from histosam_core.session.windows.predictor import Predictor
    from histosam_core.session.windows.windows import WindowGrid

CELLS_PER_WINDOW = 40
SCALES = (3, 9)
"""Widths in cells over which a cell's energies are averaged."""
COLOUR_SHARE = 0.15
"""How much colour counts beside texture: staining varies within a tissue."""
BLOCK = 48
"""Cells along the side of what is read at once."""
HALO = max(SCALES) // 2 + 1
KEPT_BLOCKS = 256
SAMPLED_BLOCKS = 32
OVERVIEW_PX = 192
LEAST_SEEN = 100
"""Cells of tissue, below which all cells of a slide are learnt from."""
GLASS_DENSITY = 0.15
"""Mean optical density below which a cell shows no tissue."""
LEAST_ENERGY = 1e-6

BlockIndex = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """A rectangle of cells.

    Parameters
    ----------
    features
        (h, w, D) float32, natural logarithms of energies of the optical density.
    tissue
        (h, w) bool; elsewhere is glass, or nothing of the slide.
    """

    features: NDArray[np.float32]
    tissue: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class TissueStatistics:
    """How the features of a slide's tissue spread: (D,) mean and scale, (D, D) correlation."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    correlation: NDArray[np.float64]


class Texture:
    """The cells of one slide, read where they are asked for; the latest blocks are kept.

    Every cell depends on the slide and the grid alone, not on what was read before.
    """

    def __init__(self, predictor: Predictor, grid: WindowGrid) -> None:
        self._predictor = predictor
        self._grid = grid
        self.cell_px = max(1, round(grid.window_px / CELLS_PER_WINDOW))
        self._block = lru_cache(KEPT_BLOCKS)(self._read)

    def cells(self, box_xyxy: tuple[int, int, int, int]) -> Cells:
        """Return the cells from the first to the end ones (x0, y0, x1, y1)."""
        x0, y0, x1, y1 = box_xyxy
        rows = []
        for by in range(y0 // BLOCK, -(-y1 // BLOCK)):
            row = []
            for bx in range(x0 // BLOCK, -(-x1 // BLOCK)):
                block = self._block((bx, by))
                left, top = bx * BLOCK, by * BLOCK
                part = np.s_[
                    max(y0 - top, 0) : min(y1 - top, BLOCK),
                    max(x0 - left, 0) : min(x1 - left, BLOCK),
                ]
                row.append((block.features[part], block.tissue[part]))
            rows.append([np.concatenate(arrays, axis=1) for arrays in zip(*row, strict=True)])
        features, tissue = (np.concatenate(arrays) for arrays in zip(*rows, strict=True))
        return Cells(features, tissue)

    @cached_property
    def statistics(self) -> TissueStatistics:
        """What is usual on this slide, from blocks spread evenly over its tissue."""
        blocks = [self._block(index) for index in self._sampled()]
        seen = np.concatenate([block.features[block.tissue] for block in blocks])
        if len(seen) < LEAST_SEEN:  # all glass, so far as it can be told
            seen = np.concatenate([block.features.reshape(-1, seen.shape[1]) for block in blocks])
        seen = seen.astype(np.float64)
        mean, scale = seen.mean(axis=0), seen.std(axis=0) + 1e-5
        scale[:3] /= COLOUR_SHARE
        correlation = np.cov((seen - mean) / scale, rowvar=False)
        return TissueStatistics(mean.astype(np.float32), scale.astype(np.float32), correlation)

    def _sampled(self) -> list[BlockIndex]:
        """List the blocks to learn from, those with tissue where there are any."""
        w, h = self._grid.size_wh
        coarsening = max(1.0, max(w, h) / OVERVIEW_PX)
        size_wh = max(1, round(w / coarsening)), max(1, round(h / coarsening))
        overview = self._predictor.read(Region((0.0, 0.0), size_wh, self._grid.mpp * coarsening))
        rows, columns = np.nonzero(tissue_mask(overview))
        if not rows.size:
            rows, columns = np.indices(overview.shape[:2]).reshape(2, -1)
        block_px = BLOCK * self.cell_px
        at = np.stack([columns, rows], axis=1) * coarsening // block_px
        blocks = np.unique(at.astype(int), axis=0)
        chosen = np.unique(np.linspace(0, len(blocks) - 1, SAMPLED_BLOCKS).round().astype(int))
        return [(int(x), int(y)) for x, y in blocks[chosen]]

    def _read(self, index: BlockIndex) -> Cells:
        side, d = BLOCK + 2 * HALO, self._grid.downsample
        x, y = ((at * BLOCK - HALO) * self.cell_px * d for at in index)
        side_px = side * self.cell_px
        image = self._predictor.read(Region((x, y), (side_px, side_px), self._grid.mpp))
        colour, energies = cell_averages(optical_density(image), self.cell_px)
        tissue = colour.mean(axis=2) > GLASS_DENSITY
        weight = tissue.astype(np.float32)[..., None]

        def pooled(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
            """Average over the tissue round each cell."""
            share = np.maximum(_averaged(weight, width), np.float32(LEAST_ENERGY))
            return np.divide(_averaged(values * weight, width), share, dtype=np.float32)

        features = [pooled(colour, max(SCALES))]
        features += [np.log(np.maximum(pooled(energies, width), LEAST_ENERGY)) for width in SCALES]
        inner = np.s_[HALO : HALO + BLOCK, HALO : HALO + BLOCK]
        return Cells(np.concatenate(features, axis=2)[inner], tissue[inner])


def cell_averages(
    density: NDArray[np.float32], cell_px: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the colour of each cell, (h, w, 3) optical density, and seven energies, (h, w, 7).

    Of each channel the variance, and the mean square of what a blur of 2 px takes away; of their
    mean the mean square of its gradient (Sobel).
    """
    h, w = (side // cell_px for side in density.shape[:2])

    def averaged(values: Any) -> Any:
        return cv2.resize(values, (w, h), interpolation=cv2.INTER_AREA)

    colour = averaged(density)
    variance = averaged(density * density) - colour * colour
    fine = averaged((density - cv2.GaussianBlur(density, (0, 0), 2)) ** 2)
    grey = density.mean(axis=2)
    along_x, along_y = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    edges = averaged(along_x**2 + along_y**2)
    return colour, np.dstack([variance, fine, edges])


def _averaged(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Average (h, w, C) over squares of cells, channel by channel."""
    channels = [
        cv2.blur(np.ascontiguousarray(values[..., i]), (width, width))
        for i in range(values.shape[2])
    ]
    return np.dstack(channels).astype(np.float32, copy=False)
