"""NoC, failures and mean IoU per click: hand-computed cases and the reference vectors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histosam_core.errors import ConfigError
from histosam_core.metrics import clicks_to_reach, failure_rate, miou_per_click, noc

CURVES = [[0.5, 0.8, 0.9], [0.85], [0.1, 0.2, 0.3]]


def test_hand_computed_noc() -> None:
    assert clicks_to_reach(CURVES, 0.8, 3).tolist() == [2, 1, math.inf]
    assert noc(CURVES, 0.8, 3) == (2 + 1 + 3) / 3
    assert noc(CURVES, 0.8) == (2 + 1 + 20) / 3


def test_reached_means_at_least_in_float32() -> None:
    assert noc([[np.float32(0.8)]], 0.8) == 1
    assert noc([[0.9]], 0.9000000000000001) == 1
    assert noc([[np.nextafter(np.float32(0.8), np.float32(0))]], 0.8) == 20


def test_a_later_drop_does_not_undo_a_success() -> None:
    assert noc([[0.9, 0.1, 0.1]], 0.8) == 1


def test_success_at_the_last_click_fails_by_ritms_rule_only() -> None:
    curves = [[0.1, 0.2, 0.9], [0.1, 0.2, 0.3], [0.9], [0.95]]
    assert failure_rate(curves, 0.9, 3) == 1 / 4
    assert failure_rate(curves, 0.9, 3, protocol="ritm") == 2 / 4


def test_clicks_beyond_the_budget_do_not_count() -> None:
    assert noc([[0.1, 0.2, 0.9]], 0.8, 2) == 2
    assert failure_rate([[0.1, 0.2, 0.9]], 0.8, 2) == 1


def test_no_curves_give_nan_and_an_empty_curve_fails() -> None:
    assert math.isnan(noc([], 0.8))
    assert math.isnan(failure_rate([], 0.8))
    assert np.isnan(miou_per_click([], 3)).tolist() == [True] * 3
    assert noc([[]], 0.8, 7) == 7
    assert failure_rate([[]], 0.8, 7) == 1


def test_mean_iou_holds_the_last_value_of_a_curve_that_ended() -> None:
    means = miou_per_click([[0.5, 0.75], [1.0], []], 3)
    assert means == pytest.approx([0.5, 1.75 / 3, 1.75 / 3])
    assert len(miou_per_click([[0.5, 0.75], [1.0]])) == 2


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="protocol"):
        failure_rate(CURVES, 0.8, protocol="other")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_clicks"):
        noc(CURVES, 0.8, 0)


curves = st.lists(st.lists(st.floats(0, 1, width=32), max_size=6), min_size=1, max_size=8)


@given(curves, st.floats(0, 1, width=32), st.integers(1, 6))
def test_failures_and_counts_are_consistent(
    many: list[list[float]], threshold: float, budget: int
) -> None:
    true, ritm = (failure_rate(many, threshold, budget, p) for p in ("true", "ritm"))  # type: ignore[arg-type]
    assert 0 <= true <= ritm <= 1
    assert noc(many, threshold, budget) >= 1 + true * (budget - 1) - 1e-9
    assert noc(many, threshold, budget) <= noc(many, 1.0, budget)


@pytest.mark.real_slide
def test_equals_the_reference(data_dir: Path) -> None:
    cases = json.loads((data_dir / "reference" / "noc.json").read_text())
    assert cases
    for case in cases:
        budget = case["max_clicks"]
        for i, threshold in enumerate(case["iou_thrs"]):
            needed = clicks_to_reach(case["ious"], threshold, budget)
            n = len(case["ious"])
            assert np.minimum(needed, budget).tolist() == case["noc_per_image"][i], case["tag"]
            assert noc(case["ious"], threshold, budget) == case["noc"][i]
            by_ritm = failure_rate(case["ious"], threshold, budget, protocol="ritm")
            assert by_ritm * n == pytest.approx(case["nof_over_max"][i], abs=1e-9)
            never = sum(
                max(np.float32(v) for v in curve) < np.float32(threshold) for curve in case["ious"]
            )
            assert failure_rate(case["ious"], threshold, budget) * n == pytest.approx(never)
