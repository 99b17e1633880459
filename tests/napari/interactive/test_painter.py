from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from histosam_core.session import Canvas, WindowGrid
from napari_histosam.interactive.scene.painter import (
    MAX_STAGE_PX,
    Stage,
    changed_tiles,
    heat_of,
    paint,
    stage_for,
)

GRID = WindowGrid((64_000, 48_000), 0.5, 2.0, 128)


def canvas_with(*places: tuple[int, int], side: int = 100) -> Canvas:
    canvas = Canvas(GRID, 0.49)
    for x, y in places:
        canvas = canvas.drawn((x, y), np.ones((side, side), bool), is_positive=True)
    return canvas


def painted(canvas: Canvas, stage: Stage) -> NDArray[np.uint8]:
    shown = np.zeros(stage.shape, np.uint8)
    paint(shown, stage, canvas.tiles, canvas.tiles.keys())
    return shown


def test_what_is_painted_is_the_canvas() -> None:
    canvas = canvas_with((700, 500), (830, 590))
    stage = stage_for(canvas.tiles)
    x, y = (64 * t for t in stage.first_tile_xy)
    h, w = stage.shape
    assert np.array_equal(painted(canvas, stage), canvas.read((x, y), (w, h)).mask)


def test_a_stage_holds_its_tiles_with_room_on_all_sides() -> None:
    stage = stage_for([(10, 10), (12, 11)])
    for tile in ((10, 10), (12, 11), (3, 3), (18, 18)):
        assert stage.holds([tile])
    assert not stage.holds([(200, 10)])


def test_a_large_object_is_shown_with_fewer_pixels() -> None:
    canvas = canvas_with((0, 0), (9000, 9000))
    stage = stage_for(canvas.tiles)
    assert stage.step > 1
    assert max(stage.shape) <= MAX_STAGE_PX
    shown = painted(canvas, stage)
    x, y = (64 * t for t in stage.first_tile_xy)
    side = stage.side_tiles * 64
    whole = canvas.read((x, y), (side, side)).mask
    assert np.array_equal(shown, whole[:: stage.step, :: stage.step])


def test_only_tiles_that_an_answer_touched_differ() -> None:
    canvas = canvas_with((640, 640), side=64)
    before = canvas.tiles
    canvas = canvas.drawn((6400, 640), np.ones((64, 64), bool), is_positive=True)
    assert changed_tiles(before, canvas.tiles) == [(100, 10)]


def test_undo_repaints_what_it_takes_away() -> None:
    canvas = canvas_with((640, 640))
    start, stage = canvas.tiles, stage_for(canvas.tiles)
    shown = painted(canvas, stage)
    kept = shown.copy()
    canvas = canvas.drawn((700, 700), np.ones((120, 120), bool), is_positive=True)
    after = canvas.tiles
    paint(shown, stage, after, changed_tiles(start, after))
    assert shown.sum() > kept.sum()
    paint(shown, stage, start, changed_tiles(after, start))
    assert np.array_equal(shown, kept)


def test_frame_places_the_stage_over_level0() -> None:
    frame = Stage((3, 2), 8, step=2).frame(4.0)
    assert frame.origin_xy == (3 * 64 * 4, 2 * 64 * 4)
    assert frame.downsample == (8.0, 8.0)


def test_heat_is_the_probability() -> None:
    canvas = canvas_with((640, 640), side=64)
    tile = canvas.tiles[10, 10]
    assert heat_of(tile).max() == pytest.approx(255, abs=1)
    stage = stage_for(canvas.tiles)
    mask, heat = np.zeros(stage.shape, np.uint8), np.zeros(stage.shape, np.uint8)
    paint(mask, stage, canvas.tiles, [(10, 10)], heat)
    assert np.array_equal(heat > 127, mask == 1)
