"""What every slide reader offers: levels of RGB pixels and what the file states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import SlideFormatError

__all__ = ["NOT_STATED", "LevelLayout", "Reader", "SlideMetadata", "UnsupportedSlideError"]


NOT_STATED = "not stated in the file"
"""The mpp_source of a file that does not state its scale."""


class UnsupportedSlideError(SlideFormatError):
    """This reader cannot show the file; another one may."""


@dataclass(frozen=True, slots=True)
class LevelLayout:
    """How one level is stored."""

    size_wh: tuple[int, int]  # in the level's own pixels
    tile_wh: tuple[int, int]  # of the pieces it is stored in; a strip is as wide as the level
    compression: str  # the codec's name, lower case: "jpeg", "deflate", "none", ...


@dataclass(frozen=True, slots=True)
class SlideMetadata:
    """What a file states about scale and origin; None and "" for what it does not state."""

    mpp_xy: tuple[float, float] | None = None  # um per level-0 pixel, within `MPP_RANGE`
    mpp_source: str = NOT_STATED  # where the mpp comes from, or why there is none
    magnification: float | None = None  # the objective's power, e.g. 20.0
    scanner: str = ""  # vendor, model or software that made the file
    properties: Mapping[str, str] = field(default_factory=dict)  # everything else, as text


class Reader(Protocol):
    """A file opened for reading. Reads may come from several threads; pickling reopens the path."""

    name: str
    layouts: tuple[LevelLayout, ...]
    metadata: SlideMetadata

    def read(self, level: int, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB of a rectangle that lies wholly inside the level, in its pixels.

        Raises
        ------
        SlideFormatError
            The stored bytes are missing, truncated or damaged.
        """

    def close(self) -> None:
        """Release the file; later reads raise SlideError."""
