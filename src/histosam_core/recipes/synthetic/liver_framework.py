"""The liver's framework: lobules about central veins, portal tracts, septa and inflammation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import QhullError, Voronoi

from .noise import cloud, oriented_stripes, smooth_step
from .points import discs_into, stratified
from .tissue_drawn import Tissue, direction_along

if TYPE_CHECKING:
    from .grids import Canvas

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Framework:
    """What the parenchyma is spanned between; fields are (H, W) float32 on the pattern grid."""

    outwards: Float  # direction of the plates: away from the nearest central vein, radians
    zone: Float  # 0 beside a central vein to 1 beside the portal tracts
    tracts: Float  # (N, 2) centres of portal tracts, um
    # (M, 2) centres of bile ducts and arteries, and (M,) radii of their ring of nuclei, um.
    tubes: Float
    tube_radius: Float
    wall: Float  # weight of vein walls and fibrous tissue
    # Weight of fibrous tissue; its fibres; their direction, radians.
    fibre: Float
    fibres: Float
    fibre_angle: Float
    opening_um: Float  # um inside the vessels and the slits of fibrous tissue


def draw_framework(tissue: Tissue, rng: np.random.Generator) -> Framework:
    """Lay out veins, tracts and fibrous tissue."""
    canvas, tumour_um = tissue.canvas, tissue.tumour_um
    hw, um = canvas.pattern_hw, canvas.pattern_um
    veins = stratified(canvas, rng.uniform(820, 1050), rng)
    from_vein_um, outwards = _lobules(canvas, veins)
    outwards += np.float32(0.55) * cloud(hw, 260 / um, rng)
    veins = veins[canvas.at(tumour_um, veins) < -25]
    tracts = _portal_tracts(canvas, veins, rng)
    tracts = tracts[canvas.at(tumour_um, tracts) < -30]
    tract_radius = rng.uniform(38, 85, len(tracts)).astype(np.float32)
    tubes = _Vessels.draw(tracts, tract_radius, rng)

    fibre_um = _fibrous_um(tissue, tracts, tract_radius, rng)
    fibre = smooth_step(fibre_um, -3, 3)
    angle = np.float32(1.6) * cloud(hw, 110 / um, rng, octaves=1)
    banded = ((np.abs(tumour_um) < 45) | (tissue.tissue_um < 30)) & (fibre_um > -6)
    edge_um = cv2.GaussianBlur(np.minimum(tumour_um, tissue.tissue_um), (0, 0), 3)
    np.copyto(angle, direction_along(edge_um), where=banded)
    fibres = oriented_stripes(angle, 9 / um, rng, spread=0.35)

    opening_um = np.minimum(np.clip((-1.9 - fibres) * 2, -6, 2), 3 - fibre_um * np.float32(0.5))
    opening_um[fibre_um <= -3] = -6
    vein_radius = rng.uniform(22, 60, len(veins)).astype(np.float32)
    wall_um = np.full(hw, -60, np.float32)
    discs_into(canvas, wall_um, veins, vein_radius + 5, rng, roughness=0.16)
    np.maximum(opening_um, np.minimum(wall_um - 5, 6), out=opening_um)
    discs_into(canvas, opening_um, tubes.veins, tubes.vein_radius, rng, roughness=0.2)
    discs_into(canvas, opening_um, tubes.tubes, tubes.tube_lumen, rng, roughness=0.08)
    return Framework(
        outwards=outwards,
        zone=smooth_step(from_vein_um, 60, 420),
        tracts=tracts,
        tubes=tubes.tubes,
        tube_radius=tubes.tube_radius,
        wall=np.maximum(smooth_step(wall_um, -1.5, 1.5), fibre),
        fibre=fibre,
        fibres=fibres,
        fibre_angle=angle,
        opening_um=opening_um,
    )


def _fibrous_um(
    tissue: Tissue, tracts: Float, tract_radius: Float, rng: np.random.Generator
) -> Float:
    # um inside fibrous tissue: tracts, the tumour's capsule, septa, the liver's own capsule.
    canvas = tissue.canvas
    inside = np.full(canvas.pattern_hw, -60, np.float32)
    discs_into(canvas, inside, tracts, tract_radius, rng, roughness=0.32)
    ragged = 7 * cloud(canvas.pattern_hw, 40 / canvas.pattern_um, rng)
    np.add(inside, ragged, out=inside, where=inside > -40)
    np.maximum(inside, _septa(canvas, tissue.tumour_um, rng), out=inside)
    np.maximum(inside, 7 - np.abs(tissue.tissue_um - 6), out=inside)
    return inside


def _lobules(canvas: Canvas, veins: Float) -> tuple[Float, Float]:
    # Distance to the nearest central vein and the direction towards it, on the pattern grid.
    x, y = canvas.coordinates_um()
    coarse_x, coarse_y = x[:, ::4], y[::4]
    nearest = np.full((coarse_y.shape[0], coarse_x.shape[1]), np.inf, np.float32)
    owner = np.zeros(nearest.shape, np.intp)
    for index, (vx, vy) in enumerate(veins):
        square = (coarse_x - vx) ** 2 + (coarse_y - vy) ** 2
        closer = square < nearest
        nearest[closer], owner[closer] = square[closer], index
    height, width = canvas.pattern_hw
    owner = owner.repeat(4, 0).repeat(4, 1)[:height, :width]
    dx, dy = x - veins[owner, 0], y - veins[owner, 1]
    return np.hypot(dx, dy), np.arctan2(dy, dx)


def _portal_tracts(canvas: Canvas, veins: Float, rng: np.random.Generator) -> Float:
    # Tracts lie where three lobules meet: at the vertices of the veins' Voronoi diagram.
    if len(veins) < 4:
        veins = stratified(canvas, 900, rng)
    try:
        xy = Voronoi(veins.astype(np.float64)).vertices.astype(np.float32)
    except QhullError:
        xy = stratified(canvas, 900, rng)
    width, height = canvas.extent_um
    near = (xy > -100).all(1) & (xy[:, 0] < width + 100) & (xy[:, 1] < height + 100)
    xy = xy[near & (rng.random(len(xy)) < 0.85)]
    return np.asarray(xy + rng.normal(0, 30, xy.shape), np.float32)


@dataclass(frozen=True, slots=True)
class _Vessels:
    # Portal veins, and the round tubes beside them (bile ducts and arteries); um.
    veins: Float
    vein_radius: Float
    tubes: Float
    tube_radius: Float  # of the ring of nuclei
    tube_lumen: Float

    @classmethod
    def draw(cls, tracts: Float, tract_radius: Float, rng: np.random.Generator) -> _Vessels:
        veins, vein_radius, tubes, tube_radius = [], [], [], []
        for centre, radius in zip(tracts, tract_radius, strict=True):
            way = rng.uniform(0, 2 * math.pi)
            at = centre + 0.25 * radius * np.array([math.cos(way), math.sin(way)])
            veins.append(at)
            vein_radius.append(radius * rng.uniform(0.3, 0.5))
            for turn, size in ((2.3, rng.uniform(9, 15)), (3.4, rng.uniform(9, 13)), (4.4, 6.0)):
                around = way + turn + rng.normal(0, 0.2)
                beside = np.array([math.cos(around), math.sin(around)])
                tubes.append(centre + 0.62 * radius * beside)
                tube_radius.append(min(size, 0.28 * radius))
        radii = np.asarray(tube_radius, np.float32)
        return cls(
            veins=np.asarray(veins, np.float32).reshape(-1, 2),
            vein_radius=np.asarray(vein_radius, np.float32),
            tubes=np.asarray(tubes, np.float32).reshape(-1, 2),
            tube_radius=radii,
            tube_lumen=np.maximum(radii - 4.5, 1.5),
        )


def _septa(canvas: Canvas, tumour_um: Float, rng: np.random.Generator) -> Float:
    # um inside fibrous bands: a capsule along parts of the border, septa through the tumour and,
    # where the liver is scarred, thin ones outside it as well.
    hw, um = canvas.pattern_hw, canvas.pattern_um
    present = cloud(hw, 550 / um, rng, octaves=1)
    thickness = rng.uniform(5, 16) * smooth_step(present, 0.1, 1.2) - 4
    wander = 8 * cloud(hw, 120 / um, rng, octaves=1)
    capsule = thickness - np.abs(tumour_um + 10 + wander)
    ridge = cloud(hw, 650 / um, rng, octaves=3)
    slope = np.hypot(*np.gradient(ridge)) / np.float32(um) + np.float32(2e-4)
    reach = rng.uniform(3, 9) * smooth_step(cloud(hw, 500 / um, rng, octaves=1), -0.6, 1) - 3
    scarring = rng.choice([0.0, 0.6])
    septa = reach * np.where(tumour_um > 0, 1.0, scarring) - np.abs(ridge) / slope - 1
    return np.asarray(np.maximum(capsule, septa), np.float32)


def inflammation(tissue: Tissue, framework: Framework, rng: np.random.Generator) -> Float:
    """Probability of a lymphocyte: some tracts are crowded, and so are stretches of the border."""
    canvas, tracts, tumour_um = tissue.canvas, framework.tracts, tissue.tumour_um
    hw, um = canvas.pattern_hw, canvas.pattern_um
    field = np.zeros(hw, np.float32)
    reach = rng.uniform(45, 115, len(tracts)).astype(np.float32)
    dense = rng.beta(0.8, 1.2, len(tracts))
    levels = (0.1, 0.3, 0.55, 0.9)
    for share in levels:
        chosen = np.abs(np.subtract.outer(levels, dense)).argmin(0) == levels.index(share)
        crowd = np.full(hw, -60, np.float32)
        discs_into(canvas, crowd, tracts[chosen], reach[chosen], rng, roughness=0.35)
        np.maximum(field, share * smooth_step(crowd, -8, 30), out=field)
    clumped = smooth_step(cloud(hw, 60 / um, rng), -0.9, 0.9)
    border = smooth_step(cloud(hw, 320 / um, rng, octaves=1), 0.7, 1.5)
    border *= np.exp(-((tumour_um + 18) ** 2) / (2 * 28**2))
    field = np.maximum(field, border * np.float32(0.8)) * clumped
    return np.asarray(np.maximum(field * np.float32(0.85), 0.05 * framework.fibre), np.float32)
