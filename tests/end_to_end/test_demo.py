"""`histosam demo --quick`, in a process of its own: what it prints and what it leaves."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import pytest

from histosam_core.annotation import read_annotations
from histosam_core.dataset import open_patches
from histosam_core.evaluation import read_records
from histosam_core.model import load_model
from histosam_core.slide import open_slide

Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SYSTEMS = ["as shipped", "sam as shipped", "md", "refining"]
DATASETS = ["liver/test", "lymph_node/test"]


def test_it_prints_a_row_per_system_and_domain_and_what_to_open(demo: tuple[Path, str]) -> None:
    lines = demo[1].splitlines()
    for dataset in DATASETS:
        assert sum(line.startswith(dataset) for line in lines) == 1
    for system in SYSTEMS:
        row = re.compile(rf"\s*{system}( +\d+\.\d\d){{3}}.* ms ")
        assert sum(bool(row.match(line)) for line in lines) == len(DATASETS)
    assert sum("refining" in line and "against md" in after for line, after in pairwise(lines)) == 2
    assert any("NoC@80" in line and "NoF@90" in line and "SPC" in line for line in lines)
    assert "demo/report.html" in demo[1]
    assert re.search(r"Took \d+ s; peak memory \d\.\d GiB", demo[1])


def test_the_summary_holds_what_was_recorded(demo_folder: Path) -> None:
    summary = json.loads((demo_folder / "summary.json").read_text())
    assert [(r["dataset"], r["model"]) for r in summary["runs"]] == [
        (dataset, system) for dataset in DATASETS for system in SYSTEMS
    ]
    recorded = {(r.dataset, r.name): r for r in read_records(demo_folder / "evaluation")}
    for line in summary["runs"]:
        record = recorded[line["dataset"], line["model"]]
        assert line["n_clicks"] == sum(len(patch.clicks) for patch in record.patches) > 0
        assert line["is_complete"]
        assert 1 <= line["noc"]["80"]["value"] <= line["noc"]["85"]["value"] <= 20
    facts = summary["demo"]
    assert facts["total_s"] == pytest.approx(sum(facts["seconds"].values()), abs=1)
    assert 0 < facts["outline"]["clicks"] <= 20


def test_the_report_needs_nothing_beside_it(demo_folder: Path) -> None:
    page = (demo_folder / "report.html").read_text()
    sources = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", page)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "A slide outlined by clicks" in page
    assert "What the demo took" in page


def test_curves_and_preview_are_pictures(demo_folder: Path) -> None:
    for path in [demo_folder / "curves.png", *demo_folder.glob("annotations/*.png")]:
        assert min(cv2.imread(str(path)).shape[:2]) > 200


def test_the_outline_is_a_region_of_its_slide(demo_folder: Path) -> None:
    annotations = demo_folder / "annotations"
    (slide_path,) = annotations.glob("*.svs")
    with open_slide(slide_path) as slide:
        outline = read_annotations(slide_path.with_suffix(".geojson")).fitted(slide.size_wh)
    assert sum(region.geometry.area for region in outline.regions) > 0
    assert all(region.geometry.is_valid for region in outline.regions)


def test_patches_are_split_by_slide(demo_folder: Path) -> None:
    folder = demo_folder / "patches" / "liver"
    slides = [{s.name for s in open_patches(folder, split).slides} for split in ("train", "test")]
    assert slides[0]
    assert slides[1]
    assert slides[0].isdisjoint(slides[1])


@pytest.mark.parametrize("scenario", ["md", "refining"])
def test_fine_tuned_models_load_and_know_how_they_were_made(
    demo_folder: Path, scenario: str
) -> None:
    folder = demo_folder / "runs" / scenario
    info = load_model(folder / "best.safetensors", device="cpu").info
    assert info.scenario == scenario
    with (folder / "log.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) >= 2  # before training, and after an epoch


def test_an_earlier_demo_is_kept_unless_told_otherwise(demo_folder: Path, run: Run) -> None:
    before = (demo_folder / "summary.json").read_bytes()
    done = run("histosam", "demo", "--quick", cwd=demo_folder.parent, check=False)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert (demo_folder / "summary.json").read_bytes() == before
