"""Where the tissue lies on the glass, and where the tumour lies in the tissue."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from .grids import Canvas, Float, cloud

Point = NDArray[np.float64]

_MIN_ISLAND_UM2 = 5000.0  # smaller tumour specks do not count, and are not drawn
_MIN_HOLE_UM2 = 3000.0
_COARSE = 4


def draw_tissue(canvas: Canvas, *, roundness: float) -> Float:
    """Outline a piece of tissue with glass on at least one side: um inside its edge.

    `roundness` is the corner radius over half the shorter side, 0 to 1. Returns (H, W) float32 on
    the pattern grid.
    """
    rng, extent = canvas.rng, np.array(canvas.extent_um)
    small = float(extent.min())
    # Each side (left, right, top, bottom) either shows glass or is cut off by the picture's border.
    glass = rng.random(4) < 0.62
    glass[rng.integers(4)] = True
    margin = np.where(glass, rng.uniform(0.05, 0.11, 4), -rng.uniform(0.08, 0.2, 4)) * small
    centre = (extent + margin[::2] - margin[1::2]) / 2
    half = (extent - margin[::2] - margin[1::2]) / 2
    radius = roundness * half.min()
    bend = canvas.cloud(small / 3) * np.float32(0.025 * small)
    qx, qy = (
        np.abs(axis - np.float32(c)) - np.float32(h - radius) + bend
        for axis, c, h in zip(canvas.coordinates_um(), centre, half, strict=True)
    )
    corner = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0))
    inside = np.float32(radius) - corner - np.minimum(np.maximum(qx, qy), 0)
    for feature_um, depth_um in ((140, 9), (40, 4), (12, 1.6)):
        inside += canvas.cloud(feature_um, octaves=1) * np.float32(depth_um)
    return np.asarray(inside, np.float32)


def draw_tumour(canvas: Canvas, host_um: Float, *, fraction: tuple[float, float]) -> Float:
    """Lay tumour into its host: lobulated masses with satellites, holes and a frayed border.

    `host_um` (H, W) float32 is um inside the tissue that can hold tumour, `fraction` the lowest and
    highest share of it that becomes tumour. Returns the signed distance to the tumour's edge in um,
    (H, W) float32 on the pattern grid; the tumour's truth is where it is positive.
    """
    rng, hw, um = canvas.rng, canvas.pattern_hw, canvas.pattern_um
    width, height = canvas.extent_um
    small = min(width, height)
    scale = min(1.0, small / 2000)
    masses = _draw_masses(canvas, host_um, small, scale)
    field, spared = (cv2.resize(one, hw[::-1], interpolation=cv2.INTER_LINEAR) for one in masses)
    fraying = rng.uniform(0.7, 1.5)
    for feature_um, depth_um in ((260, 34), (110, 17 * fraying), (45, 7 * fraying)):
        field += canvas.cloud(feature_um * scale, octaves=1) * np.float32(depth_um * scale)
    np.minimum(field, -spared, out=field)

    within = host_um > 8 * scale
    if not within.any():
        return np.full(hw, -small, np.float32)
    # The masses grow or shrink together until the share of tumour is the one drawn.
    share = rng.uniform(*fraction)
    field -= np.quantile(field[within][::7], 1 - share)
    field = cv2.GaussianBlur(field, (0, 0), max(0.8, 7 * scale / um))
    mask = _without_specks((field > 0) & within, _MIN_ISLAND_UM2 * scale**2 / um**2)
    mask = ~_without_specks(~mask, _MIN_HOLE_UM2 * scale**2 / um**2) & within
    depth, height_over = (
        cv2.distanceTransform(one.astype(np.uint8), cv2.DIST_L2, 5) for one in (mask, ~mask)
    )
    # Without the half pixels and the slight blur the zero line would follow the grid's stairs.
    distance = depth - height_over - mask.astype(np.float32) + np.float32(0.5)
    step = width / mask.shape[1]
    return np.asarray(cv2.GaussianBlur(distance, (0, 0), 1.5) * np.float32(step), np.float32)


def _draw_masses(canvas: Canvas, host_um: Float, small: float, scale: float) -> tuple[Float, Float]:
    """um inside the tumour's masses, and inside their holes; smooth, so on a coarser grid."""
    rng = canvas.rng
    width, height = canvas.extent_um
    x, y = canvas.coordinates_um()
    x, y = x[:, ::_COARSE], y[::_COARSE]
    hw, feature_px = (y.shape[0], x.shape[1]), 420 * scale / canvas.pattern_um / _COARSE
    xy = [axis + cloud(hw, feature_px, rng) * np.float32(70 * scale) for axis in (x, y)]
    field, spared = np.full((2, *hw), -small, np.float32)

    def grow(field: Float, centre: Point, radius: float) -> None:
        turn, stretch = rng.uniform(0, np.pi), np.float32(rng.uniform(1.0, 1.45))
        dx, dy = (axis - np.float32(c) for axis, c in zip(xy, centre, strict=True))
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        distance = np.hypot((c * dx + s * dy) / stretch, (c * dy - s * dx) * stretch)
        np.maximum(field, np.float32(radius) - distance, out=field)

    def beside(centre: Point, distance: float) -> Point:
        way = rng.uniform(0, 2 * np.pi)
        return centre + distance * np.array([np.cos(way), np.sin(way)])

    count = max(2, round(rng.uniform(3.5, 6.5) * min(2.0, width * height / 1.6e7)))
    for centre in _centres(canvas, host_um, count, depth_um=0.03 * small):
        radius = float(np.clip(rng.lognormal(np.log(0.1 * small), 0.45), 60 * scale, 800))
        grow(field, centre, radius)
        for _ in range(rng.poisson(3.0)):
            satellite = beside(centre, radius * rng.uniform(1.25, 1.8))
            grow(field, satellite, radius * rng.uniform(0.1, 0.3))
        for _ in range(rng.poisson(0.9)):
            hole = beside(centre, radius * rng.uniform(0, 0.6))
            grow(spared, hole, radius * rng.uniform(0.12, 0.3))
    return field, spared


def _centres(canvas: Canvas, host_um: Float, count: int, depth_um: float) -> list[Point]:
    """Points in the host, chosen far apart: the masses should not all lie on one heap."""
    inside = np.argwhere(host_um[::4, ::4] > depth_um)
    if len(inside) == 0:
        return [np.array(canvas.extent_um) / 2] * count
    candidates = inside[canvas.rng.integers(0, len(inside), 4 * count), ::-1] * (
        4.0 * canvas.pattern_um
    )
    chosen = [candidates[0]]
    for _ in range(count - 1):
        nearest = cdist(candidates, chosen, "sqeuclidean").min(1)
        chosen.append(candidates[int(nearest.argmax())])
    return chosen


def _without_specks(mask: NDArray[np.bool_], min_px: float) -> NDArray[np.bool_]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_px
    keep[0] = False
    return np.asarray(keep[labels], np.bool_)
