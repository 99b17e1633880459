"""The paper's set-up and its tables, as data."""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

import pytest

from histosam_core.reproduce.kim2023 import (
    METHODS,
    METRICS,
    SETS,
    STAGES,
    TRAINING_PATCHES,
    methods_of,
    paper_figures,
)
from histosam_core.training.recipes import SCENARIOS


def test_every_cell_of_both_tables_has_the_papers_figures() -> None:
    places = {(m.stage, one.key, m.key) for m in METHODS for one in SETS}
    figures = paper_figures()
    assert figures.keys() == places
    assert len(places) == 33
    assert all(set(row) == set(METRICS) for row in figures.values())


def test_figures_stand_where_they_belong() -> None:
    figures = paper_figures()
    assert figures["zero_shot", "paip2019_x5", "sam"]["noc90"] == 14.73
    assert figures["finetuned", "camelyon16_x10", "focalclick"]["noc80"] == 11.82
    assert dict(figures["finetuned", "paip2019_x5", "refining"]) == {
        "noc80": 4.75,
        "noc85": 7.78,
        "noc90": 10.85,
        "spc_s": 0.067,
        "nof85": 0.26,
        "nof90": 0.42,
    }


def test_tables_have_the_papers_rows_and_patches() -> None:
    assert [m.title for m in methods_of("zero_shot")] == [
        "RITM",
        "FocalClick",
        "SimpleClick",
        "SAM",
    ]
    assert len(methods_of("finetuned")) == 7
    assert list(STAGES) == ["zero_shot", "finetuned"]
    assert [one.n_patches for one in SETS] == [654, 318, 397]
    assert dict(TRAINING_PATCHES) == {"train": 5190, "validation": 576}


def test_scenarios_are_those_of_fine_tuning() -> None:
    assert {m.scenario for m in METHODS if m.scenario} == SCENARIOS.keys() - {"histosam"}


def test_figures_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        paper_figures()["zero_shot", "paip2019_x5", "sam"]["noc90"] = 0.0  # type: ignore[index]


@pytest.mark.real_slide
def test_the_shipped_tables_are_the_papers(data_dir: Path) -> None:
    shipped = (resources.files("histosam_core.reproduce") / "kim2023_tables.csv").read_text()
    truth = (data_dir / "kim2023_tables.csv").read_text()
    assert list(csv.DictReader(shipped.splitlines())) == list(csv.DictReader(truth.splitlines()))
