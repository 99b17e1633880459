"""Outlines become tiles: pixel by pixel as they are rasterised, complete at the slide's edge."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.annotation import rasterise
from histosam_core.geometry import Region
from histosam_core.session.canvas.canvas import BACKGROUND_LOGIT, Canvas
from histosam_core.session.canvas.drawn import drawn_tiles
from histosam_core.session.windows.windows import Window, WindowGrid

GRID = WindowGrid(slide_wh=(1000, 800), slide_mpp=0.5, mpp=1.0, window_px=128)


def drawn(geometry, grid: WindowGrid = GRID) -> Canvas:
    return Canvas(grid, 0.5, drawn_tiles(geometry, grid))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.25, 0.499, 0.5, 1.0, 2.2]))
def test_pixels_whose_centre_lies_inside_are_set(seed: int, slide_mpp: float) -> None:
    rng = np.random.default_rng(seed)
    size_wh = (round(400 / slide_mpp), round(300 / slide_mpp))
    grid = WindowGrid(size_wh, slide_mpp, 1.0, 96)
    parts = [
        shapely.Point(*rng.uniform((0, 0), size_wh)).buffer(rng.uniform(5, 60) / slide_mpp)
        for _ in range(4)
    ]
    inner = shapely.box(0, 0, size_wh[0] - 3, size_wh[1] - 3)
    geometry = shapely.intersection(shapely.union_all(parts), inner)
    geometry = geometry.difference(geometry.centroid.buffer(8 / slide_mpp))
    w, h = grid.size_wh
    canvas = drawn(geometry, grid)
    part = canvas.read((0, 0), (w, h))
    assert np.array_equal(part.mask, rasterise(geometry, Region((0, 0), (w, h), 1.0), slide_mpp))
    assert canvas.area_px == part.mask.sum()
    assert set(np.unique(part.logits)) <= {BACKGROUND_LOGIT, -BACKGROUND_LOGIT}
    assert set(np.unique(part.depth)) <= {0, grid.margin_px + 1}
    assert part.depth[part.mask].all()


@pytest.mark.parametrize("slide_mpp", [0.25, 0.499, 0.5, 3.1])
@pytest.mark.parametrize("size_wh", [(801, 601), (802, 603), (30, 1000)])
def test_a_slide_wholly_covered_is_covered_to_its_last_pixel(size_wh, slide_mpp: float) -> None:
    grid = WindowGrid(size_wh, slide_mpp, 2.0, 64)
    whole = shapely.box(-0.5, -0.5, size_wh[0] - 0.5, size_wh[1] - 0.5)
    canvas = drawn(whole, grid)
    w, h = grid.size_wh
    assert canvas.area_px == w * h
    assert canvas.to_geometry().equals(whole)


def test_what_lies_off_the_slide_is_left_out() -> None:
    canvas = drawn(shapely.box(-300, -300, 5000, 99.5))
    assert canvas.bounding_box == (0, 0, 500, 50)
    assert drawn(shapely.box(-300, -300, -100, -100)).bounding_box is None
    assert drawn(shapely.box(3000, 0, 3300, 100)).bounding_box is None


def test_tiles_wholly_inside_share_their_memory() -> None:
    tiles = drawn_tiles(shapely.box(-0.5, -0.5, 767.5, 767.5), GRID)
    assert len(tiles) == 36
    assert len({id(tile) for tile in tiles.values()}) == 1
    assert not next(iter(tiles.values())).logits.flags.writeable


def test_a_hole_in_one_polygon_is_filled_by_another() -> None:
    box = shapely.box(-0.5, -0.5, 255.5, 255.5)
    hole = shapely.box(99.5, 99.5, 119.5, 119.5)
    island = shapely.box(103.5, 103.5, 107.5, 107.5)
    canvas = drawn(shapely.MultiPolygon([box.difference(hole), island]))
    assert canvas.area_px == 128 * 128 - 10 * 10 + 2 * 2
    assert drawn(shapely.MultiPolygon([island, box.difference(hole)])).area_px == canvas.area_px


def test_an_outline_gives_way_to_the_inner_part_of_an_answer() -> None:
    canvas = drawn(shapely.box(-0.5, -0.5, 99.5, 99.5))
    canvas = canvas.answered(Window((-20, 0), 128), np.full((128, 128), -4, np.float32))
    assert canvas.area_px == 0
