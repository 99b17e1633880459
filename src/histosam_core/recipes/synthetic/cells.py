"""Cells: where they lie, the nuclei that are stamped there, and the cytoplasm between those."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .grids import Canvas, Float, UInt8, cloud

_TURNS = 16  # directions a library of stamps holds, over half a circle
_SUPERSAMPLING = 2


def scatter(
    canvas: Canvas,
    spacing_um: float,
    keep: Float | None = None,
    *,
    jitter: float = 0.2,
    warp: float = 0.45,
) -> Float:
    """Evenly spaced cells, never quite on top of each other: (N, 2) float32, (x, y) in um.

    `keep` (H, W) float32 on the pattern or cell grid is the probability to keep a point; None
    keeps all. `jitter` is the standard deviation of each point's own shift, `warp` that of a smooth
    shift that packs cells closer here and looser there, both in spacings.
    """
    xy = _hexagons(canvas, spacing_um, jitter)
    coarse_hw = max(1, int(canvas.extent_um[1] / 8)), max(1, int(canvas.extent_um[0] / 8))
    for axis in (0, 1):
        shift = cloud(coarse_hw, 12 * spacing_um / 8, canvas.rng)
        xy[:, axis] += canvas.at(shift, xy).astype(np.float32) * warp * spacing_um
    inside = canvas.covers(xy)
    if keep is not None:
        inside &= canvas.rng.random(len(xy), dtype=np.float32) < canvas.at(keep, xy)
    return xy[inside]


def stratified(canvas: Canvas, spacing_um: float) -> Float:
    """Few large landmarks (veins, follicles) on a jittered hexagonal grid: (N, 2) float32, um.

    They may lie up to a spacing outside the canvas, so that its border cuts some of them.
    """
    xy = _hexagons(canvas, spacing_um, 0.25, canvas.rng.random(2))
    return xy[canvas.covers(xy, spacing_um)]


def _hexagons(
    canvas: Canvas,
    spacing_um: float,
    jitter: float,
    phase: tuple[float, float] | NDArray[np.float64] = (0.0, 0.0),
) -> Float:
    """A hexagonal grid, shifted as a whole by `phase` and each point by `jitter`, in spacings."""
    width, height = canvas.extent_um
    row_step = spacing_um * math.sqrt(3) / 2
    rows, columns = math.ceil(height / row_step) + 4, math.ceil(width / spacing_um) + 4
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) - 2
    x = (x + 0.5 * (np.arange(rows)[:, None] % 2) + phase[0]) * spacing_um
    xy = np.stack([x, (y + phase[1]) * row_step], -1).reshape(-1, 2).astype(np.float32)
    return xy + canvas.rng.normal(0, jitter * spacing_um, xy.shape).astype(np.float32)


def climb(canvas: Canvas, field: Float, xy_um: Float, step_um: float, steps: int = 2) -> Float:
    """Move points uphill on a pattern-grid field, `step_um` at a time."""
    slopes = [cv2.Sobel(field, cv2.CV_32F, dx, 1 - dx, ksize=5) for dx in (1, 0)]
    moved = xy_um.copy()
    for _ in range(steps):
        slope = np.stack([canvas.at(one, moved) for one in slopes], 1).astype(np.float32)
        length = np.hypot(slope[:, 0], slope[:, 1])
        moved += step_um * slope / (length[:, None] + np.median(length) * 0.5 + 1e-6)
    return moved


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


class Cytoplasm:
    """The cell grid divided among nuclei `xy_um`, (N, 2), N >= 1: each owns the nearest tissue.

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

    def paint(self, value: Float) -> Float:
        """Spread each nucleus's value (N,) over its cell: (H, W) float32 on the cell grid."""
        table = np.zeros(int(self._label.max()) + 1, np.float32)
        table[self._nucleus_label] = value
        return np.asarray(table[self._label], np.float32)

    def borders(self) -> Float:
        """Return 1 where neighbouring cells meet, 0 inside; (H, W) float32, slightly blurred."""
        label = self._label
        edge = np.zeros(label.shape, np.uint8)
        edge[:, 1:] = label[:, 1:] != label[:, :-1]
        edge[1:] |= label[1:] != label[:-1]
        return np.asarray(cv2.GaussianBlur(edge.astype(np.float32), (0, 0), 0.7), np.float32)


def per_cell(xy_um: Float, mean: float, spread: float, rng: np.random.Generator) -> Float:
    """Draw one value for each cell (N, 2): (N,) float32, never below a tenth of the mean."""
    value = rng.normal(mean, spread, len(xy_um)).astype(np.float32)
    return np.maximum(value, np.float32(0.1 * mean))


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
    variants: int = 6  # stamps in each direction


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
    # No nucleus, but stamped like one: 6.5 um discs, some seen from the side.
    "red_cell": NucleusKind(6.0, 0.06, 1.15, 0.03, 0.5, 0.06, 0.03, 0.0, 0.05, variants=2),
}


def draw_stamps(kind: NucleusKind, mpp: float, rng: np.random.Generator) -> list[UInt8]:
    """Draw a library of nuclei of one kind: ``16 * variants`` stamps (h, w) uint8, 255 per unit.

    Stamp ``k`` has its long axis at ``(k % 16) / 16 * pi`` from x towards y.
    """
    count = _TURNS * kind.variants
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
        bulge = each(kind.irregularity * strength / wave**0.5)
        outline += bulge * np.cos(wave * theta + each(phase))
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


def _cropped(one: UInt8) -> UInt8:
    # Crop evenly from both sides, so that the centre stays the centre.
    used_rows, used_columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
    if len(used_rows) == 0:
        return one
    cut_y = min(used_rows[0], len(one) - 1 - used_rows[-1])
    cut_x = min(used_columns[0], one.shape[1] - 1 - used_columns[-1])
    return np.ascontiguousarray(one[cut_y : len(one) - cut_y, cut_x : one.shape[1] - cut_x])


def stamp(
    layer: UInt8,
    stamps: list[UInt8],
    centre: NDArray[np.intp],
    rng: np.random.Generator,
    angle: Float | None = None,
) -> None:
    """Stamp nuclei onto a layer (H, W) uint8, in place; where two overlap the darker one shows.

    Stamps at `centre` (N, 2), (x, y) in the layer's pixels, that would reach over its edge are
    dropped. `angle` (N,) is the direction of the long axes in radians; None draws them at random.
    """
    count = len(centre)
    variant = rng.integers(0, len(stamps) // _TURNS, count) * _TURNS
    if angle is None:
        turn = rng.integers(0, _TURNS, count)
    else:
        turn = np.rint(angle / math.pi * _TURNS).astype(np.intp) % _TURNS
    reach = max(max(one.shape) for one in stamps) // 2 + 1
    fits = ((centre >= reach) & (centre < np.array(layer.shape[::-1]) - reach)).all(1)
    order = np.flatnonzero(fits)
    order = order[np.argsort(centre[order, 1], kind="stable")]  # walk memory in one direction
    choice = (variant + turn)[order].tolist()
    for (x, y), k in zip(centre[order].tolist(), choice, strict=True):
        one = stamps[k]
        h, w = one.shape
        top, left = y - h // 2, x - w // 2
        view = layer[top : top + h, left : left + w]
        np.maximum(view, one, out=view)
