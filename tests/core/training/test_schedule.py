"""Learning rate: warm-up, and the paper's milestones."""

from __future__ import annotations

import pytest

from histosam_core.training.optimiser import learning_rate_factor, warmup_length

PAPER = {"milestones": (20 / 30, 25 / 30), "milestone_factor": 0.1}


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 64, 649])
def test_the_rate_falls_at_the_start_of_epoch_20_and_25_of_30(steps_per_epoch: int) -> None:
    total = 30 * steps_per_epoch
    factors = [learning_rate_factor(step, step / total, warmup=0, **PAPER) for step in range(total)]
    for epoch, expected in ((0, 1), (19, 1), (20, 0.1), (24, 0.1), (25, 0.01), (29, 0.01)):
        of_epoch = factors[epoch * steps_per_epoch : (epoch + 1) * steps_per_epoch]
        assert of_epoch == pytest.approx([expected] * steps_per_epoch)


def test_the_rate_rises_linearly_in_the_warm_up() -> None:
    factors = [learning_rate_factor(step, 0.0, warmup=4, **PAPER) for step in range(6)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_warm_up_is_at_most_a_tenth_of_the_run() -> None:
    assert warmup_length(100, 3000) == 100
    assert warmup_length(100, 500) == 50
    assert warmup_length(100, 5) == 0
    assert warmup_length(0, 5000) == 0
