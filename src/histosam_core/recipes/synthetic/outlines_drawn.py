"""Where the tissue lies on the glass, and where the tumour lies in the tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from .noise import cloud

if TYPE_CHECKING:
    from .grids import Canvas

Float = NDArray[np.float32]

_MIN_ISLAND_UM2 = 5000.0  # smaller tumour specks do not count, and are not drawn
_MIN_HOLE_UM2 = 3000.0
_COARSE = 4


def signed_distance_um(canvas: Canvas, mask: NDArray[np.bool_]) -> Float:
    """Distance to the mask's edge in um, positive inside; (H, W) float32 on the mask's grid."""
    step = canvas.extent_um[0] / mask.shape[1]
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    # Without the half pixels and the slight blur the zero line would follow the grid's stairs.
    distance = inside - outside - mask.astype(np.float32) + np.float32(0.5)
    return np.asarray(cv2.GaussianBlur(distance, (0, 0), 1.5) * np.float32(step), np.float32)


def draw_tissue(canvas: Canvas, rng: np.random.Generator, *, roundness: float) -> Float:
    """Outline a piece of tissue with glass on at least one side: um inside its edge.

    `roundness` is the corner radius over half the shorter side, 0 to 1. Returns (H, W) float32 on
    the pattern grid.
    """
    width, height = canvas.extent_um
    small = min(width, height)
    # Each side either shows glass or is cut off by the picture's border.
    glass = rng.random(4) < 0.62
    glass[rng.integers(4)] = True
    margin = np.where(glass, rng.uniform(0.05, 0.11, 4), -rng.uniform(0.08, 0.2, 4)) * small
    centre = (width + margin[0] - margin[1]) / 2, (height + margin[2] - margin[3]) / 2
    half = (width - margin[0] - margin[1]) / 2, (height - margin[2] - margin[3]) / 2
    radius = roundness * min(half)
    x, y = canvas.coordinates_um()
    hw = canvas.pattern_hw
    bend = cloud(hw, small / 3 / canvas.pattern_um, rng, octaves=2) * np.float32(0.025 * small)
    qx = np.abs(x - np.float32(centre[0])) - np.float32(half[0] - radius) + bend
    qy = np.abs(y - np.float32(centre[1])) - np.float32(half[1] - radius) + bend
    corner = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0))
    inside = np.float32(radius) - corner - np.minimum(np.maximum(qx, qy), 0)
    for feature_um, depth_um in ((140, 9), (40, 4), (12, 1.6)):
        inside += cloud(hw, feature_um / canvas.pattern_um, rng, octaves=1) * np.float32(depth_um)
    return np.asarray(inside, np.float32)


def draw_tumour(
    canvas: Canvas, host_um: Float, rng: np.random.Generator, *, fraction: tuple[float, float]
) -> Float:
    """Lay tumour into its host: lobulated masses with satellites, holes and a frayed border.

    `host_um` (H, W) float32 is um inside the tissue that can hold tumour, `fraction` the lowest and
    highest share of it that becomes tumour. Returns the signed distance to the tumour's edge in um,
    (H, W) float32 on the pattern grid; the tumour's truth is where it is positive.
    """
    width, height = canvas.extent_um
    small = min(width, height)
    hw, xy = canvas.pattern_hw, canvas.coordinates_um()
    scale = min(1.0, small / 2000)
    # The masses are smooth: they are laid on a grid four times coarser.
    x, y = (axis[:, ::_COARSE] if axis.shape[0] == 1 else axis[::_COARSE] for axis in xy)
    coarse_hw = y.shape[0], x.shape[1]
    bend = [
        cloud(coarse_hw, 420 * scale / canvas.pattern_um / _COARSE, rng, octaves=2)
        * np.float32(70 * scale)
        for _ in (0, 1)
    ]
    warped = x + bend[0], y + bend[1]

    masses = max(2, round(rng.uniform(3.5, 6.5) * min(2.0, width * height / 1.6e7)))
    field = np.full(coarse_hw, -small, np.float32)
    spared = np.full(coarse_hw, -small, np.float32)
    candidates = _host_points(canvas, host_um, 4 * masses, rng, depth_um=0.03 * small)
    for centre in _spread(candidates, masses):
        radius = float(np.clip(rng.lognormal(np.log(0.1 * small), 0.45), 60 * scale, 800))
        _raise(field, warped, centre, radius, rng)
        for _ in range(rng.poisson(3.0)):
            satellite = _beside(centre, radius * rng.uniform(1.25, 1.8), rng)
            _raise(field, warped, satellite, radius * rng.uniform(0.1, 0.3), rng)
        for _ in range(rng.poisson(0.9)):
            hole = _beside(centre, radius * rng.uniform(0, 0.6), rng)
            _raise(spared, warped, hole, radius * rng.uniform(0.12, 0.3), rng)
    field = cv2.resize(field, hw[::-1], interpolation=cv2.INTER_LINEAR)
    spared = cv2.resize(spared, hw[::-1], interpolation=cv2.INTER_LINEAR)
    fraying = rng.uniform(0.7, 1.5)
    for feature_um, depth_um in ((260, 34), (110, 17 * fraying), (45, 7 * fraying)):
        field += cloud(hw, feature_um * scale / canvas.pattern_um, rng, octaves=1) * np.float32(
            depth_um * scale
        )
    np.minimum(field, -spared, out=field)

    within = host_um > 8 * scale
    if not within.any():
        return np.full(hw, -small, np.float32)
    # The masses grow or shrink together until the share of tumour is the one drawn.
    share = rng.uniform(*fraction)
    field -= np.quantile(field[within][::7], 1 - share)
    field = cv2.GaussianBlur(field, (0, 0), max(0.8, 7 * scale / canvas.pattern_um))
    mask = _without_specks((field > 0) & within, _MIN_ISLAND_UM2 * scale**2 / canvas.pattern_um**2)
    mask = ~_without_specks(~mask, _MIN_HOLE_UM2 * scale**2 / canvas.pattern_um**2)
    return signed_distance_um(canvas, mask & within)


def _raise(
    field: Float,
    xy: tuple[Float, Float],
    centre: tuple[float, float],
    radius: float,
    rng: np.random.Generator,
) -> None:
    turn, stretch = rng.uniform(0, np.pi), np.float32(rng.uniform(1.0, 1.45))
    dx, dy = xy[0] - np.float32(centre[0]), xy[1] - np.float32(centre[1])
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    distance = np.hypot((c * dx + s * dy) / stretch, (c * dy - s * dx) * stretch)
    np.maximum(field, np.float32(radius) - distance, out=field)


def _beside(
    centre: tuple[float, float], distance: float, rng: np.random.Generator
) -> tuple[float, float]:
    way = rng.uniform(0, 2 * np.pi)
    return centre[0] + distance * np.cos(way), centre[1] + distance * np.sin(way)


def _host_points(
    canvas: Canvas, host_um: Float, count: int, rng: np.random.Generator, depth_um: float
) -> list[tuple[float, float]]:
    rows, columns = np.nonzero(host_um[::4, ::4] > depth_um)
    if len(rows) == 0:
        return [(canvas.extent_um[0] / 2, canvas.extent_um[1] / 2)] * count
    chosen = rng.integers(0, len(rows), count)
    step = 4 * canvas.pattern_um
    return [(float(columns[i]) * step, float(rows[i]) * step) for i in chosen]


def _spread(points: list[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    # Farthest-point choice: the masses should not all lie on one heap.
    chosen = [points[0]]
    for _ in range(count - 1):
        nearest = [min((x - a) ** 2 + (y - b) ** 2 for a, b in chosen) for x, y in points]
        chosen.append(points[int(np.argmax(nearest))])
    return chosen


def _without_specks(mask: NDArray[np.bool_], min_px: float) -> NDArray[np.bool_]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_px
    keep[0] = False
    return np.asarray(keep[labels], np.bool_)
