"""The table's numbers, by hand-computed runs."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from histosam_core.clicks import Click
from histosam_core.evaluation import (
    EvaluationResult,
    PatchRecord,
    ProtocolSettings,
    compare,
    plain_table,
    rich_table,
    summarise,
    summary_json,
)


def run_of(
    curves: Sequence[Sequence[float]],
    name: str = "model",
    dataset: str = "data",
    slides: Sequence[str] | None = None,
    **settings: float,
) -> EvaluationResult:
    """Return a run of these IoU curves; decoding takes 0.1 s, a click 0.2 s, encoding 1 s."""
    patches = tuple(
        PatchRecord(
            index=i,
            patch_id=f"p{i}",
            slide=slides[i] if slides else f"s{i % 2}",
            location_xy=None,
            tumor_fraction=None,
            clicks=tuple(Click((j, j)) for j in range(len(curve))),
            ious=np.array(curve, np.float32),
            encode_s=1.0,
            decode_s=np.full(len(curve), 0.1),
            wall_s=np.array([1.2] + [0.2] * (len(curve) - 1)),
        )
        for i, curve in enumerate(curves)
    )
    protocol = ProtocolSettings(**settings)  # type: ignore[arg-type]
    header = {"is_complete": True, "settings": {}, "dataset": {"name": dataset}}
    return EvaluationResult(name, dataset, protocol, patches, header)


CURVES = [[0.5, 0.82, 0.91], [0.86, 0.91], [0.1, 0.2, 0.3, 0.4], [0.7, 0.8, 0.85, 0.9]]


def test_hand_computed_line_of_the_table() -> None:
    line = summarise(run_of(CURVES, max_clicks=4))
    assert {t: e.value for t, e in line.noc.items()} == {
        0.80: (2 + 1 + 4 + 2) / 4,
        0.85: (3 + 1 + 4 + 3) / 4,
        0.90: (3 + 2 + 4 + 4) / 4,
    }
    assert {t: e.value for t, e in line.failures.items()} == {0.85: 0.25, 0.90: 0.25}
    assert line.failures_ritm[0.90].value == 0.5
    assert (line.n_patches, line.n_slides, line.n_clicks) == (4, 2, 13)
    assert line.spc_s == pytest.approx((4 * 1 + 13 * 0.2) / 13)
    assert line.encode_s == 1.0
    assert line.decode_s == pytest.approx(0.1)
    assert line.miou[3] == pytest.approx((0.91 + 0.91 + 0.4 + 0.9) / 4, abs=1e-6)
    for estimate in line.noc.values():
        assert estimate.low <= estimate.value <= estimate.high


def test_thresholds_above_the_target_are_left_out() -> None:
    line = summarise(run_of([[0.5, 0.86], [0.87]], target_iou=0.85))
    assert list(line.noc) == [0.80, 0.85]
    assert list(line.failures) == [0.85]
    assert "–" in plain_table([run_of([[0.5, 0.86]], target_iou=0.85)])


def test_intervals_are_repeatable_and_resample_slides() -> None:
    run = run_of(CURVES, max_clicks=4)
    assert summarise(run) == summarise(run)
    assert summarise(run).resampled == "slides"
    assert summarise(run_of(CURVES, slides=["a"] * 4)).resampled == "patches"


def test_differences_pair_the_same_patches() -> None:
    slow = run_of([[0.1, 0.2, 0.95], [0.1, 0.95]], "slow")
    fast = run_of([[0.1, 0.95], [0.95]], "fast")
    elsewhere = run_of([[0.95]], "fast", dataset="other")
    found = compare([slow, fast, elsewhere])
    assert {d.threshold for d in found} == {0.80, 0.85, 0.90}
    for difference in found:
        assert (difference.name, difference.reference) == ("fast", "slow")
        assert difference.n_patches == 2
        assert difference.noc.value == difference.noc.low == difference.noc.high == -1


def test_differences_leave_out_patches_that_one_run_lacks() -> None:
    one = run_of([[0.95], [0.1, 0.95]], "one")
    two = run_of([[0.1, 0.95]], "two")
    assert [d.n_patches for d in compare([one, two])] == [1, 1, 1]
    assert compare([one, two])[0].noc.value == 1


def test_summary_is_valid_json_also_without_patches() -> None:
    empty = run_of([])
    assert math.isnan(summarise(empty).spc_s)
    content = json.loads(json.dumps(summary_json([run_of(CURVES), empty]), allow_nan=False))
    assert content["runs"][0]["noc"]["85"]["value"] == pytest.approx((3 + 1 + 20 + 3) / 4)
    assert content["runs"][1]["noc"]["85"]["value"] is None


def test_tables_hold_every_run_at_any_width() -> None:
    from rich.console import Console

    runs = [run_of(CURVES, name, data) for data in ("liver", "node") for name in ("a", "b")]
    text = plain_table(runs)
    assert len(text.splitlines()) == 2 + 4
    assert len({len(line) for line in text.splitlines()}) == 1
    for width in (80, 160):
        console = Console(width=width, file=io.StringIO())
        console.print(rich_table(runs))
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert shown.count("6.75") == 4
        assert "liver" in shown
        assert "…" not in shown
