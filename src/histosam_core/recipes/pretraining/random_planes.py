"""What generic images and random tissue are made of: noise, cells, regions, places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Plane = NDArray[np.float32]
Picked = TypeVar("Picked")


def pick(kinds: Sequence[Picked], rng: Rng) -> Picked:
    """Pick one of several, each as likely as often as it is named."""
    return kinds[int(rng.integers(len(kinds)))]


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def ramp(size: int, angle: float) -> Plane:
    """Rise by one a pixel along a direction, radians from x towards y: (S, S)."""
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    return np.asarray(xs * np.cos(angle) + ys * np.sin(angle))


def random_regions(size: int, rng: Rng) -> NDArray[np.uint8]:
    """Cut a square of `size` px into regions of many kinds of outline: (S, S) uint8, 0 to 3."""
    layouts = (_noise_layout, _noise_layout, _ellipse_layout, _cell_layout, _polygon_layout)
    regions = pick(layouts, rng)(size, rng)
    if rng.random() < 0.35:  # islands and holes, small
        specks = noise(size, rng.uniform(4, 12), rng) > rng.uniform(1.2, 2.0)
        regions = np.where(specks, (regions + 1) % (int(regions.max()) + 1), regions)
    return regions.astype(np.uint8)


def _noise_layout(size: int, rng: Rng) -> NDArray[np.uint8]:
    scale = rng.uniform(size / 14, size / 4)
    field = noise(size, scale, rng) + rng.uniform(0, 0.5) * noise(size, scale / 4, rng)
    levels = np.sort(rng.uniform(-0.9, 0.9, rng.integers(1, 3)))
    return np.digitize(field, levels).astype(np.uint8)


def _ellipse_layout(size: int, rng: Rng) -> NDArray[np.uint8]:
    regions = np.zeros((size, size), np.uint8)
    count = int(rng.integers(1, 4))
    for _ in range(rng.integers(1, 8)):
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        axes = tuple(int(v) for v in rng.uniform(size * 0.05, size * 0.35, 2) + 1)
        value = int(rng.integers(0, count + 1))
        cv2.ellipse(regions, centre, axes, float(rng.uniform(0, 180)), 0, 360, value, -1)
    return warp(regions, size, rng)


def _polygon_layout(size: int, rng: Rng) -> NDArray[np.uint8]:
    regions = np.zeros((size, size), np.uint8)
    for value in range(1, int(rng.integers(2, 4))):
        corners = int(rng.integers(3, 9))
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.uniform(0.1, 0.5, corners) * size
        centre = rng.uniform(0.2, 0.8, 2) * size
        points = centre + np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]
        cv2.fillPoly(regions, [points.astype(np.int32)], value)
    return warp(regions, size, rng) if rng.random() < 0.5 else regions


def _cell_layout(size: int, rng: Rng) -> NDArray[np.uint8]:
    cells = voronoi_cells(size, int(rng.integers(4, 30)), rng)[0]
    values = rng.integers(0, rng.integers(2, 4), int(cells.max()) + 1).astype(np.uint8)
    return warp(values[cells], size, rng)


def warp(regions: NDArray[np.uint8], size: int, rng: Rng) -> NDArray[np.uint8]:
    """Bend the outlines of (S, S) `regions` by smooth noise."""
    scale, reach = rng.uniform(size / 25, size / 6), rng.uniform(0, size / 18)
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    from_x, from_y = (axis + reach * noise(size, scale, rng) for axis in (xs, ys))
    warped: NDArray[np.uint8] = cv2.remap(
        regions, from_x, from_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT
    )
    return warped


def noise(size: int, scale: float, rng: Rng) -> Plane:
    """Smooth noise of mean 0 and deviation 1; `scale` is its correlation length in pixels."""
    step = max(1, int(scale / 3))
    coarse = max(4, -(-size // step) + 4)
    field = rng.standard_normal((coarse, coarse)).astype(np.float32)
    field = cv2.GaussianBlur(field, (0, 0), max(scale / step, 0.3))
    if step > 1:
        field = cv2.resize(field, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    field = field[:size, :size]
    return (field - field.mean()) / (field.std() + 1e-6)  # type: ignore[no-any-return]


def voronoi_cells(size: int, count: int, rng: Rng) -> tuple[NDArray[np.int32], Plane]:
    """Voronoi cells: index of each pixel's cell, and roughly its distance from the cell's wall."""
    seeds = np.ones((size, size), np.uint8)
    places = rng.integers(0, size, (count, 2))
    seeds[places[:, 0], places[:, 1]] = 0
    _, cells = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    wall = np.zeros((size, size), np.uint8)
    wall[:, 1:] |= cells[:, 1:] != cells[:, :-1]
    wall[1:] |= cells[1:] != cells[:-1]
    return cells, cv2.distanceTransform(1 - wall, cv2.DIST_L2, 3)
