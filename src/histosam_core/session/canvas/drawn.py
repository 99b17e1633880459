"""What no model has made: outlines that an object begins from, and areas drawn by hand (lassos).

An outline becomes tiles of a canvas, a row of tiles at a time; tiles that lie wholly inside or
outside are one and the same object, so that an outline of centimetres takes little memory. A lasso
is laid on a canvas and held there against later answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from histosam_core.annotation import rasterise
from histosam_core.annotation.rasterise import edges_of
from histosam_core.annotation.regions import polygonal
from histosam_core.clicks import Click, Lasso
from histosam_core.errors import ClickOutsideSlideError, ConfigError
from histosam_core.geometry import Region
from histosam_core.session.canvas.canvas import (
    BACKGROUND_LOGIT,
    TILE_PX,
    Canvas,
    CanvasSnapshot,
    Tile,
    TileIndex,
    tile_spans,
)

if TYPE_CHECKING:
    from histosam_core.clicks import Prompt
    from histosam_core.session.windows.windows import Window, WindowGrid

EDGE_PX = 1e-6
"""An outline this near to the slide's edge lies on it."""


def drawn_tiles(geometry: Any, grid: WindowGrid) -> CanvasSnapshot:
    """Draw an outline, level-0 pixels, as the tiles that the bounding boxes of its polygons reach.

    It counts as an answer in the inner part of a window: a later window's inner part replaces it,
    and fades into it along the rim. What lies off the slide is left out.
    """
    deep = grid.margin_px + 1
    uniform = {is_set: _tile(*_squares(is_set, deep)) for is_set in (False, True)}
    tiles: dict[TileIndex, Tile] = {}
    for polygon in shapely.get_parts(_to_the_grids_end(geometry, grid)):
        x0, y0, x1, y1 = _pixels_under(polygon, grid)
        if x0 >= x1:
            continue
        edges = edges_of(polygon)
        for row in range(y0 // TILE_PX, -(-y1 // TILE_PX)):
            top, end = max(y0, row * TILE_PX), min(y1, (row + 1) * TILE_PX)
            d = grid.downsample
            strip = Region((x0 * d, top * d), (x1 - x0, end - top), grid.mpp)
            mask = rasterise(edges, strip, grid.slide_mpp)
            for index, of_strip, of_tile in tile_spans(x0, top, x1 - x0, end - top):
                old = tiles.get(index)
                is_set, depth = _squares(False, 0) if old is None else (old.mask.copy(), old.depth)
                is_set[of_tile] |= mask[of_strip]
                depth = depth.copy()
                depth[of_tile] = deep
                n_set, is_known = int(np.count_nonzero(is_set)), bool(depth.all())
                whole = is_known and n_set in (0, is_set.size)
                tiles[index] = uniform[n_set > 0] if whole else _tile(is_set, depth)
    return tiles


def _pixels_under(polygon: Any, grid: WindowGrid) -> tuple[int, int, int, int]:
    """Return the first and end grid pixel (x0, y0, x1, y1) of an outline; x0 = x1 off the slide."""
    left, top, right, bottom = ((v + 0.5) / grid.downsample for v in polygon.bounds)
    w, h = grid.size_wh
    x0, y0 = max(math.floor(left), 0), max(math.floor(top), 0)
    return x0, y0, max(min(math.ceil(right), w), x0), max(min(math.ceil(bottom), h), y0)


def check_lasso(lasso: Lasso, slide_wh: tuple[int, int]) -> Lasso:
    """Return a lasso; ConfigError if it has no area, ClickOutsideSlideError if off the slide."""
    area = _area_of(lasso)
    if area is None:
        raise ConfigError("the lasso encloses no area; draw it round the area you mean")
    w, h = slide_wh
    if not shapely.box(-0.5, -0.5, w - 0.5, h - 0.5).intersects(area):
        raise ClickOutsideSlideError(
            f"the lasso lies off the slide, which is {w} x {h} level-0 pixels; draw it on the slide"
        )
    return lasso


def draw_lasso(canvas: Canvas, lasso: Lasso) -> Canvas:
    """Return the canvas with the pixels set or cleared whose centres lie in a lasso, checked."""
    x0, y0, x1, y1 = box_of(canvas, lasso)
    inside = rasterise(_area_of(lasso), canvas.region((x0, y0, x1, y1)), canvas.grid.slide_mpp)
    return canvas.drawn((x0, y0), inside, is_positive=lasso.is_positive)


def hold_lassos(canvas: Canvas, window: Window, prompts: Sequence[Prompt]) -> Canvas:
    """Draw again, after a window's answer, the lassos in it that still hold, in order.

    A lasso holds until a later click inside it says the opposite.
    """
    for number, prompt in enumerate(prompts):
        if isinstance(prompt, Lasso) and _reaches(canvas, prompt, window):
            if not is_contradicted(prompt, prompts[number + 1 :]):
                canvas = draw_lasso(canvas, prompt)
    return canvas


def box_of(canvas: Canvas, lasso: Lasso) -> tuple[int, int, int, int]:
    """Return the grid pixels (x0, y0, x1, y1) round a lasso, those off the slide left out."""
    x0, y0, x1, y1 = _pixels_under(_area_of(lasso), canvas.grid)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _to_the_grids_end(geometry: Any, grid: WindowGrid) -> Any:
    """Move what lies on the slide's far edges to those of the grid.

    The last grid pixel may reach beyond the slide, and its centre with it: an outline that was cut
    there covers it all the same.
    """
    ends = np.array(grid.size_wh) * grid.downsample - 0.5
    edges = np.array(grid.slide_wh) - 0.5

    def moved(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(xy >= edges - EDGE_PX, np.maximum(xy, ends), xy)

    return shapely.transform(geometry, moved)


def _squares(is_set: bool, depth: int) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    shape = (TILE_PX, TILE_PX)
    return np.full(shape, is_set, np.bool_), np.full(shape, depth, np.uint8)


def _tile(mask: NDArray[np.bool_], depth: NDArray[np.uint8]) -> Tile:
    logits = np.where(mask, np.float32(-BACKGROUND_LOGIT), np.float32(BACKGROUND_LOGIT))
    return Tile.of(logits, mask, depth)


def _reaches(canvas: Canvas, lasso: Lasso, window: Window) -> bool:
    (wx, wy), side = window.location_xy, window.side_px
    x0, y0, x1, y1 = box_of(canvas, lasso)
    return x0 < wx + side and x1 > wx and y0 < wy + side and y1 > wy


def is_contradicted(lasso: Lasso, later: Sequence[Prompt]) -> bool:
    """Whether a later click inside a lasso says the opposite."""
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
