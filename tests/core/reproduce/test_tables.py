"""Figures beside the paper's: differences, CSV, LaTeX."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from histosam_core.clicks import Click
from histosam_core.evaluation import EvaluationResult, PatchRecord, ProtocolSettings
from histosam_core.reproduce import ReproduceSettings, Survey
from histosam_core.reproduce.kim2023 import METRICS, SETS
from histosam_core.reproduce.outputs import render_page, summary, write_tables
from histosam_core.reproduce.paper_tables import (
    best_of,
    csv_table,
    figures,
    latex_table,
    number,
    rows_of,
)
from histosam_core.reproduce.survey import ALL_CELLS, CellState


def _result(*curves: list[float], max_clicks: int = 20) -> EvaluationResult:
    patches = tuple(
        PatchRecord(
            index=i,
            patch_id=f"p{i}",
            slide="s",
            location_xy=None,
            tumor_fraction=None,
            clicks=tuple(Click((0.0, 0.0), True) for _ in ious),
            ious=np.array(ious, np.float32),
            encode_s=0.0,
            decode_s=np.zeros(len(ious)),
            wall_s=np.full(len(ious), 0.25),
        )
        for i, ious in enumerate(curves)
    )
    settings = ProtocolSettings(max_clicks=max_clicks)
    return EvaluationResult("m", "d", settings, patches, {"is_complete": True})


@pytest.fixture
def view(tmp_path: Path) -> Survey:
    """RITM zero-shot on PAIP2019 is done, SAM not run, the rest to do."""
    result = _result([0.5, 0.82, 0.91], [0.86, 0.90])
    states = []
    for cell in ALL_CELLS:
        state = CellState(cell, "to do")
        if cell.key == ("zero_shot", "paip2019_x5", "ritm"):
            state = CellState(cell, "done", n_done=2, n_patches=2, result=result)
        elif cell.method.key == "sam":
            state = CellState(cell, "not run", "weights missing: no a_b.pth & <more>")
        states.append(state)
    settings = ReproduceSettings(out=tmp_path / "out", paip=tmp_path)
    nothing = {"paip2019": None, "camelyon16": None}
    return Survey(settings, tuple(states), nothing, {}, {}, {})


def test_figures_are_those_of_the_runs(view: Survey) -> None:
    row = rows_of(view, "zero_shot")[SETS[0]][0]
    assert row.ours == {
        "noc80": 1.5,
        "noc85": 2.0,
        "noc90": 2.5,
        "spc_s": 0.25,
        "nof85": 0.0,
        "nof90": 0.0,
    }
    assert row.difference("noc80") == pytest.approx(1.5 - 7.43)
    other = rows_of(view, "zero_shot")[SETS[0]][1]
    assert other.ours == {}
    assert math.isnan(other.difference("noc80"))


def test_failures_are_counted_as_ritm_does_or_truly() -> None:
    # The last click reaches 0.90: RITM calls that failed.
    state = CellState(ALL_CELLS[0], "done", result=_result([0.1, 0.95], max_clicks=2))
    assert figures(state, "ritm")["nof90"] == 1.0
    assert figures(state, "true")["nof90"] == 0.0


@pytest.mark.parametrize(
    ("value", "metric", "signed", "text"),
    [
        (7.4349, "noc80", False, "7.43"),
        (0.0519, "spc_s", False, "0.052"),
        (-0.1249, "noc80", True, "-0.12"),
        (0.1251, "noc80", True, "+0.13"),
        (-0.004, "noc80", True, "0.00"),
        (math.nan, "noc80", True, ""),
    ],
)
def test_numbers_are_printed_as_in_the_paper(
    value: float, metric: str, signed: bool, text: str
) -> None:
    assert number(value, metric, signed=signed) == text


def test_the_best_of_a_block_needs_two(view: Survey) -> None:
    rows = rows_of(view, "zero_shot")[SETS[0]]
    assert best_of(rows, ours=True) == {}
    paper = best_of(rows, ours=False)
    assert (paper["noc80"], paper["spc_s"]) == (7.21, 0.052)
    both = (rows[0], replace(rows[1], ours={"noc80": 1.4}))
    assert best_of(both, ours=True) == {"noc80": 1.4}


def test_csv_has_every_cell_with_both_figures(view: Survey) -> None:
    rows = list(csv.DictReader(csv_table(view).splitlines()))
    assert len(rows) == 33
    first = rows[0]
    assert (first["stage"], first["dataset"], first["method"]) == (
        "zero_shot", "PAIP2019 x5", "RITM",
    )  # fmt: skip
    assert (first["status"], first["patches"], first["patches_paper"]) == ("done", "2", "654")
    for name in METRICS:
        difference = float(first[name]) - float(first[f"{name}_paper"])
        assert float(first[f"{name}_difference"]) == pytest.approx(difference, abs=1e-4)
    sam = next(row for row in rows if row["method"] == "SAM")
    assert sam["status"] == "not run"
    assert sam["reason"].startswith("weights missing")
    assert sam["noc80"] == sam["noc80_difference"] == ""
    assert sam["noc80_paper"] == "9.13"
    assert {row["stage"] for row in rows} == {"zero_shot", "finetuned_paip2019"}


def test_latex_is_a_booktabs_table_with_even_rows(view: Survey) -> None:
    text = latex_table(view, "finetuned")
    assert text.count("\\midrule") == 3
    assert "SAM ie\\_md" in text
    rows = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert len(rows) == 1 + 2 * 21
    assert {line.count("&") for line in rows} == {len(METRICS) + 1}
    zero_shot = latex_table(view, "zero_shot")
    assert "PAIP2019 x5 & RITM & 1.50 & 2.00" in zero_shot
    assert "{\\scriptsize 7.43, $-5.93$}" in zero_shot
    assert "& SAM & -- & --" in zero_shot


def test_the_page_says_what_was_not_run_and_escapes_it(view: Survey) -> None:
    page = render_page(view)
    assert "not run (weights missing: no a_b.pth &amp; &lt;more&gt;)" in page
    assert "1 of 33 cells are done" in page
    assert "654 patches in the paper, none cut here yet" in page
    assert "−5.93" in page
    assert page.count("<img ") == 1  # curves of the stage that has something to show
    assert "http" not in page.split("<body>")[1]


def test_all_files_are_written(view: Survey) -> None:
    paths = write_tables(view)
    assert [path.name for path in paths] == [
        "tables.csv",
        "table_zero_shot.tex",
        "table_finetuned.tex",
        "summary.json",
        "tables.html",
    ]
    assert all(path.stat().st_size > 500 for path in paths)


def test_the_summary_has_what_a_program_needs(view: Survey) -> None:
    told = summary(view)
    assert (told["n_done"], told["n_not_run"]) == (1, 3)
    first = told["cells"][0]
    assert first["ours"]["noc85"] == 2.0
    assert first["paper"]["noc85"] == 10.24
    assert first["nof_true"] == {"nof85": 0.0, "nof90": 0.0}
    assert told["settings"]["max_clicks"] == 20
    assert {choice["option"] for choice in told["choices"]} >= {"--paip-mask", "--camelyon-part"}
