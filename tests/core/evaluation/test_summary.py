"""The table's numbers, by hand-computed runs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pytest

from histosam_core.clicks import Click, User
from histosam_core.evaluation import (
    EvaluationResult,
    PatchRecord,
    ProtocolSettings,
    compare,
    csv_table,
    latex_table,
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
    repeats: int = 1,
    **settings: float,
) -> EvaluationResult:
    """Return a run of these IoU curves; decoding takes 0.1 s, a click 0.2 s, encoding 1 s.

    With repeats, every `repeats` curves are those of one patch.
    """
    patches = tuple(
        PatchRecord(
            index=i // repeats,
            patch_id=f"p{i // repeats}",
            slide=slides[i // repeats] if slides else f"s{i // repeats % 2}",
            location_xy=None,
            tumor_fraction=None,
            clicks=tuple(Click((j, j)) for j in range(len(curve))),
            ious=np.array(curve, np.float32),
            encode_s=1.0,
            decode_s=np.full(len(curve), 0.1),
            wall_s=np.array([1.2] + [0.2] * (len(curve) - 1)),
            repeat=i % repeats,
        )
        for i, curve in enumerate(curves)
    )
    protocol = ProtocolSettings(**settings)  # type: ignore[arg-type]
    header = {"is_complete": True, "settings": {}, "dataset": {"name": dataset}}
    if repeats > 1:
        header["user"] = asdict(User("jitter", repeats=repeats))
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


def reaching(*clicks: int) -> list[list[float]]:
    """Return curves that reach every threshold after so many clicks."""
    return [[0.1] * (n - 1) + [0.95] for n in clicks]


def test_repeats_are_averaged_before_patches_are() -> None:
    line = summarise(run_of(reaching(1, 3, 5, 6, 8, 10), repeats=3, slides=["a", "b"]))
    assert line.n_patches == 2
    assert line.noc[0.85].value == pytest.approx((3 + 8) / 2)
    # Two patches to resample, of means 3 and 8; as six patches the interval would be narrower.
    assert (line.noc[0.85].low, line.noc[0.85].high) == (3, 8)
    spread = line.repeats[0.85]
    assert spread.means == (3.5, 5.5, 7.5)
    assert spread.std == pytest.approx(2)
    assert (spread.low, spread.high, spread.worst) == (3.5, 7.5, 7.5)
    assert summarise(run_of(reaching(1, 3))).repeats == {}


def test_every_slide_counts_the_same_in_the_mean_over_slides() -> None:
    line = summarise(run_of(reaching(2, 4, 9), slides=["a", "a", "b"]))
    assert line.noc[0.85].value == 5
    assert line.noc_by_slide[0.85] == (3 + 9) / 2
    assert [(s.slide, s.n_patches, s.noc[0.85]) for s in line.slides] == [("a", 2, 3), ("b", 1, 9)]
    never = summarise(run_of([[0.5], [0.86]], slides=["a", "b"], max_clicks=1))
    assert [s.failures[0.85] for s in never.slides] == [1, 0]


def test_p_values_are_paired_and_corrected_for_all_pairs_of_models() -> None:
    slow, fast = run_of(reaching(*[4] * 7), "slow"), run_of(reaching(*[2] * 7), "fast")
    (found,) = [d for d in compare([slow, fast]) if d.threshold == 0.85]
    assert found.p == found.p_holm == pytest.approx(2 / 2**7)
    assert found.tested == "patches"
    mixed = run_of(reaching(1, 6, 2, 5, 3, 4, 4), "mixed")
    three = [d for d in compare([slow, fast, mixed]) if d.threshold == 0.85]
    assert three[0].p_holm == pytest.approx(3 * 2 / 2**7)
    assert all(d.p_holm >= d.p for d in three)


def test_six_slides_are_tested_as_slides() -> None:
    slides = [f"s{i // 2}" for i in range(12)]
    slow = run_of(reaching(*[4] * 12), "slow", slides=slides)
    fast = run_of(reaching(*[3] * 12), "fast", slides=slides)
    difference = compare([slow, fast])[0]
    assert difference.tested == "slides"
    assert difference.p == pytest.approx(2 / 2**6)


def test_repeats_are_paired_with_repeats_and_users_with_the_same_user() -> None:
    one = run_of(reaching(1, 9, 2, 8), "one", repeats=2)
    two = run_of(reaching(2, 10, 3, 9), "two", repeats=2)
    for difference in compare([one, two]):
        assert difference.noc.value == difference.noc.low == difference.noc.high == 1
        assert difference.n_patches == 2
    assert compare([one, run_of(reaching(1, 2), "ideal")]) == []


def test_exports_hold_every_run() -> None:
    runs = [
        run_of(reaching(3, 5), "a_b & <c>", "liver"),
        run_of(reaching(2, 3), "50 %", "liver"),
        run_of(reaching(1, 2, 3, 4), "r", "node", repeats=2),
    ]
    rows = list(csv.DictReader(io.StringIO(csv_table(runs))))
    assert [(row["model"], row["dataset"]) for row in rows] == [
        (run.name, run.dataset) for run in runs
    ]
    assert float(rows[0]["noc85"]) == 4
    assert [float(rows[0][f"noc85_{end}"]) for end in ("low", "high")] == [3, 5]
    assert rows[0]["noc85_repeats_std"] == ""
    assert float(rows[2]["noc85_worst_of_repeats"]) == 3
    latex = latex_table(runs)
    assert r"a\_b \& \textless{}c\textgreater{}" in latex
    assert r"\textbf{2.50} {\scriptsize [2.00, 3.00]}" in latex
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in body} == {7}
    assert "50 % against a_b & <c> -1.50" in latex


def test_terminal_shows_intervals_p_and_repeats() -> None:
    from rich.console import Console

    runs = [run_of(reaching(*[n] * 14), f"m{n}", repeats=2) for n in (2, 4)]
    console = Console(width=80, file=io.StringIO())
    console.print(rich_table(runs))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("[2.0, 2.0]", "jitter of 8 px, 2 repeats", "+2.00 [2.00, 2.00]", "p 0.016", "SD"):
        assert text in shown
    assert "…" not in shown
