from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from histosam_core.clicks import Click
from histosam_core.session.windows.box_prompt import OUTSIDE_PX, clicks_for_box, confine_to_box

BOX = (30.0, 40.0, 90.0, 80.0)
WH = (200, 160)


def test_a_box_is_a_click_in_its_middle_and_four_beside_its_sides() -> None:
    assert clicks_for_box(BOX, WH, ()) == [
        Click((60, 60)),
        Click((30 - OUTSIDE_PX, 60), is_positive=False),
        Click((90 + OUTSIDE_PX, 60), is_positive=False),
        Click((60, 40 - OUTSIDE_PX), is_positive=False),
        Click((60, 80 + OUTSIDE_PX), is_positive=False),
    ]


def test_no_click_lies_off_the_region() -> None:
    assert clicks_for_box((-0.5, -0.5, 199.5, 159.5), WH, ()) == [Click((99.5, 79.5))]
    said = clicks_for_box((5, 50, 90, 155), WH, ())
    assert said[1:] == [
        Click((90 + OUTSIDE_PX, 102.5), is_positive=False),
        Click((47.5, 50 - OUTSIDE_PX), is_positive=False),
    ]


def test_clicks_beside_the_box_come_too_and_outweigh_its_own() -> None:
    hole = Click((62, 61), is_positive=False)
    said = clicks_for_box(BOX, WH, [hole])
    assert said[0] == Click((60, 60))  # else nothing would say where the object is
    assert said[-1] == hole
    said = clicks_for_box(BOX, WH, [hole, Click((80, 70))])
    assert [click for click in said if click.is_positive] == [Click((80, 70))]
    further = Click((92 + OUTSIDE_PX, 60))
    said = clicks_for_box(BOX, WH, [further, Click((61, 60))])
    assert said.count(Click((60, 60))) == 1
    assert len(said) == 6
    assert Click((90 + OUTSIDE_PX, 60), is_positive=False) not in said


def test_nothing_outside_the_box_is_mask() -> None:
    logits = np.full((160, 200), 4, np.float32)
    logits[0, 0] = -30
    confined = confine_to_box(logits, BOX, [Click((60, 60))])
    assert confined.dtype == np.float32
    mask = confined > -5
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 80, 30, 90)
    assert (confined[mask] == 4).all()
    assert confined[0, 0] == -30
    assert (logits.max(), logits[10, 10]) == (4, 4)  # not changed


def test_a_positive_click_outside_says_that_the_object_goes_on() -> None:
    logits = np.full((160, 200), 4, np.float32)
    assert (confine_to_box(logits, BOX, [Click((100, 60))]) == 4).all()
    assert (confine_to_box(logits, BOX, [Click((100, 60), is_positive=False)]) < 0).any()


def test_a_box_thinner_than_a_pixel_holds_that_pixel() -> None:
    logits = np.full((160, 200), 4, np.float32)
    rows, columns = np.nonzero(confine_to_box(logits, (30.1, 40.1, 30.3, 40.3), ()) > 0)
    assert (list(rows), list(columns)) == ([40], [30])


numbers = st.floats(-0.5, 99.5)


def pixel(click: Click) -> tuple[int, int]:
    """Row and column of the pixel a click lies in."""
    return math.floor(click.xy[1] + 0.5), math.floor(click.xy[0] + 0.5)


@given(numbers, numbers, numbers, numbers)
def test_the_boxs_own_clicks_agree_with_it(a: float, b: float, c: float, d: float) -> None:
    box = (min(a, b), min(c, d), max(a, b), max(c, d))
    middle, *beside = clicks_for_box(box, (101, 101), ())
    full = np.ones((101, 101), np.float32)
    confined = confine_to_box(full, box, ())
    assert middle.is_positive
    assert confined[pixel(middle)] == 1
    for click in beside:
        assert not click.is_positive
        assert confined[pixel(click)] < 0
