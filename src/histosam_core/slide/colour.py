"""Stored samples -> RGB uint8: grey, alpha, 16 bits, palettes; RGB -> optical density."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

WHITE = 255
"""What lies outside a slide, and what a transparent or missing pixel shows."""
_DENSITY_OF = -np.log((np.arange(256) + 1.0) / 256.0).astype(np.float32)


def optical_density(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(..., 3) uint8 RGB -> float32 of the same shape, -ln((I + 1) / 256)."""
    density: NDArray[np.float32] = _DENSITY_OF[image]
    return density


def over_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay (..., 3) colours with (...) straight alpha over white."""
    if (alpha == WHITE).all():
        return np.ascontiguousarray(rgb)
    weight = alpha[..., None].astype(np.uint16)
    mixed = rgb * weight + np.uint16(WHITE) * (WHITE - weight)
    return ((mixed + 127) // 255).astype(np.uint8)


def to_uint8(samples: NDArray[Any], max_value: int | None = None) -> NDArray[np.uint8]:
    """Scale unsigned samples of any depth, or bool, to 0..255.

    `max_value` means full intensity; None: the largest that the type holds. TypeError for signed or
    floating-point samples, whose range is not known.
    """
    if samples.dtype == np.bool_:
        return np.where(samples, np.uint8(WHITE), np.uint8(0))
    if samples.dtype.kind != "u":
        raise TypeError(f"{samples.dtype} samples have no fixed range")
    full = int(np.iinfo(samples.dtype).max)
    top = max_value or full
    if samples.dtype == np.uint8 and top == full:
        return np.asarray(samples, np.uint8)
    scaled = np.minimum(samples, top).astype(np.float32) * np.float32(WHITE / top)
    return np.asarray(np.rint(scaled), np.uint8)


def to_rgb(
    samples: NDArray[Any], *, has_alpha: bool = False, max_value: int | None = None
) -> NDArray[np.uint8]:
    """Turn (H, W, S) samples into (H, W, 3) RGB; see `to_uint8` for their types.

    S is 1 (grey) or 3 (RGB), plus any further samples. The one after the colour is straight alpha,
    laid over white, where there `has_alpha`; otherwise it is dropped.
    """
    eight = to_uint8(samples, max_value)
    colours = 3 if eight.shape[2] >= 3 else 1
    rgb = eight[..., :colours]
    if colours == 1:
        rgb = np.repeat(rgb, 3, axis=2)
    if has_alpha and eight.shape[2] > colours:
        return over_white(rgb, eight[..., colours])
    return np.ascontiguousarray(rgb)
