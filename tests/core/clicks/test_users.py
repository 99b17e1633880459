"""Users beside the ideal one: where their clicks fall, and what their draws depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from histosam_core.clicks import Click, User, next_click
from histosam_core.errors import ConfigError

Mask = NDArray[np.bool_]
JITTER, REGION = User("jitter", sigma_px=4.0), User("region")

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def drawn(user: User, gt: Mask, n: int = 400) -> NDArray[np.float64]:
    """(n, 2) first clicks (x, y) of n sessions."""
    blank = np.zeros_like(gt)
    return np.array([user.next_click(gt, blank, rng=user.rng("i", i)).xy for i in range(n)])


@given(data=st.data(), gt=masks, kind=st.sampled_from(["ideal", "jitter", "region"]))
def test_every_user_answers_an_error_with_its_sign(data: Any, gt: Mask, kind: Any) -> None:
    pred = data.draw(hnp.arrays(bool, gt.shape))
    user = User(kind, sigma_px=3.0)
    ideal = next_click(gt, pred)
    click = user.next_click(gt, pred, rng=user.rng("a"))
    x, y = (int(v) for v in click.xy)
    assert click.is_positive == ideal.is_positive
    if (gt == pred).all() or kind == "ideal":
        assert click == ideal
    else:
        assert gt[y, x] != pred[y, x]
        assert gt[y, x] == click.is_positive


def test_jitter_misses_by_its_sigma_where_the_error_leaves_room() -> None:
    gt = np.ones((101, 101), bool)
    places = drawn(JITTER, gt)
    assert places.mean(0) == pytest.approx((50, 50), abs=0.8)
    assert places.std(0) == pytest.approx((4, 4), rel=0.15)


def test_jitter_and_region_stay_in_the_piece_that_is_answered() -> None:
    gt = np.zeros((40, 40), bool)
    gt[5:20, 5:20] = True  # the deepest
    gt[5:20, 21:33] = True  # a pixel's gap away
    for user in (User("jitter", sigma_px=12), REGION):
        places = drawn(user, gt)
        assert places[:, 0].max() < 20
        assert len(np.unique(places, axis=0)) > 50


def test_an_error_of_one_pixel_is_hit_by_everybody() -> None:
    gt = np.zeros((60, 60), bool)
    gt[30, 7] = True
    far = User("jitter", sigma_px=1000.0)
    for user in (far, REGION):
        assert user.next_click(gt, ~gt & gt, rng=user.rng("a")) == Click((7, 30))


def test_region_is_drawn_in_proportion_to_the_depth() -> None:
    gt = np.zeros((5, 5), bool)
    gt[1:4, 1:4] = True  # eight pixels of depth 1 round one of depth 2
    places = drawn(REGION, gt, 2000)
    at_centre = (places == (2, 2)).all(1).mean()
    assert at_centre == pytest.approx(2 / 10, abs=0.03)


def test_pixels_clicked_before_are_not_clicked_again() -> None:
    gt = np.zeros((5, 6), bool)
    gt[2, 2:4] = True
    for user in (JITTER, REGION):
        rng = user.rng("a")
        first = user.next_click(gt, gt & ~gt, rng=rng)
        second = user.next_click(gt, gt & ~gt, [first], rng=rng)
        assert {first.xy, second.xy} == {(2.0, 2.0), (3.0, 2.0)}


def test_draws_depend_on_image_repeat_and_seed_alone() -> None:
    gt = np.ones((60, 60), bool)

    def first(user: User, name: str = "a", repeat: int = 0) -> tuple[float, float]:
        return user.next_click(gt, ~gt, rng=user.rng(name, repeat)).xy

    assert first(JITTER) == first(User("jitter", sigma_px=4.0, repeats=9))
    others = [
        first(JITTER, "b"),
        first(JITTER, repeat=1),
        first(User("jitter", sigma_px=4.0, seed=1)),
    ]
    assert first(JITTER) not in others


def test_all_wrong_settings_are_reported_at_once() -> None:
    wrong: Any = {"kind": "tired", "sigma_px": 0, "repeats": 0, "seed": -1}
    with pytest.raises(ConfigError) as error:
        User(**wrong)
    assert all(name in str(error.value) for name in ("tired", "sigma_px", "repeats", "seed"))
    with pytest.raises(ConfigError, match="ideal user does the same"):
        User(repeats=3)
