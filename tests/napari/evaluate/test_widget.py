"""The widget in a real window: models are evaluated, a patch is opened and stepped through."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.gui


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the widget showed as errors."""
    texts: list[str] = []
    monkeypatch.setattr("napari_histosam.evaluate.widget.notify", texts.append)
    return texts


def show_results(widget: Any, folder: Path, wait_for: Callable[..., None]) -> None:
    widget.open_results(folder)
    wait_for(lambda: widget.controller.results is not None and widget.controller.is_settled)


def open_worst(widget: Any, wait_for: Callable[..., None]) -> Any:
    """Choose the first run and open its worst patch; return the patch when its masks are there."""
    widget.runs_table.selectRow(0)
    widget.open_button.click()
    wait_for(lambda: widget.controller.opened is not None, 60)
    wait_for(lambda: widget.controller.is_settled, 120)
    return widget.controller.opened


def shown(widget: Any, role: str) -> np.ndarray:
    layer = widget.scene.layer(role)
    assert layer is not None
    assert layer.visible
    return np.asarray(layer.data)


def test_two_models_are_evaluated_and_the_table_fills(
    widget: Any, patches: Path, other_model: Path, tmp_path: Path, wait_for: Any
) -> None:
    panel, out = widget.setup_panel, tmp_path / "out"
    panel.choose(
        models=["histosam-tiny", other_model], data=[patches.parent], out=out, max_clicks=3
    )
    assert panel.check(), panel.verdict
    panel.start_panel.button.click()
    wait_for(lambda: any("of 5" in row[-1] for row in widget.runs_table.texts), 120)
    wait_for(lambda: widget.job_panel.state == "finished", 120)
    wait_for(lambda: widget.controller.is_settled)
    first, second = widget.runs_table.texts
    assert [first[0].split("\n")[0], second[0].split("\n")[0]] == ["histosam-tiny", "other"]
    assert first[-1] == second[-1] == "5\nof 5"
    assert "\N{EN DASH}" in first[1]  # an interval
    assert widget.chart.n_points == 6
    assert widget.job_panel.report_button.isEnabled()
    assert widget.job_panel.status == "Finished"
    for suffix in (".csv", ".html", ".tex"):
        widget.controller.export(tmp_path / f"table{suffix}")
    wait_for(lambda: widget.controller.is_settled)
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["histosam-tiny", "other"]
    assert f"{float(rows[0]['noc80']):.2f}" == first[1].split("\n")[0]
    assert "other" in (tmp_path / "table.html").read_text()
    assert "\\toprule" in (tmp_path / "table.tex").read_text()


def test_the_worst_patch_opens_and_its_clicks_are_stepped_through(
    widget: Any, finished: Path, viewer: Any, wait_for: Any, told: list[str]
) -> None:
    show_results(widget, finished, wait_for)
    opened = open_worst(widget, wait_for)
    ranked = [row.record for row in widget.patches_table.rows]
    assert opened.picture.record is ranked[0]
    assert ranked[0].ious[-1] == min(record.ious[-1] for record in ranked)
    assert told == []
    assert opened.mismatch == ""
    n, panel = opened.n_clicks, widget.step_panel
    assert n > 1
    assert panel.slider.value() == n
    last, text = shown(widget, "mask").copy(), panel.text
    panel.slider.setValue(1)
    assert f"Click 1 of {n}" in panel.text
    assert f"IoU {ranked[0].ious[0]:.3f}" in panel.text
    assert panel.text != text
    assert (shown(widget, "mask") != last).any()
    clicks = widget.scene.layer("clicks")
    assert len(clicks.data) == 1
    assert tuple(clicks.data[0][::-1]) == ranked[0].clicks[0].xy
    panel.choose_mode("change")
    panel.slider.setValue(2)
    assert clicks.features["number"].tolist() == [1, 2]
    lime, red = (0, 1, 0, 1), (1, 0, 0, 1)
    wanted = [lime if click.is_positive else red for click in ranked[0].clicks[:2]]
    np.testing.assert_allclose(clicks.border_color, wanted)
    change, before = shown(widget, "change"), opened.mask(1)
    np.testing.assert_array_equal(shown(widget, "mask") > 0, before & (change != 2) | (change == 1))
    assert "added" in panel.legend


def test_two_models_stand_side_by_side_on_the_same_clicks(
    widget: Any, finished: Path, wait_for: Any, told: list[str]
) -> None:
    show_results(widget, finished, wait_for)
    open_worst(widget, wait_for)
    panel = widget.step_panel
    assert panel.others == ["other"]
    widget.controller.set_source("other", "histosam-tiny")
    panel.choose_other("other")
    wait_for(lambda: widget.controller.opened.other_walk is not None, 120)
    opened = widget.controller.opened
    assert opened.other_walk.clicks == opened.walk.clicks
    panel.choose_mode("disagreement")
    panel.slider.setValue(1)
    a, b = (np.asarray(shown(widget, role)) > 0 for role in ("mask", "other mask"))
    truth, classes = opened.picture.truth == 1, shown(widget, "disagreement")
    np.testing.assert_array_equal(classes == 4, (a != truth) & (b != truth))
    assert "only other right" in panel.legend
    assert "other, same clicks: IoU" in panel.other_text
    widget.patches_table.selectRow(1)
    widget.open_button.click()
    wait_for(lambda: widget.controller.is_settled, 60)
    assert widget.controller.opened.picture.record is not opened.picture.record
    assert widget.controller.opened.other_walk is not None  # it stays beside the next patch
    panel.choose_other(None)
    assert not widget.scene.layer("other mask").visible


def test_a_model_that_nobody_knows_is_asked_for(
    widget: Any, finished: Path, other_model: Path, wait_for: Any, told: list[str], tmp_path: Path
) -> None:
    run = shutil.copytree(finished / "runs" / "other", tmp_path / "run")
    header = json.loads((run / "evaluation.json").read_text())
    header["checkpoint"]["name"] = "nobody"
    (run / "evaluation.json").write_text(json.dumps(header))
    show_results(widget, run, wait_for)
    opened = open_worst(widget, wait_for)
    assert opened.walk is None
    assert "choose its checkpoint" in told[0]
    assert shown(widget, "mask").any() == opened.picture.last_mask.any()
    widget.step_panel.source_chosen.emit("other", str(other_model))
    wait_for(lambda: widget.controller.opened.walk is not None, 60)
    assert widget.controller.opened.mismatch == ""


def test_what_is_the_users_stays_and_ours_goes(
    widget: Any, finished: Path, viewer: Any, wait_for: Any
) -> None:
    """Also when the dock is closed, which ends the threads: the viewer's fixture looks for them."""
    theirs = viewer.add_image(np.zeros((50, 80)), name="theirs")
    show_results(widget, finished, wait_for)
    opened = open_worst(widget, wait_for)
    patch = widget.scene.layer("patch")
    assert patch.extent.world[0, 1] > theirs.extent.world[1, 1]  # beside it, not on it
    widget.patches_table.selectRow(1)
    widget.open_button.click()
    wait_for(lambda: widget.controller.opened.picture is not opened.picture, 60)
    wait_for(lambda: widget.controller.is_settled, 60)
    assert widget.scene.layer("patch") is patch  # the next one takes its place
    assert (np.asarray(patch.data) == widget.controller.opened.picture.image).all()
    assert len(viewer.layers) == 1 + len(widget.scene.layers)
    widget.step_panel.close_button.click()
    assert [layer for layer in viewer.layers if layer.visible] == [theirs]
    viewer.window.remove_dock_widget(widget)
    wait_for(lambda: list(viewer.layers) == [theirs])


def test_an_unfinished_run_is_shown_and_grows(
    widget: Any, finished: Path, wait_for: Any, tmp_path: Path
) -> None:
    run = shutil.copytree(finished / "runs" / "other", tmp_path / "run")
    lines = (run / "rows.csv").read_text().splitlines(keepends=True)
    header = json.loads((run / "evaluation.json").read_text()) | {"is_complete": False}
    (run / "evaluation.json").write_text(json.dumps(header))
    third = list(dict.fromkeys(line.split(",")[3] for line in lines[1:]))[2]
    cut = next(i for i, line in enumerate(lines) if line.split(",")[3] == third)
    (run / "rows.csv").write_text("".join(lines[: cut + 1]))  # within the third patch's rows
    show_results(widget, tmp_path, wait_for)
    assert widget.runs_table.texts[0][-1] == "2\nof 5"
    (run / "rows.csv").write_text("".join(lines))
    widget.controller.look()
    wait_for(lambda: widget.controller.is_settled)
    assert widget.runs_table.texts[0][-1] == "5\nof 5"


def test_a_broken_run_folder_gives_one_line_and_the_others_are_shown(
    widget: Any, finished: Path, wait_for: Any, tmp_path: Path, told: list[str]
) -> None:
    shutil.copytree(finished / "runs" / "other", tmp_path / "good")
    shutil.copytree(finished / "runs" / "other", tmp_path / "bad")
    (tmp_path / "bad" / "evaluation.json").write_text("{")
    show_results(widget, tmp_path, wait_for)
    assert len(widget.runs_table.texts) == 1
    assert len(told) == 1
    assert "not a readable evaluation" in told[0]
    assert "\n" not in told[0]
    widget.open_results(tmp_path / "nowhere")
    wait_for(lambda: len(told) == 2)
    assert "no evaluation in" in told[1]
