"""How far a mean can be trusted: bootstrap intervals, by slide where slides are known."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.errors import ConfigError


def bootstrap_interval(
    values: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    n_resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    Patches of one slide resemble each other, so that resampling patches promises too much; with
    `groups`, whole groups are drawn with replacement and their values pooled. A single group says
    nothing about other groups: then, and without `groups`, single values are drawn.

    Parameters
    ----------
    values
        (N,) numbers, one per image.
    groups
        The group (slide) of each value.
    rng
        Source of randomness; the same state gives the same interval.
    level
        Coverage aimed at, between 0 and 1.
    n_resamples
        Number of bootstrap samples.

    Returns
    -------
    (low, high)
        nan, nan when there is no value.

    References
    ----------
    B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13.
    """
    if not 0 < level < 1 or n_resamples < 1:
        raise ConfigError(f"level {level} must lie in (0, 1) and n_resamples {n_resamples} be >= 1")
    sums, counts, _ = group_sums(values, groups, least_groups=2)
    if not len(sums):
        return float("nan"), float("nan")
    share = np.full(len(sums), 1 / len(sums))
    # How often each group is drawn is all that its order leaves to know.
    drawn = rng.multinomial(len(sums), share, size=n_resamples)
    means = (drawn @ sums) / (drawn @ counts)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def group_sums(
    values: ArrayLike, groups: Sequence[Hashable] | None, least_groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return sum and number of the values of each group, and whether there are enough groups.

    Each value is a group of its own where there are none, or fewer than `least_groups`.

    Raises
    ------
    ConfigError
        Values and groups do not fit.
    """
    numbers = np.asarray(values, dtype=float).ravel()
    if groups is not None and len(groups) != len(numbers):
        raise ConfigError(f"{len(numbers)} values but {len(groups)} groups; give one group a value")
    code = {group: i for i, group in enumerate(dict.fromkeys(groups or ()))}
    if groups is None or len(code) < least_groups:
        return numbers, np.ones(len(numbers)), False
    index = np.array([code[group] for group in groups])
    sums: NDArray[np.float64] = np.bincount(index, weights=numbers).astype(float)
    return sums, np.bincount(index).astype(float), True
