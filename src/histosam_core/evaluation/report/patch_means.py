"""The mean over patches, and how sure it is; a user's repeats of a patch are averaged first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.metrics import bootstrap_interval

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult

__all__ = ["Estimate", "PatchMeans", "estimate_mean"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class PatchMeans:
    """The patches of a run, in their order, and what their repeats come to.

    Parameters
    ----------
    result
        The run.

    Attributes
    ----------
    slides : list of str
        The slide of each patch.
    """

    def __init__(self, result: EvaluationResult) -> None:
        order = {index: i for i, index in enumerate(dict.fromkeys(p.index for p in result.patches))}
        self._of = np.array([order[p.index] for p in result.patches], dtype=int)
        self._n_repeats = np.bincount(self._of, minlength=len(order)).astype(float)
        slides = dict(zip(self._of.tolist(), result.slides, strict=True))
        self.slides = [slides[i] for i in range(len(order))]

    def mean(self, values: Any) -> NDArray[np.float64]:
        """(records,) -> (patches,)."""
        sums = np.bincount(self._of, np.asarray(values, float), minlength=len(self.slides))
        means: NDArray[np.float64] = sums / self._n_repeats
        return means

    def worst(self, values: Any) -> NDArray[np.float64]:
        """(records,) -> (patches,), the largest of each."""
        largest = np.full(len(self.slides), -math.inf)
        np.maximum.at(largest, self._of, np.asarray(values, float))
        return largest


def estimate_mean(values: Any, slides: Sequence[str], seed: int) -> Estimate:
    """Return the mean of values, one per patch, with its bootstrap interval over the slides."""
    numbers = np.asarray(values, dtype=float)
    mean = float(numbers.mean()) if numbers.size else math.nan
    rng = np.random.default_rng(seed)
    return Estimate(mean, *bootstrap_interval(numbers, slides, rng=rng))
