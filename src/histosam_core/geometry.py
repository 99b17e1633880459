"""Frames of reference: level-0 pixels <-> region pixels <-> model pixels.

Convention, everywhere in this project: a pixel's centre has whole-number coordinates, so pixel
(0, 0) covers [-0.5, 0.5) x [-0.5, 0.5). A grid that is `d` times coarser and whose first pixel
starts at the same edge therefore satisfies ``fine = origin + coarse * d + (d - 1) / 2``.
See docs/coordinates.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from histosam_core.errors import MissingMppError, RegionError

__all__ = ["Frame", "Region"]

XY = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """A pixel grid laid over level 0."""

    # Level-0 pixel (x, y) whose upper-left corner is the grid's upper-left corner. Float.
    origin_xy: XY
    downsample: XY  # level-0 pixels per grid pixel along x and along y, both > 0

    def to_level0(self, xy: XY) -> XY:
        """Grid pixel coordinates (x, y) to level-0 pixel coordinates."""
        (ox, oy), (dx, dy) = self.origin_xy, self.downsample
        return ox + xy[0] * dx + (dx - 1) / 2, oy + xy[1] * dy + (dy - 1) / 2

    def from_level0(self, xy: XY) -> XY:
        """Level-0 pixel coordinates (x, y) to grid pixel coordinates."""
        (ox, oy), (dx, dy) = self.origin_xy, self.downsample
        return (xy[0] - ox - (dx - 1) / 2) / dx, (xy[1] - oy - (dy - 1) / 2) / dy


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of a slide at a stated resolution.

    Parameters
    ----------
    location_xy
        Level-0 pixel (x, y) at the upper-left corner of the region (its edge is the region's edge).
        May be negative or fractional: what lies outside the slide reads as white.
    size_wh
        Width and height in pixels *of the region*, i.e. at `mpp`. Whole, both >= 1.
    mpp
        Micrometres per region pixel; None means level-0 pixels (no scaling).
    """

    location_xy: XY
    size_wh: tuple[int, int]
    mpp: float | None = None

    def __post_init__(self) -> None:
        if len(self.size_wh) != 2 or any(int(s) != s or s < 1 for s in self.size_wh):
            raise RegionError(f"region size {self.size_wh} has no pixels; give whole numbers >= 1")
        if not all(math.isfinite(v) for v in self.location_xy):
            raise RegionError(f"region location {self.location_xy} is not finite")
        if self.mpp is not None and not (math.isfinite(self.mpp) and self.mpp > 0):
            raise RegionError(f"region mpp {self.mpp} must be a positive number of um per pixel")

    def downsample(self, slide_mpp: float | None) -> float:
        """Level-0 pixels per region pixel; MissingMppError where only the region has an mpp."""
        if self.mpp is None:
            return 1.0
        if slide_mpp is None:
            raise MissingMppError(
                "the slide states no mpp (um per pixel), so a resolution cannot be asked for; "
                "pass it: open_slide(path, mpp=0.5), or --mpp 0.5"
            )
        return self.mpp / slide_mpp

    def frame(self, slide_mpp: float | None) -> Frame:
        """Return the region's pixel grid as a `Frame` over level 0."""
        d = self.downsample(slide_mpp)
        return Frame(origin_xy=self.location_xy, downsample=(d, d))

    @classmethod
    def centred(
        cls, centre_xy: XY, size_wh: tuple[int, int], mpp: float | None, slide_mpp: float | None
    ) -> Region:
        """Return the region of `size_wh` whose middle is the level-0 point `centre_xy`."""
        d = cls((0.0, 0.0), size_wh, mpp).downsample(slide_mpp)
        half = size_wh[0] * d / 2, size_wh[1] * d / 2
        return cls((centre_xy[0] + 0.5 - half[0], centre_xy[1] + 0.5 - half[1]), size_wh, mpp)
