"""Generic images for pre-training: shapes and textures of all kinds, none of them tissue.

They play the part that SAM's natural images play in the paper: a model learns from them what a
click means. Each image is a plane cut into regions (blobs, ellipses, cells, polygons, islands and
holes); each region is filled with a texture (noise, spots, stripes, cells, lattices, gradients). In
half of the images all regions share one palette and differ in texture alone; borders may be soft.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .random_planes import Plane, Rng, log_uniform, noise, pick, ramp, random_regions, voronoi_cells

Palette = NDArray[np.float32]


def generic_image(size_px: int, rng: Rng) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one image, (S, S, 3) uint8 RGB, and the region of each pixel, (S, S) uint8 of 0 to 3."""
    regions = random_regions(size_px, rng)
    count = int(regions.max()) + 1
    shared = _palette(rng)
    share_palette = rng.random() < 0.55
    softness = float(rng.choice([0.0, 1.0, 2.5, 5.0]))
    image = np.zeros((size_px, size_px, 3), np.float32)
    weight = np.zeros((size_px, size_px, 1), np.float32)
    family = pick(_TEXTURES, rng)
    for region in range(count):
        # Neighbours often share the kind of texture and differ in its parameters only.
        draw = family if rng.random() < 0.5 else pick(_TEXTURES, rng)
        palette = shared if share_palette else _palette(rng)
        if share_palette and rng.random() < 0.5:
            palette = palette + rng.normal(0, 0.03, palette.shape).astype(np.float32)
        share = (regions == region).astype(np.float32)
        if softness:
            share = cv2.GaussianBlur(share, (0, 0), softness)
        image += draw(size_px, palette, rng) * share[..., None]
        weight += share[..., None]
    image /= np.maximum(weight, 1e-6)
    return _finish(image, rng), regions


def _finish(image: Plane, rng: Rng) -> NDArray[np.uint8]:
    """Add what is laid over every region: bubbles, lines, shading, blur, noise, colour cast."""
    size = image.shape[0]
    if rng.random() < 0.35:
        colour = tuple(float(c) for c in rng.random(3) ** 0.4)
        for _ in range(rng.integers(1, 40)):
            centre = tuple(int(v) for v in rng.integers(0, size, 2))
            cv2.circle(image, centre, int(rng.integers(1, 9)), colour, -1, cv2.LINE_AA)
    if rng.random() < 0.2:
        colour = tuple(float(c) for c in rng.random(3))
        for _ in range(rng.integers(1, 5)):
            start, end = (tuple(int(v) for v in rng.integers(0, size, 2)) for _ in range(2))
            cv2.line(image, start, end, colour, int(rng.integers(1, 5)), cv2.LINE_AA)
    if rng.random() < 0.4:
        image *= 1 + rng.uniform(0, 0.25) * noise(size, size / 2, rng)[..., None]
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
    image = image * rng.normal(1, 0.06, 3).astype(np.float32)
    image += rng.normal(0, rng.uniform(0, 0.04), image.shape).astype(np.float32)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


# Textures: (size, palette, rng) -> (S, S, 3) float32 in about 0..1.


def _spots(size: int, palette: Palette, rng: Rng) -> Plane:
    """Ellipses of a size, spread, elongation and direction on a mottled ground."""
    image = _speckle(size, palette[:2], rng) if rng.random() < 0.6 else _flat(size, palette[0])
    image = np.ascontiguousarray(image)
    radius = log_uniform(rng, 0.7, 9)
    cover = rng.uniform(0.03, 0.5)
    count = int(min(cover * size * size / (np.pi * radius * radius), 2500))
    spread, stretch = rng.uniform(0, 0.5), rng.uniform(1, 2.5)
    aligned, direction = rng.random() < 0.3, rng.uniform(0, 180)
    regular = rng.random() < 0.4
    if regular and count:
        side = int(np.ceil(np.sqrt(count)))
        grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) + 0.5
        centres = (grid + rng.uniform(-0.4, 0.4, grid.shape)) * size / side
    else:
        centres = rng.uniform(0, size, (count, 2))
    if rng.random() < 0.3:  # clumps
        centres = centres[rng.random(len(centres)) < 0.75]
        centres += rng.normal(0, radius, centres.shape)
    radii = radius * np.exp(rng.normal(0, spread, len(centres)))
    angles = direction + rng.normal(0, 15 if aligned else 90, len(centres))
    tints = rng.normal(0, rng.uniform(0, 0.12), len(centres))
    for (x, y), r, angle, tint in zip(centres, radii, angles, tints, strict=True):
        place, axes = (int(x * 16), int(y * 16)), (int(r * stretch * 16), int(r * 16))
        colour = tuple(float(c) for c in palette[2] + tint)
        cv2.ellipse(image, place, axes, angle, 0, 360, colour, -1, cv2.LINE_AA, 4)
    return image


def _speckle(size: int, palette: Palette, rng: Rng) -> Plane:
    """Filtered noise through the palette, sometimes stretched along one direction."""
    field = noise(size, log_uniform(rng, 0.6, size / 12), rng)
    if rng.random() < 0.3:
        length, angle = int(rng.integers(3, 20)), rng.uniform(0, np.pi)
        kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
        reach = np.array([np.cos(angle), np.sin(angle)]) * length
        ends = [tuple(round(length + s * v) for v in reach) for s in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0, 1)
        field = cv2.filter2D(field, -1, kernel / kernel.sum())
        field = field / (field.std() + 1e-6)
    return _colour(0.5 + rng.uniform(0.1, 0.5) * field, palette)


def _stripes(size: int, palette: Palette, rng: Rng) -> Plane:
    """Wavy stripes or fibres."""
    angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(size / 6)))
    along = ramp(size, angle)
    along += rng.uniform(0, 3) * period * noise(size, rng.uniform(size / 20, size / 4), rng)
    wave = np.sin(2 * np.pi * along / period) * rng.uniform(0.5, 2)
    return _colour(0.5 + 0.5 * np.clip(wave, -1, 1), palette)


def _cell_texture(size: int, palette: Palette, rng: Rng) -> Plane:
    """Cells with walls, as in a honeycomb or foam."""
    cells, distance = voronoi_cells(size, int(log_uniform(rng, 20, 900)), rng)
    tint = rng.normal(0.3, rng.uniform(0, 0.3), int(cells.max()) + 1)[cells]
    wall = np.clip(distance / rng.uniform(0.8, 3.5), 0, 1)
    return _colour((tint * wall + (1 - wall)).astype(np.float32), palette)


def _lattice(size: int, palette: Palette, rng: Rng) -> Plane:
    """Checkers or dots on a regular, slightly bent grid."""
    angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(4), np.log(size / 8)))
    bend = rng.uniform(0, 1) * period
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    u = xs * np.cos(angle) + ys * np.sin(angle) + bend * noise(size, size / 8, rng)
    v = ys * np.cos(angle) - xs * np.sin(angle) + bend * noise(size, size / 8, rng)
    wave = np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / period)
    return _colour(0.5 + 0.5 * np.clip(wave * rng.uniform(0.7, 4), -1, 1), palette)


def _gradient(size: int, palette: Palette, rng: Rng) -> Plane:
    """A slow change of colour."""
    return _colour(0.5 + rng.uniform(0, 0.4) * noise(size, size / 2.5, rng), palette)


def _mixed(size: int, palette: Palette, rng: Rng) -> Plane:
    """Two textures, one laid over the other in patches."""
    first, second = (pick(_SIMPLE, rng)(size, palette, rng) for _ in range(2))
    where = noise(size, rng.uniform(2, size / 10), rng) > rng.uniform(-1, 1)
    return np.where(where[..., None], first, second)


_SIMPLE = (_spots, _speckle, _stripes, _cell_texture)
_TEXTURES = (_spots, _spots, *_SIMPLE, _lattice, _gradient, _mixed)


# Building blocks.


def _palette(rng: Rng) -> Palette:
    """Three colours: near one another, or far apart."""
    base = rng.random(3)
    reach = rng.choice([0.08, 0.2, 0.45])
    return np.clip(base + rng.uniform(-reach, reach, (3, 3)), 0, 1).astype(np.float32)


def _colour(value: Plane, palette: Palette) -> Plane:
    """Map 0..1 through the palette's colours, evenly spaced."""
    last = len(palette) - 1
    position = np.clip(value, 0, 1) * last
    low = np.minimum(position.astype(np.int32), max(last - 1, 0))
    part = (position - low)[..., None].astype(np.float32)
    mixed: Plane = palette[low] * (1 - part) + palette[np.minimum(low + 1, last)] * part
    return mixed


def _flat(size: int, colour: NDArray[np.float32]) -> Plane:
    return np.broadcast_to(colour, (size, size, 3)).astype(np.float32)
