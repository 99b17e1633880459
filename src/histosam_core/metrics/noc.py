"""What a run of clicks is judged by: number of clicks, failures, and mean IoU per click.

An IoU curve holds the IoU after click 1, 2, ... of one image; it may end early, where the target
was reached. Comparisons are made in float32, as the protocol's reference does them, so a curve and
a threshold that print alike compare alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.errors import ConfigError


def clicks_to_reach(
    iou_curves: Iterable[ArrayLike], threshold: float, max_clicks: int = 20
) -> NDArray[np.float64]:
    """Clicks until each image first has IoU >= `threshold`.

    Parameters
    ----------
    iou_curves
        One curve of IoUs per image; values after `max_clicks` are left out.
    threshold
        IoU to reach, 0 to 1. It must not lie above the IoU at which the run stopped clicking.
    max_clicks
        The budget of clicks.

    Returns
    -------
    (N,) float64
        1 to `max_clicks`; infinity where the threshold is never reached (also: an empty curve).
    """
    if max_clicks < 1:
        raise ConfigError(f"max_clicks is {max_clicks}; it must be at least 1")
    return np.array([_first(curve, threshold, max_clicks) for curve in iou_curves], dtype=float)


def noc(iou_curves: Iterable[ArrayLike], threshold: float, max_clicks: int = 20) -> float:
    """NoC: mean number of clicks to reach IoU `threshold`; an image that fails counts the budget.

    Parameters
    ----------
    iou_curves, threshold, max_clicks
        As for `clicks_to_reach`.

    Returns
    -------
    float
        1 to `max_clicks`; nan when there is no curve.

    References
    ----------
    K. Sofiiuk et al., "Reviving iterative training with mask guidance for interactive
    segmentation", ICIP 2022.
    """
    needed = np.minimum(clicks_to_reach(iou_curves, threshold, max_clicks), max_clicks)
    return float(needed.mean()) if needed.size else float("nan")


def failure_rate(
    iou_curves: Iterable[ArrayLike],
    threshold: float,
    max_clicks: int = 20,
    protocol: Literal["true", "ritm"] = "true",
) -> float:
    """NoF / n: share of images that fail to reach IoU `threshold` within `max_clicks`.

    Parameters
    ----------
    iou_curves, threshold, max_clicks
        As for `clicks_to_reach`.
    protocol
        "true" counts images that never reach the threshold. "ritm" counts those whose number of
        clicks equals `max_clicks`, as RITM's code does, so a success at the very last click counts
        as a failure too.

    Returns
    -------
    float
        0 to 1; nan when there is no curve.
    """
    if protocol not in ("true", "ritm"):
        raise ConfigError(f"protocol is {protocol!r}; choose 'true' or 'ritm'")
    needed = clicks_to_reach(iou_curves, threshold, max_clicks)
    failed = np.isinf(needed) if protocol == "true" else needed >= max_clicks
    return float(failed.mean()) if failed.size else float("nan")


def miou_per_click(
    iou_curves: Iterable[ArrayLike], max_clicks: int | None = None
) -> NDArray[np.float64]:
    """Mean IoU after click 1 to `max_clicks`.

    Parameters
    ----------
    iou_curves
        One curve of IoUs per image. One that ended early keeps its last IoU: the user was content
        and the mask stays. An empty one counts 0.
    max_clicks
        Length of the answer; None takes the longest curve.

    Returns
    -------
    (max_clicks,) float64
        nan throughout when there is no curve.
    """
    curves = [np.asarray(curve, dtype=np.float32).ravel() for curve in iou_curves]
    length = max((len(c) for c in curves), default=0) if max_clicks is None else max_clicks
    if not curves:
        return np.full(length, np.nan)
    held = np.zeros((len(curves), length))
    for row, curve in zip(held, curves, strict=True):
        if len(curve):
            row[:] = curve[np.minimum(np.arange(length), len(curve) - 1)]
    means: NDArray[np.float64] = held.mean(axis=0)
    return means


def _first(curve: ArrayLike, threshold: float, max_clicks: int) -> float:
    reached = np.asarray(curve, dtype=np.float32).ravel()[:max_clicks] >= np.float32(threshold)
    return float(reached.argmax() + 1) if reached.any() else float("inf")
