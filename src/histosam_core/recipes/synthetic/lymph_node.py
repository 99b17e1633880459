"""Lymph node with metastatic carcinoma.

Normal: small dark lymphocytes throughout, follicles with pale germinal centres and dark mantles,
pale sinuses under the capsule and in the medulla, fat outside. Tumour: nests of larger, uneven
vesicular nuclei with more cytoplasm, glands, and strands of fibrous stroma with lymphocytes.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from .cells import Cytoplasm, per_cell, ring, scatter, stratified
from .grids import Canvas, Float, direction_along, smooth_step
from .outlines_drawn import draw_tissue, draw_tumour
from .tissue_drawn import Tissue

# Least and most haematoxylin and eosin: the one strong, the other paler than liver's.
STAIN = (1.0, 1.45), (0.36, 0.56)


def draw_lymph_node(canvas: Canvas) -> Tissue:
    """Draw a slide of lymph node with metastases."""
    rng, scale = canvas.rng, _scale(canvas)
    tissue_um = draw_tissue(canvas, roundness=rng.uniform(0.6, 0.95))
    rim = np.clip(rng.uniform(-30, 110) + 90 * canvas.cloud(900 * scale), 0, 320) * scale
    node_um = tissue_um - rim
    tumour_um = draw_tumour(canvas, node_um - 12 * scale, fraction=(0.22, 0.42))
    tissue = Tissue(canvas, tissue_um, tumour_um, border_um=(7, 30))
    tumour = tissue.tumour
    follicles = _Follicles(canvas, node_um, tumour)
    sinus = _sinuses(canvas, node_um, tumour, follicles)
    stroma = _Stroma(tissue, node_um)
    vessels, vessel_radius = _open(tissue, follicles, sinus, stroma)

    plain = (1 - stroma.fibre) * (1 - stroma.fat)
    carcinoma = scatter(canvas, rng.uniform(12.3, 14.3), tumour * plain, jitter=0.22)
    density = _lymphocyte_density(tissue, follicles, sinus, stroma)
    lymphocytes = scatter(canvas, rng.uniform(7.0, 7.7), density)
    normal = (1 - tumour) * plain
    blasts = scatter(canvas, 10.5, np.maximum(0.85 * follicles.germinal, 0.07 * normal))
    histiocytes = scatter(canvas, 15, np.maximum(0.75 * sinus * plain, 0.05 * normal))
    del density, plain, normal
    _paint(tissue, (carcinoma, lymphocytes, blasts, histiocytes), stroma, follicles.pale_um)

    tissue.add_nuclei("carcinoma", carcinoma)
    tissue.add_nuclei("centroblast", blasts)
    tissue.add_nuclei("histiocyte", histiocytes, clearance=False)
    tissue.add_nuclei("lymphocyte", lymphocytes)
    spindles = scatter(canvas, 12, smooth_step(stroma.fibre, 0.5, 1) * np.float32(0.5))
    tissue.add_nuclei("spindle", spindles, canvas.at(stroma.angle, spindles))
    for centre, radius in zip(vessels, vessel_radius, strict=True):
        around, outwards = ring(centre, float(radius) + 1.5, 9.0, rng)
        turned = outwards + np.float32(math.pi / 2)
        tissue.add_nuclei("endothelium", around, turned, clearance=False)
    congestion = smooth_step(canvas.cloud(400), -0.2, 1.2) * (1 - stroma.fat) * (1 - sinus)
    tissue.add_red_cells(np.float32(0.8) * congestion)
    return tissue


def _scale(canvas: Canvas) -> float:
    # A small picture shows a small node: its largest features shrink with it.
    return min(1.0, min(canvas.extent_um) / 2000)


class _Follicles:
    """Fields (H, W) float32 on the pattern grid: weights 0 to 1, and um inside an edge."""

    def __init__(self, canvas: Canvas, node_um: Float, tumour: Float) -> None:
        rng = canvas.rng
        xy_um = stratified(canvas, rng.uniform(330, 430))
        depth = canvas.at(node_um, xy_um)
        # Follicles crowd under the capsule.
        xy_um = xy_um[(depth > 60) & (rng.random(len(xy_um)) < np.where(depth < 700, 0.6, 0.2))]
        radius = rng.uniform(75, 175, len(xy_um)).astype(np.float32)
        self.inside_um = canvas.discs(xy_um, radius, 0.18, outside_um=-200)
        active = rng.random(len(xy_um)) < 0.75
        inner = radius[active] * rng.uniform(0.5, 0.75, active.sum()).astype(np.float32)
        centre_um = canvas.discs(xy_um[active], inner, 0.15, outside_um=-200)
        free = 1 - smooth_step(tumour, 0.3, 0.7)
        self.germinal = smooth_step(centre_um, -8, 8) * free
        self.mantle = smooth_step(self.inside_um, -12, 12) * free * (1 - self.germinal)
        macrophages = scatter(canvas, 42, self.germinal * np.float32(0.7))
        size = rng.uniform(5, 10, len(macrophages)).astype(np.float32)
        # Inside the macrophages that dot germinal centres.
        self.pale_um = canvas.discs(macrophages, size, 0.2, outside_um=-6)


def _sinuses(canvas: Canvas, node_um: Float, tumour: Float, follicles: _Follicles) -> Float:
    """Weight of sinus tissue: between the cords of the medulla, and along the capsule."""
    scale = _scale(canvas)
    width_um = canvas.rng.uniform(85, 125)
    cords = canvas.stripes(width_um, 0.3)
    medulla = smooth_step(node_um, 250 * scale, 800 * scale)
    medulla *= smooth_step(canvas.cloud(700 * scale), -0.6, 0.9)
    inside_um = (1.5 * medulla - 1.1 - cords) * np.float32(width_um / 6.3)
    under_capsule = 11 - np.abs(node_um - 26 - 5 * canvas.cloud(90))
    under_capsule *= smooth_step(canvas.cloud(400), -1, 0.6)
    inside_um = np.maximum(inside_um, under_capsule)
    elsewhere = 1 - smooth_step(tumour, 0.3, 0.7)
    elsewhere *= 1 - smooth_step(follicles.inside_um, -20, 0)
    return smooth_step(inside_um, -3, 5) * elsewhere


class _Stroma:
    """Fields (H, W) float32 on the pattern grid."""

    def __init__(self, tissue: Tissue, node_um: Float) -> None:
        canvas, rng, tumour = tissue.canvas, tissue.canvas.rng, tissue.tumour
        nest_um = rng.uniform(130, 230)
        nests = canvas.stripes(nest_um, 0.45)
        share = np.float32(rng.uniform(-1.5, -0.7)) + 0.4 * canvas.cloud(500)
        # um inside the strands between nests.
        self.strand_um = np.where(tumour > 0.4, (share - nests) * np.float32(nest_um / 6.3), -60)
        capsule_um = np.minimum(node_um + 8, 14 + 5 * canvas.cloud(200) - node_um)
        ridge = canvas.cloud(800 * _scale(canvas), octaves=3)
        slope = np.hypot(*np.gradient(ridge)) / np.float32(canvas.pattern_um) + np.float32(2e-4)
        trabecula_um = 6 * smooth_step(canvas.cloud(400), 0, 1) - np.abs(ridge) / slope - 1
        trabecula_um[tissue.tumour_um > -20] = -60
        fibre_um = np.maximum(np.maximum(capsule_um, self.strand_um), trabecula_um)
        self.fibre = smooth_step(fibre_um, -3, 3)  # weight of fibrous tissue
        self.fat = smooth_step(-node_um, 4, 10) * (1 - self.fibre)  # weight of fat
        shape = np.where(tumour > 0.4, nests, ridge)
        shape = np.where(np.abs(node_um) < 40, node_um, 40 * shape)
        angle = direction_along(cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 3))
        self.angle = angle + np.float32(0.35) * canvas.cloud(60, octaves=1)  # of the fibres
        self.fibres = canvas.stripes(9, 0.35, self.angle)


def _open(
    tissue: Tissue, follicles: _Follicles, sinus: Float, stroma: _Stroma
) -> tuple[Float, Float]:
    """Open slits, sinus gaps, vessels, glands, fat cells, glass; return vessels' xy and radii."""
    canvas, rng = tissue.canvas, tissue.canvas.rng
    fibre, fat, strand_um = stroma.fibre, stroma.fat, stroma.strand_um
    opening = np.clip((-1.9 - stroma.fibres) * 2, -6, 2) * fibre - 6 * (1 - fibre)
    clefts = np.minimum(2.5 - np.abs(strand_um + 2), 1.6 * canvas.cloud(70) - 0.8)
    np.maximum(opening, clefts, out=opening, where=tissue.tumour > 0.6)
    holes = 0.6 * canvas.stripes(16, 0.5) + 0.4 * canvas.cloud(20)
    np.maximum(opening, np.clip((holes - 0.6) * 4, -6, 5) * sinus - 6 * (1 - sinus), out=opening)
    outside = (1 - smooth_step(follicles.inside_um, -25, 0)) * (1 - fat)
    vessels = scatter(canvas, 240, outside)
    radius = np.clip(rng.lognormal(math.log(9), 0.45, len(vessels)), 5, 30).astype(np.float32)
    wall_um = canvas.discs(vessels, radius + 3.5, 0.3)
    np.maximum(opening, np.minimum(wall_um - 3.5, 6), out=opening)
    opening[fat > 0.5] = -6
    tissue.open_field(canvas.to_cell_grid(opening))

    glandular = smooth_step(canvas.cloud(400), 0.1, 1.3) * np.float32(rng.uniform(0.2, 0.8))
    glandular *= smooth_step(tissue.tumour, 0.7, 1) * (strand_um < -12)
    glands = scatter(canvas, 55, glandular)
    size = np.clip(rng.lognormal(math.log(9), 0.45, len(glands)), 4, 28).astype(np.float32)
    tissue.open_discs(glands, size, roughness=0.2)
    if (fat > 0.5).any():
        # Fat cells are empty but for thin walls: open everywhere off the cell borders.
        adipose = Cytoplasm(canvas, scatter(canvas, rng.uniform(48, 62), warp=0.5))
        off_wall = 0.16 - cv2.GaussianBlur(adipose.borders(), (0, 0), 1.6)
        off_wall[canvas.to_cell_grid(fat) <= 0.5] = -1
        tissue.open_field(off_wall * np.float32(30))
    tissue.open_glass()
    return vessels, radius


def _lymphocyte_density(
    tissue: Tissue, follicles: _Follicles, sinus: Float, stroma: _Stroma
) -> Float:
    canvas, tumour = tissue.canvas, tissue.tumour
    density = np.clip(0.9 + 0.12 * canvas.cloud(220), 0.5, 1)
    density += 0.2 * follicles.mantle - 0.75 * sinus - 0.72 * follicles.germinal
    density *= (1 - smooth_step(follicles.pale_um, -2, 1)) * (1 - tumour) * (1 - stroma.fibre)
    # Tumour-infiltrating lymphocytes: in strands, and strewn among the tumour's cells.
    infiltrate = smooth_step(canvas.cloud(260), 0.1, 1.6)
    among = np.maximum(stroma.fibre * (0.12 + 0.75 * infiltrate), 0.22 * infiltrate * tumour)
    return np.asarray(np.maximum(density, among) * (1 - stroma.fat), np.float32)


def _paint(tissue: Tissue, cells: tuple[Float, ...], stroma: _Stroma, pale_um: Float) -> None:
    rng = tissue.canvas.rng
    # Mean and spread of eosin and of haematoxylin in the cytoplasm of carcinoma, lymphocytes,
    # blasts, histiocytes, and of one cell that is always there. The tumour's means are such that
    # its cytoplasm makes up for the chromatin that it has less of.
    dyes = (
        ((rng.uniform(0.62, 0.85), 0.1), (rng.uniform(0.14, 0.24), 0.04)),
        ((0.6, 0.1), (0.15, 0.04)),
        ((0.66, 0.08), (0.14, 0.03)),
        ((0.8, 0.1), (0.05, 0.02)),
        ((0.6, 0.0), (0.05, 0.0)),
    )
    cells = (*cells, np.zeros((1, 2), np.float32))
    eosin, haematoxylin = (
        np.concatenate(
            [per_cell(xy, *each[dye], rng) for xy, each in zip(cells, dyes, strict=True)]
        )
        for dye in (0, 1)
    )
    tissue.paint_cells(
        np.concatenate(cells),
        eosin,
        haematoxylin,
        stroma=np.maximum(stroma.fibre, stroma.fat),
        fibrous=np.clip(0.85 + 0.22 * stroma.fibres, 0.25, 1.4).astype(np.float32),
        paleness=np.float32(0.5) * smooth_step(pale_um, -1.5, 1.5),
    )
