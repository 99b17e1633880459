"""Tests of paired differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histosam_core.errors import ConfigError
from histosam_core.metrics import holm, sign_flip_test, wilcoxon_test


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_few_values_are_tested_exactly() -> None:
    # 1 + 2 + 3: of the eight patterns of signs, two are as far from zero.
    result = sign_flip_test([1, 2, 3], rng=rng())
    assert (result.p, result.n_units, result.units) == (0.25, 3, "values")


def test_values_that_cancel_have_no_effect_at_all() -> None:
    assert sign_flip_test([1, -1], rng=rng()).p == 1.0
    assert sign_flip_test(np.zeros(40), rng=rng()).p == 1.0


def test_a_plain_difference_of_many_values_is_found_and_noise_is_not() -> None:
    noise = np.random.default_rng(1).standard_normal(60)
    assert sign_flip_test(noise + 1.0, rng=rng()).p < 0.001
    assert sign_flip_test(noise - noise.mean() + 0.05, rng=rng()).p > 0.3


def test_enough_slides_are_flipped_whole() -> None:
    # Six slides that agree within themselves: 40 patches, but only six things to flip.
    slides = [f"s{i}" for i in range(6) for _ in range(7)]
    values = np.repeat([1.0, 1, 1, 1, 1, 1], 7)
    result = sign_flip_test(values, slides, rng=rng())
    assert (result.units, result.n_units) == ("groups", 6)
    assert result.p == pytest.approx(2 / 64)


def test_too_few_slides_leave_the_patches() -> None:
    result = sign_flip_test([1.0] * 10, ["a"] * 5 + ["b"] * 5, rng=rng())
    assert (result.units, result.n_units) == ("values", 10)


def test_nothing_has_no_p_and_groups_must_fit() -> None:
    assert math.isnan(sign_flip_test([], rng=rng()).p)
    with pytest.raises(ConfigError, match="2 values but 1 groups"):
        sign_flip_test([1, 2], ["a"], rng=rng())


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_p_is_a_probability_and_the_sign_does_not_matter(values: list[float]) -> None:
    there = sign_flip_test(values, rng=rng(), n_resamples=200).p
    back = sign_flip_test([-v for v in values], rng=rng(), n_resamples=200).p
    assert 0 < there <= 1
    assert there == back


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    adjusted = holm([0.02, math.nan])
    assert adjusted[0] == 0.02
    assert math.isnan(adjusted[1])


def test_wilcoxon_by_hand_and_by_slide() -> None:
    # Five values of one sign: two of the 32 ways of giving signs to their ranks are as far out.
    found = wilcoxon_test([1.0, 2, 3, 4, 5])
    assert (found.p, found.n_units, found.units) == (pytest.approx(2 / 32), 5, "values")
    assert wilcoxon_test([1.0, 2, 3, 4, 100]).p == found.p, "ranks alone count"
    assert wilcoxon_test([0.0, 0.0]).p == 1.0
    assert math.isnan(wilcoxon_test([]).p)
    slides = [f"s{i}" for i in range(6) for _ in range(5)]
    by_slide = wilcoxon_test(np.repeat([1.0, 2, 3, 4, 5, 6], 5), slides)
    assert (by_slide.p, by_slide.n_units, by_slide.units) == (pytest.approx(2 / 64), 6, "groups")
    with pytest.raises(ConfigError, match="2 values but 1 groups"):
        wilcoxon_test([1, 2], ["a"])
