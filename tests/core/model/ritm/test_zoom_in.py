from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from histosam_core.errors import ConfigError
from histosam_core.model import ZoomIn
from histosam_core.model.ritm.zoom_in import View, box_iou, whole

HW = (300, 400)


def probability(
    rows: tuple[int, int], columns: tuple[int, int], hw: tuple[int, int] = HW
) -> NDArray[np.float32]:
    """1 from the first to the last row and column, 0 elsewhere."""
    answer = np.zeros(hw, np.float32)
    answer[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = 1
    return answer


def test_first_click_sees_the_whole_image_as_it_is() -> None:
    assert ZoomIn().look(1, [(5, 5)], None, None, HW) == View(None, None)


def test_region_is_the_expanded_box_of_mask_and_positive_clicks() -> None:
    zoom_in = ZoomIn(min_crop_size=1)
    # Rows 100..149: centre 124.5, height 70: 89.5 and 159.5, rounded to even.
    # Columns 100..209, of which 209 is a click's: centre 154.5, width 154: 77.5 and 231.5.
    view = zoom_in.look(2, [(120, 209)], probability((100, 149), (100, 199)), None, HW)
    assert view == View((90, 160, 78, 232), (90, 160, 78, 232))


def test_region_has_a_smallest_size_and_ends_at_the_border() -> None:
    view = ZoomIn().look(2, [], probability((10, 19), (300, 309)), None, HW)
    assert view.seen == (0, 114, 204, 399)


def test_region_is_kept_while_it_overlaps() -> None:
    kept = (50, 250, 50, 250)
    seen = ZoomIn().look(3, [], probability((100, 199), (100, 199)), kept, HW).seen
    assert seen == kept


def test_region_moves_when_it_no_longer_overlaps() -> None:
    kept = (0, 299, 0, 399)
    assert ZoomIn().look(3, [], probability((10, 19), (10, 19)), kept, HW).seen != kept


def test_infinite_threshold_makes_the_region_anew() -> None:
    kept = (40, 250, 50, 250)
    zoom_in = ZoomIn(recompute_iou=math.inf)
    view = zoom_in.look(3, [], probability((100, 199), (100, 199)), kept, HW)
    assert view.seen == (50, 250, 50, 250)


@pytest.mark.parametrize(
    ("click", "moves"),
    [((249, 249), False), ((250, 60), True), ((60, 250), True), ((49, 60), True)],
)
def test_positive_click_outside_moves_the_region(click: tuple[int, int], moves: bool) -> None:
    kept = (50, 250, 50, 250)
    view = ZoomIn().look(3, [click], probability((60, 240), (60, 240)), kept, HW)
    assert (view.seen != kept) is moves


def test_empty_mask_shows_the_whole_image_and_fills_the_last_region() -> None:
    kept = (50, 250, 50, 250)
    assert ZoomIn().look(3, [], np.zeros(HW, np.float32), kept, HW) == View(None, kept)


def test_without_skipped_clicks_an_empty_mask_shows_the_whole_image_resized() -> None:
    zoom_in = ZoomIn(skip_clicks=-1)
    assert zoom_in.look(1, [(9, 9)], None, None, HW).seen == whole(HW)
    assert zoom_in.look(2, [(9, 9)], np.zeros(HW, np.float32), None, HW).seen == whole(HW)


def test_small_object_is_worth_a_closer_look() -> None:
    zoom_in = ZoomIn(skip_clicks=0, min_crop_size=20)
    assert zoom_in.shows_small_object(probability((10, 29), (10, 29)))
    assert not zoom_in.shows_small_object(probability((10, 280), (10, 380)))
    assert not zoom_in.shows_small_object(np.zeros(HW, np.float32))


@pytest.mark.parametrize(
    ("target_size", "roi", "size"),
    [
        (400, (0, 99, 0, 199), (200, 400)),
        (400, (0, 0, 0, 1999), (1, 400)),
        ((448, 300), (0, 99, 0, 199), (448, 300)),
        (None, (0, 99, 0, 199), (100, 200)),
    ],
)
def test_size_of_a_region(
    target_size: int | tuple[int, int] | None,
    roi: tuple[int, int, int, int],
    size: tuple[int, int],
) -> None:
    assert ZoomIn(target_size=target_size).size_of(roi) == size


def test_list_is_a_size_too() -> None:
    assert ZoomIn(target_size=[448, 448]) == ZoomIn(target_size=(448, 448))  # type: ignore[arg-type]


@given(st.data())
def test_overlap_is_symmetric_and_at_most_one(data: st.DataObject) -> None:
    def box() -> tuple[int, int, int, int]:
        ends = [sorted(data.draw(st.tuples(*[st.integers(0, 30)] * 2))) for _ in range(2)]
        return ends[0][0], ends[0][1], ends[1][0], ends[1][1]

    one, other = box(), box()
    assert 0 <= box_iou(one, other) == box_iou(other, one) <= 1
    assert (box_iou(one, other) == 1) is (one == other)


@given(st.data())
def test_region_lies_in_the_image_and_holds_the_mask(data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    mask = np.zeros((height, width), np.float32)
    points = st.tuples(st.integers(0, height - 1), st.integers(0, width - 1))
    for point in data.draw(st.lists(points, min_size=1, max_size=5)):
        mask[point] = 1
    zoom_in = ZoomIn(min_crop_size=data.draw(st.integers(1, 80)))
    positive = data.draw(st.lists(points, max_size=3))
    seen = zoom_in.look(5, positive, mask, None, (height, width)).seen
    assert seen is not None
    top, bottom, left, right = seen
    assert 0 <= top <= bottom < height
    assert 0 <= left <= right < width
    for y, x in [*zip(*np.nonzero(mask), strict=True), *positive]:
        assert top <= y <= bottom
        assert left <= x <= right


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="target_size") as told:
        ZoomIn(
            target_size=0,
            min_crop_size=0,
            expansion_ratio=0.5,
            recompute_iou=-1,
            prob_threshold=1.0,
        )
    for name in ("min_crop_size", "expansion_ratio", "recompute_iou", "prob_threshold"):
        assert name in str(told.value)
    with pytest.raises(ConfigError, match="target_size"):
        ZoomIn(target_size=(448, 448, 3))  # type: ignore[arg-type]
