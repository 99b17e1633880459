"""Synthetic tissue for pre-training, drawn anew in every respect: stain, scale, texture, shape.

Each image is a field of a slide at a random resolution, cut into regions. A region is one kind of
tissue: nuclei of a size, spread, shape and arrangement (scattered, in clumps, in cords, round
glands, along fibres) in a ground of cytoplasm, fibres and openings. Neighbours are often the same
kind with a few properties changed, as a tumour and the tissue that it grows in are. Some fields
reach over the edge of the tissue: beyond it is bare glass, which is no region. What is drawn
are amounts of two dyes; a random stain and scanner make pixels of them. Ranges are far wider than
any laboratory's, so that real slides lie inside them (domain randomisation, Tobin et al. 2017).

It shares no code with the slides of `histosam_core.recipes.synthetic`, which can therefore test
what was learnt here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .random_planes import (
    Plane,
    Rng,
    log_uniform,
    noise,
    pick,
    ramp,
    random_regions,
    voronoi_cells,
    warp,
)

HAEMATOXYLIN = np.array([0.60, 0.72, 0.36])
EOSIN = np.array([0.15, 0.82, 0.52])
"""Optical density (R, G, B) about which stains are drawn."""
MOST_NUCLEI = 4000
GLASS = 255
"""Value of `random_tissue`'s regions where there is no tissue."""
FIXED_POINT = 4  # bits after the point in OpenCV's drawing coordinates


def _drawn(draw: Callable[[Rng], Any]) -> Any:
    """A property of `TissueKind`, and how it is drawn."""
    return field(metadata={"draw": draw})


@dataclass(frozen=True, slots=True)
class TissueKind:
    """What one kind of tissue looks like; lengths in um, amounts of dye about 0 to 1."""

    nuclei_per_mm2: float = _drawn(lambda rng: log_uniform(rng, 250, 9000))
    # Median radius of a nucleus, and the deviation of its logarithm (pleomorphism).
    radius_um: float = _drawn(lambda rng: log_uniform(rng, 2.2, 7.5))
    radius_spread: float = _drawn(lambda rng: rng.uniform(0.03, 0.4))
    stretch: float = _drawn(lambda rng: float(1 + rng.exponential(0.35)))  # long over short axis
    # Haematoxylin of a nucleus, and its spread from nucleus to nucleus.
    chromatin: float = _drawn(lambda rng: rng.uniform(0.45, 1.3))
    chromatin_spread: float = _drawn(lambda rng: rng.uniform(0.02, 0.3))
    # How far nuclei follow an arrangement instead of lying anywhere, the width of its clumps, cords
    # or glands, and which it is.
    clumping: float = _drawn(lambda rng: rng.uniform(0, 1))
    arrangement_um: float = _drawn(lambda rng: log_uniform(rng, 15, 120))
    arrangement: str = _drawn(lambda rng: pick(("none", "none", "clumps", "cords", "glands"), rng))
    # Eosin and haematoxylin of the ground, its unevenness and its grain.
    cytoplasm: float = _drawn(lambda rng: rng.uniform(0.15, 0.9))
    basophilia: float = _drawn(lambda rng: rng.uniform(0, 0.35))
    mottle: float = _drawn(lambda rng: rng.uniform(0.05, 0.4))
    mottle_um: float = _drawn(lambda rng: log_uniform(rng, 2, 40))
    # Strength and spacing of fibres; nuclei lie along them.
    fibres: float = _drawn(lambda rng: pick((0, 0, 1), rng) * rng.uniform(0.1, 0.6))
    fibre_um: float = _drawn(lambda rng: log_uniform(rng, 5, 40))
    # Share of the plane that is empty (fat, lumina, vacuoles, clefts), how wide the openings are,
    # and whether they are clefts rather than round.
    openings: float = _drawn(lambda rng: pick((0, 0, 1), rng) * rng.uniform(0.02, 0.6))
    opening_um: float = _drawn(lambda rng: log_uniform(rng, 6, 90))
    cleft: bool = _drawn(lambda rng: bool(rng.random() < 0.4))

    @classmethod
    def draw(cls, rng: Rng) -> TissueKind:
        """Draw a kind of tissue."""
        return cls(**{each.name: each.metadata["draw"](rng) for each in fields(cls)})

    def related(self, rng: Rng) -> TissueKind:
        """Draw a kind that differs from this one in a few properties."""
        other = TissueKind.draw(rng)
        # At least one difference that can be seen at low power.
        telling = ("nuclei_per_mm2", "cytoplasm", "basophilia", "openings", "fibres", "chromatin")
        chosen = {pick(telling, rng)}
        chosen |= {each.name for each in fields(self) if rng.random() < 0.3}
        return replace(self, **{name: getattr(other, name) for name in chosen})


def random_tissue(size_px: int, rng: Rng) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one field of tissue, (S, S, 3) uint8 RGB, and the regions, (S, S) uint8.

    Pixels of one value, 0 to 3, are of one kind of tissue; `GLASS`: of none.
    """
    mpp = log_uniform(rng, 1.2, 5.0)
    regions = random_regions(size_px, rng)
    if rng.random() < 0.4:  # a ragged, infiltrating border
        regions = warp(regions, size_px, rng)
    count = int(regions.max()) + 1
    kinds = [TissueKind.draw(rng)]
    while len(kinds) < count:
        first = pick(kinds, rng)
        kinds.append(first.related(rng) if rng.random() < 0.65 else TissueKind.draw(rng))
    softness = float(rng.choice([0.0, 1.0, 2.5])) * 2 / mpp
    haematoxylin, eosin = np.zeros((2, size_px, size_px), np.float32)
    for region, kind in enumerate(kinds):
        share = (regions == region).astype(np.float32)
        if not share.any():
            continue
        if softness:
            share = cv2.GaussianBlur(share, (0, 0), softness)
        blue, pink = _draw_kind(kind, size_px, mpp, rng)
        haematoxylin += blue * share
        eosin += pink * share
    _add_structures(haematoxylin, eosin, mpp, rng)
    if rng.random() < 0.3:
        glass = _bare_glass(size_px, mpp, rng)
        haematoxylin *= 1 - glass
        eosin *= 1 - glass
        regions = np.where(glass > 0.5, GLASS, regions).astype(np.uint8)
    return _scan(haematoxylin, eosin, mpp, rng), regions


def _draw_kind(kind: TissueKind, size: int, mpp: float, rng: Rng) -> tuple[Plane, Plane]:
    """Haematoxylin and eosin of a plane all of one kind."""
    mottle = 1 + kind.mottle * noise(size, max(kind.mottle_um / mpp, 0.6), rng)
    eosin = kind.cytoplasm * mottle
    blue = kind.basophilia * (1 + 0.5 * kind.mottle * noise(size, max(8 / mpp, 0.6), rng))
    direction = rng.uniform(0, np.pi)
    if kind.fibres:
        wave = _wave(size, direction, kind.fibre_um / mpp, rng)
        eosin = eosin * (1 + kind.fibres * wave)
    clear = _openings(kind, size, mpp, rng)
    nuclei = _nuclei(kind, size, mpp, direction, clear, rng)
    solid = 1 - clear
    blue = np.maximum(blue * solid, 0) * (1 - np.minimum(nuclei, 1)) + nuclei
    pink = np.maximum(eosin * solid, 0) * (1 - 0.6 * np.minimum(nuclei, 1))
    return blue.astype(np.float32), pink.astype(np.float32)


def _openings(kind: TissueKind, size: int, mpp: float, rng: Rng) -> Plane:
    """Where the plane is empty, 0 to 1."""
    if not kind.openings:
        return np.zeros((size, size), np.float32)
    width = max(kind.opening_um / mpp, 1.5)
    if kind.cleft:
        field = np.abs(_wave(size, rng.uniform(0, np.pi), 3 * width, rng, bend=2.5))
        edge = np.quantile(field, kind.openings / 2)
        return np.asarray(np.clip((edge - field) * 6 + 0.5, 0, 1), np.float32)
    if rng.random() < 0.5:  # fat or foam: round openings with thin walls
        count = int(min(max(size * size / (width * width), 4), 2500))
        cells, depth = voronoi_cells(size, count, rng)
        empty = rng.random(int(cells.max()) + 1) < min(1.5 * kind.openings, 0.95)
        return np.asarray(empty[cells] * np.clip(depth - 0.7, 0, 1), np.float32)
    field = noise(size, width / 2, rng)
    edge = np.quantile(field, 1 - kind.openings)
    return np.asarray(np.clip((field - edge) * 4 + 0.5, 0, 1), np.float32)


def _nuclei(
    kind: TissueKind, size: int, mpp: float, direction: float, clear: Plane, rng: Rng
) -> Plane:
    """Haematoxylin of the nuclei alone."""
    density: Plane = np.ones((size, size), np.float32)
    width = max(kind.arrangement_um / mpp, 2.0)
    if kind.arrangement == "clumps":
        density = np.asarray(1 / (1 + np.exp(-4 * noise(size, width / 2, rng))), np.float32)
    elif kind.arrangement == "cords":
        density = (_wave(size, direction, 2 * width, rng, bend=2.0) > 0).astype(np.float32)
    elif kind.arrangement == "glands":
        count = int(min(max(size * size / (width * width), 3), 1500))
        depth = voronoi_cells(size, count, rng)[1]
        ring = abs(depth - rng.uniform(0.15, 0.4) * width)
        density = (ring < max(4 / mpp, 1.0)).astype(np.float32)
    even = 1 - kind.clumping
    density = np.asarray(even + kind.clumping * density / max(float(density.mean()), 0.05))
    density *= 1 - 0.9 * clear
    area_mm2 = (size * mpp / 1000) ** 2
    wanted = int(min(kind.nuclei_per_mm2 * area_mm2, MOST_NUCLEI))
    if rng.random() < 0.5:  # evenly spaced: a bent lattice
        side = max(int(np.sqrt(wanted)), 1)
        grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) + 0.5
        places = (grid + rng.uniform(-0.45, 0.45, grid.shape)) * size / side
    else:
        places = rng.uniform(0, size, (wanted, 2))
    column, row = np.clip(places, 0, size - 1).astype(int).T
    keep = rng.random(len(places)) < density[row, column] / max(float(density.max()), 1e-3)
    places = places[keep]
    radii = kind.radius_um / mpp * np.exp(kind.radius_spread * rng.standard_normal(len(places)))
    aligned = kind.fibres > 0 or rng.random() < 0.2
    angles = np.degrees(direction) + 90 + rng.normal(0, 15 if aligned else 90, len(places))
    dye = kind.chromatin + kind.chromatin_spread * rng.standard_normal(len(places))
    plane = np.zeros((size, size), np.float32)
    one = 1 << FIXED_POINT
    stretch = np.sqrt(kind.stretch)
    for (x, y), radius, angle, amount in zip(places, radii, angles, dye, strict=True):
        # Below a pixel a nucleus pales instead of shrinking.
        drawn = max(radius, 0.75)
        axes = max(int(drawn * stretch * one), 1), max(int(drawn / stretch * one), 1)
        value = max(float(amount), 0.1) * float((radius / drawn) ** 2)
        place, line = (int(x * one), int(y * one)), cv2.LINE_8
        cv2.ellipse(plane, place, axes, float(angle), 0, 360, value, -1, line, FIXED_POINT)
    blurred: Plane = cv2.GaussianBlur(plane, (0, 0), float(rng.uniform(0.4, 0.7)))
    return blurred


def _wave(size: int, direction: float, period: float, rng: Rng, bend: float = 1.2) -> Plane:
    """A bent sine wave, -1 to 1."""
    along = ramp(size, direction)
    along += bend * period * noise(size, rng.uniform(0.04, 0.2) * size, rng) / 2
    wave: Plane = np.sin(2 * np.pi * along / max(period, 2.0)).astype(np.float32)
    return wave


def _add_structures(haematoxylin: Plane, eosin: Plane, mpp: float, rng: Rng) -> None:
    """Lay over all regions what belongs to none: vessels, strands, lymphocytes, blood, folds."""
    size = len(eosin)
    if rng.random() < 0.35:  # strands of connective tissue
        width = log_uniform(rng, 6, 40) / mpp
        field = np.abs(noise(size, rng.uniform(size / 10, size / 3), rng))
        strand = (field < width / size * 2).astype(np.float32)
        strand = cv2.GaussianBlur(strand, (0, 0), 1.0)
        eosin += strand * (rng.uniform(0.3, 0.9) - eosin)
        haematoxylin -= 0.7 * strand * haematoxylin
    if rng.random() < 0.35:  # vessels and lumina, some with blood
        for _ in range(int(rng.integers(1, 6))):
            centre = tuple(int(v) for v in rng.integers(0, size, 2))
            radius = max(log_uniform(rng, 10, 90) / mpp, 1.5)
            axes = (int(radius * rng.uniform(1, 2)) + 1, int(radius) + 1)
            inside = np.zeros((size, size), np.float32)
            cv2.ellipse(inside, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
            inside = cv2.GaussianBlur(inside, (0, 0), 0.8)
            blood = rng.uniform(0.8, 1.5) if rng.random() < 0.4 else 0.0
            eosin += inside * (blood - eosin)
            haematoxylin -= inside * haematoxylin
    if rng.random() < 0.3:  # lymphocytes, strewn or in an aggregate
        count = int(rng.integers(20, 500))
        places = rng.uniform(0, size, (count, 2))
        if rng.random() < 0.6:
            places = rng.uniform(0, size, 2) + rng.normal(0, size / 12, (count, 2))
        radius = max(3.2 / mpp, 0.7)
        for x, y in places:
            cv2.circle(haematoxylin, (int(x), int(y)), round(radius), 1.1, -1)
    if rng.random() < 0.08:  # a fold: twice the tissue
        field = np.abs(noise(size, size / 2, rng))
        fold = (1 + (field < rng.uniform(0.02, 0.08))).astype(np.float32)
        fold = cv2.GaussianBlur(fold, (0, 0), 2.0)
        haematoxylin *= fold
        eosin *= fold


def _bare_glass(size: int, mpp: float, rng: Rng) -> Plane:
    """Where the tissue has ended, 0 to 1: a side of the field, or tears in it."""
    grain = rng.uniform(size / 12, size / 3)
    if rng.random() < 0.7:
        direction = rng.uniform(0, 2 * np.pi)
        ys, xs = (np.mgrid[:size, :size] / size - 0.5).astype(np.float32)
        field = xs * np.cos(direction) + ys * np.sin(direction)
        field += rng.uniform(0.02, 0.15) * noise(size, grain, rng)
    else:
        field = noise(size, grain, rng)
    edge = np.quantile(field, rng.uniform(0.4, 0.95))
    glass = (field > edge).astype(np.float32)
    softened: Plane = cv2.GaussianBlur(glass, (0, 0), max(rng.uniform(1, 6) / mpp, 0.3))
    return softened


def _scan(haematoxylin: Plane, eosin: Plane, mpp: float, rng: Rng) -> NDArray[np.uint8]:
    """Stain and scan: amounts of dye to (S, S, 3) uint8 RGB."""
    size = len(eosin)
    thickness = 1 + rng.uniform(0, 0.2) * noise(size, rng.uniform(size / 4, size), rng)
    first, second = (_hue(typical, rng) for typical in (HAEMATOXYLIN, EOSIN))
    if rng.random() < 0.12:  # any two dyes
        first, second = (_hue(rng.dirichlet((1, 1, 1)) + 0.05, rng) for _ in range(2))
    blue = (haematoxylin * thickness * rng.uniform(0.5, 1.6))[..., None]
    pink = (eosin * thickness * rng.uniform(0.35, 1.5))[..., None]
    light = np.exp(-(blue * first + pink * second).astype(np.float32))
    light = np.clip(light, 0, 1) ** rng.uniform(0.8, 1.25)
    image = light * np.clip(rng.uniform(0.85, 1.0) + rng.normal(0, 0.025, 3), 0, 1)
    sigma = rng.uniform(0.3, 2.2) / mpp
    if sigma > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = image + rng.normal(0, rng.uniform(0, 0.03), image.shape)
    pixels = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
        encoded = cv2.imencode(".jpg", pixels, quality)[1]
        pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(pixels)


def _hue(typical: NDArray[np.float64], rng: Rng) -> NDArray[np.float64]:
    """A dye's colour about a typical one, of length 1.3."""
    vector = typical * np.exp(0.28 * rng.standard_normal(3))
    return np.asarray(1.3 * vector / np.linalg.norm(vector))
