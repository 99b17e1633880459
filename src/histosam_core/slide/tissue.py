"""Where the tissue is: coloured pixels against the glass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHROMA_FLOOR = 8
"""Glass and scanner noise reach this chroma; a threshold never lies below it."""

CHROMA_CEILING = 26
"""Pale tissue has this chroma; a threshold never lies above it, even on an image full of tissue."""

_BRIGHT = 170
_GLASS_CHROMA = 20
_GREY_FLOOR = 12


def tissue_mask(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Split tissue from background by colour.

    The brightest tenth of the image is taken as glass and scaled to white (so tinted glass is no
    tissue), the image is smoothed lightly, and a pixel is tissue where its chroma (largest minus
    smallest channel) exceeds Otsu's threshold [1]_, held between `CHROMA_FLOOR` and
    `CHROMA_CEILING`: on an image of glass alone Otsu would split noise, on one of tissue alone it
    would split the tissue.
    Black pen, dust and shadows have no chroma and are background; coloured pen counts as tissue.
    An image without any colour is split by darkness instead.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8: a thumbnail or a patch, 0.5 to 40 um per pixel.

    Returns
    -------
    (H, W) bool, True on tissue.

    References
    ----------
    .. [1] Otsu, N. A threshold selection method from gray-level histograms. IEEE Transactions on
       Systems, Man, and Cybernetics 9, 62-66 (1979).
    """
    import cv2

    smooth = cv2.GaussianBlur(np.ascontiguousarray(rgb[..., :3]), (5, 5), 0)
    if int(np.ptp(rgb.astype(np.int16), axis=2).max()) <= 2:
        grey = np.asarray(smooth[..., 0])
        glass = max(float(np.percentile(grey, 95)), _BRIGHT)
        darkness = np.clip(glass - grey, 0, 255).astype(np.uint8)
        return darkness > _otsu(darkness, _GREY_FLOOR, 60)
    bright = smooth.reshape(-1, 3)
    luminance = bright.min(axis=1)
    glass_rgb = bright[luminance >= np.percentile(luminance, 90)].mean(axis=0)
    # An image without glass has no white to scale to: its brightest part is dark or coloured.
    is_glass = glass_rgb.min() >= _BRIGHT and np.ptp(glass_rgb) <= _GLASS_CHROMA
    gain = 255.0 / glass_rgb if is_glass else np.ones(3)
    balanced = np.clip(smooth * gain, 0, 255).astype(np.uint8)
    chroma = balanced.max(axis=2) - balanced.min(axis=2)
    mask = (chroma > _otsu(chroma, CHROMA_FLOOR, CHROMA_CEILING)).astype(np.uint8)
    ring = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, ring) > 0)


def _otsu(values: NDArray[np.uint8], floor: int, ceiling: int) -> float:
    import cv2

    threshold, _ = cv2.threshold(values, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return float(np.clip(threshold, floor, ceiling))
