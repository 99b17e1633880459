"""Is one model better than another on the same images? Tests of paired differences."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from histosam_core.errors import ConfigError
from histosam_core.metrics.bootstrap import group_sums

LEAST_GROUPS = 6
"""Groups from which on their signs are flipped together: fewer cannot give a p below 0.05."""
EXACT_UP_TO = 14
"""Units up to which every pattern of signs is tried instead of drawn ones."""
PATTERNS_AT_ONCE = 2000
_UNITS: tuple[Literal["values"], Literal["groups"]] = ("values", "groups")


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Result of a two-sided paired test.

    Parameters
    ----------
    p
        Probability of a mean difference at least as large where there is none; nan without values.
    n_units
        Units whose signs were flipped.
    units
        "groups" (slides), or "values" (patches) where there are fewer than `LEAST_GROUPS` groups.
        Patches of one slide resemble each other, so that a p by values promises too much about
        other slides.
    """

    p: float
    n_units: int
    units: Literal["groups", "values"]


def sign_flip_test(
    differences: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    rng: np.random.Generator,
    n_resamples: int = 20_000,
) -> PairedTest:
    """Two-sided permutation test of a mean paired difference against zero.

    Where two models are alike, either may have had either result, so that every difference could as
    well have the other sign. The signs of whole groups are flipped together where there are enough
    groups, else those of single values. All patterns of signs are tried where they are few, else
    `n_resamples` drawn ones, the observed one counted among them.

    Parameters
    ----------
    differences
        (N,) numbers, one per image that both models were given.
    groups
        The group (slide) of each value.
    rng
        Source of the draws.
    n_resamples
        Patterns of signs that are drawn.

    Raises
    ------
    ConfigError
        Values and groups do not fit.

    References
    ----------
    E. J. G. Pitman, "Significance tests which may be applied to samples from any populations",
    1937; P. Good, "Permutation, Parametric, and Bootstrap Tests of Hypotheses", 2005.
    """
    if n_resamples < 1:
        raise ConfigError(f"n_resamples {n_resamples} must be at least 1")
    sums, _, is_grouped = group_sums(differences, groups, LEAST_GROUPS)
    n, units = len(sums), _UNITS[is_grouped]
    if not n:
        return PairedTest(float("nan"), 0, units)
    # Sums that are equal but for rounding count as equal.
    seen = abs(sums.sum()) - 1e-9 * max(float(np.abs(sums).sum()), 1e-300)
    if n <= EXACT_UP_TO:
        patterns = np.arange(2**n)[:, None] >> np.arange(n) & 1
        as_far = int((np.abs((2 * patterns - 1) @ sums) >= seen).sum())
        return PairedTest(as_far / 2**n, n, units)
    as_far = 1
    for start in range(0, n_resamples, PATTERNS_AT_ONCE):
        signs = rng.integers(0, 2, (min(PATTERNS_AT_ONCE, n_resamples - start), n)) * 2 - 1
        as_far += int((np.abs(signs @ sums) >= seen).sum())
    return PairedTest(as_far / (n_resamples + 1), n, units)


def wilcoxon_test(differences: ArrayLike, groups: Sequence[Hashable] | None = None) -> PairedTest:
    """Two-sided Wilcoxon signed-rank test of paired differences against zero.

    It asks whether one model does better more often and by more, by ranks, so that a few very bad
    images count no more than others. With enough groups, the groups' means are ranked. Differences
    of zero are left out; where there is no other, p is 1.

    Parameters
    ----------
    differences, groups
        As for `sign_flip_test`.

    Raises
    ------
    ConfigError
        Values and groups do not fit.

    References
    ----------
    F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin, 1945.
    """
    sums, counts, is_grouped = group_sums(differences, groups, LEAST_GROUPS)
    units = _UNITS[is_grouped]
    if not len(sums):
        return PairedTest(float("nan"), 0, units)
    # Means of the same numbers in another order differ by rounding; ties are ties all the same.
    means = np.round(sums / counts, 9)
    means = means[means != 0]
    if not len(means):
        return PairedTest(1.0, len(sums), units)
    from scipy.stats import wilcoxon

    return PairedTest(float(wilcoxon(means).pvalue), len(sums), units)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number, so that all of them can be judged together.

    Parameters
    ----------
    p_values
        Of tests of one family; nan stays nan and does not count.

    Returns
    -------
    list of float
        In the order given, each at least as large as before and at most 1.

    References
    ----------
    S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    order = sorted((i for i, p in enumerate(p_values) if p == p), key=lambda i: p_values[i])
    adjusted = [float("nan")] * len(p_values)
    highest = 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p_values[i]))
        adjusted[i] = highest
    return adjusted
