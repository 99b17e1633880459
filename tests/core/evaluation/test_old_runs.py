"""Runs that version 0.1.0 wrote: they are read, reported on to the digit, and gone on with."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from histosam_core.evaluation import (
    csv_table,
    evaluate,
    latex_table,
    read_records,
    summary_json,
    write_outputs,
)

from .conftest import BatchedBlobModel, FakeStore, make_patch

ARCHIVE = Path(__file__).parent / "data" / "evaluation_of_0_1_0.zip"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """runs/ of two models, a jittered user and slides; one that was cut off; tables of the runs."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_tables_of_old_runs_are_as_they_were(folder: Path) -> None:
    runs = read_records(folder / "runs")
    assert csv_table(runs) == (folder / "summary.csv").read_text()
    assert latex_table(runs) == (folder / "table.tex").read_text()
    numbers = summary_json(runs)
    for run in numbers["runs"]:
        run["folder"] = None
    assert numbers == json.loads((folder / "summary.json").read_text())


def test_a_report_is_made_of_old_runs_with_their_pictures(folder: Path) -> None:
    report = write_outputs(read_records(folder / "runs"), folder / "out")[-1].read_text()
    for text in ("second@refining", "jitter of 3 px, 3 repeats, seed 5", "a#1", "old/slides"):
        assert text in report
    assert report.count("data:image/jpeg") == 14


def test_an_old_run_that_was_cut_off_goes_on_with_the_same_clicks(folder: Path) -> None:
    store = FakeStore([make_patch(i) for i in range(30, 39)], "lymph/test")
    (kept,) = read_records(folder / "cut_off")
    assert 0 < len(kept.patches) < 9
    run = evaluate(
        BatchedBlobModel(6.0), store, name="second@refining", out=folder / "cut_off", max_clicks=9
    )
    (whole,) = read_records(folder / "runs" / "second")
    assert [(p.clicks, p.ious.tolist()) for p in run.patches] == [
        (p.clicks, p.ious.tolist()) for p in whole.patches
    ]
