"""From dye to light (Beer-Lambert), and from light to the pixels that a scanner stores."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

# Optical density per channel (R, G, B) of the two dyes, typical of scanned H&E slides
# (Macenko et al., 2009, "A method for normalizing histology slides for quantitative analysis").
_HAEMATOXYLIN = np.array([0.5626, 0.7201, 0.4062])
_EOSIN = np.array([0.2159, 0.8012, 0.5581])
_NOISE_PX = 512


@dataclass(frozen=True, slots=True)
class Stain:
    """One slide's staining."""

    # (3,) optical density per unit of dye, as R, G, B.
    haematoxylin: NDArray[np.float64]
    eosin: NDArray[np.float64]

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        *,
        haematoxylin: tuple[float, float],
        eosin: tuple[float, float],
    ) -> Stain:
        """Draw a stain: hue of both dyes about the typical one, strengths from the ranges given."""

        def hue(typical: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
            vector = typical * np.exp(spread * rng.standard_normal(3))
            return np.asarray(vector / np.linalg.norm(vector))

        return cls(
            haematoxylin=hue(_HAEMATOXYLIN, 0.07) * rng.uniform(*haematoxylin),
            eosin=hue(_EOSIN, 0.09) * rng.uniform(*eosin),
        )

    def transmit(self, haematoxylin: Float, eosin: Float) -> UInt8:
        """Light that passes: (H, W) units of each dye to (H, W, 3) uint8, 255 is all of it."""
        channels = []
        for blue, pink in zip(self.haematoxylin, self.eosin, strict=True):
            density = cv2.addWeighted(haematoxylin, -float(blue), eosin, -float(pink), 0.0)
            channels.append(cv2.convertScaleAbs(cv2.exp(density, density), alpha=255))
        return np.asarray(cv2.merge(channels), np.uint8)


@dataclass(frozen=True, slots=True)
class Scanner:
    """One scanner's white, blur, tone and noise."""

    white: NDArray[np.float64]  # (3,) value of bare glass per channel, 0 to 255
    gamma: float  # exponent applied to the transmitted light
    blur_um: float  # standard deviation of the optics' blur
    noise: NDArray[np.int16]  # (512, 512, 3) int16, added to the pixels; laid out at random offsets

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Scanner:
        """Draw a scanner."""
        level = rng.uniform(236, 247)
        white = np.minimum(level + rng.normal(0, 2.2, 3), 252)
        grey = rng.standard_normal((_NOISE_PX, _NOISE_PX, 1), dtype=np.float32)
        colour = rng.standard_normal((_NOISE_PX, _NOISE_PX, 3), dtype=np.float32)
        noise = rng.uniform(1.0, 2.4) * (0.85 * grey + 0.5 * colour)
        return cls(
            white=white,
            gamma=rng.uniform(0.92, 1.12),
            blur_um=rng.uniform(0.28, 0.5),
            noise=np.rint(noise).astype(np.int16),
        )

    def expose(self, light: UInt8, mpp: float, rng: np.random.Generator) -> UInt8:
        """Turn transmitted light, (H, W, 3) uint8, into the pixels stored, (H, W, 3) uint8."""
        height, width = light.shape[:2]
        pixels = light
        sigma = self.blur_um / mpp
        if sigma > 0.25:
            pixels = cv2.GaussianBlur(pixels, (0, 0), sigma)
        tone = (np.arange(256) / 255.0) ** self.gamma
        table = np.rint(tone[:, None] * self.white).astype(np.uint8)[None]
        pixels = cv2.LUT(pixels, table)
        repeats = height // _NOISE_PX + 1, width // _NOISE_PX + 1, 1
        shift = rng.integers(0, _NOISE_PX, 2)
        noise = np.tile(np.roll(self.noise, shift, (0, 1)), repeats)[:height, :width]
        return np.asarray(cv2.add(pixels, noise, dtype=cv2.CV_8U), np.uint8)
