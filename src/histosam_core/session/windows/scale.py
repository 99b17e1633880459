"""How large a slide's pixels are, and where that is known from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from histosam_core.errors import ConfigError, MissingMppError

if TYPE_CHECKING:
    from histosam_core.slide import Slide

UM_AT_1X = 10.0
"""A 20x scan has about 0.5 um per pixel, a 40x scan 0.25."""


@dataclass(frozen=True, slots=True)
class SlideScale:
    """Micrometres per level-0 pixel, where they are known from, and a note where assumed."""

    mpp: float
    source: str
    note: str = ""


def slide_scale(slide: Slide, mpp: float | None = None) -> SlideScale:
    """Return the resolution to work with: the user's, else the file's, else the magnification's.

    Raises
    ------
    MissingMppError
        Neither the user nor the file states an mpp or a magnification.
    ConfigError
        `mpp` is not a positive number.
    """
    if mpp is not None:
        if not (math.isfinite(mpp) and mpp > 0):
            raise ConfigError(f"mpp {mpp} must be a positive number of um per pixel, e.g. 0.5")
        return SlideScale(float(mpp), "stated by the user")
    if slide.mpp is not None:
        return SlideScale(slide.mpp, slide.mpp_source)
    if slide.magnification:
        assumed = UM_AT_1X / slide.magnification
        source = f"assumed from {slide.magnification:g}x"
        return SlideScale(
            assumed,
            source,
            f"{slide.path.name} states no um per pixel; {assumed:g} is {source} (state it with "
            "mpp to be sure)",
        )
    raise MissingMppError(
        f"{slide.path.name} states neither um per pixel nor a magnification, so the model's scale "
        "cannot be met; pass it: Session(slide, model, mpp=0.5), or --mpp 0.5"
    )
