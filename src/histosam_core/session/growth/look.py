"""How much the tissue anywhere on a slide looks like what was clicked.

Fisher's linear discriminant between the looks of the positive and of the negative prompts. With so
few examples its covariance is that of the slide's tissue as a whole, which needs no labels; before
any negative click, the slide's usual look stands for what is not meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.session.growth.texture import Texture
    from histosam_core.session.windows.windows import Window, WindowGrid

SHRINKAGE = 0.1
"""Added to the correlation's diagonal."""
REACH = 2
"""A click shows the look of the cells so far round it."""
SLOPE = 3.0
"""Logits per unit of the discriminant: it divides by the spread of all tissue, which is wider than
that of either kind."""
GLASS_SCORE = -2.0
MOST_SURE = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A linear rule on cells: the score is ``features @ weights + offset``."""

    weights: NDArray[np.float32]
    offset: float

    def logits(self, texture: Texture, window: Window) -> NDArray[np.float32]:
        """Score a window's pixels, (side, side) float32, positive where they look alike."""
        cell, side = texture.cell_px, window.side_px
        x0, y0 = (at // cell - 1 for at in window.location_xy)
        x1, y1 = (-(-(at + side) // cell) + 1 for at in window.location_xy)
        cells = texture.cells((x0, y0, x1, y1))
        score = cells.features @ self.weights + np.float32(self.offset)
        score = np.where(cells.tissue, score, np.minimum(score, GLASS_SCORE)).astype(np.float32)
        columns, rows = (
            ((np.arange(side) + at + 0.5) / cell - 0.5 - first).astype(np.float32)
            for at, first in zip(window.location_xy, (x0, y0), strict=True)
        )
        fine = cv2.remap(score, *np.meshgrid(columns, rows), cv2.INTER_LINEAR)
        logits: NDArray[np.float32] = np.clip(fine * SLOPE, -MOST_SURE, MOST_SURE)
        return logits


def look_of(clicks: Iterable[Click], texture: Texture, grid: WindowGrid) -> Look:
    """Learn what clicks, level-0 pixels, tell apart; one of them at least is positive.

    The slide's usual look counts as one more negative click.
    """
    usual = texture.statistics
    looks: dict[bool, list[NDArray[np.float64]]] = {True: [], False: []}
    for click in clicks:
        x, y = (int(at // texture.cell_px) for at in grid.to_grid(click.xy))
        cells = texture.cells((x - REACH, y - REACH, x + REACH + 1, y + REACH + 1))
        seen = cells.features[cells.tissue] if cells.tissue.any() else cells.features
        standard = (seen.reshape(-1, seen.shape[-1]) - usual.mean) / usual.scale
        looks[click.is_positive].append(standard.mean(axis=0).astype(np.float64))
    inside = np.mean(looks[True], axis=0)
    outside = np.sum([*looks[False], np.zeros_like(inside)], axis=0) / (len(looks[False]) + 1)
    spread = usual.correlation + SHRINKAGE * np.eye(len(inside))
    direction = np.linalg.solve(spread, inside - outside)
    weights = direction / usual.scale
    offset = -float(direction @ (inside + outside) / 2 + weights @ usual.mean)
    return Look(weights.astype(np.float32), offset)
