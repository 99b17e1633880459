"""The learning rate over a run: warm-up, then steps down at milestones."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["learning_rate_factor", "warmup_length"]


def warmup_length(warmup_steps: int, total_steps: int) -> int:
    """Steps of warm-up: as set, but never more than a tenth of the run."""
    return min(warmup_steps, total_steps // 10)


def learning_rate_factor(
    step: int,
    progress: float,
    *,
    warmup: int,
    milestones: Sequence[float],
    milestone_factor: float,
) -> float:
    """What the learning rate is multiplied by in one step.

    Parameters
    ----------
    step
        Steps done before it.
    progress
        Share of the run done before it, 0 to 1.
    warmup
        Steps of linear rise from zero.
    milestones
        Shares of the run from which on the rate is `milestone_factor` lower, once more each.
    milestone_factor
        Usually 0.1.
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    passed = sum(progress >= milestone for milestone in milestones)
    return rise * milestone_factor**passed
