"""Liver with hepatocellular carcinoma.

Normal: plates of hepatocytes one cell wide between sinusoids, radiating from central veins; portal
tracts with bile duct, vein, artery and lymphocytes where lobules meet. Tumour: thick trabeculae,
solid sheets and pseudoacini of larger, crowded, uneven nuclei; septa and a capsule in places.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .cytoplasm import Cells, owners, ring
from .noise import cloud, oriented_stripes, smooth_step, stripes
from .outlines_drawn import draw_tissue, draw_tumour
from .points import climb, scatter
from .stain import Stain
from .tissue_drawn import Tissue, border_probability, direction_along

if TYPE_CHECKING:
    from .grids import Canvas, Layers
from .liver_framework import Framework, draw_framework, inflammation

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
    framework = draw_framework(tissue, rng)
    wall = framework.wall

    plate_um, trabecula_um = rng.uniform(25, 29), rng.uniform(85, 135)
    plates = oriented_stripes(framework.outwards, plate_um / um, rng, spread=0.22)
    trabeculae = stripes(hw, trabecula_um / um, rng, spread=0.38)
    solid = smooth_step(cloud(hw, 420 / um, rng), -0.6, 0.8)
    opening_um = _sinusoids(canvas, plates, plate_um, framework.zone, rng)
    clefts_um = _clefts(canvas, trabeculae, trabecula_um, solid, rng)
    opening_um += (clefts_um - opening_um) * smooth_step(tumour, 0.25, 0.75)
    opening_um += (-6 - opening_um) * framework.fibre
    np.maximum(opening_um, framework.opening_um, out=opening_um)
    layers.open_field(canvas.to_cell_grid(opening_um))
    _open_fat(tissue, framework, rng)
    _open_acini(tissue, solid, rng)
    tissue.open_glass()

    normal_xy = scatter(canvas, rng.uniform(17.5, 19.5), rng, keep=(1 - tumour) * (1 - wall))
    normal_xy = climb(canvas, plates, normal_xy, 3.0)
    crowding = rng.uniform(13.0, 15.0)
    tumour_xy = scatter(canvas, crowding, rng, keep=tumour * (1 - wall), jitter=0.22)
    loose = smooth_step(cloud(hw, 180 / um, rng), 0.6, 1.9)
    tumour_xy = tumour_xy[rng.random(len(tumour_xy)) > 0.6 * canvas.at(loose, tumour_xy)]
    tumour_xy = climb(canvas, np.abs(trabeculae), tumour_xy, 2.0, steps=1)
    _paint_cytoplasm(tissue, framework, normal_xy, tumour_xy, rng)
    pairs = normal_xy[rng.random(len(normal_xy)) < 0.13]
    tissue.add_nuclei("hepatocyte", normal_xy, rng)
    tissue.add_nuclei("hepatocyte", pairs + rng.normal(0, 5, pairs.shape).astype(np.float32), rng)
    tissue.add_nuclei("tumour_hepatocyte", tumour_xy, rng)

    lining = np.exp(-((opening_um + np.float32(0.8)) ** 2)) * (1 - wall) * (0.4 - 0.18 * tumour)
    along = np.where(tumour > 0.5, direction_along(trabeculae), framework.outwards)
    lining_xy = scatter(canvas, 7.5, rng, keep=lining)
    turned = canvas.at(along, lining_xy)
    tissue.add_nuclei("endothelium", lining_xy, rng, turned, clearance=False)
    _add_stroma(tissue, framework, rng)
    congestion = smooth_step(cloud(hw, 500 / um, rng), -0.3, 1.4)
    tissue.add_red_cells(congestion * np.float32(rng.uniform(0.3, 0.8)), rng)
    return tissue


def _sinusoids(
    canvas: Canvas, plates: Float, plate_um: float, zone: Float, rng: np.random.Generator
) -> Float:
    # um inside the valleys between plates; wider here, collapsed there.
    width = np.float32(rng.uniform(-1.5, -1.1)) - 0.25 * (zone - 0.5)
    width += 0.25 * cloud(canvas.pattern_hw, 500 / canvas.pattern_um, rng)
    inside_um = (width - plates) * np.float32(plate_um / 6.3)
    return np.asarray(np.clip(inside_um, -6, 4), np.float32)


def _clefts(
    canvas: Canvas, trabeculae: Float, trabecula_um: float, solid: Float, rng: np.random.Generator
) -> Float:
    # Zero crossings run on and on, as the gaps between trabeculae do; here and there they close.
    gap = 0.13 - 0.3 * solid
    gap += 0.09 * cloud(canvas.pattern_hw, 70 / canvas.pattern_um, rng, octaves=1)
    inside_um = (gap - np.abs(trabeculae)) * np.float32(trabecula_um / 6.3)
    return np.asarray(np.clip(inside_um, -6, 4), np.float32)


def _add_stroma(tissue: Tissue, framework: Framework, rng: np.random.Generator) -> None:
    # Fibroblasts, lymphocytes, and the rings of nuclei of bile ducts and arteries.
    canvas = tissue.canvas
    fibrous = smooth_step(framework.wall, 0.5, 1) * np.float32(0.55)
    spindles = scatter(canvas, 12, rng, keep=fibrous)
    tissue.add_nuclei("spindle", spindles, rng, canvas.at(framework.fibre_angle, spindles))
    inflamed = inflammation(tissue, framework, rng)
    tissue.add_nuclei("lymphocyte", scatter(canvas, 6.6, rng, keep=inflamed), rng)
    for centre, radius in zip(framework.tubes, framework.tube_radius, strict=True):
        kind = "duct" if radius > 7 else "spindle"
        on_ring, outwards = ring(centre, float(radius), 6.0, rng)
        turned = outwards if kind == "duct" else outwards + np.float32(math.pi / 2)
        tissue.add_nuclei(kind, on_ring, rng, turned, clearance=False)


def _open_fat(tissue: Tissue, framework: Framework, rng: np.random.Generator) -> None:
    canvas = tissue.canvas
    amount = np.float32(rng.choice([0.02, 0.1, 0.3]) * rng.uniform(0.6, 1.4))
    patches = smooth_step(cloud(canvas.pattern_hw, 380 / canvas.pattern_um, rng), -0.8, 1.6)
    probability = amount * patches * (1 - 0.5 * framework.zone) * (1 - framework.wall)
    probability *= 1 - np.float32(rng.uniform(0.2, 0.9)) * tissue.tumour
    xy_um = scatter(canvas, 15, rng, keep=probability)
    radius = np.clip(rng.lognormal(math.log(6.0), 0.45, len(xy_um)), 2, 17).astype(np.float32)
    tissue.open_discs(xy_um, radius, rng, roughness=0.05)


def _open_acini(tissue: Tissue, solid: Float, rng: np.random.Generator) -> None:
    canvas = tissue.canvas
    glandular = smooth_step(cloud(canvas.pattern_hw, 450 / canvas.pattern_um, rng), 0.2, 1.4)
    probability = smooth_step(tissue.tumour, 0.7, 1) * glandular * (0.4 + 0.6 * solid)
    probability *= np.float32(rng.uniform(0.3, 1.0))
    xy_um = scatter(canvas, 42, rng, keep=probability)
    radius = np.clip(rng.lognormal(math.log(6.5), 0.4, len(xy_um)), 3, 20).astype(np.float32)
    tissue.open_discs(xy_um, radius, rng, roughness=0.15)


def _paint_cytoplasm(
    tissue: Tissue,
    framework: Framework,
    normal_xy: Float,
    tumour_xy: Float,
    rng: np.random.Generator,
) -> None:
    # The tumour has more chromatin; its paler, less basophilic cytoplasm makes up for that, so that
    # the mean colours of tumour and liver are alike.
    canvas = tissue.canvas
    pale = smooth_step(cloud(canvas.pattern_hw, 300 / canvas.pattern_um, rng), 0.7, 1.7)
    clear = 1 - np.float32(0.38) * canvas.at(pale, tumour_xy)
    glycogen = 1 - np.float32(0.38) * canvas.at(pale[::-1], normal_xy)
    zonal = canvas.at(framework.zone, normal_xy) - np.float32(0.5)
    pink = owners(len(normal_xy), 1.0, 0.06, rng) * (1 + rng.uniform(-0.25, 0.25) * zonal)
    blue = owners(len(normal_xy), rng.uniform(0.16, 0.28), 0.03, rng)
    blue *= 1 + rng.uniform(-0.4, 0.4) * zonal
    eosin = (pink * glycogen, owners(len(tumour_xy), rng.uniform(0.74, 0.97), 0.11, rng) * clear)
    basophilia = (
        blue * glycogen,
        owners(len(tumour_xy), rng.uniform(0.05, 0.12), 0.02, rng) * clear,
    )
    nowhere = np.ones((1, 2), np.float32)  # so that there is a cell, whatever was scattered
    cells = Cells(canvas, np.concatenate([normal_xy, tumour_xy, nowhere]))
    tissue.paint_cells(
        cells,
        np.concatenate([*eosin, nowhere[:, 0]]),
        np.concatenate([*basophilia, nowhere[:, 0] * np.float32(0.1)]),
        stroma=framework.wall,
        fibrous=np.clip(0.62 + 0.17 * framework.fibres, 0.2, 1.1),
    )
