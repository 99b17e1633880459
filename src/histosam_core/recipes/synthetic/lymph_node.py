"""Lymph node with metastatic carcinoma.

Normal: small dark lymphocytes throughout, follicles with pale germinal centres and dark mantles,
pale sinuses under the capsule and in the medulla, fat outside. Tumour: nests of larger, uneven
vesicular nuclei with more cytoplasm, glands, and strands of fibrous stroma with lymphocytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from .cytoplasm import Cells, owners, ring
from .noise import cloud, oriented_stripes, smooth_step, stripes
from .outlines_drawn import draw_tissue, draw_tumour
from .points import discs_into, scatter, stratified
from .stain import Stain
from .tissue_drawn import Tissue, border_probability, direction_along

if TYPE_CHECKING:
    from .grids import Canvas, Layers

Float = NDArray[np.float32]


def lymph_node_stain(rng: np.random.Generator) -> Stain:
    """Draw a stain as lymph nodes look: strong haematoxylin, eosin paler than liver's."""
    return Stain.draw(rng, haematoxylin=(1.0, 1.45), eosin=(0.36, 0.56))


def draw_lymph_node(canvas: Canvas, layers: Layers, rng: np.random.Generator) -> Tissue:
    """Draw a slide of lymph node with metastases onto empty layers."""
    hw, um = canvas.pattern_hw, canvas.pattern_um
    scale = _scale(canvas)
    tissue_um = draw_tissue(canvas, rng, roundness=rng.uniform(0.6, 0.95))
    rim = np.clip(rng.uniform(-30, 110) + 90 * cloud(hw, 900 * scale / um, rng), 0, 320) * scale
    node_um = tissue_um - rim
    tumour_um = draw_tumour(canvas, node_um - 12 * scale, rng, fraction=(0.22, 0.42))
    tumour = border_probability(canvas, tumour_um, rng, (7, 30))
    tissue = Tissue(canvas, layers, tissue_um, tumour_um, tumour)
    follicles = _follicles(canvas, node_um, tumour, rng)
    sinus = _sinuses(canvas, node_um, tumour, follicles.inside_um, rng)
    stroma = _stroma(canvas, node_um, tumour_um, tumour, rng)
    vessels, vessel_radius = _open(tissue, follicles, sinus, stroma, rng)

    plain = (1 - stroma.fibre) * (1 - stroma.fat)
    carcinoma = scatter(canvas, rng.uniform(12.3, 14.3), rng, keep=tumour * plain, jitter=0.22)
    density = _lymphocyte_density(canvas, tumour, follicles, sinus, stroma, rng)
    lymphocytes = scatter(canvas, rng.uniform(7.0, 7.7), rng, keep=density)
    normal = (1 - tumour) * plain
    blasts = scatter(canvas, 10.5, rng, keep=np.maximum(0.85 * follicles.germinal, 0.07 * normal))
    histiocytes = scatter(canvas, 15, rng, keep=np.maximum(0.75 * sinus * plain, 0.05 * normal))
    del density, plain, normal
    _paint(tissue, carcinoma, lymphocytes, blasts, histiocytes, stroma, follicles.pale_um, rng)

    tissue.add_nuclei("carcinoma", carcinoma, rng)
    tissue.add_nuclei("centroblast", blasts, rng)
    tissue.add_nuclei("histiocyte", histiocytes, rng, clearance=False)
    tissue.add_nuclei("lymphocyte", lymphocytes, rng)
    spindles = scatter(canvas, 12, rng, keep=smooth_step(stroma.fibre, 0.5, 1) * np.float32(0.5))
    tissue.add_nuclei("spindle", spindles, rng, canvas.at(stroma.angle, spindles))
    for centre, radius in zip(vessels, vessel_radius, strict=True):
        around, outwards = ring(centre, float(radius) + 1.5, 9.0, rng)
        turned = outwards + np.float32(math.pi / 2)
        tissue.add_nuclei("endothelium", around, rng, turned, clearance=False)
    congestion = smooth_step(cloud(hw, 400 / um, rng), -0.2, 1.2) * (1 - stroma.fat) * (1 - sinus)
    tissue.add_red_cells(np.float32(0.8) * congestion, rng)
    return tissue


def _scale(canvas: Canvas) -> float:
    # A small picture shows a small node: its largest features shrink with it.
    return min(1.0, min(canvas.extent_um) / 2000)


@dataclass(frozen=True, slots=True)
class _Follicles:
    # Fields on the pattern grid: weights 0 to 1, and um inside an edge.
    germinal: Float
    mantle: Float
    inside_um: Float
    pale_um: Float  # inside the macrophages that dot germinal centres


def _follicles(
    canvas: Canvas, node_um: Float, tumour: Float, rng: np.random.Generator
) -> _Follicles:
    hw = canvas.pattern_hw
    xy_um = stratified(canvas, rng.uniform(330, 430), rng)
    depth = canvas.at(node_um, xy_um)
    # Follicles crowd under the capsule.
    xy_um = xy_um[(depth > 60) & (rng.random(len(xy_um)) < np.where(depth < 700, 0.6, 0.2))]
    radius = rng.uniform(75, 175, len(xy_um)).astype(np.float32)
    inside_um = np.full(hw, -200, np.float32)
    discs_into(canvas, inside_um, xy_um, radius, rng, roughness=0.18)
    active = rng.random(len(xy_um)) < 0.75
    inner = radius[active] * rng.uniform(0.5, 0.75, active.sum()).astype(np.float32)
    centre_um = np.full(hw, -200, np.float32)
    discs_into(canvas, centre_um, xy_um[active], inner, rng, roughness=0.15)
    free = 1 - smooth_step(tumour, 0.3, 0.7)
    germinal = smooth_step(centre_um, -8, 8) * free
    mantle = smooth_step(inside_um, -12, 12) * free * (1 - germinal)
    macrophages = scatter(canvas, 42, rng, keep=germinal * np.float32(0.7))
    pale_um = np.full(hw, -6, np.float32)
    size = rng.uniform(5, 10, len(macrophages)).astype(np.float32)
    discs_into(canvas, pale_um, macrophages, size, rng, roughness=0.2)
    return _Follicles(germinal, mantle, inside_um, pale_um)


def _sinuses(
    canvas: Canvas, node_um: Float, tumour: Float, follicle_um: Float, rng: np.random.Generator
) -> Float:
    # Weight of sinus tissue: between the cords of the medulla, and along the capsule.
    hw, um, scale = canvas.pattern_hw, canvas.pattern_um, _scale(canvas)
    width_um = rng.uniform(85, 125)
    cords = stripes(hw, width_um / um, rng, spread=0.3)
    medulla = smooth_step(node_um, 250 * scale, 800 * scale)
    medulla *= smooth_step(cloud(hw, 700 * scale / um, rng), -0.6, 0.9)
    inside_um = (1.5 * medulla - 1.1 - cords) * np.float32(width_um / 6.3)
    under_capsule = 11 - np.abs(node_um - 26 - 5 * cloud(hw, 90 / um, rng))
    under_capsule *= smooth_step(cloud(hw, 400 / um, rng), -1, 0.6)
    inside_um = np.maximum(inside_um, under_capsule)
    elsewhere = (1 - smooth_step(tumour, 0.3, 0.7)) * (1 - smooth_step(follicle_um, -20, 0))
    return smooth_step(inside_um, -3, 5) * elsewhere


@dataclass(frozen=True, slots=True)
class _Stroma:
    # Fields on the pattern grid: weights of fibrous tissue and fat, the fibres and their
    # direction, um inside the strands between nests.
    fibre: Float
    fat: Float
    fibres: Float
    angle: Float
    strand_um: Float


def _stroma(
    canvas: Canvas, node_um: Float, tumour_um: Float, tumour: Float, rng: np.random.Generator
) -> _Stroma:
    hw, um, scale = canvas.pattern_hw, canvas.pattern_um, _scale(canvas)
    nest_um = rng.uniform(130, 230)
    nests = stripes(hw, nest_um / um, rng, spread=0.45)
    share = np.float32(rng.uniform(-1.5, -0.7)) + 0.4 * cloud(hw, 500 / um, rng)
    strand_um = np.where(tumour > 0.4, (share - nests) * np.float32(nest_um / 6.3), -60)
    capsule_um = np.minimum(node_um + 8, 14 + 5 * cloud(hw, 200 / um, rng) - node_um)
    ridge = cloud(hw, 800 * scale / um, rng, octaves=3)
    slope = np.hypot(*np.gradient(ridge)) / np.float32(um) + np.float32(2e-4)
    trabecula_um = 6 * smooth_step(cloud(hw, 400 / um, rng), 0, 1) - np.abs(ridge) / slope - 1
    trabecula_um[tumour_um > -20] = -60
    fibre = smooth_step(np.maximum(np.maximum(capsule_um, strand_um), trabecula_um), -3, 3)
    fat = smooth_step(-node_um, 4, 10) * (1 - fibre)
    shape = np.where(tumour > 0.4, nests, ridge)
    shape = np.where(np.abs(node_um) < 40, node_um, 40 * shape)
    angle = direction_along(cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 3))
    angle += np.float32(0.35) * cloud(hw, 60 / um, rng, octaves=1)
    fibres = oriented_stripes(angle, 9 / um, rng, spread=0.35)
    return _Stroma(fibre, fat, fibres, angle, strand_um.astype(np.float32))


def _open(
    tissue: Tissue, follicles: _Follicles, sinus: Float, stroma: _Stroma, rng: np.random.Generator
) -> tuple[Float, Float]:
    # Slits, sinus gaps, vessels, glands, fat cells and glass; returns the vessels' xy and radii.
    canvas, layers = tissue.canvas, tissue.layers
    hw, um = canvas.pattern_hw, canvas.pattern_um
    fibre, fat, strand_um = stroma.fibre, stroma.fat, stroma.strand_um
    opening = np.clip((-1.9 - stroma.fibres) * 2, -6, 2) * fibre - 6 * (1 - fibre)
    clefts = np.minimum(2.5 - np.abs(strand_um + 2), 1.6 * cloud(hw, 70 / um, rng) - 0.8)
    np.maximum(opening, clefts, out=opening, where=tissue.tumour > 0.6)
    holes = 0.6 * stripes(hw, 16 / um, rng, spread=0.5) + 0.4 * cloud(hw, 20 / um, rng)
    np.maximum(opening, np.clip((holes - 0.6) * 4, -6, 5) * sinus - 6 * (1 - sinus), out=opening)
    outside = (1 - smooth_step(follicles.inside_um, -25, 0)) * (1 - fat)
    vessels = scatter(canvas, 240, rng, keep=outside)
    radius = np.clip(rng.lognormal(math.log(9), 0.45, len(vessels)), 5, 30).astype(np.float32)
    wall_um = np.full(hw, -60, np.float32)
    discs_into(canvas, wall_um, vessels, radius + 3.5, rng, roughness=0.3)
    np.maximum(opening, np.minimum(wall_um - 3.5, 6), out=opening)
    opening[fat > 0.5] = -6
    layers.open_field(canvas.to_cell_grid(opening))

    glandular = smooth_step(cloud(hw, 400 / um, rng), 0.1, 1.3) * np.float32(rng.uniform(0.2, 0.8))
    glandular *= smooth_step(tissue.tumour, 0.7, 1) * (strand_um < -12)
    glands = scatter(canvas, 55, rng, keep=glandular)
    size = np.clip(rng.lognormal(math.log(9), 0.45, len(glands)), 4, 28).astype(np.float32)
    tissue.open_discs(glands, size, rng, roughness=0.2)
    if (fat > 0.5).any():
        # Fat cells are empty but for thin walls: open everywhere off the cell borders.
        adipose = Cells(canvas, scatter(canvas, rng.uniform(48, 62), rng, jitter=0.2, warp=0.5))
        off_wall = 0.16 - cv2.GaussianBlur(adipose.borders(), (0, 0), 1.6)
        off_wall[canvas.to_cell_grid(fat) <= 0.5] = -1
        layers.open_field(off_wall * np.float32(30))
    tissue.open_glass()
    return vessels, radius


def _lymphocyte_density(
    canvas: Canvas,
    tumour: Float,
    follicles: _Follicles,
    sinus: Float,
    stroma: _Stroma,
    rng: np.random.Generator,
) -> Float:
    hw, um = canvas.pattern_hw, canvas.pattern_um
    density = np.clip(0.9 + 0.12 * cloud(hw, 220 / um, rng), 0.5, 1)
    density += 0.2 * follicles.mantle - 0.75 * sinus - 0.72 * follicles.germinal
    density *= (1 - smooth_step(follicles.pale_um, -2, 1)) * (1 - tumour) * (1 - stroma.fibre)
    # Tumour-infiltrating lymphocytes: in strands, and strewn among the tumour's cells.
    infiltrate = smooth_step(cloud(hw, 260 / um, rng), 0.1, 1.6)
    among = np.maximum(stroma.fibre * (0.12 + 0.75 * infiltrate), 0.22 * infiltrate * tumour)
    return np.asarray(np.maximum(density, among) * (1 - stroma.fat), np.float32)


def _paint(
    tissue: Tissue,
    carcinoma: Float,
    lymphocytes: Float,
    blasts: Float,
    histiocytes: Float,
    stroma: _Stroma,
    pale_um: Float,
    rng: np.random.Generator,
) -> None:
    canvas = tissue.canvas
    # Nuclei, then mean and spread of eosin and of haematoxylin in their cytoplasm. The tumour's
    # means are such that its cytoplasm makes up for the chromatin that it has less of.
    groups = (
        (carcinoma, rng.uniform(0.62, 0.85), 0.1, rng.uniform(0.14, 0.24), 0.04),
        (lymphocytes, 0.6, 0.1, 0.15, 0.04),
        (blasts, 0.66, 0.08, 0.14, 0.03),
        (histiocytes, 0.8, 0.1, 0.05, 0.02),
        (np.zeros((1, 2), np.float32), 0.6, 0.0, 0.05, 0.0),
    )
    cells = Cells(canvas, np.concatenate([xy for xy, *_ in groups]))
    eosin = [owners(len(xy), mean, spread, rng) for xy, mean, spread, _, _ in groups]
    blue = [owners(len(xy), mean, spread, rng) for xy, _, _, mean, spread in groups]
    fibrous = np.clip(0.85 + 0.22 * stroma.fibres, 0.25, 1.4).astype(np.float32)
    tissue.paint_cells(
        cells,
        np.concatenate(eosin),
        np.concatenate(blue),
        stroma=np.maximum(stroma.fibre, stroma.fat),
        fibrous=fibrous,
        paleness=np.float32(0.5) * smooth_step(pale_um, -1.5, 1.5),
    )
