"""Accepted objects as label tiles: right pixels at every level, and no more work than needed."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.annotation import mask_to_geometry, rasterise
from histosam_core.geometry import Frame, Region
from napari_histosam.viewer import label_pyramid
from napari_histosam.viewer.label_pyramid import MAX_LABEL, LabelPyramid

FRAME = Frame((0.0, 0.0), (4.0, 4.0))
SIZE_WH = (1500, 1100)


def expected(size_wh, stack, level):
    """Draw every object on the whole level, undermost first."""
    w, h = (-(-side // 2**level) for side in size_wh)
    labels = np.zeros((h, w), np.uint16)
    for label, geometry in stack:
        region = Region((0.0, 0.0), (w, h), mpp=4.0 * 2**level)
        labels[rasterise(geometry, region, slide_mpp=1.0)] = label
    return labels


def assert_shows(pyramid, stack):
    for number, level in enumerate(pyramid.levels):
        np.testing.assert_array_equal(level[:, :], expected(pyramid.size_wh, stack, number))


def square(x, y, side):
    return shapely.box(x, y, x + side, y + side)


def ring(x, y, radius, hole):
    centre = shapely.Point(x, y)
    return centre.buffer(radius).difference(centre.buffer(hole))


@pytest.fixture
def pyramid():
    return LabelPyramid(SIZE_WH, FRAME)


@pytest.fixture
def calls(monkeypatch):
    """Outlines drawn on tiles, a list that grows."""
    made = []
    draw = label_pyramid.draw_label

    def counted(labels, location_xy, drawing, frame):
        made.append((drawing.label, labels.shape))
        draw(labels, location_xy, drawing, frame)

    monkeypatch.setattr(label_pyramid, "draw_label", counted)
    return made


def test_levels_halve_until_the_longer_side_is_512_or_less(pyramid):
    assert [level.shape for level in pyramid.levels] == [(1100, 1500), (550, 750), (275, 375)]
    assert all(level.dtype == np.uint16 and level.ndim == 2 for level in pyramid.levels)
    assert [level.size for level in pyramid.levels] == [1650000, 412500, 103125]


def test_every_level_shows_holes_and_islands_by_the_centres_of_its_own_pixels(pyramid):
    island = ring(2000.3, 1800.7, 900, 500).union(square(5000.1, 3000.9, 333.3))
    pyramid.draw(7, island)
    assert_shows(pyramid, [(7, island)])


def test_an_object_over_the_grids_edge_is_cut_there(pyramid):
    geometry = square(-500, -500, 10_000)
    pyramid.draw(1, geometry)
    assert all((level[:, :] == 1).all() for level in pyramid.levels)


def test_an_object_off_the_grid_shows_nothing(pyramid):
    pyramid.draw(1, square(9000, 9000, 100))
    assert_shows(pyramid, [])
    pyramid.erase(1)
    assert_shows(pyramid, [])


def test_later_objects_lie_on_top_and_what_lay_under_an_erased_one_comes_back(pyramid):
    a, b = square(1000, 1000, 1000), square(1400, 1400, 1000)
    pyramid.draw(1, a)
    pyramid.draw(2, b)
    assert_shows(pyramid, [(1, a), (2, b)])
    pyramid.erase(2)
    assert_shows(pyramid, [(1, a)])


def test_a_redrawn_object_keeps_its_height_in_the_stack(pyramid):
    a, b = square(1000, 1000, 1000), square(1400, 1400, 1000)
    pyramid.draw(1, a)
    pyramid.draw(2, b)
    grown = square(900, 900, 1400)
    pyramid.draw(1, grown)
    assert_shows(pyramid, [(1, grown), (2, b)])


def test_erasing_what_is_not_there_changes_nothing(pyramid):
    pyramid.erase(1)
    assert_shows(pyramid, [])


def test_a_hole_with_straight_sides_is_drawn_where_only_its_upper_side_passes(pyramid):
    geometry = square(0, 0, 6000).difference(shapely.box(100, 1500, 5900, 2500))
    pyramid.draw(1, geometry)
    assert_shows(pyramid, [(1, geometry)])


@pytest.mark.parametrize("label", [0, -1, MAX_LABEL + 1])
def test_a_label_that_fits_no_tile_is_refused(pyramid, label):
    with pytest.raises(ValueError, match=f"between 1 and {MAX_LABEL}"):
        pyramid.draw(label, square(0, 0, 100))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["draw", "draw", "erase"]),
        st.integers(1, 4),
        st.integers(1, 2**36 - 1),
        st.tuples(st.integers(-8, 30), st.integers(-8, 22)),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=30)
@given(steps=STEPS)
def test_any_sequence_shows_what_drawing_the_stack_from_scratch_shows(steps):
    pyramid = LabelPyramid((700, 520), FRAME)
    stack = {}
    for what, label, bits, (x, y) in steps:
        mask = (bits >> np.arange(36) & 1).reshape(6, 6)
        geometry = mask_to_geometry(mask, Frame((x * 100.0, y * 100.0), (171.0, 171.0)))
        if what == "erase":
            pyramid.erase(label)
            stack.pop(label, None)
        else:
            pyramid.draw(label, geometry)
            stack[label] = geometry
    assert_shows(pyramid, list(stack.items()))


def test_drawing_draws_one_outline_per_tile_touched_however_many_objects_there_are(calls):
    few, many = LabelPyramid((20_000, 20_000), FRAME), LabelPyramid((20_000, 20_000), FRAME)
    for number in range(200):
        x, y = 5000 * (number % 15), 5000 * (number // 15)
        many.draw(number + 1, square(x + 40, y + 40, 1600))
    calls.clear()
    few.draw(500, square(30_100, 30_100, 1600))
    alone = list(calls)
    calls.clear()
    many.draw(500, square(30_100, 30_100, 1600))
    assert calls == alone
    assert {label for label, _ in calls} == {500}
    assert len(calls) <= 4 * len(many.levels)  # 400 grid px: no level has more than 3 x 3 tiles


def test_erasing_draws_only_the_objects_that_lay_under_the_erased_one(calls):
    pyramid = LabelPyramid((20_000, 20_000), FRAME)
    for number in range(200):
        x, y = 5000 * (number % 15), 5000 * (number // 15)
        pyramid.draw(number + 1, square(x, y, 1600))
    pyramid.draw(500, square(30_800, 30_800, 1600))  # half over one of them
    under = pyramid.label_at((30_900.0, 30_900.0)), pyramid.label_at((30_100.0, 30_100.0))
    calls.clear()
    pyramid.erase(500)
    assert under[0] == 500
    assert {label for label, _ in calls} == {under[1]}
    assert all(max(shape) <= 256 for _, shape in calls)


def test_the_inside_of_a_large_object_takes_no_memory_per_pixel():
    pyramid = LabelPyramid((6000, 6000), FRAME)
    pyramid.draw(3, square(-10, -10, 60_000))
    tiles = [tile for level in pyramid.levels for tile in level.tiles.values()]
    assert (pyramid.levels[0][3000:3010, 3000:3010] == 3).all()
    assert len(tiles) > 500
    assert sum(tile.nbytes for tile in tiles) < 100_000


def seen(pyramid, labels, x, y):
    """Return the id of the object at a grid pixel."""
    shown = pyramid.levels[0][y, x]
    return next((key for key, label in labels.items() if label == shown), "")


def test_an_object_that_changed_keeps_its_place_in_the_pile_and_its_label(pyramid):
    under, over = square(0, 0, 1200), square(800, 800, 1200)
    before = pyramid.update({"under": under, "over": over})
    after = pyramid.update({"under": square(400, 400, 800), "over": over})
    assert seen(pyramid, after, 250, 250) == "over"
    assert seen(pyramid, after, 150, 150) == "under"
    assert seen(pyramid, after, 50, 50) == ""
    assert after == before


def test_an_object_that_is_gone_is_erased_and_a_new_one_has_a_new_label(pyramid):
    first = pyramid.update({"a": square(0, 0, 1200)})["a"]
    labels = pyramid.update({"b": square(0, 0, 1200)})
    assert seen(pyramid, labels, 50, 50) == "b"
    assert labels["b"] != first
    assert pyramid.update({}) == {}
    assert_shows(pyramid, [])


def test_an_object_that_is_the_same_is_not_drawn_again(pyramid, calls):
    one = square(0, 0, 1200)
    pyramid.update({"a": one})
    calls.clear()
    pyramid.update({"a": one})
    assert calls == []


def test_label_at_is_exact_and_topmost(pyramid):
    pyramid.draw(1, ring(2000, 2000, 800, 300))
    pyramid.draw(2, square(2500, 1900, 900))
    assert pyramid.label_at((2000.0, 2000.0)) == 0  # in the hole
    assert pyramid.label_at((1400.0, 2000.0)) == 1
    assert pyramid.label_at((2600.0, 2000.0)) == 2  # both
    assert pyramid.label_at((3399.9, 2799.9)) == 2
    assert pyramid.label_at((3400.1, 2799.9)) == 0
    pyramid.erase(2)
    assert pyramid.label_at((2600.0, 2000.0)) == 1


def test_label_at_agrees_with_the_pixels_at_their_centres(pyramid, rng):
    pyramid.draw(1, ring(2000.2, 2000.1, 800, 300))
    pyramid.draw(2, square(2501.5, 1901.5, 900))
    level = pyramid.levels[0]
    for column, row in rng.integers((250, 250), (900, 800), (400, 2)).tolist():
        assert pyramid.label_at(FRAME.to_level0((column, row))) == level[row, column]


KEYS = [
    np.s_[3:900, 10:1300],
    np.s_[:, :],
    np.s_[250:260],
    np.s_[::7, 5::3],
    np.s_[-300:, :-20],
    np.s_[..., 400],
    np.s_[300, 400:500],
    np.s_[900:100, :],
    np.s_[np.int64(280), np.int32(-1100)],
    np.s_[0:99999, 0:99999],
    np.s_[::-1, 900:300:-2],
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_levels_are_indexed_as_an_array_is(pyramid, key):
    pyramid.draw(9, ring(1500, 1300, 1200, 600))
    whole = np.asarray(pyramid.levels[0])
    assert whole.any()
    read = pyramid.levels[0][key]
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, whole[key])


@pytest.mark.parametrize("key", [np.s_[1100, 0], np.s_[0, -1501], np.s_[0, 0, 0]])
def test_an_index_that_labels_do_not_have_is_an_error(pyramid, key):
    with pytest.raises(IndexError):
        pyramid.levels[0][key]


def test_what_was_read_does_not_change_with_later_drawing(pyramid):
    pyramid.draw(1, square(400, 400, 800))
    before = pyramid.levels[0][:, :]
    copy = before.copy()
    pyramid.draw(2, square(0, 0, 3000))
    np.testing.assert_array_equal(before, copy)


def test_reading_while_another_thread_draws_sees_whole_tiles_only(pyramid):
    full = square(-10, -10, 10_000)
    stop = threading.Event()

    def draw():
        label = 0
        while not stop.is_set():
            label = label % 50 + 1
            pyramid.draw(label, full)
            pyramid.erase(label - 3 if label > 3 else label + 47)

    pyramid.draw(60, full)
    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for _ in range(200):
            tile = pyramid.levels[0][256:512, 256:512]
            assert (tile == tile[0, 0]).all()
            assert tile[0, 0] > 0
            assert pyramid.label_at((2000.0, 2000.0)) > 0
    finally:
        stop.set()
        thread.join()
