"""Liver with hepatocellular carcinoma.

Normal: plates of hepatocytes one cell wide between sinusoids, radiating from central veins; portal
tracts with bile duct, vein, artery and lymphocytes where lobules meet. Tumour: thick trabeculae,
solid sheets and pseudoacini of larger, crowded, uneven nuclei; septa and a capsule in places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import QhullError, Voronoi

from .cells import Cells, owners, ring
from .noise import cloud, oriented_stripes, smooth_step, stripes
from .outline import draw_tissue, draw_tumour
from .points import climb, discs_into, scatter, stratified
from .stain import Stain
from .tissue import Tissue, border_probability, direction_along

if TYPE_CHECKING:
    from .canvas import Canvas, Layers

__all__ = ["draw_liver", "liver_stain"]

Float = NDArray[np.float32]


def liver_stain(rng: np.random.Generator) -> Stain:
    """Draw a stain as liver is stained: strong eosin."""
    return Stain.draw(rng, haematoxylin=(1.15, 1.6), eosin=(0.5, 0.72))


def draw_liver(canvas: Canvas, layers: Layers, rng: np.random.Generator) -> Tissue:
    """Draw a slide of liver with tumour onto empty layers."""
    hw, um = canvas.pattern_hw, canvas.pattern_um
    tissue_um = draw_tissue(canvas, rng, roundness=rng.uniform(0.25, 0.6))
    tumour_um = draw_tumour(canvas, tissue_um, rng, fraction=(0.25, 0.45))
    tumour = border_probability(canvas, tumour_um, rng, (8, 34))
    tissue = Tissue(canvas, layers, tissue_um, tumour_um, tumour)

    # --- lobules and the two vein systems
    veins = stratified(canvas, rng.uniform(820, 1050), rng)
    from_vein_um, angle = _lobules(canvas, veins)
    angle = angle + np.float32(0.55) * cloud(hw, 260 / um, rng)
    veins = veins[canvas.at(tumour_um, veins) < -25]
    tracts = _portal_tracts(canvas, veins if len(veins) > 3 else stratified(canvas, 900, rng), rng)
    tracts = tracts[canvas.at(tumour_um, tracts) < -30]

    # --- plates and trabeculae, as stripes whose valleys are sinusoids and clefts
    plate_um, trabecula_um = rng.uniform(25, 29), rng.uniform(85, 135)
    plates = oriented_stripes(angle, plate_um / um, rng, spread=0.22)
    trabeculae = stripes(hw, trabecula_um / um, rng, spread=0.38)
    zone = smooth_step(from_vein_um, 60, 420)
    width = (
        np.float32(rng.uniform(-1.5, -1.1)) + 0.25 * cloud(hw, 500 / um, rng) - 0.25 * (zone - 0.5)
    )
    sinusoid_um = np.clip((width - plates) * np.float32(plate_um / 6.3), -6, 4)
    solid = smooth_step(cloud(hw, 420 / um, rng), -0.6, 0.8)
    # Zero crossings run on and on, as the gaps between trabeculae do; here and there they close.
    gap = np.float32(0.13) - 0.3 * solid + 0.09 * cloud(hw, 70 / um, rng, octaves=1)
    cleft_um = np.clip((gap - np.abs(trabeculae)) * np.float32(trabecula_um / 6.3), -6, 4)
    mixing = smooth_step(tumour, 0.25, 0.75)
    opening = sinusoid_um + (cleft_um - sinusoid_um) * mixing

    # --- fibrous tissue: tracts, septa, capsule
    fibre_um = np.full(hw, -60, np.float32)
    tract_radius = rng.uniform(38, 85, len(tracts)).astype(np.float32)
    discs_into(canvas, fibre_um, tracts, tract_radius, rng, roughness=0.32)
    fibre_um = np.where(fibre_um > -40, fibre_um + 7 * cloud(hw, 40 / um, rng), fibre_um)
    np.maximum(fibre_um, _septa(canvas, tumour_um, rng), out=fibre_um)
    np.maximum(fibre_um, 7 - np.abs(tissue_um - 6), out=fibre_um)  # the liver's own capsule
    fibre = smooth_step(fibre_um, -3, 3)
    fibre_angle = 1.6 * cloud(hw, 110 / um, rng, octaves=1)
    banded = ((np.abs(tumour_um) < 45) | (tissue_um < 30)) & (fibre_um > -6)
    lines = direction_along(cv2.GaussianBlur(np.minimum(tumour_um, tissue_um), (0, 0), 3))
    fibre_angle = np.where(banded, lines, fibre_angle).astype(np.float32)
    fibres = oriented_stripes(fibre_angle, 9 / um, rng, spread=0.35)
    slits = np.clip((-1.9 - fibres) * 2, -6, 2)
    opening = np.where(fibre_um > -3, np.minimum(slits, 3 - fibre_um * 0.5), opening)

    # --- round openings: veins, ducts, arteries, fat, pseudoacini
    vein_radius = rng.uniform(22, 60, len(veins)).astype(np.float32)
    wall_um = np.full(hw, -60, np.float32)
    discs_into(canvas, wall_um, veins, vein_radius + 5, rng, roughness=0.16)
    np.maximum(opening, np.minimum(wall_um - 5, 6), out=opening)
    vessels = _tract_vessels(tracts, tract_radius, rng)
    discs_into(canvas, opening, vessels.veins, vessels.vein_radius, rng, roughness=0.2)
    discs_into(canvas, opening, vessels.tubes, vessels.tube_lumen, rng, roughness=0.08)
    wall = np.maximum(smooth_step(wall_um, -1.5, 1.5), fibre)
    layers.open_field(canvas.to_cell_grid(opening.astype(np.float32)))
    _open_fat(canvas, layers, tumour, zone, wall, rng)
    _open_acini(canvas, layers, tumour, solid, rng)
    tissue.open_glass()

    # --- parenchymal cells
    normal_xy = scatter(canvas, rng.uniform(17.5, 19.5), rng, keep=(1 - tumour) * (1 - wall))
    normal_xy = climb(canvas, plates, normal_xy, 3.0)
    crowding = rng.uniform(13.0, 15.0)
    tumour_xy = scatter(canvas, crowding, rng, keep=tumour * (1 - wall), jitter=0.22)
    loose = smooth_step(cloud(hw, 180 / um, rng), 0.6, 1.9)
    tumour_xy = tumour_xy[rng.random(len(tumour_xy)) > 0.6 * canvas.at(loose, tumour_xy)]
    tumour_xy = climb(canvas, np.abs(trabeculae), tumour_xy, 2.0, steps=1)
    _paint_cytoplasm(tissue, normal_xy, tumour_xy, zone, wall, fibres, rng)
    pairs = normal_xy[rng.random(len(normal_xy)) < 0.13]
    tissue.add_nuclei("hepatocyte", normal_xy, rng)
    tissue.add_nuclei("hepatocyte", pairs + rng.normal(0, 5, pairs.shape).astype(np.float32), rng)
    tissue.add_nuclei("tumour_hepatocyte", tumour_xy, rng)

    # --- stroma: lining cells, fibroblasts, lymphocytes, ducts
    edge = np.exp(-((opening + 0.8) ** 2)) * (1 - wall) * np.float32(0.5)
    lining = scatter(canvas, 7.5, rng, keep=edge * (0.8 - 0.35 * tumour))
    along = np.where(tumour > 0.5, direction_along(trabeculae), angle).astype(np.float32)
    turned = canvas.at(along, lining).astype(np.float32)
    tissue.add_nuclei("endothelium", lining, rng, turned, clearance=False)
    spindles = scatter(canvas, 12, rng, keep=smooth_step(wall, 0.5, 1) * np.float32(0.55))
    turned = canvas.at(fibre_angle, spindles).astype(np.float32)
    tissue.add_nuclei("spindle", spindles, rng, turned)
    inflamed = _inflammation(canvas, tracts, fibre, tumour_um, rng)
    tissue.add_nuclei("lymphocyte", scatter(canvas, 6.6, rng, keep=inflamed), rng)
    for centre, radius in zip(vessels.tubes, vessels.tube_radius, strict=True):
        kind = "duct" if radius > 7 else "spindle"
        on_ring, outwards = ring(centre, float(radius), 6.0, rng)
        turned = outwards if kind == "duct" else outwards + np.float32(math.pi / 2)
        tissue.add_nuclei(kind, on_ring, rng, turned, clearance=False)
    congestion = smooth_step(cloud(hw, 500 / um, rng), -0.3, 1.4) * np.float32(
        rng.uniform(0.3, 0.8)
    )
    tissue.add_red_cells(congestion, rng)
    return tissue


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


def _tract_vessels(tracts: Float, tract_radius: Float, rng: np.random.Generator) -> _Vessels:
    veins, vein_radius, tubes, tube_radius = [], [], [], []
    for centre, radius in zip(tracts, tract_radius, strict=True):
        way = rng.uniform(0, 2 * math.pi)
        at = centre + 0.25 * radius * np.array([math.cos(way), math.sin(way)])
        veins.append(at)
        vein_radius.append(radius * rng.uniform(0.3, 0.5))
        for turn, size in ((2.3, rng.uniform(9, 15)), (3.4, rng.uniform(9, 13)), (4.4, 6.0)):
            around = way + turn + rng.normal(0, 0.2)
            tubes.append(centre + 0.62 * radius * np.array([math.cos(around), math.sin(around)]))
            tube_radius.append(min(size, 0.28 * radius))
    radii = np.asarray(tube_radius, np.float32)
    return _Vessels(
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


def _open_fat(
    canvas: Canvas,
    layers: Layers,
    tumour: Float,
    zone: Float,
    wall: Float,
    rng: np.random.Generator,
) -> None:
    amount = rng.choice([0.02, 0.1, 0.3]) * rng.uniform(0.6, 1.4)
    patches = smooth_step(cloud(canvas.pattern_hw, 380 / canvas.pattern_um, rng), -0.8, 1.6)
    probability = amount * patches * (1 - 0.5 * zone) * (1 - wall)
    probability *= 1 - np.float32(rng.uniform(0.2, 0.9)) * tumour
    xy_um = scatter(canvas, 15, rng, keep=probability.astype(np.float32))
    radius = np.clip(rng.lognormal(math.log(6.0), 0.45, len(xy_um)), 2, 17).astype(np.float32)
    inside = np.full(canvas.cell_hw, -6, np.float32)
    discs_into(canvas, inside, xy_um, radius, rng, roughness=0.05)
    layers.open_field(inside)


def _open_acini(
    canvas: Canvas, layers: Layers, tumour: Float, solid: Float, rng: np.random.Generator
) -> None:
    glandular = smooth_step(cloud(canvas.pattern_hw, 450 / canvas.pattern_um, rng), 0.2, 1.4)
    probability = (smooth_step(tumour, 0.7, 1) * glandular * (0.4 + 0.6 * solid)).astype(np.float32)
    xy_um = scatter(canvas, 42, rng, keep=probability * np.float32(rng.uniform(0.3, 1.0)))
    radius = np.clip(rng.lognormal(math.log(6.5), 0.4, len(xy_um)), 3, 20).astype(np.float32)
    inside = np.full(canvas.cell_hw, -6, np.float32)
    discs_into(canvas, inside, xy_um, radius, rng, roughness=0.15)
    layers.open_field(inside)


def _paint_cytoplasm(
    tissue: Tissue,
    normal_xy: Float,
    tumour_xy: Float,
    zone: Float,
    wall: Float,
    fibres: Float,
    rng: np.random.Generator,
) -> None:
    canvas = tissue.canvas
    hw, um = canvas.pattern_hw, canvas.pattern_um
    xy_um = np.concatenate([normal_xy, tumour_xy, np.zeros((1, 2), np.float32)])
    cells = Cells(canvas, xy_um)
    zonal = canvas.at(zone, normal_xy).astype(np.float32)
    pale = smooth_step(cloud(hw, 300 / um, rng), 0.7, 1.7)
    clear = 1 - np.float32(0.38) * canvas.at(pale, tumour_xy)
    glycogen = 1 - np.float32(0.38) * canvas.at(pale[::-1], normal_xy)
    eosin = np.concatenate(
        [
            owners(len(normal_xy), 1.0, 0.06, rng)
            * (1 + rng.uniform(-0.25, 0.25) * (zonal - 0.5))
            * glycogen,
            owners(len(tumour_xy), rng.uniform(0.74, 0.98), 0.11, rng) * clear,
            np.ones(1, np.float32),
        ]
    )
    basophilia = np.concatenate(
        [
            owners(len(normal_xy), rng.uniform(0.17, 0.29), 0.03, rng)
            * (1 + rng.uniform(-0.4, 0.4) * (zonal - 0.5))
            * glycogen,
            owners(len(tumour_xy), rng.uniform(0.05, 0.12), 0.02, rng) * clear,
            np.zeros(1, np.float32),
        ]
    )
    membrane = cells.borders()
    stroma = canvas.to_cell_grid(wall)
    fibrous = canvas.to_cell_grid(np.clip(0.62 + 0.17 * fibres, 0.2, 1.1).astype(np.float32))
    dye = cells.paint(eosin.astype(np.float32)) * (1 + np.float32(0.14) * membrane)
    dye += (fibrous - dye) * stroma
    blue = cells.paint(basophilia.astype(np.float32))
    blue += (np.float32(0.03) - blue) * stroma
    tissue.set_dye(cv2.GaussianBlur(dye, (0, 0), 0.6), blue)


def _inflammation(
    canvas: Canvas, tracts: Float, fibre: Float, tumour_um: Float, rng: np.random.Generator
) -> Float:
    # Probability of a lymphocyte: some tracts are crowded, and so are stretches of the border.
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
    return np.asarray(np.maximum(field * np.float32(0.85), 0.05 * fibre), np.float32)
