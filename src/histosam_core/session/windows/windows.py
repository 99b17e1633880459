"""Which window serves a click: squares of the checkpoint's training geometry on one pixel grid.

The grid starts at the slide's upper-left corner and has the checkpoint's mpp, so that all windows
of a session lie on the same pixels and nothing is resampled between them. Windows stand at whole
steps of a quarter of their side: clicks near each other share a window, hence its embedding.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import ClickOutsideSlideError, ConfigError
from histosam_core.geometry import Frame, Region
from histosam_core.session.windows.axis import WindowAxis

MAX_MARGIN_PX = 254
"""So that a depth fits into 8 bits."""
MAX_COVERING = 16
"""Windows for one box, each of which is encoded before the box is answered."""

XY = tuple[float, float]
XYXY = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Window:
    """A square of grid pixels, by its upper-left one and its side.

    `location_xy` is negative where the slide is smaller than the window.
    """

    location_xy: tuple[int, int]
    side_px: int


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """The windows of one slide for one checkpoint.

    Parameters
    ----------
    slide_wh
        Width and height of level 0 in pixels.
    slide_mpp
        Micrometres per level-0 pixel.
    mpp
        Micrometres per grid pixel: what the checkpoint was trained at.
    window_px
        Side of a window in grid pixels: the checkpoint's patch size, at least 8.

    Raises
    ------
    ConfigError
        A number is not positive, or the window too small.
    """

    slide_wh: tuple[int, int]
    slide_mpp: float
    mpp: float
    window_px: int

    def __post_init__(self) -> None:
        for name, value in (("slide mpp", self.slide_mpp), ("window mpp", self.mpp)):
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} {value} must be a positive number of um per pixel")
        if self.window_px < 8:
            raise ConfigError(f"a window of {self.window_px} px is too small; give 8 or more")

    @property
    def downsample(self) -> float:
        """Level-0 pixels per grid pixel."""
        return self.mpp / self.slide_mpp

    @property
    def frame(self) -> Frame:
        """The grid over level 0."""
        return Frame((0.0, 0.0), (self.downsample, self.downsample))

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of the slide in grid pixels, the last one possibly cut by its edge."""
        w, h = (max(1, math.ceil(s / self.downsample - 1e-6)) for s in self.slide_wh)
        return w, h

    @property
    def step_px(self) -> int:
        """Distance of neighbouring windows in grid pixels."""
        return self.window_px // 4

    @property
    def margin_px(self) -> int:
        """Width of a window's rim, where a model sees too little context, in grid pixels."""
        return min(self.window_px // 8, MAX_MARGIN_PX)

    def window_at(self, xy: XY) -> Window:
        """Return the window round a level-0 point (x, y): the nearest on the grid of steps.

        At the slide's border the window is shifted inside. Along a side that is shorter than the
        window the slide lies in its middle, white round it. ClickOutsideSlideError off the slide.
        """
        point = self.to_grid(xy)
        x, y = (a.begin(a.number(at)) for a, at in zip(self._axes, point, strict=True))
        return Window((x, y), self.window_px)

    def serving(self, xy: XY, current: Window | None, earlier: Iterable[Window] = ()) -> Window:
        """Return the window that answers a click at the level-0 point (x, y).

        The current window keeps it where the point lies in its inner part; else the one of the
        earlier windows that holds it deepest in its inner part; else the one of `window_at`.
        """
        point = self.to_grid(xy)
        if current is not None and self.is_inner(current, point):
            return current
        holding = [window for window in earlier if self.is_inner(window, point)]
        if holding:
            return min(holding, key=lambda window: _off_centre(window, point))
        return self.window_at(xy)

    def around(self, centre_xy: XY, rect_xyxy: XYXY, limit: int) -> tuple[Window, ...]:
        """Return the windows that clicks in a rectangle would go to, nearest to a point first.

        Parameters
        ----------
        centre_xy
            Level-0 point (x, y); may lie off the slide.
        rect_xyxy
            (x0, y0, x1, y1) in level-0 pixels; windows are listed once, none off the slide.
        limit
            How many windows at most.
        """
        clipped = self._clip(rect_xyxy)
        if clipped is None or limit < 1:
            return ()
        centre_xy = self.frame.from_level0(centre_xy)
        along_x, along_y = (
            axis.nearest(centre_xy[i], clipped[i], clipped[i + 2], limit)
            for i, axis in enumerate(self._axes)
        )
        # Of the window that is i-th along x and j-th along y, i * j are at least as near.
        found = (
            (off_x**2 + off_y**2, i, j, (x, y))
            for i, (off_x, x) in enumerate(along_x)
            for j, (off_y, y) in enumerate(along_y[: limit // (i + 1)])
        )
        nearest = heapq.nsmallest(limit, found)
        return tuple(Window(location_xy, self.window_px) for *_, location_xy in nearest)

    def covering(self, box_xyxy: XYXY) -> tuple[Window, ...]:
        """Return as few windows as hold a level-0 rectangle in their inner parts, row by row.

        The rectangle (x0, y0, x1, y1) is clipped to the slide. The window of `window_at` for its
        middle is taken where that holds it.

        Raises
        ------
        ClickOutsideSlideError
            The rectangle lies off the slide.
        ConfigError
            More than `MAX_COVERING` windows are needed.
        """
        clipped = self._clip(box_xyxy)
        if clipped is None:
            raise ClickOutsideSlideError(
                f"the box ({', '.join(f'{v:g}' for v in box_xyxy)}) lies off the slide, which is "
                f"{self.slide_wh[0]} x {self.slide_wh[1]} level-0 pixels; draw it on the slide"
            )
        columns, rows = (
            axis.covering(clipped[i], clipped[i + 2]) for i, axis in enumerate(self._axes)
        )
        needed = len(columns) * len(rows)
        if needed > MAX_COVERING:
            raise ConfigError(
                f"the box needs {needed} windows and at most {MAX_COVERING} are used; draw a "
                "smaller box, or choose a coarser magnification"
            )
        return tuple(Window((x, y), self.window_px) for y in rows for x in columns)

    def to_grid(self, xy: XY) -> XY:
        """Level-0 pixels (x, y) to grid pixels; ClickOutsideSlideError off the slide."""
        check_on_slide(xy, self.slide_wh)
        return self.frame.from_level0(xy)

    def region(self, window: Window) -> Region:
        """Return a window as a `Region`: level-0 corner, size in pixels, mpp."""
        x, y = window.location_xy
        corner = x * self.downsample, y * self.downsample
        return Region(corner, (window.side_px, window.side_px), self.mpp)

    def location_of(self, region: Region) -> tuple[int, int]:
        """Return the grid pixel (x, y) at a region's corner; ConfigError if off this grid."""
        d = self.downsample
        x, y = (round(at / d) for at in region.location_xy)
        off = max(abs(x * d - region.location_xy[0]), abs(y * d - region.location_xy[1]))
        if region.mpp != self.mpp or off > 1e-6 * max(self.slide_wh):
            raise ConfigError(
                f"{region} does not lie on the session's pixel grid of {self.mpp:g} um; pass a "
                "region that the session gave"
            )
        return x, y

    def is_inner(self, window: Window, point_xy: XY) -> bool:
        """Whether a point in grid pixels lies in a window and off its rim.

        The rim has no part along the slide's own edge: nothing lies beyond it to be seen.
        """
        insides = (a.inner(begin) for a, begin in zip(self._axes, window.location_xy, strict=True))
        return all(low <= at < high for at, (low, high) in zip(point_xy, insides, strict=True))

    def depth(self, window: Window) -> NDArray[np.uint8]:
        """How deep each pixel lies in a window, (side, side) uint8.

        1 at its edge, ``margin_px + 1`` in its inner part; the slide's own edge is none of its.
        """
        x, y = (a.depth(begin) for a, begin in zip(self._axes, window.location_xy, strict=True))
        return np.minimum(y[:, None], x[None, :])

    def tent(self, window: Window) -> NDArray[np.uint8]:
        """How deep each pixel lies in a window, (side, side) uint8, rising to its middle."""
        middle = min(self.window_px // 2, MAX_MARGIN_PX)
        x, y = (
            replace(axis, margin_px=middle).depth(begin)
            for axis, begin in zip(self._axes, window.location_xy, strict=True)
        )
        return np.minimum(y[:, None], x[None, :])

    def _clip(self, rect_xyxy: XYXY) -> XYXY | None:
        """Clip a level-0 rectangle to the slide, and bring it to grid pixels."""
        x0, y0, x1, y1 = rect_xyxy
        w, h = self.slide_wh
        x1, y1 = (min(v, math.nextafter(s - 0.5, 0.0)) for v, s in ((x1, w), (y1, h)))
        x0, y0 = max(x0, -0.5), max(y0, -0.5)
        if not (x0 <= x1 and y0 <= y1):
            return None
        return (*self.frame.from_level0((x0, y0)), *self.frame.from_level0((x1, y1)))

    @property
    def _axes(self) -> tuple[WindowAxis, WindowAxis]:
        w, h = self.size_wh
        side, step, margin = self.window_px, self.step_px, self.margin_px
        return WindowAxis(w, side, step, margin), WindowAxis(h, side, step, margin)


def check_on_slide(xy: XY, slide_wh: tuple[int, int]) -> None:
    """Raise ClickOutsideSlideError for a level-0 point (x, y) off a slide of that size."""
    w, h = slide_wh
    if not (-0.5 <= xy[0] < w - 0.5 and -0.5 <= xy[1] < h - 0.5):
        raise ClickOutsideSlideError(
            f"the click at ({xy[0]:g}, {xy[1]:g}) lies off the slide, which is {w} x {h} "
            f"level-0 pixels; give x from 0 to {w - 1} and y from 0 to {h - 1}"
        )


def shared(one: Window, other: Window) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Return what two windows share, as pixels (rows, columns) of the one and of the other."""
    side = one.side_px
    dx, dy = (b - a for a, b in zip(one.location_xy, other.location_xy, strict=True))
    if abs(dx) >= side or abs(dy) >= side:
        return None
    return (
        (slice(max(dy, 0), side + min(dy, 0)), slice(max(dx, 0), side + min(dx, 0))),
        (slice(max(-dy, 0), side - max(dy, 0)), slice(max(-dx, 0), side - max(dx, 0))),
    )


def _off_centre(window: Window, point_xy: XY) -> float:
    """Return the larger distance, along x or y, of a point from a window's middle."""
    half = (window.side_px - 1) / 2
    return max(
        abs(at - begin - half) for at, begin in zip(point_xy, window.location_xy, strict=True)
    )
