"""Render a synthetic slide: draw the tissue, stain it (Beer-Lambert), scan it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import ConfigError

from . import liver, lymph_node
from .grids import Canvas, Float, UInt8, cloud
from .tissue_drawn import DYE, OPEN_EDGE, OPEN_PER_UM, Tissue

_Dyes = list[NDArray[np.float64]]  # optical density (R, G, B) of haematoxylin, of eosin

GENERATOR_VERSION = "1"  # raised whenever the same seed gives other pixels
DOMAINS = ("liver", "lymph_node")
_DRAWN = {
    "liver": (liver.draw_liver, liver.STAIN),
    "lymph_node": (lymph_node.draw_lymph_node, lymph_node.STAIN),
}
# Optical density per channel (R, G, B) of the two dyes, typical of scanned H&E slides
# (Macenko et al., 2009, "A method for normalizing histology slides for quantitative analysis").
# Beside it the spread of a laboratory's hue.
_DYES = (
    (np.array([0.5626, 0.7201, 0.4062]), 0.07),  # haematoxylin
    (np.array([0.2159, 0.8012, 0.5581]), 0.09),  # eosin
)
_BAND_ROWS = 480  # divisible by every grid's step
_MIN_PX = 256
_TILE_PX = 512  # side of the tiles of grain and of noise


@dataclass(frozen=True, slots=True)
class SyntheticSlide:
    """A rendered slide and its truth."""

    image: UInt8  # (H, W, 3) RGB, level 0
    # (H, W), level 0: where the tumour is. Lumina and stroma inside it belong to it.
    tumor_mask: NDArray[np.bool_]
    mpp: float  # micrometres per pixel
    magnification: float  # the objective's power as written on the slide
    domain: str  # "liver" or "lymph_node"


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
    canvas = Canvas((int(size_wh[0]), int(size_wh[1])), float(mpp), np.random.default_rng(rng))
    draw, strengths = _DRAWN[domain]
    tissue = draw(canvas)
    dyes = []
    for (typical, spread), strength in zip(_DYES, strengths, strict=True):
        hue = typical * np.exp(spread * canvas.rng.standard_normal(3))
        dyes.append(hue / np.linalg.norm(hue) * canvas.rng.uniform(*strength))
    image, tumor_mask = _scan(tissue, dyes, _Scanner(canvas))
    return SyntheticSlide(
        image=image,
        tumor_mask=tumor_mask,
        mpp=float(mpp),
        magnification=float(magnification if magnification is not None else round(10 / mpp, 2)),
        domain=domain,
    )


class _Scanner:
    """One scanner's white, blur, tone and noise."""

    def __init__(self, canvas: Canvas) -> None:
        self._rng = rng = canvas.rng
        level = rng.uniform(236, 247)
        white = np.minimum(level + rng.normal(0, 2.2, 3), 252)  # bare glass, 0 to 255
        grey, colour = (
            rng.standard_normal((_TILE_PX, _TILE_PX, n), dtype=np.float32) for n in (1, 3)
        )
        noise = rng.uniform(1.0, 2.4) * (0.85 * grey + 0.5 * colour)
        self._noise = np.rint(noise).astype(np.int16)  # (512, 512, 3)
        tone = (np.arange(256) / 255.0) ** rng.uniform(0.92, 1.12)
        self._table = np.rint(tone[:, None] * white).astype(np.uint8)[None]
        self._sigma_px = rng.uniform(0.28, 0.5) / canvas.mpp

    def expose(self, light: UInt8) -> UInt8:
        """Turn transmitted light, (H, W, 3) uint8, into the pixels stored, (H, W, 3) uint8."""
        height, width = light.shape[:2]
        if self._sigma_px > 0.25:
            light = cv2.GaussianBlur(light, (0, 0), self._sigma_px)
        pixels = cv2.LUT(light, self._table)
        repeats = height // _TILE_PX + 1, width // _TILE_PX + 1, 1
        shift = self._rng.integers(0, _TILE_PX, 2)
        noise = np.tile(np.roll(self._noise, shift, (0, 1)), repeats)[:height, :width]
        return np.asarray(cv2.add(pixels, noise, dtype=cv2.CV_8U), np.uint8)


def _scan(tissue: Tissue, dyes: _Dyes, scanner: _Scanner) -> tuple[UInt8, NDArray[np.bool_]]:
    """The pixels stored, (H, W, 3) uint8, and where the tumour is, (H, W) bool."""
    canvas = tissue.canvas
    width, height = canvas.size_wh
    image, truth = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.bool_)
    grain, section = _grain(canvas), _section(canvas)
    halo = 4 * canvas.cell_px  # so that the blur knows the neighbours; cut off again
    for top in range(0, height, _BAND_ROWS):
        first, last = max(0, top - halo), min(height, top + _BAND_ROWS + halo)
        pixels = scanner.expose(_transmitted(tissue, dyes, grain, section, first, last - first))
        image[top : top + _BAND_ROWS] = pixels[top - first :][:_BAND_ROWS]
        rows = min(_BAND_ROWS, height - top)
        truth[top : top + rows] = canvas.band(tissue.tumour_um, top, rows) > 0
    return image, truth


def _section(canvas: Canvas) -> UInt8:
    """Thickness of the section and evenness of the stain, on the cell grid: 128 is the mean."""
    rows, columns = (max(2, n // 8) for n in canvas.cell_hw)
    strength = canvas.rng.uniform(0.07, 0.14)
    feature_px = 700 / (canvas.extent_um[0] / columns)
    field = 1 + strength * cloud((rows, columns), feature_px, canvas.rng, octaves=3)
    return np.asarray(np.clip(canvas.to_cell_grid(field) * 128, 60, 220), np.uint8)


def _grain(canvas: Canvas) -> Float:
    """The fine texture of cytoplasm: one tile (512, 512), mean 1."""
    white = canvas.rng.standard_normal((_TILE_PX, _TILE_PX), dtype=np.float32)
    white = np.pad(white, 24, mode="wrap")
    fine = cv2.GaussianBlur(white, (0, 0), 0.45 / canvas.mpp)[24:-24, 24:-24]
    coarse = cv2.GaussianBlur(white[::-1], (0, 0), 1.3 / canvas.mpp)[24:-24, 24:-24]
    return np.asarray(1 + 0.09 * fine / fine.std() + 0.07 * coarse / coarse.std(), np.float32)


def _transmitted(
    tissue: Tissue, dyes: _Dyes, grain: Float, section: UInt8, row: int, rows: int
) -> UInt8:
    """Light that passes some rows, (rows, W, 3) uint8: 255 is all of it."""
    canvas, margin = tissue.canvas, tissue.margin_px
    width = canvas.size_wh[0]
    inside = np.s_[margin + row : margin + row + rows, margin : margin + width]
    chromatin = tissue.nuclei[inside].astype(np.float32)
    chromatin *= np.float32(1 / 255)
    texture = np.tile(grain, (rows // _TILE_PX + 2, width // _TILE_PX + 1))
    texture = texture[row % _TILE_PX : row % _TILE_PX + rows, :width]

    # An opening lets the light through over a soft edge of a micrometre; nuclei hang into it.
    clear = canvas.band(tissue.opening, row, rows)
    clear -= np.float32(OPEN_EDGE)
    clear *= np.float32(1 / OPEN_PER_UM / 1.2)
    clear += np.float32(0.5)
    clear += (texture - 1) * np.float32(2.0)
    np.clip(clear, 0, 1, out=clear)
    matter = np.float32(1 / DYE) * texture * (1 - clear)

    occupied = np.minimum(chromatin * np.float32(2.2), 1)
    eosin = canvas.band(tissue.eosin, row, rows) * matter
    eosin *= 1 - np.float32(0.45) * occupied
    eosin += tissue.red_cells[inside].astype(np.float32) * np.float32(3 / 255)
    blue = canvas.band(tissue.haematoxylin, row, rows) * matter
    blue *= 1 - occupied
    blue += chromatin
    thickness = canvas.band(section, row, rows) * np.float32(1 / 128)
    blue, eosin = blue * thickness, eosin * thickness
    channels = []
    for per_blue, per_pink in np.transpose(dyes).tolist():
        density = cv2.addWeighted(blue, -per_blue, eosin, -per_pink, 0.0)
        channels.append(cv2.convertScaleAbs(cv2.exp(density, density), alpha=255))
    return np.asarray(cv2.merge(channels), np.uint8)
