from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from histosam_core.annotation import rasterise
from histosam_core.clicks import logits_to_mask
from histosam_core.geometry import Region
from histosam_core.session.canvas.canvas import BACKGROUND_LOGIT, Canvas
from histosam_core.session.windows.windows import Window, WindowGrid

GRID = WindowGrid(slide_wh=(1000, 800), slide_mpp=0.5, mpp=1.0, window_px=128)


@pytest.fixture
def canvas() -> Canvas:
    return Canvas(GRID, mask_threshold=0.5)


def logits_of(mask: NDArray[np.bool_], strength: float = 4.0) -> NDArray[np.float32]:
    return np.where(mask, strength, -strength).astype(np.float32)


def square(*, hole: bool = False) -> NDArray[np.bool_]:
    mask = np.zeros((128, 128), bool)
    mask[40:90, 30:100] = True
    if hole:
        mask[55:65, 50:70] = False
    return mask


def test_new_canvas_is_empty(canvas: Canvas) -> None:
    assert canvas.area_px == 0
    assert canvas.bounding_box is None
    assert canvas.to_geometry().is_empty
    part = canvas.read((-5, 3), (20, 10))
    assert not part.mask.any()
    assert (part.logits == BACKGROUND_LOGIT).all()
    assert (part.depth == 0).all()


def test_an_answer_is_read_back_bit_for_bit(canvas: Canvas, rng: np.random.Generator) -> None:
    window = Window((100, 37), 128)
    logits = rng.normal(size=(128, 128)).astype(np.float32)
    canvas = canvas.answered(window, logits)
    part = canvas.read_window(window)
    assert np.array_equal(part.logits, logits)
    assert np.array_equal(part.mask, logits_to_mask(logits, 0.5))


def test_a_second_answer_of_the_same_window_replaces_the_first(
    canvas: Canvas, rng: np.random.Generator
) -> None:
    window = Window((64, 64), 128)
    for _ in range(3):
        logits = rng.normal(size=(128, 128)).astype(np.float32)
        canvas = canvas.answered(window, logits)
    assert np.array_equal(canvas.read_window(window).logits, logits)


def test_inner_part_of_a_new_answer_stands_and_its_rim_fades_out(canvas: Canvas) -> None:
    first, second = Window((0, 0), 128), Window((64, 0), 128)
    canvas = canvas.answered(first, np.full((128, 128), 4, np.float32))
    canvas = canvas.answered(second, np.full((128, 128), -4, np.float32))
    row = canvas.read((0, 40), (192, 1)).logits[0]
    assert (row[:64] == 4).all()
    assert (row[64 + 16 :] == -4).all()
    assert (np.diff(row[63:81]) < 0).all(), "the old answer fades into the new one"
    # At grid pixel 64 the new window is 1 deep, the old one 17.
    assert row[64] == pytest.approx(4 * 16 / 17 - 4 / 17)


def test_answer_at_the_border_is_cut_at_the_slides_edge() -> None:
    grid = WindowGrid((100, 1000), slide_mpp=1.0, mpp=1.0, window_px=128)
    canvas = Canvas(grid, 0.5)
    canvas = canvas.answered(grid.window_at((50, 20)), np.full((128, 128), 4, np.float32))
    assert canvas.bounding_box == (0, 0, 100, 128)
    assert canvas.area_px == 100 * 128


def test_outline_ends_at_the_slides_edge_within_a_grid_pixel() -> None:
    grid = WindowGrid((257, 257), slide_mpp=0.5, mpp=1.0, window_px=128)
    canvas = Canvas(grid, 0.5)
    canvas = canvas.answered(grid.window_at((256, 256)), np.full((128, 128), 4, np.float32))
    assert canvas.bounding_box == (1, 1, 129, 129)
    assert canvas.to_geometry().bounds == (1.5, 1.5, 256.5, 256.5)


def test_holes_and_islands_survive(canvas: Canvas) -> None:
    mask = square(hole=True)
    mask[100:104, 5:9] = True
    canvas = canvas.answered(Window((30, 50), 128), logits_of(mask))
    geometry = canvas.to_geometry()
    assert sorted(len(p.interiors) for p in geometry.geoms) == [0, 1]
    assert geometry.area == canvas.area_px * 4
    assert canvas.area_um2 == mask.sum() * 1.0
    # Grid pixel (60, 90) begins at the level-0 pixel edge (120, 180), which is 119.5 in memory.
    assert max(geometry.geoms, key=lambda p: p.area).bounds == (119.5, 179.5, 259.5, 279.5)


def test_specks_below_a_size_are_left_out_on_request(canvas: Canvas) -> None:
    mask = square()
    mask[100:104, 5:9] = True
    canvas = canvas.answered(Window((0, 0), 128), logits_of(mask))
    assert len(canvas.to_geometry(min_island_px=16).geoms) == 2
    assert len(canvas.to_geometry(min_island_px=17).geoms) == 1


def test_object_larger_than_a_window_has_one_seamless_outline(canvas: Canvas) -> None:
    yy, xx = np.mgrid[:400, :500]
    truth = (xx - 240) ** 2 + (yy - 200) ** 2 < 150**2
    for x in range(64, 330, 64):
        for y in range(32, 260, 64):
            canvas = canvas.answered(
                Window((x, y), 128), logits_of(truth[y : y + 128, x : x + 128])
            )
    geometry = canvas.to_geometry()
    assert len(geometry.geoms) == 1
    assert np.array_equal(canvas.read((0, 0), (500, 400)).mask, truth)
    assert np.array_equal(rasterise(geometry, Region((0, 0), (500, 400), 1.0), 0.5), truth)


def test_island_inside_the_bounding_box_of_another_part_is_traced_once() -> None:
    grid = WindowGrid((2000, 2000), slide_mpp=1.0, mpp=1.0, window_px=128)
    canvas = Canvas(grid, 0.5)
    ring = np.zeros((1000, 1000), bool)
    ring[:40] = ring[-40:] = ring[:, :40] = ring[:, -40:] = True
    ring[480:520, 480:520] = True
    canvas = canvas.drawn((100, 100), ring, is_positive=True)
    geometry = canvas.to_geometry()
    assert geometry.is_valid
    assert len(geometry.geoms) == 2
    assert geometry.area == ring.sum()


def test_a_canvas_is_untouched_by_later_answers(canvas: Canvas, rng: np.random.Generator) -> None:
    window = Window((0, 0), 128)
    canvas = canvas.answered(window, rng.normal(size=(128, 128)).astype(np.float32))
    before = canvas.read_window(window)
    canvas.answered(Window((32, 0), 128), np.full((128, 128), 9, np.float32))
    after = canvas.read_window(window)
    assert np.array_equal(before.logits, after.logits)
    assert np.array_equal(before.mask, after.mask)
    assert np.array_equal(before.depth, after.depth)
    assert not canvas.read((128, 0), (64, 64)).depth.any()


def test_unchanged_tiles_are_shared_between_snapshots(canvas: Canvas) -> None:
    canvas = canvas.answered(Window((0, 0), 128), logits_of(square()))
    first = canvas.tiles
    canvas = canvas.answered(Window((256, 256), 128), logits_of(square()))
    second = canvas.tiles
    assert all(second[index] is tile for index, tile in first.items())


def test_a_mask_from_outside_gives_way_to_the_inner_part_of_an_answer(canvas: Canvas) -> None:
    canvas = canvas.drawn((-10, -10), np.ones((60, 60), bool), is_positive=True)
    assert canvas.bounding_box == (0, 0, 50, 50)
    assert canvas.read((0, 0), (1, 1)).logits[0, 0] == -BACKGROUND_LOGIT
    canvas = canvas.answered(Window((-20, 0), 128), np.full((128, 128), -4, np.float32))
    assert canvas.area_px == 0


def test_answer_of_another_size_is_refused(canvas: Canvas) -> None:
    with pytest.raises(ValueError, match="do not fill"):
        canvas.answered(Window((0, 0), 128), np.zeros((64, 64), np.float32))


SMALL = WindowGrid(slide_wh=(300, 220), slide_mpp=1.0, mpp=1.0, window_px=96)
writes = st.tuples(st.integers(-20, 230), st.integers(-20, 150), st.integers(0, 2**32 - 1))
actions = st.lists(st.one_of(writes, st.just("undo")), max_size=12)


@dataclass
class DenseCanvas:
    """The same rules on whole arrays, written down as plainly as can be."""

    logits: NDArray[np.float32] = field(
        default_factory=lambda: np.full((220, 300), BACKGROUND_LOGIT, np.float32)
    )
    depth: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((220, 300), np.uint8))

    def written(self, window: Window, answer: NDArray[np.float32]) -> DenseCanvas:
        new = DenseCanvas(self.logits.copy(), self.depth.copy())
        x, y = window.location_xy
        r, c = np.meshgrid(np.arange(y, y + 96), np.arange(x, x + 96), indexing="ij")
        on_slide = (r >= 0) & (r < 220) & (c >= 0) & (c < 300)
        at = r[on_slide], c[on_slide]
        answer, depth = answer[on_slide], SMALL.depth(window)[on_slide].astype(np.float32)
        old = np.maximum(self.depth[at], depth).astype(np.float32)
        w = depth / old
        new.logits[at] = np.where(w == 1, answer, w * answer + (1 - w) * self.logits[at])
        new.depth[at] = old
        return new


@settings(max_examples=15, deadline=None)
@given(actions)
def test_any_sequence_of_answers_and_undos_equals_a_dense_array(
    sequence: list[tuple[int, int, int] | str],
) -> None:
    canvas = Canvas(SMALL, 0.5)
    dense = [DenseCanvas()]
    canvases = [canvas]
    for action in sequence:
        if isinstance(action, str):
            if len(dense) > 1:
                dense.pop()
                canvases.pop()
                canvas = canvases[-1]
            continue
        x, y, seed = action
        window = Window((x, y), 96)
        answer = np.random.default_rng(seed).normal(size=(96, 96)).astype(np.float32)
        canvas = canvas.answered(window, answer)
        dense.append(dense[-1].written(window, answer))
        canvases.append(canvas)
    part = canvas.read((0, 0), (300, 220))
    assert np.array_equal(part.logits, dense[-1].logits)
    assert np.array_equal(part.depth, dense[-1].depth)
    mask = logits_to_mask(dense[-1].logits, 0.5)
    assert np.array_equal(part.mask, mask)
    assert canvas.area_px == mask.sum()
    if mask.any():
        x0, y0, x1, y1 = canvas.bounding_box or (0, 0, 0, 0)
        rows, columns = np.nonzero(mask)
        assert (x0, y0) == (columns.min(), rows.min())
        assert (x1, y1) == (columns.max() + 1, rows.max() + 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.25, 0.5, 0.499, 1.0]))
def test_outline_rasterises_back_to_the_mask(seed: int, slide_mpp: float) -> None:
    rng = np.random.default_rng(seed)
    grid = WindowGrid((round(300 / slide_mpp), round(220 / slide_mpp)), slide_mpp, 1.0, 96)
    canvas = Canvas(grid, 0.5)
    for _ in range(3):
        x, y = int(rng.integers(-10, 220)), int(rng.integers(-10, 150))
        coarse = rng.normal(size=(12, 12)).astype(np.float32)
        canvas = canvas.answered(Window((x, y), 96), np.kron(coarse, np.ones((8, 8), np.float32)))
    geometry = canvas.to_geometry()
    assert geometry.is_valid
    w, h = grid.size_wh
    mask = canvas.read((0, 0), (w - 1, h - 1)).mask
    region = Region((0, 0), (w - 1, h - 1), 1.0)
    assert np.array_equal(rasterise(geometry, region, slide_mpp), mask)
    assert shapely.box(-0.5, -0.5, *(s - 0.5 for s in grid.slide_wh)).covers(geometry)
