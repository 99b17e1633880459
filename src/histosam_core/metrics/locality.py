"""How local a correction is: what a click changes far away from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.errors import ConfigError


def far_change(
    masks: ArrayLike, clicks_xy: ArrayLike, *, radius_px: float = 100.0
) -> NDArray[np.float64]:
    """Share of the pixels far from each click whose label that click changed.

    A correction should change the mask where the user clicked and leave the rest. The first click
    starts the mask and corrects nothing, so it has no value here.

    Parameters
    ----------
    masks
        (n, H, W) bool, the mask after each click.
    clicks_xy
        (n, 2), the clicks in pixels of the mask, centres at whole numbers.
    radius_px
        Pixels farther from the click than this are far.

    Returns
    -------
    (n - 1,) float64
        From the second click on; nan where no pixel is far.

    Raises
    ------
    ConfigError
        The numbers of masks and clicks differ, or the radius is negative.
    """
    drawn = np.asarray(masks, dtype=bool)
    places = np.asarray(clicks_xy, dtype=float).reshape(-1, 2)
    if drawn.ndim != 3 or len(drawn) != len(places):
        raise ConfigError(f"masks {drawn.shape} must be (n, H, W) for the {len(places)} clicks")
    if not radius_px >= 0:
        raise ConfigError(f"radius_px {radius_px} must be 0 or more")
    ys, xs = np.ogrid[: drawn.shape[1], : drawn.shape[2]]
    shares = np.full(max(len(drawn) - 1, 0), np.nan)
    for i in range(1, len(drawn)):
        far = (xs - places[i, 0]) ** 2 + (ys - places[i, 1]) ** 2 > radius_px**2
        if far.any():
            shares[i - 1] = (drawn[i] != drawn[i - 1])[far].mean()
    return shares
