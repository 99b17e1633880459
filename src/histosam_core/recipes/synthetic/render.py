"""Render a synthetic slide: draw the tissue, stain it, scan it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import ConfigError

from .grids import DYE, OPEN_EDGE, OPEN_PER_UM, Canvas, Layers
from .liver import draw_liver, liver_stain
from .lymph_node import draw_lymph_node, lymph_node_stain
from .noise import cloud
from .stain import Scanner, Stain
from .tissue_drawn import MARGIN_UM, Tissue

Float = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

GENERATOR_VERSION = "1"  # raised whenever the same seed gives other pixels
DOMAINS = ("liver", "lymph_node")
_BAND_ROWS = 480  # divisible by every grid's step
_MIN_PX = 256


@dataclass(frozen=True, slots=True)
class SyntheticSlide:
    """A rendered slide and its truth.

    Parameters
    ----------
    image
        (H, W, 3) uint8, RGB, level 0.
    tumor_mask
        (H, W) bool, level 0: where the tumour is. Lumina and stroma inside it belong to it.
    mpp
        Micrometres per pixel.
    magnification
        The objective's power as written on the slide.
    domain
        "liver" or "lymph_node".
    """

    image: UInt8
    tumor_mask: NDArray[np.bool_]
    mpp: float
    magnification: float
    domain: str


def render_slide(
    domain: str,
    size_wh: tuple[int, int],
    *,
    mpp: float = 0.5,
    magnification: float | None = None,
    rng: np.random.Generator | int = 0,
) -> SyntheticSlide:
    """Render a slide of H&E-stained tissue with tumour whose border is indistinct.

    Tumour and normal tissue differ in nuclear size, spacing, pleomorphism, arrangement and stroma;
    their colours overlap. The same arguments always give the same pixels.

    Parameters
    ----------
    domain
        "liver" or "lymph_node".
    size_wh
        Width and height in level-0 pixels, at least 256 each.
    mpp
        Micrometres per pixel, 0.2 to 1.1.
    magnification
        The objective's power; None takes ``10 / mpp``.
    rng
        A generator, or a seed for one.

    Returns
    -------
    SyntheticSlide
        The image and the truth.

    Raises
    ------
    ConfigError
        The domain is unknown, or the size or mpp is out of range.
    """
    if domain not in DOMAINS:
        raise ConfigError(f"unknown domain {domain!r}; choose one of {', '.join(DOMAINS)}")
    if len(size_wh) != 2 or any(int(n) != n or n < _MIN_PX for n in size_wh):
        raise ConfigError(f"slide size {size_wh} must be two whole numbers >= {_MIN_PX} px")
    if not (math.isfinite(mpp) and 0.2 <= mpp <= 1.1):
        raise ConfigError(f"mpp {mpp} cannot be drawn; choose 0.2 to 1.1 um per pixel, e.g. 0.5")
    generator = np.random.default_rng(rng)
    canvas = Canvas((int(size_wh[0]), int(size_wh[1])), float(mpp))
    layers = Layers.empty(canvas, math.ceil(MARGIN_UM / mpp))
    draw, draw_stain = {
        "liver": (draw_liver, liver_stain),
        "lymph_node": (draw_lymph_node, lymph_node_stain),
    }[domain]
    tissue = draw(canvas, layers, generator)
    stain, scanner = draw_stain(generator), Scanner.draw(generator)
    return SyntheticSlide(
        image=_scan(tissue, stain, scanner, generator),
        tumor_mask=_truth(tissue),
        mpp=float(mpp),
        magnification=float(magnification if magnification is not None else round(10 / mpp, 2)),
        domain=domain,
    )


def _truth(tissue: Tissue) -> NDArray[np.bool_]:
    canvas = tissue.canvas
    width, height = canvas.size_wh
    mask = np.empty((height, width), np.bool_)
    for top in range(0, height, _BAND_ROWS):
        rows = min(_BAND_ROWS, height - top)
        mask[top : top + rows] = canvas.band(tissue.tumour_um, top, rows) > 0
    return mask


def _scan(tissue: Tissue, stain: Stain, scanner: Scanner, rng: np.random.Generator) -> UInt8:
    canvas = tissue.canvas
    width, height = canvas.size_wh
    image = np.empty((height, width, 3), np.uint8)
    grain = _grain(canvas, rng)
    halo = 4 * canvas.cell_px  # so that the blur knows the neighbours; cut off again
    section = _section(canvas, rng)
    for top in range(0, height, _BAND_ROWS):
        first, last = max(0, top - halo), min(height, top + _BAND_ROWS + halo)
        light = _transmitted(tissue, stain, grain, section, first, last - first)
        pixels = scanner.expose(light, canvas.mpp, rng)
        image[top : top + _BAND_ROWS] = pixels[top - first :][:_BAND_ROWS]
    return image


def _section(canvas: Canvas, rng: np.random.Generator) -> UInt8:
    # Thickness of the section and evenness of the stain: 128 is the mean.
    hw = tuple(max(2, n // 8) for n in canvas.cell_hw)
    step = canvas.extent_um[0] / hw[1]
    strength = rng.uniform(0.07, 0.14)
    field = 1 + strength * cloud((hw[0], hw[1]), 700 / step, rng, octaves=3)
    large = cv2.resize(field, canvas.cell_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(large * 128, 60, 220), np.uint8)


def _grain(canvas: Canvas, rng: np.random.Generator) -> Float:
    # The fine texture of cytoplasm: one tile (512, 512), mean 1.
    white = np.pad(rng.standard_normal((512, 512), dtype=np.float32), 24, mode="wrap")
    fine = cv2.GaussianBlur(white, (0, 0), 0.45 / canvas.mpp)[24:-24, 24:-24]
    coarse = cv2.GaussianBlur(white[::-1], (0, 0), 1.3 / canvas.mpp)[24:-24, 24:-24]
    return np.asarray(1 + 0.09 * fine / fine.std() + 0.07 * coarse / coarse.std(), np.float32)


def _transmitted(
    tissue: Tissue, stain: Stain, grain: Float, section: UInt8, row: int, rows: int
) -> UInt8:
    canvas, layers = tissue.canvas, tissue.layers
    width = canvas.size_wh[0]
    margin = layers.margin_px
    inside = np.s_[margin + row : margin + row + rows, margin : margin + width]
    chromatin = layers.nuclei[inside].astype(np.float32)
    chromatin *= np.float32(1 / 255)
    texture = np.tile(grain, (rows // 512 + 2, width // 512 + 1))
    texture = texture[row % 512 : row % 512 + rows, :width]

    # An opening lets the light through over a soft edge of a micrometre; nuclei hang into it.
    clear = canvas.band(layers.opening, row, rows)
    clear -= np.float32(OPEN_EDGE)
    clear *= np.float32(1 / OPEN_PER_UM / 1.2)
    clear += np.float32(0.5)
    clear += (texture - 1) * np.float32(2.0)
    np.clip(clear, 0, 1, out=clear)
    matter = np.float32(1 / DYE) * texture * (1 - clear)

    occupied = np.minimum(chromatin * np.float32(2.2), 1)
    eosin = canvas.band(layers.eosin, row, rows) * matter
    eosin *= 1 - np.float32(0.45) * occupied
    eosin += layers.red_cells[inside].astype(np.float32) * np.float32(3 / 255)
    blue = canvas.band(layers.haematoxylin, row, rows) * matter
    blue *= 1 - occupied
    blue += chromatin
    thickness = canvas.band(section, row, rows) * np.float32(1 / 128)
    return stain.transmit(blue * thickness, eosin * thickness)
