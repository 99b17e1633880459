"""Liver with hepatocellular carcinoma.

Normal: plates of hepatocytes one cell wide between sinusoids, radiating from central veins; portal
tracts with bile duct, vein, artery and lymphocytes where lobules meet. Tumour: thick trabeculae,
solid sheets and pseudoacini of larger, crowded, uneven nuclei; septa and a capsule in places.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from scipy.spatial import QhullError, Voronoi

from .cells import climb, per_cell, ring, scatter, stratified
from .grids import Canvas, Float, direction_along, smooth_step
from .outlines_drawn import draw_tissue, draw_tumour
from .tissue_drawn import Tissue

# Least and most haematoxylin and eosin: liver is stained with strong eosin.
STAIN = (1.15, 1.6), (0.5, 0.72)


def draw_liver(canvas: Canvas) -> Tissue:
    """Draw a slide of liver with tumour."""
    rng = canvas.rng
    tissue_um = draw_tissue(canvas, roundness=rng.uniform(0.25, 0.6))
    tumour_um = draw_tumour(canvas, tissue_um, fraction=(0.25, 0.45))
    tissue = Tissue(canvas, tissue_um, tumour_um, border_um=(8, 34))
    framework = _Framework(tissue)
    tumour, wall = tissue.tumour, framework.wall

    plate_um, trabecula_um = rng.uniform(25, 29), rng.uniform(85, 135)
    plates = canvas.stripes(plate_um, 0.22, framework.outwards)
    trabeculae = canvas.stripes(trabecula_um, 0.38)
    solid = smooth_step(canvas.cloud(420), -0.6, 0.8)
    # Sinusoids are the valleys between plates; wider here, collapsed there.
    width = np.float32(rng.uniform(-1.5, -1.1)) - 0.25 * (framework.zone - 0.5)
    width += 0.25 * canvas.cloud(500)
    opening_um = _slits_um(width - plates, plate_um)
    # Zero crossings run on and on, as the gaps between trabeculae do; here and there they close.
    gap = 0.13 - 0.3 * solid + 0.09 * canvas.cloud(70, octaves=1)
    clefts_um = _slits_um(gap - np.abs(trabeculae), trabecula_um)
    opening_um += (clefts_um - opening_um) * smooth_step(tumour, 0.25, 0.75)
    opening_um += (-6 - opening_um) * framework.fibre
    np.maximum(opening_um, framework.opening_um, out=opening_um)
    tissue.open_field(canvas.to_cell_grid(opening_um))
    _open_round(tissue, framework, solid)
    tissue.open_glass()

    normal_xy = scatter(canvas, rng.uniform(17.5, 19.5), (1 - tumour) * (1 - wall))
    normal_xy = climb(canvas, plates, normal_xy, 3.0)
    tumour_xy = scatter(canvas, rng.uniform(13.0, 15.0), tumour * (1 - wall), jitter=0.22)
    loose = smooth_step(canvas.cloud(180), 0.6, 1.9)
    tumour_xy = tumour_xy[rng.random(len(tumour_xy)) > 0.6 * canvas.at(loose, tumour_xy)]
    tumour_xy = climb(canvas, np.abs(trabeculae), tumour_xy, 2.0, steps=1)
    _paint_cytoplasm(tissue, framework, normal_xy, tumour_xy)
    pairs = normal_xy[rng.random(len(normal_xy)) < 0.13]
    tissue.add_nuclei("hepatocyte", normal_xy)
    tissue.add_nuclei("hepatocyte", pairs + rng.normal(0, 5, pairs.shape).astype(np.float32))
    tissue.add_nuclei("tumour_hepatocyte", tumour_xy)

    lining = np.exp(-((opening_um + np.float32(0.8)) ** 2)) * (1 - wall) * (0.4 - 0.18 * tumour)
    along = np.where(tumour > 0.5, direction_along(trabeculae), framework.outwards)
    lining_xy = scatter(canvas, 7.5, lining)
    tissue.add_nuclei("endothelium", lining_xy, canvas.at(along, lining_xy), clearance=False)
    spindles = scatter(canvas, 12, smooth_step(wall, 0.5, 1) * np.float32(0.55))
    tissue.add_nuclei("spindle", spindles, canvas.at(framework.fibre_angle, spindles))
    tissue.add_nuclei("lymphocyte", scatter(canvas, 6.6, _inflammation(tissue, framework)))
    for centre, radius in zip(framework.tubes, framework.tube_radius, strict=True):
        on_ring, outwards = ring(centre, float(radius), 6.0, rng)
        if radius > 7:
            tissue.add_nuclei("duct", on_ring, outwards, clearance=False)
        else:  # an artery: the nuclei of its muscle lie along the wall
            turned = outwards + np.float32(math.pi / 2)
            tissue.add_nuclei("spindle", on_ring, turned, clearance=False)
    congestion = smooth_step(canvas.cloud(500), -0.3, 1.4)
    tissue.add_red_cells(congestion * np.float32(rng.uniform(0.3, 0.8)))
    return tissue


def _slits_um(field: Float, wavelength_um: float) -> Float:
    """um inside the slits where a field of stripes is positive."""
    return np.asarray(np.clip(field * np.float32(wavelength_um / 6.3), -6, 4), np.float32)


def _open_round(tissue: Tissue, framework: _Framework, solid: Float) -> None:
    """Open vacuoles of fat, and the lumina of pseudoacini in the tumour."""
    canvas, rng = tissue.canvas, tissue.canvas.rng
    amount = np.float32(rng.choice([0.02, 0.1, 0.3]) * rng.uniform(0.6, 1.4))
    patches = smooth_step(canvas.cloud(380), -0.8, 1.6)
    fat = amount * patches * (1 - 0.5 * framework.zone) * (1 - framework.wall)
    fat *= 1 - np.float32(rng.uniform(0.2, 0.9)) * tissue.tumour
    xy_um = scatter(canvas, 15, fat)
    radius = np.clip(rng.lognormal(math.log(6.0), 0.45, len(xy_um)), 2, 17).astype(np.float32)
    tissue.open_discs(xy_um, radius, roughness=0.05)
    glandular = smooth_step(canvas.cloud(450), 0.2, 1.4)
    acini = smooth_step(tissue.tumour, 0.7, 1) * glandular * (0.4 + 0.6 * solid)
    xy_um = scatter(canvas, 42, acini * np.float32(rng.uniform(0.3, 1.0)))
    radius = np.clip(rng.lognormal(math.log(6.5), 0.4, len(xy_um)), 3, 20).astype(np.float32)
    tissue.open_discs(xy_um, radius, roughness=0.15)


def _paint_cytoplasm(
    tissue: Tissue, framework: _Framework, normal_xy: Float, tumour_xy: Float
) -> None:
    # The tumour has more chromatin; its paler, less basophilic cytoplasm makes up for that, so that
    # the mean colours of tumour and liver are alike.
    canvas, rng = tissue.canvas, tissue.canvas.rng
    pale = smooth_step(canvas.cloud(300), 0.7, 1.7)
    clear = 1 - np.float32(0.38) * canvas.at(pale, tumour_xy)
    glycogen = 1 - np.float32(0.38) * canvas.at(pale[::-1], normal_xy)
    zonal = canvas.at(framework.zone, normal_xy) - np.float32(0.5)
    pink = per_cell(normal_xy, 1.0, 0.06, rng) * (1 + rng.uniform(-0.25, 0.25) * zonal)
    blue = per_cell(normal_xy, rng.uniform(0.16, 0.28), 0.03, rng)
    blue *= 1 + rng.uniform(-0.4, 0.4) * zonal
    tumour_pink = per_cell(tumour_xy, rng.uniform(0.74, 0.97), 0.11, rng)
    tumour_blue = per_cell(tumour_xy, rng.uniform(0.05, 0.12), 0.02, rng)
    nowhere = np.ones((1, 2), np.float32)  # so that there is a cell, whatever was scattered
    tissue.paint_cells(
        np.concatenate([normal_xy, tumour_xy, nowhere]),
        np.concatenate([pink * glycogen, tumour_pink * clear, nowhere[:, 0]]),
        np.concatenate([blue * glycogen, tumour_blue * clear, nowhere[:, 0] * np.float32(0.1)]),
        stroma=framework.wall,
        fibrous=np.clip(0.62 + 0.17 * framework.fibres, 0.2, 1.1),
    )


class _Framework:
    """What the parenchyma is spanned between: lobules about central veins, tracts, fibrous tissue.

    Fields are (H, W) float32 on the pattern grid.
    """

    def __init__(self, tissue: Tissue) -> None:
        canvas, rng, tumour_um = tissue.canvas, tissue.canvas.rng, tissue.tumour_um
        veins = stratified(canvas, rng.uniform(820, 1050))
        from_vein_um, outwards = _lobules(canvas, veins)
        # Direction of the plates: away from the nearest central vein, radians.
        self.outwards = outwards + np.float32(0.55) * canvas.cloud(260)
        self.zone = smooth_step(from_vein_um, 60, 420)  # 0 at a central vein, 1 at portal tracts
        veins = veins[canvas.at(tumour_um, veins) < -25]
        tracts = _portal_tracts(canvas, veins)
        self.tracts = tracts[canvas.at(tumour_um, tracts) < -30]  # (N, 2) their centres, um
        tract_radius = rng.uniform(38, 85, len(self.tracts)).astype(np.float32)
        portal_veins, tubes = _vessels(self.tracts, tract_radius, rng)
        # (M, 2) centres of bile ducts and arteries, (M,) radii of their rings of nuclei; um.
        self.tubes, self.tube_radius = tubes[:, :2], tubes[:, 2]

        fibre_um = canvas.discs(self.tracts, tract_radius, 0.32)
        np.add(fibre_um, 7 * canvas.cloud(40), out=fibre_um, where=fibre_um > -40)
        np.maximum(fibre_um, _septa(canvas, tumour_um), out=fibre_um)
        np.maximum(fibre_um, 7 - np.abs(tissue.tissue_um - 6), out=fibre_um)  # the liver's capsule
        self.fibre = smooth_step(fibre_um, -3, 3)  # weight of fibrous tissue
        angle = np.float32(1.6) * canvas.cloud(110, octaves=1)
        banded = ((np.abs(tumour_um) < 45) | (tissue.tissue_um < 30)) & (fibre_um > -6)
        edge_um = cv2.GaussianBlur(np.minimum(tumour_um, tissue.tissue_um), (0, 0), 3)
        np.copyto(angle, direction_along(edge_um), where=banded)
        self.fibre_angle = angle  # radians
        self.fibres = canvas.stripes(9, 0.35, angle)

        # um inside the vessels and the slits of fibrous tissue.
        opening = np.clip((-1.9 - self.fibres) * 2, -6, 2)
        self.opening_um = np.minimum(opening, 3 - fibre_um * np.float32(0.5))
        self.opening_um[fibre_um <= -3] = -6
        vein_radius = rng.uniform(22, 60, len(veins)).astype(np.float32)
        wall_um = canvas.discs(veins, vein_radius + 5, 0.16)
        lumina = np.maximum(self.tube_radius - 4.5, 1.5)
        for inside_um in (
            np.minimum(wall_um - 5, 6),
            canvas.discs(portal_veins[:, :2], portal_veins[:, 2], 0.2),
            canvas.discs(self.tubes, lumina, 0.08),
        ):
            np.maximum(self.opening_um, inside_um, out=self.opening_um)
        # Weight of vein walls and fibrous tissue.
        self.wall = np.maximum(smooth_step(wall_um, -1.5, 1.5), self.fibre)


def _lobules(canvas: Canvas, veins: Float) -> tuple[Float, Float]:
    """Distance to the nearest central vein and the direction away from it, on the pattern grid."""
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


def _portal_tracts(canvas: Canvas, veins: Float) -> Float:
    """Tracts lie where three lobules meet: at the vertices of the veins' Voronoi diagram."""
    if len(veins) < 4:
        veins = stratified(canvas, 900)
    try:
        xy = Voronoi(veins.astype(np.float64)).vertices.astype(np.float32)
    except QhullError:
        xy = stratified(canvas, 900)
    xy = xy[canvas.covers(xy, 100) & (canvas.rng.random(len(xy)) < 0.85)]
    return np.asarray(xy + canvas.rng.normal(0, 30, xy.shape), np.float32)


def _vessels(tracts: Float, tract_radius: Float, rng: np.random.Generator) -> tuple[Float, Float]:
    """Portal veins, and the bile ducts and arteries beside them: (N, 3) of x, y, radius in um."""
    veins, tubes = [], []
    for centre, radius in zip(tracts, tract_radius, strict=True):
        way = rng.uniform(0, 2 * math.pi)
        at = centre + 0.25 * radius * np.array([math.cos(way), math.sin(way)])
        veins.append((*at, radius * rng.uniform(0.3, 0.5)))
        for turn, size in ((2.3, rng.uniform(9, 15)), (3.4, rng.uniform(9, 13)), (4.4, 6.0)):
            around = way + turn + rng.normal(0, 0.2)
            at = centre + 0.62 * radius * np.array([math.cos(around), math.sin(around)])
            tubes.append((*at, min(size, 0.28 * radius)))
    return np.array(veins, np.float32).reshape(-1, 3), np.array(tubes, np.float32).reshape(-1, 3)


def _septa(canvas: Canvas, tumour_um: Float) -> Float:
    """um inside fibrous bands: a capsule along parts of the border, septa through the tumour.

    Where the liver is scarred, there are thin septa outside the tumour as well.
    """
    rng = canvas.rng
    present = canvas.cloud(550, octaves=1)
    thickness = rng.uniform(5, 16) * smooth_step(present, 0.1, 1.2) - 4
    capsule = thickness - np.abs(tumour_um + 10 + 8 * canvas.cloud(120, octaves=1))
    ridge = canvas.cloud(650, octaves=3)
    slope = np.hypot(*np.gradient(ridge)) / np.float32(canvas.pattern_um) + np.float32(2e-4)
    reach = rng.uniform(3, 9) * smooth_step(canvas.cloud(500, octaves=1), -0.6, 1) - 3
    scarring = rng.choice([0.0, 0.6])
    septa = reach * np.where(tumour_um > 0, 1.0, scarring) - np.abs(ridge) / slope - 1
    return np.asarray(np.maximum(capsule, septa), np.float32)


def _inflammation(tissue: Tissue, framework: _Framework) -> Float:
    """Probability of a lymphocyte: some tracts are crowded, and so are stretches of the border."""
    canvas, tracts = tissue.canvas, framework.tracts
    field = np.zeros(canvas.pattern_hw, np.float32)
    reach = canvas.rng.uniform(45, 115, len(tracts)).astype(np.float32)
    dense = canvas.rng.beta(0.8, 1.2, len(tracts))
    shares = (0.1, 0.3, 0.55, 0.9)
    nearest = np.abs(np.subtract.outer(shares, dense)).argmin(0)
    for i, share in enumerate(shares):
        crowd = canvas.discs(tracts[nearest == i], reach[nearest == i], 0.35)
        np.maximum(field, share * smooth_step(crowd, -8, 30), out=field)
    clumped = smooth_step(canvas.cloud(60), -0.9, 0.9)
    border = smooth_step(canvas.cloud(320, octaves=1), 0.7, 1.5)
    border *= np.exp(-((tissue.tumour_um + 18) ** 2) / (2 * 28**2))
    field = np.maximum(field, border * np.float32(0.8)) * clumped
    return np.asarray(np.maximum(field * np.float32(0.85), 0.05 * framework.fibre), np.float32)
