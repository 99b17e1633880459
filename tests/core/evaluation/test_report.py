"""Report, figures and pictures: made from the run folders alone, and self-contained."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from histosam_core.clicks import User
from histosam_core.errors import EvaluationRecordsError
from histosam_core.evaluation import EvaluationResult, evaluate, read_records, write_outputs
from histosam_core.evaluation.pictures import read_image, read_mask, read_truth
from histosam_core.evaluation.report.example_patches import choose_examples, outline_path
from histosam_core.evaluation.report.page import render_report
from histosam_core.evaluation.report.plots import (
    MOST_SLIDES,
    colour_of,
    curve_figure,
    distribution_figure,
    repeats_figure,
    slides_figure,
)


class Outline(HTMLParser):
    """Collects what the page refers to, and checks that tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [v for k, v in found.items() if k in ("href", "src") and v]
        self.ids += [v for k, v in found.items() if k == "id" and v]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> Outline:
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    return outline


@pytest.fixture
def runs_folder(model, batched_model, store, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    folder = tmp_path / "results"
    batched_model.radius_px = 6.0
    for dataset in ("liver/test", "node/test"):
        store.name = dataset
        for name, one in (("plain", model), ("<b>small</b>", batched_model)):
            out = folder / "runs" / f"{len(list(folder.rglob('rows.csv')))}"
            evaluate(one, store, name=name, out=out, target_iou=0.9, max_clicks=8)
    return folder


def test_everything_is_made_from_the_folders_alone(runs_folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(runs_folder, moved)
    runs = read_records(moved)
    written = write_outputs(runs, moved)
    names = ["curves.png", "report.html", "summary.csv", "summary.json", "table.tex"]
    assert sorted(p.name for p in written) == names
    content = json.loads((moved / "summary.json").read_text())
    assert [(r["model"], r["dataset"]) for r in content["runs"]] == [
        (run.name, run.dataset) for run in runs
    ]
    assert cv2.imread(str(moved / "curves.png")) is not None
    assert render_report(runs) == (moved / "report.html").read_text(encoding="utf-8")


def test_report_needs_nothing_beside_it(runs_folder: Path) -> None:
    page = parsed(render_report(read_records(runs_folder), introduction="Hello."))
    assert page.links
    inside = {f"#{name}" for name in page.ids}
    for link in page.links:
        assert link.startswith("data:") or link in inside, link[:80]
    assert len(inside) == len(page.ids), "ids are unique"
    assert "Hello." in page.text


def test_report_shows_every_model_and_data_set_escaped(runs_folder: Path) -> None:
    html = render_report(read_records(runs_folder))
    page = parsed(html)
    assert "<b>small</b>" not in html.split("<main>")[1]
    for text in ("plain", "<b>small</b>", "liver/test", "node/test", "NoC@85", "RITM", "SPC"):
        assert text in page.text


def test_report_numbers_every_click_of_its_examples(runs_folder: Path) -> None:
    run = read_records(runs_folder)[0]
    html = render_report([run])
    shown = choose_examples(run, 2)
    panels = re.findall(r'aria-label="plain: (\d+) clicks?, IoU ([\d.]+)', html)
    assert len(panels) == len(shown) == 6
    by_id = {p.patch_id: p for p in run.patches}
    drawn = len(re.findall(r'<circle class="yes"|<rect class="no"', html)) - 2  # the legend's two
    assert drawn == sum(len(by_id[e.record.patch_id].clicks) for e in shown)


def test_report_does_without_pictures(model, store) -> None:  # type: ignore[no-untyped-def]
    run = evaluate(model, store, name="plain", max_clicks=3)
    html = render_report([run])
    parsed(html)
    assert "Example patches" not in html


def test_report_tells_of_unfinished_and_unlike_runs(runs_folder: Path) -> None:
    run = read_records(runs_folder)[0]
    header = {**run.header, "is_complete": False}
    partial = EvaluationResult(
        run.name, run.dataset, run.settings, run.patches[:3], header, run.folder
    )
    text = " ".join(parsed(render_report([partial])).text.split())
    assert "was cut off: 3 of 11 patches are counted" in text
    assert "same settings" not in render_report([run])


def test_no_run_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(EvaluationRecordsError):
        write_outputs([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pictures_read_back_as_they_were(model, store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from histosam_core.evaluation import run_clicks

    run = evaluate(model, store, name="plain", out=tmp_path / "run", max_clicks=3)
    assert run.folder is not None
    for i, patch in enumerate(store):
        alone = run_clicks(model, patch.image, patch.gt_mask, max_clicks=3)
        mask = read_mask(run.folder, i)
        assert mask is not None
        assert (mask == alone.mask).all()
    for example in choose_examples(run, 2):
        index = example.record.index
        truth, image = read_truth(run.folder, index), read_image(run.folder, index)
        assert truth is not None
        assert (truth == store[index].gt_mask).all()
        assert image is not None
        decoded = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.abs(decoded.mean((0, 1)) - store[index].image.mean((0, 1))).max() < 3
    assert read_mask(run.folder, 999) is None
    assert read_truth(run.folder, 999) is None
    assert read_image(run.folder, 999) is None


def test_examples_are_best_median_and_worst(model, store) -> None:  # type: ignore[no-untyped-def]
    run = evaluate(model, store, name="plain", max_clicks=9)
    chosen = choose_examples(run)
    assert [e.rank for e in chosen] == ["best", "median", "worst"]
    counts = sorted(len(p.clicks) for p in run.patches)
    assert len(chosen[0].record.clicks) == counts[0]
    assert len(chosen[2].record.clicks) == counts[-1]
    assert float(chosen[2].record.ious[-1]) == min(float(p.ious[-1]) for p in run.patches)
    few = EvaluationResult("plain", "d", run.settings, run.patches[:2], {})
    assert len({e.record.patch_id for e in choose_examples(few, 2)}) == 2


def test_outlines_run_through_the_border_pixels_and_keep_holes() -> None:
    mask = np.zeros((8, 8), bool)
    mask[1:7, 1:7] = True
    mask[3:5, 3:5] = False
    path = outline_path(mask)
    assert path.count("M") == path.count("z") == 2
    assert path.startswith("M1.5 1.5l0 5 5 0 0 -5z")
    assert outline_path(np.zeros((4, 4), bool)) == ""
    assert outline_path(np.eye(1, dtype=bool)) == "M0.5 0.5l0 0z"


def test_figures_have_a_panel_per_data_set_and_a_line_per_model(runs_folder: Path) -> None:
    runs = read_records(runs_folder)
    figure = curve_figure(runs)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["liver/test", "node/test"]
    for axis in figure.axes:
        lines = [line for line in axis.lines if len(line.get_xdata()) == 8]
        assert [line.get_label() for line in lines] == ["plain", "<b>small</b>"]
    spread = distribution_figure(runs)
    assert len(spread.axes) == 4
    for axis in spread.axes:
        assert sum(bar.get_height() for bar in axis.patches) == pytest.approx(100)
        assert all(bar.get_height() < axis.get_ylim()[1] for bar in axis.patches), "none is cut"
    assert list(colour_of(runs)) == ["plain", "<b>small</b>"]


def test_report_tells_of_slides_tests_and_a_users_repeats(
    model, batched_model, store, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    batched_model.radius_px = 6.0
    user = User("jitter", sigma_px=3.0, repeats=2)
    for name, one in (("wide", model), ("narrow", batched_model)):
        evaluate(one, store, name=name, out=tmp_path / name, max_clicks=6, user=user)
    runs = read_records(tmp_path)
    page = parsed(render_report(runs))
    text = " ".join(page.text.split())
    for said in ("Slide by slide", "Other hands", "jitter of 3 px, 2 repeats", "repeat 2", "± "):
        assert said in text.lower() or said in text, said
    assert re.search(r"p (< 0\.001|\d\.\d+), Wilcoxon", text)
    assert "single patches are flipped" in text, "three slides are too few"
    assert len(repeats_figure(runs).axes) == 1
    ideal = evaluate(model, store, name="ideal", max_clicks=3)
    assert "Other hands" not in render_report([ideal])


def test_slides_are_drawn_hardest_first_up_to_a_number(model, store) -> None:  # type: ignore[no-untyped-def]
    run = evaluate(model, store, name="wide", max_clicks=6)
    many = [replace(p, slide=f"slide-{i:03d}") for i, p in enumerate(run.patches * 4)]
    many = [replace(p, index=i) for i, p in enumerate(many)]
    figure = slides_figure([replace(run, patches=tuple(many))], 0.85)
    (axis,) = figure.axes
    points = next(line for line in axis.lines if line.get_label() == "wide")
    by_row = sorted(zip(points.get_ydata(), points.get_xdata(), strict=True), reverse=True)
    assert len(by_row) == MOST_SLIDES
    assert [noc for _, noc in by_row] == sorted((noc for _, noc in by_row), reverse=True)
