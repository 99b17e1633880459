"""Areas drawn by hand: checked, laid on a canvas, and held there against later answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from histosam_core.annotation import rasterise
from histosam_core.annotation.regions import polygonal
from histosam_core.clicks import Click, Lasso
from histosam_core.errors import ClickOutsideSlideError, ConfigError
from histosam_core.session.canvas.drawn_tiles import pixels_under

if TYPE_CHECKING:
    from histosam_core.clicks import Prompt
    from histosam_core.session.canvas.canvas import Canvas
    from histosam_core.session.windows.windows import Window

__all__ = ["box_of", "check_lasso", "draw_lasso", "hold_lassos"]

Box = tuple[int, int, int, int]


def check_lasso(lasso: Lasso, slide_wh: tuple[int, int]) -> Lasso:
    """Return a lasso; ConfigError if it has no area, ClickOutsideSlideError if off the slide."""
    area = _area_of(lasso)
    if area is None:
        raise ConfigError("the lasso encloses no area; draw it round what is meant")
    w, h = slide_wh
    if not shapely.box(-0.5, -0.5, w - 0.5, h - 0.5).intersects(area):
        raise ClickOutsideSlideError(
            f"the lasso lies off the slide, which is {w} x {h} level-0 pixels; draw it on the slide"
        )
    return lasso


def draw_lasso(canvas: Canvas, lasso: Lasso) -> None:
    """Set or clear the pixels whose centres lie in a lasso, checked before."""
    x0, y0, x1, y1 = box_of(canvas, lasso)
    inside = rasterise(_area_of(lasso), canvas.region((x0, y0, x1, y1)), canvas.grid.slide_mpp)
    canvas.draw((x0, y0), inside, is_positive=lasso.is_positive)


def hold_lassos(canvas: Canvas, window: Window, prompts: Sequence[Prompt]) -> None:
    """Draw again, after a window's answer, the lassos in it that still hold, in order.

    A lasso holds until a later click inside it says the opposite.
    """
    for number, prompt in enumerate(prompts):
        if isinstance(prompt, Lasso) and _reaches(canvas, prompt, window):
            if not _is_contradicted(prompt, prompts[number + 1 :]):
                draw_lasso(canvas, prompt)


def box_of(canvas: Canvas, lasso: Lasso) -> Box:
    """Return the grid pixels (x0, y0, x1, y1) round a lasso, those off the slide left out."""
    x0, y0, x1, y1 = pixels_under(_area_of(lasso), canvas.grid)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _reaches(canvas: Canvas, lasso: Lasso, window: Window) -> bool:
    (wx, wy), side = window.location_xy, window.side_px
    x0, y0, x1, y1 = box_of(canvas, lasso)
    return x0 < wx + side and x1 > wx and y0 < wy + side and y1 > wy


def _is_contradicted(lasso: Lasso, later: Sequence[Prompt]) -> bool:
    sign = lasso.is_positive
    opposite = [one.xy for one in later if isinstance(one, Click) and one.is_positive != sign]
    if not opposite:
        return False
    x, y = np.array(opposite).T
    return bool(shapely.intersects_xy(_area_of(lasso), x, y).any())


@lru_cache(maxsize=256)
def _area_of(lasso: Lasso) -> Any:
    """Return a lasso's area, crossings resolved by the even-odd rule; None where it has none."""
    if len(lasso.points_xy) < 3:
        return None
    return polygonal(shapely.Polygon(lasso.points_xy))[0]
