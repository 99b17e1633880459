"""Augmentation of a patch: image and mask together, each step switchable, all draws from an rng.

Geometry, brightness, contrast and colour shift have RITM's ranges; the stain jitter is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histosam_core.slide.colour import optical_density

RESIZE_RANGE = (0.75, 1.40)
BRIGHTNESS_RANGE = (-0.25, 0.25)
CONTRAST_RANGE = (-0.15, 0.40)
COLOUR_PROBABILITY = 0.75
RGB_SHIFT_LIMIT = 10.0
STAIN_SIGMA = 0.2
"""Each stain's density is multiplied by 1 +- this and shifted by +- a tenth of this."""

STAINS_RGB = np.array(
    [[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]], dtype=np.float64
)
"""Optical density (R, G, B) of haematoxylin, eosin and the rest (Ruifrok & Johnston 2001)."""

Image = NDArray[np.uint8]
Mask = NDArray[np.int8]


def _switch(caption: str, help_text: str, *, is_on: bool = True) -> Any:
    return field(default=is_on, metadata={"caption": caption, "help": help_text})


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """Which augmentations are on; off by default is what the paper does not have."""

    dihedral: bool = _switch(
        "Flips and quarter turns",
        "All eight symmetries of the square, equally likely: tissue has no up.",
    )
    resize: bool = _switch("Scale", "Scale by 0.75 to 1.40, then crop back to the patch's size.")
    brightness_contrast: bool = _switch(
        "Brightness and contrast",
        "Brightness +-0.25, contrast -0.15 to +0.40, in three draws of four.",
    )
    rgb_shift: bool = _switch(
        "Colour shift", "Shift each colour by up to 10 grey values, in three draws of four."
    )
    stain: bool = _switch(
        "Stain (haematoxylin and eosin)",
        "Jitter the density of haematoxylin and eosin.",
        is_on=False,
    )

    @classmethod
    def none(cls) -> AugmentSettings:
        """Everything off."""
        return cls(False, False, False, False, False)

    @property
    def any(self) -> bool:
        """Whether anything is on."""
        return self != AugmentSettings.none()


def augment(
    image: Image, gt_mask: Mask, settings: AugmentSettings, rng: np.random.Generator
) -> tuple[Image, Mask]:
    """Augment one patch; the inputs are left as they are.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB; square if `settings.dihedral` is on and shapes must stay.
    gt_mask
        (H, W) int8: 1 object, 0 background, -1 ignored.
    settings
        What is on.
    rng
        Source of all randomness.

    Returns
    -------
    image, gt_mask
        Of the same shapes and types.
    """
    if settings.resize:
        image, gt_mask = resize_crop(image, gt_mask, rng)
    if settings.dihedral:
        image, gt_mask = dihedral(image, gt_mask, int(rng.integers(8)))
    if settings.stain:
        image = stain_jitter(image, rng)
    if settings.brightness_contrast and rng.random() < COLOUR_PROBABILITY:
        image = brightness_contrast(
            image, float(rng.uniform(*BRIGHTNESS_RANGE)), float(rng.uniform(*CONTRAST_RANGE))
        )
    if settings.rgb_shift and rng.random() < COLOUR_PROBABILITY:
        image = rgb_shift(image, rng.uniform(-RGB_SHIFT_LIMIT, RGB_SHIFT_LIMIT, 3))
    return np.ascontiguousarray(image), np.ascontiguousarray(gt_mask)


def dihedral(image: Image, gt_mask: Mask, element: int) -> tuple[Image, Mask]:
    """Apply one of the eight symmetries of the square.

    `element` % 4 quarter turns anticlockwise, after a left-right flip if `element` >= 4. A patch
    that is not square is turned by half turns only, so that its shape stays.
    """
    turns = element % 4 if image.shape[0] == image.shape[1] else 2 * (element % 2)
    if element >= 4:
        image, gt_mask = image[:, ::-1], gt_mask[:, ::-1]
    return np.rot90(image, turns), np.rot90(gt_mask, turns)


def resize_crop(image: Image, gt_mask: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """Scale by a factor drawn from 0.75 to 1.40 and cut a random window of the old size.

    Where the scaled patch is smaller than the window, image and mask are continued by reflection
    (RITM pads with black, which no slide has).
    """
    height, width = gt_mask.shape
    scale = float(rng.uniform(*RESIZE_RANGE))
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, size_wh, interpolation=interpolation)
    gt_mask = cv2.resize(gt_mask, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
    missing_h, missing_w = max(0, height - size_wh[1]), max(0, width - size_wh[0])
    if missing_h or missing_w:
        top, left = int(rng.integers(missing_h + 1)), int(rng.integers(missing_w + 1))
        border = (top, missing_h - top, left, missing_w - left)
        image = cv2.copyMakeBorder(image, *border, cv2.BORDER_REFLECT)
        gt_mask = cv2.copyMakeBorder(gt_mask, *border, cv2.BORDER_REFLECT)
    y = int(rng.integers(gt_mask.shape[0] - height + 1))
    x = int(rng.integers(gt_mask.shape[1] - width + 1))
    return image[y : y + height, x : x + width], gt_mask[y : y + height, x : x + width]


def brightness_contrast(image: Image, brightness: float, contrast: float) -> Image:
    """Grey value v becomes v (1 + contrast) + 255 brightness, clipped to 0..255."""
    grey = np.arange(256) * (1.0 + contrast) + 255.0 * brightness
    shifted: Image = cv2.LUT(image, _to_uint8(grey))
    return shifted


def rgb_shift(image: Image, shift_rgb: NDArray[np.float64]) -> Image:
    """Add a number to each colour, clipped to 0..255."""
    table = _to_uint8(np.arange(256)[:, None] + np.asarray(shift_rgb)[None])
    shifted: Image = cv2.LUT(image, table[None])
    return shifted


def stain_jitter(image: Image, rng: np.random.Generator, sigma: float = STAIN_SIGMA) -> Image:
    """Vary how strongly each stain took, in optical density (Tellez et al. 2018).

    The image is unmixed into haematoxylin, eosin and a rest; the density of each is multiplied by
    U(1 - sigma, 1 + sigma) and shifted by U(-sigma, sigma) / 10, and mixed back. Bare glass (no
    density) is shifted hardly at all.
    """
    unit = STAINS_RGB / np.linalg.norm(STAINS_RGB, axis=1, keepdims=True)
    gain = rng.uniform(1 - sigma, 1 + sigma, 3)
    shift = rng.uniform(-sigma, sigma, 3) / 10
    # Unmixing, jitter and mixing are one affine map of the densities.
    mixing = (np.linalg.inv(unit) * gain) @ unit
    offset = shift @ unit
    jittered = optical_density(image) @ mixing.astype(np.float32) + offset.astype(np.float32)
    return _to_uint8(256.0 * np.exp(-jittered) - 1.0)


def _to_uint8(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded
