"""Bootstrap intervals: repeatable, of the right width, and honest about slides."""

from __future__ import annotations

import math

import numpy as np
import pytest

from histosam_core.errors import ConfigError
from histosam_core.metrics import bootstrap_interval


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(1).normal(size=50)
    first = bootstrap_interval(values, rng=np.random.default_rng(7))
    assert first == bootstrap_interval(values, rng=np.random.default_rng(7))
    assert first != bootstrap_interval(values, rng=np.random.default_rng(8))


def test_width_is_that_of_the_normal_approximation(rng: np.random.Generator) -> None:
    values = rng.normal(5, 2, size=400)
    low, high = bootstrap_interval(values, rng=rng, n_resamples=4000)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_resampling_slides_is_wider_where_their_patches_are_alike(
    rng: np.random.Generator,
) -> None:
    slides = np.repeat(np.arange(6), 30)
    values = rng.normal(size=6)[slides] + rng.normal(0, 0.1, size=180)
    by_patch = np.diff(bootstrap_interval(values, rng=rng))
    by_slide = np.diff(bootstrap_interval(values, slides.tolist(), rng=rng))
    assert by_slide > 2 * by_patch


def test_slides_of_unequal_size_keep_their_weight(rng: np.random.Generator) -> None:
    low, high = bootstrap_interval([0, 0, 0, 1], ["a", "a", "a", "b"], rng=rng)
    assert (low, high) == (0, 1)


def test_one_slide_falls_back_to_single_values() -> None:
    values = [1.0, 2.0, 3.0]
    alone = bootstrap_interval(values, rng=np.random.default_rng(0))
    assert bootstrap_interval(values, ["a"] * 3, rng=np.random.default_rng(0)) == alone


def test_edge_cases(rng: np.random.Generator) -> None:
    assert all(math.isnan(v) for v in bootstrap_interval([], rng=rng))
    assert bootstrap_interval([4.0], rng=rng) == (4.0, 4.0)
    with pytest.raises(ConfigError, match="groups"):
        bootstrap_interval([1.0, 2.0], ["a"], rng=rng)
    with pytest.raises(ConfigError, match="level"):
        bootstrap_interval([1.0], rng=rng, level=1.5)
