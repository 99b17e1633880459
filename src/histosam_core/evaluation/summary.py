"""From the rows to the numbers: NoC, failures, time per click, and differences between models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from histosam_core.metrics import bootstrap_interval, clicks_to_reach, miou_per_click

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult

__all__ = [
    "FAILURE_THRESHOLDS",
    "NOC_THRESHOLDS",
    "Difference",
    "Estimate",
    "RunSummary",
    "compare",
    "summarise",
    "summary_json",
]

NOC_THRESHOLDS = (0.80, 0.85, 0.90)
FAILURE_THRESHOLDS = (0.85, 0.90)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of the table.

    Parameters
    ----------
    name, dataset
        The model and the data set.
    n_patches, n_slides, n_clicks
        What was evaluated.
    max_clicks, target_iou
        The budget and the IoU at which clicking stopped.
    noc
        Threshold -> mean number of clicks. A threshold above the target is left out: the run does
        not tell.
    failures, failures_ritm
        Threshold -> share of patches that fail, truly and as RITM counts.
    spc_s
        Seconds per click: the loop's wall time, encoding and the simulated user included, over the
        clicks.
    encode_s, decode_s
        Seconds in the encoder per patch, and in the decoder per click.
    miou
        (max_clicks,) mean IoU after each click.
    resampled
        What the intervals resample: "slides", or "patches" where there is one slide only.
    is_complete
        Whether every patch that was asked for is there.
    """

    name: str
    dataset: str
    n_patches: int
    n_slides: int
    n_clicks: int
    max_clicks: int
    target_iou: float
    noc: Mapping[float, Estimate]
    failures: Mapping[float, Estimate]
    failures_ritm: Mapping[float, Estimate]
    spc_s: float
    encode_s: float
    decode_s: float
    miou: tuple[float, ...]
    resampled: str
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """Clicks that `name` needs more (+) or fewer (-) than `reference`, patch by patch.

    Parameters
    ----------
    dataset, name, reference
        What is compared.
    threshold
        The IoU to reach.
    n_patches
        Patches that both runs hold.
    noc
        Mean difference of the number of clicks, with its interval over the same patches.
    """

    dataset: str
    name: str
    reference: str
    threshold: float
    n_patches: int
    noc: Estimate


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
    result
        The run.
    thresholds
        IoUs for NoC; those above the run's target are left out.
    failure_thresholds
        IoUs for failures, likewise.
    seed
        Of the bootstrap; the same seed gives the same intervals.
    """
    target, budget = result.settings.target_iou, result.settings.max_clicks
    needed = {
        t: clicks_to_reach(result.iou_curves, t, budget)
        for t in sorted({*thresholds, *failure_thresholds})
        if t <= target + 1e-9
    }

    def estimate(values: Any) -> Estimate:
        return _estimate(values, result.slides, seed)

    n_clicks = sum(len(patch.clicks) for patch in result.patches)
    wall_s = sum(float(patch.wall_s.sum()) for patch in result.patches)
    decode_s = sum(float(patch.decode_s.sum()) for patch in result.patches)
    encode_s = sum(patch.encode_s for patch in result.patches)
    n_slides = len(set(result.slides))
    return RunSummary(
        name=result.name,
        dataset=result.dataset,
        n_patches=len(result.patches),
        n_slides=n_slides,
        n_clicks=n_clicks,
        max_clicks=budget,
        target_iou=target,
        noc={t: estimate(np.minimum(needed[t], budget)) for t in thresholds if t in needed},
        failures={t: estimate(np.isinf(needed[t])) for t in failure_thresholds if t in needed},
        failures_ritm={t: estimate(needed[t] >= budget) for t in failure_thresholds if t in needed},
        spc_s=_ratio(wall_s, n_clicks),
        encode_s=_ratio(encode_s, len(result.patches)),
        decode_s=_ratio(decode_s, n_clicks),
        miou=tuple(miou_per_click(result.iou_curves, budget).tolist()),
        resampled="slides" if n_slides > 1 else "patches",
        is_complete=result.is_complete,
    )


def compare(
    results: Sequence[EvaluationResult],
    *,
    thresholds: Sequence[float] = NOC_THRESHOLDS,
    seed: int = 0,
) -> list[Difference]:
    """Compare every pair of models on the patches that both were given, per data set.

    The same patches are hard for both, so that the interval of the difference is narrower than
    those of the two means; where it leaves out 0, the models differ beyond the choice of slides.

    Parameters
    ----------
    results
        Runs; the earlier of a pair is the reference.
    thresholds
        IoUs to reach; those above either run's target are left out.
    seed
        Of the bootstrap.
    """
    differences = []
    for reference, other in combinations(results, 2):
        if reference.dataset != other.dataset:
            continue
        by_id = {patch.patch_id: patch for patch in reference.patches}
        pairs = [(by_id[p.patch_id], p) for p in other.patches if p.patch_id in by_id]
        budget = min(reference.settings.max_clicks, other.settings.max_clicks)
        target = min(reference.settings.target_iou, other.settings.target_iou)
        for threshold in thresholds if pairs else ():
            if threshold > target + 1e-9:
                continue
            before, after = (
                np.minimum(clicks_to_reach([p[i].ious for p in pairs], threshold, budget), budget)
                for i in (0, 1)
            )
            slides = [patch.slide for _, patch in pairs]
            differences.append(
                Difference(
                    dataset=other.dataset,
                    name=other.name,
                    reference=reference.name,
                    threshold=threshold,
                    n_patches=len(pairs),
                    noc=_estimate(after - before, slides, seed),
                )
            )
    return differences


def summary_json(results: Sequence[EvaluationResult]) -> dict[str, Any]:
    """Return all numbers of several runs as JSON has them (nan and infinity become null).

    Thresholds become keys in per cent: ``["runs"][0]["noc"]["85"]["value"]``.
    """
    runs = []
    for result in results:
        s = summarise(result)
        runs.append(
            {
                "model": s.name,
                "dataset": s.dataset,
                "n_patches": s.n_patches,
                "n_slides": s.n_slides,
                "n_clicks": s.n_clicks,
                "is_complete": s.is_complete,
                "noc": _by_percent(s.noc),
                "nof": _by_percent(s.failures),
                "nof_ritm": _by_percent(s.failures_ritm),
                "spc_s": _plain(s.spc_s),
                "encode_s_per_patch": _plain(s.encode_s),
                "decode_s_per_click": _plain(s.decode_s),
                "miou_per_click": [_plain(v) for v in s.miou],
                "interval": {"level": 0.95, "resampled": s.resampled},
                "settings": dict(result.header.get("settings", {})),
                "checkpoint": dict(result.header.get("checkpoint", {})),
                "folder": None if result.folder is None else str(result.folder),
            }
        )
    differences = [
        {
            "dataset": d.dataset,
            "model": d.name,
            "reference": d.reference,
            "iou_percent": round(100 * d.threshold),
            "n_patches": d.n_patches,
            "noc": _estimate_json(d.noc),
        }
        for d in compare(results)
    ]
    return {"schema": 1, "runs": runs, "differences": differences}


def _estimate(values: Any, slides: Sequence[str], seed: int) -> Estimate:
    numbers = np.asarray(values, dtype=float)
    mean = float(numbers.mean()) if numbers.size else math.nan
    rng = np.random.default_rng(seed)
    return Estimate(mean, *bootstrap_interval(numbers, slides, rng=rng))


def _ratio(total: float, n: int) -> float:
    return total / n if n else math.nan


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _estimate_json(estimate: Estimate) -> dict[str, float | None]:
    return {
        "value": _plain(estimate.value),
        "low": _plain(estimate.low),
        "high": _plain(estimate.high),
    }


def _by_percent(estimates: Mapping[float, Estimate]) -> dict[str, Any]:
    return {f"{round(100 * t)}": _estimate_json(e) for t, e in estimates.items()}
