"""From the rows to the numbers: NoC, failures and time per click, by run, slide and repeat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks.users import IDEAL
from histosam_core.metrics import bootstrap_interval, clicks_to_reach, miou_per_click

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult

NOC_THRESHOLDS = (0.80, 0.85, 0.90)
FAILURE_THRESHOLDS = (0.85, 0.90)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RepeatSpread:
    """How NoC differs between the repeats of a user."""

    # NoC of each repeat in their order, and the standard deviation (n - 1).
    means: tuple[float, ...]
    std: float
    # Mean over the patches of the most clicks that any repeat needed: what an unlucky user needs.
    worst: float

    @property
    def low(self) -> float:
        """The least NoC of a repeat."""
        return min(self.means, default=math.nan)

    @property
    def high(self) -> float:
        """The greatest NoC of a repeat."""
        return max(self.means, default=math.nan)


@dataclass(frozen=True, slots=True)
class SlideSummary:
    """One slide's part of a run."""

    # Its name, and how many patches it has.
    slide: str
    n_patches: int
    # Threshold -> mean number of clicks, and share of patches that fail.
    noc: Mapping[float, float]
    failures: Mapping[float, float]
    last_iou: float  # mean IoU after the last click


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of the table."""

    # The model, the data set, and who clicked, in a few words.
    name: str
    dataset: str
    # What was evaluated; a patch counts once, however often a user clicks on it.
    n_patches: int
    n_slides: int
    n_clicks: int
    # The budget and the IoU at which clicking stopped.
    max_clicks: int
    target_iou: float
    # Threshold -> mean number of clicks. A threshold above the target is left out: the run does not
    # tell.
    noc: Mapping[float, Estimate]
    # Threshold -> share of patches that fail, truly and as RITM counts.
    failures: Mapping[float, Estimate]
    failures_ritm: Mapping[float, Estimate]
    # Seconds per click: the loop's wall time, encoding and the simulated user included, over the
    # clicks.
    spc_s: float
    # Seconds in the encoder per patch, and in the decoder per click.
    encode_s: float
    decode_s: float
    miou: tuple[float, ...]  # (max_clicks,) mean IoU after each click
    # What the intervals resample: "slides", or "patches" where there is one slide only.
    resampled: str
    is_complete: bool  # whether every patch that was asked for is there
    user: str = IDEAL.described
    # Threshold -> mean over the slides of each slide's NoC: every slide counts the same, however
    # many patches it has.
    noc_by_slide: Mapping[float, float] = field(default_factory=dict)
    slides: tuple[SlideSummary, ...] = ()  # the slides, in the order in which they come
    # Threshold -> spread over the user's repeats; empty for one repeat.
    repeats: Mapping[float, RepeatSpread] = field(default_factory=dict)


def summarise(
    result: EvaluationResult,
    *,
    thresholds: Sequence[float] = NOC_THRESHOLDS,
    failure_thresholds: Sequence[float] = FAILURE_THRESHOLDS,
    seed: int = 0,
) -> RunSummary:
    """Return a run's line of the table.

    Parameters
    ----------
    result, seed
        The run, and the seed of the bootstrap: the same one gives the same intervals.
    thresholds, failure_thresholds
        IoUs for NoC and for failures; those above the run's target are left out.
    """
    target, budget, records = result.settings.target_iou, result.settings.max_clicks, result.patches
    needed = {
        t: clicks_to_reach(result.iou_curves, t, budget)
        for t in sorted({*thresholds, *failure_thresholds})
        if can_tell(t, target)
    }
    clicks = {t: np.minimum(needed[t], budget) for t in thresholds if t in needed}
    failed = {t: np.isinf(needed[t]) for t in failure_thresholds if t in needed}
    # Repeats of a patch are no patches of their own: intervals are those of the patches' means.
    patches = PatchMeans(result)

    def estimate(values: Any) -> Estimate:
        return estimate_mean(patches.mean(values), patches.slides, seed)

    n_clicks = sum(len(record.clicks) for record in records)
    slides = _slides(result, patches, clicks, failed)
    repeats = [record.repeat for record in records]
    return RunSummary(
        name=result.name,
        dataset=result.dataset,
        n_patches=len(patches.slides),
        n_slides=len(slides),
        n_clicks=n_clicks,
        max_clicks=budget,
        target_iou=target,
        noc={t: estimate(values) for t, values in clicks.items()},
        failures={t: estimate(values) for t, values in failed.items()},
        failures_ritm={t: estimate(needed[t] >= budget) for t in failed},
        spc_s=_ratio(sum(float(record.wall_s.sum()) for record in records), n_clicks),
        encode_s=_ratio(sum(record.encode_s for record in records), len(records)),
        decode_s=_ratio(sum(float(record.decode_s.sum()) for record in records), n_clicks),
        miou=tuple(miou_per_click(result.iou_curves, budget).tolist()),
        resampled="slides" if len(slides) > 1 else "patches",
        is_complete=result.is_complete,
        user=result.user.described,
        noc_by_slide={
            t: float(np.mean([s.noc[t] for s in slides])) if slides else math.nan for t in clicks
        },
        slides=slides,
        repeats={
            t: _spread(repeats, values, patches)
            for t, values in clicks.items()
            if len(set(repeats)) > 1
        },
    )


def _slides(
    result: EvaluationResult,
    patches: PatchMeans,
    clicks: Mapping[float, NDArray[np.float64]],
    failed: Mapping[float, NDArray[np.bool_]],
) -> tuple[SlideSummary, ...]:
    names = np.array(patches.slides, dtype=object)
    last = patches.mean([record.ious[-1] for record in result.patches])
    noc = {t: patches.mean(values) for t, values in clicks.items()}
    failures = {t: patches.mean(values) for t, values in failed.items()}
    slides = []
    for slide in dict.fromkeys(patches.slides):
        here = names == slide
        slides.append(
            SlideSummary(
                slide,
                int(here.sum()),
                {t: float(values[here].mean()) for t, values in noc.items()},
                {t: float(values[here].mean()) for t, values in failures.items()},
                float(last[here].mean()),
            )
        )
    return tuple(slides)


def _spread(
    repeats: Sequence[int], values: NDArray[np.float64], patches: PatchMeans
) -> RepeatSpread:
    of = np.array(repeats)
    means = tuple(float(values[of == repeat].mean()) for repeat in sorted(set(repeats)))
    worst = float(patches.worst(values).mean())
    return RepeatSpread(means, float(np.std(means, ddof=1)), worst)


def _ratio(total: float, n: int) -> float:
    return total / n if n else math.nan


def can_tell(threshold: float, target_iou: float) -> bool:
    """Whether a run that stops at a target says how many clicks a threshold needs."""
    return threshold <= target_iou + 1e-9


class PatchMeans:
    """The patches of a run, in their order, and what a user's repeats on them come to.

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
