"""Where cells lie: warped, jittered hexagonal grids, thinned by probability fields."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from .noise import cloud

if TYPE_CHECKING:
    from .grids import Canvas

Float = NDArray[np.float32]


def scatter(
    canvas: Canvas,
    spacing_um: float,
    rng: np.random.Generator,
    *,
    keep: Float | None = None,
    jitter: float = 0.2,
    warp: float = 0.45,
) -> Float:
    """Evenly spaced cells, never quite on top of each other: (N, 2) float32, (x, y) in um.

    `keep` (H, W) float32 on the pattern or cell grid is the probability to keep a point; None
    keeps all. `jitter` is the standard deviation of each point's own shift, `warp` that of a smooth
    shift that packs cells closer here and looser there, both in spacings.
    """
    width, height = canvas.extent_um
    row_step = spacing_um * math.sqrt(3) / 2
    rows, columns = math.ceil(height / row_step) + 4, math.ceil(width / spacing_um) + 4
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) - 2
    x = (x + 0.5 * (np.arange(rows)[:, None] % 2)) * spacing_um
    xy = np.stack([x, y * row_step], -1).reshape(-1, 2).astype(np.float32)
    xy += rng.normal(0, jitter * spacing_um, xy.shape).astype(np.float32)
    if warp > 0:
        coarse_hw = (max(1, int(height / 8)), max(1, int(width / 8)))
        for axis in (0, 1):
            shift = cloud(coarse_hw, 12 * spacing_um / 8, rng, octaves=2)
            xy[:, axis] += canvas.at(shift, xy).astype(np.float32) * warp * spacing_um
    inside = (xy >= 0).all(1) & (xy[:, 0] < width) & (xy[:, 1] < height)
    if keep is not None:
        inside &= rng.random(len(xy), dtype=np.float32) < canvas.at(keep, xy)
    return xy[inside]


def stratified(
    canvas: Canvas, spacing_um: float, rng: np.random.Generator, jitter: float = 0.25
) -> Float:
    """Few large landmarks (veins, follicles) on a jittered hexagonal grid: (N, 2) float32, um.

    They may lie up to a spacing outside the canvas, so that its border cuts some of them.
    """
    width, height = canvas.extent_um
    row_step = spacing_um * math.sqrt(3) / 2
    rows, columns = math.ceil(height / row_step) + 4, math.ceil(width / spacing_um) + 4
    phase = rng.random(2)
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) - 2
    x = (x + 0.5 * (np.arange(rows)[:, None] % 2) + phase[0]) * spacing_um
    xy = np.stack([x, (y + phase[1]) * row_step], -1).reshape(-1, 2).astype(np.float32)
    xy += rng.normal(0, jitter * spacing_um, xy.shape).astype(np.float32)
    border = np.float32(spacing_um)
    inside = (xy > -border).all(1) & (xy[:, 0] < width + border) & (xy[:, 1] < height + border)
    return xy[inside]


def climb(canvas: Canvas, field: Float, xy_um: Float, step_um: float, steps: int = 2) -> Float:
    """Move points uphill on a pattern-grid field, `step_um` at a time."""
    dx, dy = (
        cv2.Sobel(field, cv2.CV_32F, 1, 0, ksize=5),
        cv2.Sobel(field, cv2.CV_32F, 0, 1, ksize=5),
    )
    moved = xy_um.copy()
    for _ in range(steps):
        slope = np.stack([canvas.at(dx, moved), canvas.at(dy, moved)], 1).astype(np.float32)
        length = np.hypot(slope[:, 0], slope[:, 1])
        moved += step_um * slope / (length[:, None] + np.median(length) * 0.5 + 1e-6)
    return moved


def discs_into(
    canvas: Canvas,
    target: Float,
    xy_um: Float,
    radius_um: Float,
    rng: np.random.Generator,
    roughness: float = 0.12,
) -> None:
    """Raise a field (H, W) float32, in place, to micrometres inside the edge of roundish discs.

    `target` is on the pattern or cell grid; `xy_um` (N, 2) and `radius_um` (N,) are centres and
    mean radii; `roughness` is the relative deviation of an outline from a circle.
    """
    step = canvas.extent_um[0] / target.shape[1]
    for (x, y), radius in zip(xy_um / step, radius_um, strict=True):
        half = math.ceil(radius * (1 + 3 * roughness) / step) + 2
        x0, y0 = max(int(x) - half, 0), max(int(y) - half, 0)
        view = target[y0 : max(int(y) + half + 1, 0), x0 : max(int(x) + half + 1, 0)]
        if view.size == 0:
            continue
        dx = np.arange(x0, x0 + view.shape[1], dtype=np.float32)[None] + np.float32(0.5 - x)
        dy = np.arange(y0, y0 + view.shape[0], dtype=np.float32)[:, None] + np.float32(0.5 - y)
        stretch, turn = 1 + 1.5 * roughness * rng.random(), rng.uniform(0, math.pi)
        c, s = math.cos(turn), math.sin(turn)
        along, across = (c * dx + s * dy) / stretch, (c * dy - s * dx) * stretch
        distance = np.hypot(along, across)
        theta = np.arctan2(across, along)
        phase = rng.uniform(0, 2 * math.pi, 2)
        wobble = np.sin(3 * theta + phase[0]) + 0.6 * np.sin(5 * theta + phase[1])
        inside = np.float32(radius) * (1 + np.float32(0.5 * roughness) * wobble) - distance * step
        np.maximum(view, inside.astype(np.float32), out=view)
