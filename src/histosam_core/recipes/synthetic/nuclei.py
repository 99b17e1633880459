"""Nuclei and red cells: libraries of small pre-drawn stamps, and the stamping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .grids import Canvas

Float = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

_TURNS = 16  # directions a library holds, over half a circle
_SUPERSAMPLING = 2


@dataclass(frozen=True, slots=True)
class NucleusKind:
    """How the nuclei of one kind of cell look."""

    diameter_um: float  # mean diameter (of the circle of equal area)
    size_spread: float  # relative standard deviation of the diameter (anisokaryosis)
    elongation: float  # mean ratio of long to short axis
    irregularity: float  # relative deviation of the outline from an ellipse
    density: float  # chromatin, 0 to 1: how dark the nucleus is all over
    rim: float  # how much darker the membrane is than the inside (vesicular nuclei have a high rim)
    clumps: float  # strength of the chromatin's texture
    nucleolus: float  # probability of each nucleolus (up to two)
    # Standard deviation of the density from nucleus to nucleus (hyperchromasia).
    density_spread: float = 0.06


KINDS = {
    "hepatocyte": NucleusKind(7.4, 0.09, 1.06, 0.03, 0.50, 0.28, 0.16, 0.75),
    "tumour_hepatocyte": NucleusKind(9.6, 0.2, 1.2, 0.1, 0.62, 0.18, 0.26, 0.65, 0.13),
    "lymphocyte": NucleusKind(5.9, 0.09, 1.1, 0.04, 0.86, 0.05, 0.16, 0.0, 0.08),
    "centroblast": NucleusKind(8.4, 0.14, 1.2, 0.07, 0.50, 0.22, 0.2, 0.7, 0.08),
    "carcinoma": NucleusKind(10.8, 0.18, 1.25, 0.09, 0.56, 0.2, 0.24, 0.75, 0.12),
    "spindle": NucleusKind(5.2, 0.15, 3.6, 0.06, 0.74, 0.08, 0.14, 0.0, 0.1),
    "endothelium": NucleusKind(4.4, 0.15, 3.4, 0.06, 0.78, 0.05, 0.1, 0.0, 0.1),
    "duct": NucleusKind(6.4, 0.09, 1.25, 0.04, 0.68, 0.14, 0.18, 0.1),
    "histiocyte": NucleusKind(7.6, 0.12, 1.45, 0.08, 0.44, 0.22, 0.14, 0.4),
}


def draw_stamps(
    kind: NucleusKind, mpp: float, rng: np.random.Generator, variants: int = 6
) -> list[UInt8]:
    """Draw a library of nuclei of one kind: ``16 * variants`` stamps (h, w) uint8, 255 per unit.

    Stamp ``k`` has its long axis at ``(k % 16) / 16 * pi`` from x towards y.
    """
    count = _TURNS * variants
    stretch = np.maximum(1.0, kind.elongation * (1 + 0.15 * rng.standard_normal(count)))
    size = np.exp(kind.size_spread * np.clip(rng.standard_normal(count), -2, 2.4))
    radius_px = kind.diameter_um / 2 * size / mpp
    half = math.ceil((radius_px * np.sqrt(stretch)).max() * (1 + 2 * kind.irregularity)) + 2
    side = 2 * half * _SUPERSAMPLING
    axis = ((np.arange(side) + 0.5) / _SUPERSAMPLING - half).astype(np.float32)
    turn = (np.arange(count) % _TURNS) / _TURNS * math.pi

    def each(values: NDArray[np.floating]) -> Float:
        return values.astype(np.float32)[:, None, None]

    cos, sin = each(np.cos(turn)), each(np.sin(turn))
    x, y = axis[None, None, :], axis[None, :, None]
    along = (cos * x + sin * y) / each(radius_px * np.sqrt(stretch))
    across = (cos * y - sin * x) / each(radius_px / np.sqrt(stretch))
    theta = np.arctan2(across, along)
    outline = np.ones_like(theta)
    for wave in (2, 3, 5):
        phase, strength = rng.uniform(0, 2 * math.pi, count), rng.standard_normal(count)
        outline += each(kind.irregularity * strength / wave**0.5) * np.cos(
            wave * theta + each(phase)
        )
    depth = (1 - np.hypot(along, across) / outline) * each(radius_px) * np.float32(mpp)  # um inside
    inside = np.clip(depth / 0.5 + 0.5, 0, 1)

    grain_px = max(0.8, 0.75 / mpp) * _SUPERSAMPLING
    grain = rng.standard_normal((side, side * 4), dtype=np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), grain_px)
    grain /= grain.std()
    starts = rng.integers(0, side * 3, count)
    texture = np.stack([grain[:, s : s + side] for s in starts])
    darkness = kind.density + kind.density_spread * rng.standard_normal(count)
    chromatin = each(np.clip(darkness, 0.25, 1.0)) * (1 + kind.clumps * texture)
    chromatin += np.float32(kind.rim) * np.exp(-(((depth - 0.45) / 0.5) ** 2))
    for _ in range(2):
        present = rng.random(count) < kind.nucleolus * 0.7
        distance, way = rng.uniform(0, 0.5, count), rng.uniform(0, 2 * math.pi, count)
        off = np.hypot(along - each(distance * np.cos(way)), across - each(distance * np.sin(way)))
        off *= each(radius_px) * np.float32(mpp)
        chromatin += each(0.5 * present) * np.exp(-((off / np.float32(0.75)) ** 2))
    value = np.clip(chromatin * inside, 0, 1) * 255
    small = value.reshape(count, side // _SUPERSAMPLING, _SUPERSAMPLING, -1, _SUPERSAMPLING)
    return [_cropped(one) for one in small.mean((2, 4)).astype(np.uint8)]


def stamp(
    canvas: Canvas,
    layer: UInt8,
    margin_px: int,
    stamps: list[UInt8],
    xy_um: Float,
    rng: np.random.Generator,
    angle: Float | None = None,
) -> None:
    """Stamp nuclei onto a level-0 layer, in place; where two overlap the darker one shows.

    `layer` is (H + 2 margin, W + 2 margin) uint8; centres `xy_um` (N, 2) outside it are dropped.
    `angle` (N,) is the direction of the long axes in radians; None draws them at random.
    """
    count = len(xy_um)
    variant = rng.integers(0, len(stamps) // _TURNS, count) * _TURNS
    if angle is None:
        turn = rng.integers(0, _TURNS, count)
    else:
        turn = np.rint(angle / math.pi * _TURNS).astype(np.intp) % _TURNS
    centre = np.rint(xy_um / canvas.mpp).astype(np.intp) + margin_px
    reach = max(max(one.shape) for one in stamps) // 2 + 1
    height, width = layer.shape
    fits = (centre >= reach).all(1) & (centre[:, 0] < width - reach)
    fits &= centre[:, 1] < height - reach
    order = np.flatnonzero(fits)
    order = order[np.argsort(centre[order, 1], kind="stable")]  # walk memory in one direction
    choice = (variant + turn)[order].tolist()
    for (x, y), k in zip(centre[order].tolist(), choice, strict=True):
        one = stamps[k]
        h, w = one.shape
        top, left = y - h // 2, x - w // 2
        view = layer[top : top + h, left : left + w]
        np.maximum(view, one, out=view)


def draw_red_cells(mpp: float, rng: np.random.Generator) -> list[UInt8]:
    """Draw a library of red blood cells (6.5 um discs, some seen from the side)."""
    kind = NucleusKind(6.0, 0.06, 1.15, 0.03, 0.5, 0.06, 0.03, 0.0, 0.05)
    return draw_stamps(kind, mpp, rng, variants=2)


def _cropped(one: UInt8) -> UInt8:
    # Crop evenly from both sides, so that the centre stays the centre.
    used_rows, used_columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
    if len(used_rows) == 0:
        return one
    cut_y = min(used_rows[0], len(one) - 1 - used_rows[-1])
    cut_x = min(used_columns[0], one.shape[1] - 1 - used_columns[-1])
    return np.ascontiguousarray(one[cut_y : len(one) - cut_y, cut_x : one.shape[1] - cut_x])
