"""Random fields that the tissue is cut from: clouds, stripes of one width, oriented stripes."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

Float = NDArray[np.float32]

_TILE_PX = 1024  # stripes are made on a periodic tile of this side at most
_ORIENTATIONS = 6
_SMOOTH_PX = 3  # linear interpolation shows no kinks in knots so far apart


def cloud(
    hw: tuple[int, int], feature_px: float, rng: np.random.Generator, octaves: int = 2
) -> Float:
    """Smooth fractal noise, (H, W) float32 of mean about 0 and standard deviation about 1.

    `feature_px` is the size of the largest features in pixels; each further octave is half as large
    and half as strong.
    """
    if feature_px / 2**octaves > 4 * _SMOOTH_PX:
        # So smooth that a grid four times coarser shows all of it.
        coarse_hw = math.ceil(hw[0] / 4), math.ceil(hw[1] / 4)
        coarse = cloud(coarse_hw, feature_px / 4, rng, octaves)
        fine = cv2.resize(coarse, (4 * coarse_hw[1], 4 * coarse_hw[0]))
        return np.asarray(fine[: hw[0], : hw[1]], np.float32)
    total = np.zeros(hw, np.float32)
    strength, power = 1.0, 0.0
    for octave in range(octaves):
        step = max(1.0, feature_px / 2**octave / 2)
        knots = tuple(math.ceil(n / step) + 4 for n in hw)
        values = rng.standard_normal(knots, dtype=np.float32)
        whole_wh = math.ceil(knots[1] * step), math.ceil(knots[0] * step)
        fine = cv2.resize(values, whole_wh, interpolation=cv2.INTER_CUBIC)
        y, x = (rng.integers(0, math.ceil(step) + 1) for _ in hw)
        # A cubic between random knots has less variance than the knots: 0.8 in standard deviation.
        total += np.float32(strength / 0.8) * fine[y : y + hw[0], x : x + hw[1]]
        power += strength**2
        strength /= 2
    return total / np.float32(math.sqrt(power))


def stripes(
    hw: tuple[int, int], wavelength_px: float, rng: np.random.Generator, spread: float = 0.25
) -> Float:
    """Worm-like stripes of one width in every direction: band-passed noise of mean 0, deviation 1.

    `wavelength_px` is the distance between neighbouring stripes in pixels, `spread` its relative
    spread. Returns (H, W) float32.
    """
    spectrum, frequency, _ = _white_spectrum(hw, rng)
    band = np.exp(-((frequency * wavelength_px - 1) ** 2) / (2 * spread**2))
    return _tiled(_unit(fft.irfft2(spectrum * band)), hw)


def oriented_stripes(
    angle: Float, wavelength_px: float, rng: np.random.Generator, spread: float = 0.25
) -> Float:
    """Stripes of one width along `angle`, with branches and dead ends; mean about 0, deviation 1.

    `angle` is (H, W) float32 in radians from x towards y, modulo pi; the others as for `stripes`.
    """
    hw = angle.shape[0], angle.shape[1]
    spectrum, frequency, direction = _white_spectrum(hw, rng)
    band = spectrum * np.exp(-((frequency * wavelength_px - 1) ** 2) / (2 * spread**2))
    cos2, sin2 = np.cos(2 * angle), np.sin(2 * angle)
    total = np.zeros(hw, np.float32)
    power = np.zeros(hw, np.float32)
    for k in range(_ORIENTATIONS):
        along = math.pi * k / _ORIENTATIONS
        # Stripes along an angle come from waves across it.
        off = np.angle(np.exp(2j * (direction - along - math.pi / 2))) / 2
        one = _unit(fft.irfft2(band * np.exp(-(off**2) / (2 * 0.28**2))))
        weight = 0.5 + 0.5 * (cos2 * math.cos(2 * along) + sin2 * math.sin(2 * along))
        weight *= weight
        weight *= weight
        total += weight * _tiled(one, hw)
        power += weight * weight
    return np.asarray(total / np.sqrt(power), np.float32)


def smooth_step(field: Float, low: float, high: float) -> Float:
    """Rise from 0 at `low` to 1 at `high` with level ends; `low` may exceed `high` (a fall)."""
    t = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _white_spectrum(
    hw: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.complex64], Float, Float]:
    rows, columns = (min(_TILE_PX, fft.next_fast_len(n, real=True)) for n in hw)
    columns += columns % 2
    spectrum = fft.rfft2(rng.standard_normal((rows, columns), dtype=np.float32))
    fy = fft.fftfreq(rows).astype(np.float32)[:, None]
    fx = fft.rfftfreq(columns).astype(np.float32)[None]
    return spectrum, np.hypot(fx, fy), np.arctan2(fy, fx)


def _unit(field: Float) -> Float:
    return np.asarray(field / field.std(), np.float32)


def _tiled(tile: Float, hw: tuple[int, int]) -> Float:
    repeats = [math.ceil(n / t) for n, t in zip(hw, tile.shape, strict=True)]
    return np.asarray(np.tile(tile, repeats)[: hw[0], : hw[1]], np.float32)
