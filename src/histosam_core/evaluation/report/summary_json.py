"""All numbers of an evaluation as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from histosam_core.evaluation.report.comparison import compare
from histosam_core.evaluation.report.summary import summarise

if TYPE_CHECKING:
    from histosam_core.evaluation.records import EvaluationResult
    from histosam_core.evaluation.report.patch_means import Estimate

__all__ = ["summary_json"]


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
                "user": asdict(result.user),
                "noc": _by_percent(s.noc),
                "noc_mean_of_slides": {_percent(t): _plain(v) for t, v in s.noc_by_slide.items()},
                "noc_repeats": {
                    _percent(t): {
                        "means": [_plain(v) for v in spread.means],
                        "std": _plain(spread.std),
                        "min": _plain(spread.low),
                        "max": _plain(spread.high),
                        "worst_of_repeats": _plain(spread.worst),
                    }
                    for t, spread in s.repeats.items()
                },
                "nof": _by_percent(s.failures),
                "nof_ritm": _by_percent(s.failures_ritm),
                "spc_s": _plain(s.spc_s),
                "encode_s_per_patch": _plain(s.encode_s),
                "decode_s_per_click": _plain(s.decode_s),
                "miou_per_click": [_plain(v) for v in s.miou],
                "interval": {"level": 0.95, "resampled": s.resampled},
                "slides": [
                    {
                        "slide": one.slide,
                        "n_patches": one.n_patches,
                        "noc": {_percent(t): _plain(v) for t, v in one.noc.items()},
                        "nof": {_percent(t): _plain(v) for t, v in one.failures.items()},
                        "last_iou": _plain(one.last_iou),
                    }
                    for one in s.slides
                ],
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
            "p": _plain(d.p),
            "p_holm": _plain(d.p_holm),
            "p_wilcoxon": _plain(d.p_wilcoxon),
            "tested": d.tested,
        }
        for d in compare(results)
    ]
    return {"schema": 1, "runs": runs, "differences": differences}


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _estimate_json(estimate: Estimate) -> dict[str, float | None]:
    return {
        "value": _plain(estimate.value),
        "low": _plain(estimate.low),
        "high": _plain(estimate.high),
    }


def _by_percent(estimates: Mapping[float, Estimate]) -> dict[str, Any]:
    return {_percent(t): _estimate_json(e) for t, e in estimates.items()}


def _percent(threshold: float) -> str:
    return f"{round(100 * threshold)}"
