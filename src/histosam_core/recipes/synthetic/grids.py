"""The grids a slide is drawn on, and random fields on them: clouds, stripes, discs."""

from __future__ import annotations

import math
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

Float = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
Scalar = TypeVar("Scalar", bound=np.generic)

_CELL_UM, _PATTERN_UM = 1.0, 2.0
_TILE_PX = 1024  # stripes are made on a periodic tile of this side at most
_ORIENTATIONS = 6
_SMOOTH_PX = 3  # linear interpolation shows no kinks in knots so far apart


class Canvas:
    """Three grids over one slide: level 0, the cell grid (1 um) and the pattern grid (2 um).

    Points are (x, y) in micrometres from the slide's upper-left corner (an edge of the pixels, so
    pixel i covers ``[i, i + 1) * step``). Fields are (H, W) float32, on the pattern grid where
    nothing else is said.

    Parameters
    ----------
    size_wh
        Width and height in level-0 pixels.
    mpp
        Micrometres per level-0 pixel.
    rng
        What everything on this slide is drawn with.
    """

    def __init__(self, size_wh: tuple[int, int], mpp: float, rng: np.random.Generator) -> None:
        self.size_wh, self.mpp, self.rng = size_wh, mpp, rng
        self.cell_px = max(1, round(_CELL_UM / mpp))  # level-0 pixels per cell-grid pixel
        factor = max(1, round(_PATTERN_UM / mpp / self.cell_px))
        pattern_px = self.cell_px * factor
        self.cell_um, self.pattern_um = self.cell_px * mpp, pattern_px * mpp  # per pixel
        # Rows and columns. Both grids cover the slide, and up to a pattern-grid pixel more.
        rows, columns = (math.ceil(n / pattern_px) for n in reversed(size_wh))
        self.pattern_hw = rows, columns
        self.cell_hw = rows * factor, columns * factor
        self.extent_um = columns * self.pattern_um, rows * self.pattern_um  # width and height

    def coordinates_um(self) -> tuple[Float, Float]:
        """Return x as (1, W) and y as (H, 1): the centres of the pattern grid's pixels, in um."""
        y, x = (
            (np.arange(n, dtype=np.float32) + 0.5) * np.float32(self.pattern_um)
            for n in self.pattern_hw
        )
        return x[None], y[:, None]

    def covers(self, xy_um: Float, margin_um: float = 0) -> NDArray[np.bool_]:
        """Return which points (N, 2) lie on the canvas or at most a margin outside it, (N,)."""
        width, height = self.extent_um
        below = (xy_um[:, 0] < width + margin_um) & (xy_um[:, 1] < height + margin_um)
        return np.asarray((xy_um >= -margin_um).all(1) & below, np.bool_)

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

    def cloud(self, feature_um: float, octaves: int = 2) -> Float:
        """Draw `cloud` with largest features of `feature_um`."""
        return cloud(self.pattern_hw, feature_um / self.pattern_um, self.rng, octaves)

    def stripes(self, wavelength_um: float, spread: float, along: Float | None = None) -> Float:
        """Draw `stripes` that lie `wavelength_um` apart."""
        wavelength_px = wavelength_um / self.pattern_um
        return stripes(self.pattern_hw, wavelength_px, self.rng, spread, along)

    def discs(
        self,
        xy_um: Float,
        radius_um: Float,
        roughness: float,
        *,
        outside_um: float = -60,
        fine: bool = False,
    ) -> Float:
        """Draw roundish discs: micrometres inside their edge, at least `outside_um`.

        `xy_um` (N, 2) and `radius_um` (N,) are centres and mean radii; `roughness` is the relative
        deviation of an outline from a circle; `fine` draws on the cell grid.
        """
        rng = self.rng
        field = np.full(self.cell_hw if fine else self.pattern_hw, outside_um, np.float32)
        step = self.extent_um[0] / field.shape[1]
        for (x, y), radius in zip(xy_um / step, radius_um, strict=True):
            half = math.ceil(radius * (1 + 3 * roughness) / step) + 2
            x0, y0 = max(int(x) - half, 0), max(int(y) - half, 0)
            view = field[y0 : max(int(y) + half + 1, 0), x0 : max(int(x) + half + 1, 0)]
            if view.size == 0:
                continue
            dx = np.arange(x0, x0 + view.shape[1], dtype=np.float32)[None] + np.float32(0.5 - x)
            dy = np.arange(y0, y0 + view.shape[0], dtype=np.float32)[:, None] + np.float32(0.5 - y)
            stretch, turn = 1 + 1.5 * roughness * rng.random(), rng.uniform(0, math.pi)
            c, s = math.cos(turn), math.sin(turn)
            along, across = (c * dx + s * dy) / stretch, (c * dy - s * dx) * stretch
            theta = np.arctan2(across, along)
            phase = rng.uniform(0, 2 * math.pi, 2)
            wobble = np.sin(3 * theta + phase[0]) + 0.6 * np.sin(5 * theta + phase[1])
            reach = np.float32(radius) * (1 + np.float32(0.5 * roughness) * wobble)
            inside = reach - np.hypot(along, across) * step
            np.maximum(view, inside.astype(np.float32), out=view)
        return field


def cloud(
    hw: tuple[int, int], feature_px: float, rng: np.random.Generator, octaves: int = 2
) -> Float:
    """Smooth fractal noise, (H, W) float32 of mean about 0 and standard deviation about 1.

    `feature_px` is the size of the largest features in pixels; each further octave is half as large
    and half as strong.
    """
    if feature_px / 2**octaves > 4 * _SMOOTH_PX:
        # So smooth that a grid four times coarser shows all of it.
        coarse_hw = math.ceil(hw[0] / 4), math.ceil(hw[1] / 4)
        coarse = cloud(coarse_hw, feature_px / 4, rng, octaves)
        fine = cv2.resize(coarse, (4 * coarse_hw[1], 4 * coarse_hw[0]))
        return np.asarray(fine[: hw[0], : hw[1]], np.float32)
    total = np.zeros(hw, np.float32)
    strength, power = 1.0, 0.0
    for octave in range(octaves):
        step = max(1.0, feature_px / 2**octave / 2)
        knots = tuple(math.ceil(n / step) + 4 for n in hw)
        values = rng.standard_normal(knots, dtype=np.float32)
        whole_wh = math.ceil(knots[1] * step), math.ceil(knots[0] * step)
        fine = cv2.resize(values, whole_wh, interpolation=cv2.INTER_CUBIC)
        y, x = (rng.integers(0, math.ceil(step) + 1) for _ in hw)
        # A cubic between random knots has less variance than the knots: 0.8 in standard deviation.
        total += np.float32(strength / 0.8) * fine[y : y + hw[0], x : x + hw[1]]
        power += strength**2
        strength /= 2
    return total / np.float32(math.sqrt(power))


def stripes(
    hw: tuple[int, int],
    wavelength_px: float,
    rng: np.random.Generator,
    spread: float = 0.25,
    along: Float | None = None,
) -> Float:
    """Stripes of one width with branches and dead ends: noise of mean about 0, deviation 1.

    `wavelength_px` is the distance between neighbouring stripes in pixels, `spread` its relative
    spread. `along` (H, W) float32 is their direction in radians from x towards y, modulo pi; None
    makes worms in every direction. Returns (H, W) float32.
    """
    rows, columns = (min(_TILE_PX, fft.next_fast_len(n, real=True)) for n in hw)
    columns += columns % 2
    spectrum = fft.rfft2(rng.standard_normal((rows, columns), dtype=np.float32))
    fy = fft.fftfreq(rows).astype(np.float32)[:, None]
    fx = fft.rfftfreq(columns).astype(np.float32)[None]
    band = spectrum * np.exp(-((np.hypot(fx, fy) * wavelength_px - 1) ** 2) / (2 * spread**2))
    repeats = math.ceil(hw[0] / rows), math.ceil(hw[1] / columns)

    def in_space(spectrum: NDArray[np.complex64]) -> Float:
        tile = fft.irfft2(spectrum)
        return np.tile((tile / tile.std()).astype(np.float32), repeats)[: hw[0], : hw[1]]

    if along is None:
        return in_space(band)
    direction = np.arctan2(fy, fx)
    cos2, sin2 = np.cos(2 * along), np.sin(2 * along)
    total, power = np.zeros((2, *hw), np.float32)
    for k in range(_ORIENTATIONS):
        angle = math.pi * k / _ORIENTATIONS
        # Stripes along an angle come from waves across it.
        off = np.angle(np.exp(2j * (direction - angle - math.pi / 2))) / 2
        weight = 0.5 + 0.5 * (cos2 * math.cos(2 * angle) + sin2 * math.sin(2 * angle))
        weight *= weight
        weight *= weight
        total += weight * in_space(band * np.exp(-(off**2) / (2 * 0.28**2)))
        power += weight * weight
    return np.asarray(total / np.sqrt(power), np.float32)


def smooth_step(field: Float, low: float, high: float) -> Float:
    """Rise from 0 at `low` to 1 at `high` with level ends; `low` may exceed `high` (a fall)."""
    t = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def direction_along(field: Float) -> Float:
    """Direction of a field's level lines, radians from x towards y, (H, W) float32."""
    gy, gx = np.gradient(field)
    return np.asarray(np.arctan2(gx, -gy), np.float32)
