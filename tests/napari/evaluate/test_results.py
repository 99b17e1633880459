"""Results that grow, and the table as a file; a stand-in for a model, no window."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histosam_core.errors import ConfigError, EvaluationRecordsError, UnknownModelError
from histosam_core.evaluation import evaluate, read_records, summarise
from napari_histosam.evaluate.engine import source_of
from napari_histosam.evaluate.results import (
    ResultsReader,
    export_path,
    export_results,
    rank_patches,
)


class Patch:
    """A dark square that a model sees at once, or only after `effort` clicks."""

    def __init__(self, number: int) -> None:
        self.id, self.slide = f"p{number}", f"s{number % 2}"
        self.gt_mask = np.zeros((40, 40), np.int8)
        self.gt_mask[10:30, 10:30] = 1
        self.image = np.full((40, 40, 3), 10 * (number + 1), np.uint8)


class Slow:
    """Gets the lower rows of the square right only after as many clicks as the patch is bright."""

    def encode(self, image: Any) -> int:
        return int(image[0, 0, 0]) // 10

    def decode(self, embedding: int, clicks: Any, previous: Any = None, **_: Any) -> Any:
        logits = np.full((40, 40), -4, np.float32)
        rows = 20 if len(clicks) >= embedding else 5
        logits[10 : 10 + rows, 10:30] = 4
        return logits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    patches = [Patch(number) for number in range(4)]
    for name in ("a_1 & co", "b"):
        evaluate(Slow(), patches, name=name, out=tmp_path / "runs" / name, max_clicks=3)
    return tmp_path


def test_patches_come_worst_first(folder: Path) -> None:
    (result, _) = read_records(folder)
    ranked = rank_patches(result)
    assert [row.record.patch_id for row in ranked] == ["p3", "p2", "p1", "p0"]
    assert [row.clicks_needed for row in ranked] == [np.inf, 3, 2, 1]


def test_what_has_not_changed_is_not_read_again(folder: Path) -> None:
    reader = ResultsReader(folder)
    first, second = reader.read(), reader.read()
    assert [run.result.name for run in first.runs] == ["a_1 & co", "b"]
    assert [a is b for a, b in zip(first.runs, second.runs, strict=True)] == [True, True]
    rows = folder / "runs" / "b" / "rows.csv"
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text("".join(lines[:2]))
    third = reader.read()
    assert third.runs[0] is first.runs[0]
    assert third.runs[1].summary.n_patches == 1
    assert (third.runs[1].n_done, third.runs[1].n_expected) == (1, 4)


def test_a_run_that_begins_just_now_is_no_problem(folder: Path) -> None:
    (folder / "runs" / "b" / "rows.csv").unlink()
    results = ResultsReader(folder).read()
    assert [run.result.name for run in results.runs] == ["a_1 & co"]
    assert results.problems == ()


def test_the_table_is_written_as_the_suffix_says(folder: Path) -> None:
    results = read_records(folder)
    summary = summarise(results[0])
    with export_results(results, folder / "t.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["model"] == "a_1 & co"
    assert float(row["noc85"]) == summary.noc[0.85].value
    assert float(row["nof90_high"]) == summary.failures[0.90].high
    tex = export_results(results, folder / "t.tex").read_text()
    assert "a\\_1 \\& co & " in tex
    assert f"{summary.noc[0.85].value:.2f}" in tex
    assert "<html" in export_results(results, folder / "t.html").read_text()
    with pytest.raises(ConfigError, match=r"end in \.csv"):
        export_results(results, folder / "t.doc")
    with pytest.raises(EvaluationRecordsError, match="no patch is finished"):
        export_results([], folder / "t.csv")
    assert export_path("t", "LaTeX table (*.tex)") == Path("t.tex")
    assert export_path("t.html", "LaTeX table (*.tex)") == Path("t.html")


def test_a_model_is_found_by_what_was_told_or_by_its_name(folder: Path) -> None:
    from dataclasses import replace

    (result, _) = read_records(folder)
    assert source_of(result, {"a_1 & co": "x.pt"}) == "x.pt"
    known = replace(result, header={"checkpoint": {"name": "histosam-tiny"}})
    assert source_of(known, {}) == "histosam-tiny"
    with pytest.raises(UnknownModelError, match="choose its checkpoint"):
        source_of(result, {})
