from __future__ import annotations

import numpy as np
import pytest

from histosam_core.session import Canvas, WindowGrid
from napari_histosam.interactive.scene.painter import MAX_STAGE_PX, Stage

GRID = WindowGrid((64_000, 48_000), 0.5, 2.0, 128)


def canvas_with(*places: tuple[int, int], side: int = 100) -> Canvas:
    canvas = Canvas(GRID, 0.49)
    for x, y in places:
        canvas = canvas.drawn((x, y), np.ones((side, side), bool), is_positive=True)
    return canvas


def seen(canvas: Canvas, stage: Stage) -> np.ndarray:
    """The canvas where a stage of downsample 1 lies, as the stage should show it."""
    x, y = (round(v) for v in stage.frame.origin_xy)
    h, w = (side * stage.step for side in stage.mask.shape)
    return canvas.read((x, y), (w, h)).mask[:: stage.step, :: stage.step]


def test_what_is_painted_is_the_canvas() -> None:
    canvas = canvas_with((700, 500), (830, 590))
    stage = Stage(canvas.tiles, 1.0)
    assert stage.mask.any()
    assert np.array_equal(stage.mask, seen(canvas, stage))


def test_a_stage_holds_its_object_with_room_on_all_sides() -> None:
    stage = Stage(canvas_with((640, 640), (768, 704), side=64).tiles, 1.0)
    for place in ((640, 640), (192, 192), (1152, 1152)):
        assert stage.holds(canvas_with(place, side=64).tiles)
    assert not stage.holds(canvas_with((12_800, 640), side=64).tiles)


def test_a_large_object_is_shown_with_fewer_pixels() -> None:
    canvas = canvas_with((0, 0), (9000, 9000))
    stage = Stage(canvas.tiles, 1.0)
    assert stage.step > 1
    assert max(stage.mask.shape) <= MAX_STAGE_PX
    assert np.array_equal(stage.mask, seen(canvas, stage))


def test_only_tiles_that_an_answer_touched_are_painted() -> None:
    canvas = canvas_with((640, 640), side=64)
    stage = Stage(canvas.tiles, 1.0)
    stage.mask[:] = 7
    canvas = canvas.drawn((704, 640), np.ones((64, 64), bool), is_positive=True)
    assert stage.update(canvas.tiles)
    assert (stage.mask == 1).sum() == 64 * 64
    assert (stage.mask == 7).sum() == stage.mask.size - 64 * 64
    assert not stage.update(canvas.tiles)


def test_undo_repaints_what_it_takes_away() -> None:
    canvas = canvas_with((640, 640))
    start = canvas.tiles
    stage = Stage(start, 1.0)
    kept = stage.mask.copy()
    canvas = canvas.drawn((700, 700), np.ones((120, 120), bool), is_positive=True)
    stage.update(canvas.tiles)
    assert stage.mask.sum() > kept.sum()
    stage.update(start)
    assert np.array_equal(stage.mask, kept)


def test_frame_places_the_stage_over_level0() -> None:
    stage = Stage(canvas_with((0, 0), (9000, 9000)).tiles, 4.0)
    x, y = stage.frame.origin_xy
    assert (x % (64 * 4.0), y % (64 * 4.0)) == (0, 0)
    assert stage.frame.downsample == (4.0 * stage.step, 4.0 * stage.step)


def test_heat_is_the_probability() -> None:
    canvas = canvas_with((640, 640), side=64)
    stage = Stage(canvas.tiles, 1.0)
    heat = stage.add_heat()
    assert heat.max() == pytest.approx(255, abs=1)
    assert np.array_equal(heat > 127, stage.mask == 1)
