"""Lymph node with metastatic carcinoma (placeholder order of drawing: see draw_lymph_node)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from .cells import Cells, owners, ring
from .noise import cloud, oriented_stripes, smooth_step, stripes
from .outline import draw_tissue, draw_tumour
from .points import discs_into, scatter, stratified
from .stain import Stain
from .tissue import Tissue, border_probability, direction_along

if TYPE_CHECKING:
    from .canvas import Canvas, Layers

__all__ = ["draw_lymph_node", "lymph_node_stain"]

Float = NDArray[np.float32]


def lymph_node_stain(rng: np.random.Generator) -> Stain:
    """Draw a stain as lymph nodes look: strong haematoxylin, eosin paler than liver's."""
    return Stain.draw(rng, haematoxylin=(1.0, 1.45), eosin=(0.36, 0.56))


def draw_lymph_node(canvas: Canvas, layers: Layers, rng: np.random.Generator) -> Tissue:
    """Draw a slide of lymph node with metastases onto empty layers."""
    hw, um = canvas.pattern_hw, canvas.pattern_um
    scale = min(1.0, min(canvas.extent_um) / 2000)
    tissue_um = draw_tissue(canvas, rng, roundness=rng.uniform(0.6, 0.95))
    rim = np.clip(rng.uniform(-30, 110) + 90 * cloud(hw, 900 * scale / um, rng), 0, 320) * scale
    node_um = tissue_um - rim.astype(np.float32)
    tumour_um = draw_tumour(canvas, node_um - 12 * scale, rng, fraction=(0.22, 0.42))
    tumour = border_probability(canvas, tumour_um, rng, (7, 30))
    tissue = Tissue(canvas, layers, tissue_um, tumour_um, tumour)

    # --- compartments of the node
    deep = smooth_step(node_um, 250 * scale, 800 * scale)
    follicles = stratified(canvas, rng.uniform(330, 430), rng)
    depth = canvas.at(node_um, follicles).astype(np.float32)
    cortical = (depth > 60) & (rng.random(len(follicles)) < np.where(depth < 700, 0.6, 0.2))
    follicles = follicles[cortical]
    follicle_radius = rng.uniform(75, 175, len(follicles)).astype(np.float32)
    follicle_um = np.full(hw, -200, np.float32)
    discs_into(canvas, follicle_um, follicles, follicle_radius, rng, roughness=0.18)
    active = rng.random(len(follicles)) < 0.75
    centre_um = np.full(hw, -200, np.float32)
    inner = follicle_radius[active] * rng.uniform(0.5, 0.75, active.sum()).astype(np.float32)
    discs_into(canvas, centre_um, follicles[active], inner, rng, roughness=0.15)
    free = 1 - smooth_step(tumour, 0.3, 0.7)
    germinal = smooth_step(centre_um, -8, 8) * free
    mantle = smooth_step(follicle_um, -12, 12) * free * (1 - germinal)

    # --- sinuses under the capsule and in the medulla, trabeculae, capsule
    medulla_um = rng.uniform(85, 125)
    cords = stripes(hw, medulla_um / um, rng, spread=0.3)
    open_share = 1.1 - 1.5 * deep * smooth_step(cloud(hw, 700 * scale / um, rng), -0.6, 0.9)
    sinus_um = (-open_share - cords) * np.float32(medulla_um / 6.3)
    under_capsule = 11 - np.abs(node_um - 26 - 5 * cloud(hw, 90 / um, rng))
    sinus_um = np.maximum(sinus_um, under_capsule * smooth_step(cloud(hw, 400 / um, rng), -1, 0.6))
    sinus = smooth_step(sinus_um, -3, 5) * free * (1 - smooth_step(follicle_um, -20, 0))
    nest_um = rng.uniform(130, 230)
    nests = stripes(hw, nest_um / um, rng, spread=0.45)
    stroma_share = rng.uniform(-1.5, -0.7) + 0.4 * cloud(hw, 500 / um, rng)
    strand_um = (stroma_share - nests) * np.float32(nest_um / 6.3)
    strand_um = np.where(tumour > 0.4, strand_um, -60)
    capsule_um = np.minimum(node_um + 8, 14 + 5 * cloud(hw, 200 / um, rng) - node_um)
    ridge = cloud(hw, 800 * scale / um, rng, octaves=3)
    slope = np.hypot(*np.gradient(ridge)) / np.float32(um) + np.float32(2e-4)
    trabecula_um = 6 * smooth_step(cloud(hw, 400 / um, rng), 0, 1) - np.abs(ridge) / slope - 1
    trabecula_um = np.where(tumour_um > -20, -60, trabecula_um)
    fibre_um = np.maximum(np.maximum(capsule_um, strand_um), trabecula_um).astype(np.float32)
    fibre = smooth_step(fibre_um, -3, 3)
    fat = smooth_step(-node_um, 4, 10) * (1 - fibre)

    # --- fibres and openings
    fibre_angle = np.where(
        np.abs(node_um) < 40,
        direction_along(cv2.GaussianBlur(node_um, (0, 0), 3)),
        direction_along(cv2.GaussianBlur(np.where(tumour > 0.4, nests, ridge), (0, 0), 3)),
    ).astype(np.float32)
    fibre_angle += 0.35 * cloud(hw, 60 / um, rng, octaves=1)
    fibres = oriented_stripes(fibre_angle, 9 / um, rng, spread=0.35)
    opening = np.clip((-1.9 - fibres) * 2, -6, 2) * fibre - 6 * (1 - fibre)
    clefts = np.minimum(2.5 - np.abs(strand_um + 2), 1.6 * cloud(hw, 70 / um, rng) - 0.8)
    opening = np.maximum(opening, np.where(tumour > 0.6, clefts, -6))
    holes = 0.6 * stripes(hw, 16 / um, rng, spread=0.5) + 0.4 * cloud(hw, 20 / um, rng)
    sinus_gap = np.clip((holes - 0.6) * 4, -6, 5) * sinus - 6 * (1 - sinus)
    opening = np.maximum(opening, sinus_gap)
    wall_um = np.full(hw, -60, np.float32)
    vessels = scatter(canvas, 240, rng, keep=(1 - smooth_step(follicle_um, -25, 0)) * (1 - fat))
    vessel_radius = np.clip(rng.lognormal(math.log(9), 0.45, len(vessels)), 5, 30).astype(
        np.float32
    )
    discs_into(canvas, wall_um, vessels, vessel_radius + 3.5, rng, roughness=0.3)
    opening = np.maximum(opening, np.minimum(wall_um - 3.5, 6))
    opening = np.where(fat > 0.5, -6, opening)
    layers.open_field(canvas.to_cell_grid(opening.astype(np.float32)))
    _open_glands(canvas, layers, tumour, strand_um, rng)
    macrophages = scatter(canvas, 42, rng, keep=germinal * np.float32(0.7))
    pale = np.full(hw, -6, np.float32)
    size = rng.uniform(5, 10, len(macrophages)).astype(np.float32)
    discs_into(canvas, pale, macrophages, size, rng, roughness=0.2)
    fat_xy = scatter(canvas, rng.uniform(48, 62), rng, jitter=0.2, warp=0.5)
    adipose = Cells(canvas, fat_xy)
    in_fat = canvas.to_cell_grid(fat)
    layers.open_field(_inside_cells(adipose, in_fat))
    tissue.open_glass()

    # --- cells
    solid = (1 - fibre) * (1 - fat)
    carcinoma = scatter(canvas, rng.uniform(12.3, 14.3), rng, keep=tumour * solid, jitter=0.22)
    density = np.clip(0.9 + 0.12 * cloud(hw, 220 / um, rng), 0.5, 1)
    density = density - 0.75 * sinus - 0.72 * germinal + 0.2 * mantle
    density = density * (1 - smooth_step(pale, -2, 1)) * (1 - tumour) * solid
    infiltrate = smooth_step(cloud(hw, 260 / um, rng), 0.1, 1.6)
    in_strands = fibre * (0.12 + 0.75 * infiltrate) * (1 - fat)
    density = np.maximum(density, np.maximum(in_strands, 0.22 * infiltrate * tumour) * (1 - fat))
    lymphocytes = scatter(canvas, rng.uniform(7.0, 7.7), rng, keep=density.astype(np.float32))
    blasts = scatter(
        canvas, 10.5, rng, keep=np.maximum(germinal * 0.85, 0.07 * (1 - tumour) * solid)
    )
    histiocytes = scatter(
        canvas, 15, rng, keep=np.maximum(sinus * 0.75, 0.05 * (1 - tumour)) * solid
    )
    _paint(
        tissue, carcinoma, lymphocytes, blasts, histiocytes, fibre, fibres, fat, adipose, pale, rng
    )
    tissue.add_nuclei("carcinoma", carcinoma, rng)
    tissue.add_nuclei("centroblast", blasts, rng)
    tissue.add_nuclei("histiocyte", histiocytes, rng, clearance=False)
    tissue.add_nuclei("lymphocyte", lymphocytes, rng)
    spindles = scatter(canvas, 12, rng, keep=smooth_step(fibre, 0.5, 1) * np.float32(0.5))
    turned = canvas.at(fibre_angle, spindles).astype(np.float32)
    tissue.add_nuclei("spindle", spindles, rng, turned)
    for centre, radius in zip(vessels, vessel_radius, strict=True):
        around, outwards = ring(centre, float(radius) + 1.5, 9.0, rng)
        turned = outwards + np.float32(math.pi / 2)
        tissue.add_nuclei("endothelium", around, rng, turned, clearance=False)
    congestion = smooth_step(cloud(hw, 400 / um, rng), -0.2, 1.2) * (1 - fat) * (1 - sinus)
    tissue.add_red_cells((0.8 * congestion).astype(np.float32), rng)
    return tissue


def _inside_cells(adipose: Cells, in_fat: Float) -> Float:
    # Fat cells are empty but for thin walls: open everywhere off the cell borders.
    wall = cv2.GaussianBlur(adipose.borders(), (0, 0), 1.6)
    return np.asarray(np.where(in_fat > 0.5, (0.16 - wall) * 30, -6), np.float32)


def _open_glands(
    canvas: Canvas, layers: Layers, tumour: Float, strand_um: Float, rng: np.random.Generator
) -> None:
    glandular = smooth_step(cloud(canvas.pattern_hw, 400 / canvas.pattern_um, rng), 0.1, 1.3)
    probability = smooth_step(tumour, 0.7, 1) * glandular * (strand_um < -12)
    xy_um = scatter(canvas, 55, rng, keep=(probability * rng.uniform(0.2, 0.8)).astype(np.float32))
    radius = np.clip(rng.lognormal(math.log(9), 0.45, len(xy_um)), 4, 28).astype(np.float32)
    inside = np.full(canvas.cell_hw, -6, np.float32)
    discs_into(canvas, inside, xy_um, radius, rng, roughness=0.2)
    layers.open_field(inside)


def _paint(
    tissue: Tissue,
    carcinoma: Float,
    lymphocytes: Float,
    blasts: Float,
    histiocytes: Float,
    fibre: Float,
    fibres: Float,
    fat: Float,
    adipose: Cells,
    pale: Float,
    rng: np.random.Generator,
) -> None:
    canvas = tissue.canvas
    groups = (
        (carcinoma, rng.uniform(0.62, 0.85), 0.1, rng.uniform(0.14, 0.24), 0.04),
        (lymphocytes, 0.6, 0.1, 0.15, 0.04),
        (blasts, 0.66, 0.08, 0.14, 0.03),
        (histiocytes, 0.8, 0.1, 0.05, 0.02),
        (np.zeros((1, 2), np.float32), 0.6, 0.0, 0.05, 0.0),
    )
    cells = Cells(canvas, np.concatenate([xy for xy, *_ in groups]))
    eosin = np.concatenate(
        [owners(len(xy), mean, spread, rng) for xy, mean, spread, _, _ in groups]
    )
    blue = np.concatenate([owners(len(xy), mean, spread, rng) for xy, _, _, mean, spread in groups])
    stroma = canvas.to_cell_grid(np.maximum(fibre, fat))
    fibrous = canvas.to_cell_grid(np.clip(0.85 + 0.22 * fibres, 0.25, 1.4).astype(np.float32))
    paleness = 1 - np.float32(0.5) * canvas.to_cell_grid(smooth_step(pale, -1.5, 1.5))
    dye = cells.paint(eosin) * (1 + np.float32(0.12) * cells.borders()) * paleness
    dye += (fibrous - dye) * stroma
    haematoxylin = cells.paint(blue) * paleness
    haematoxylin += (np.float32(0.03) - haematoxylin) * stroma
    tissue.set_dye(cv2.GaussianBlur(dye, (0, 0), 0.6), cv2.GaussianBlur(haematoxylin, (0, 0), 0.8))
