"""The fine-tune widget: settings, a job's life by its buttons, what outlives the widget."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histosam_core.annotation import AnnotatedRegion, read_geojson
from histosam_core.model.registry.own_models import list_own_models
from napari_histosam.finetune.widget import checkpoint_of
from napari_histosam.jobs.job import find_jobs
from napari_histosam.viewer import layers as ours

pytestmark = pytest.mark.gui

Wait = Callable[..., None]


@pytest.fixture
def widget(open_widget: Callable[[], Any], stand_in: None) -> Any:
    return open_widget()


def start(widget: Any, patches: Path, out: Path, **choices: Any) -> Any:
    widget.settings_panel.data_panel.choose("patches", patches=patches)
    widget.settings_panel.choose(out=out, **choices)
    assert widget.settings_panel.check(), widget.settings_panel.verdict
    widget.settings_panel.start_panel.button.click()
    return widget.job_panel


def word(panel: Any) -> str:
    return str(panel.status.partition(":")[0])


def test_settings_are_checked_and_a_time_is_told_before_the_start(
    widget: Any, patches: Path, wait_for: Wait
) -> None:
    panel = widget.settings_panel
    wait_for(lambda: "no object is accepted" in panel.verdict)
    assert not panel.start_panel.button.isEnabled()
    panel.data_panel.choose("patches", patches=patches)
    wait_for(lambda: "640 patches" in panel.verdict or "No figure" in panel.verdict)
    assert panel.start_panel.button.isEnabled()
    panel.choose(learning_rate=0.002, milestones=(3,))
    wait_for(lambda: "milestones" in panel.verdict)
    panel.choose(milestones=())
    wait_for(lambda: "milestones" not in panel.verdict)
    given = panel.form.given
    given.pop("out")
    assert given == {"learning_rate": 0.002}


def test_a_job_is_watched_paused_stopped_and_goes_on_to_its_end(
    widget: Any, patches: Path, tmp_path: Path, wait_for: Wait
) -> None:
    panel = start(widget, patches, tmp_path / "run", epochs=12, seed=60)
    wait_for(lambda: widget.training_panel.loss_chart.n_points >= 6)
    seen = widget.training_panel.loss_chart.n_points
    wait_for(lambda: widget.training_panel.loss_chart.n_points > seen)
    assert word(panel) == "Running"
    assert "left" in panel.status
    panel.pause_button.click()
    wait_for(lambda: word(panel) == "Paused")
    assert panel.pause_button.text() == "Resume"
    panel.pause_button.click()
    wait_for(lambda: word(panel) == "Running")
    panel.stop_button.click()
    wait_for(lambda: word(panel) == "Stopped")
    assert not panel.stop_button.isEnabled()
    panel.pause_button.click()
    wait_for(lambda: word(panel) == "Finished")
    assert widget.training_panel.clicks_chart.n_points == 3 * 13
    assert panel.error == ""
    for text in ("Before training: NoC@85 14.25", "Stopped", "Resumed", "Epoch 12: NoC@85 2.25"):
        assert text in widget.training_panel.log


def test_a_job_in_a_long_step_says_what_it_will_do_after_it_and_a_stop_can_be_taken_back(
    widget: Any, patches: Path, tmp_path: Path, wait_for: Wait
) -> None:
    panel = start(widget, patches, tmp_path / "run", seed=600_000)
    wait_for(lambda: "Before training" in widget.training_panel.log)
    panel.pause_button.click()
    assert word(panel) == "Pausing after the current step"
    panel.stop_button.click()
    assert word(panel) == "Stopping after the current step"
    assert not panel.stop_button.isEnabled()
    assert panel.pause_button.text() == "Resume"
    panel.pause_button.click()
    assert word(panel) == "Running"
    assert panel.stop_button.isEnabled()


def test_a_job_that_does_not_hear_a_stop_can_be_ended(
    widget: Any, patches: Path, tmp_path: Path, wait_for: Wait
) -> None:
    panel = start(widget, patches, tmp_path / "run", seed=600_000)
    wait_for(lambda: "Before training" in widget.training_panel.log)
    panel._patience.setInterval(300)
    panel.stop_button.click()
    assert (panel.stop_button.text(), panel.stop_button.isEnabled()) == ("Stop", False)
    wait_for(lambda: panel.stop_button.text() == "End now")
    panel.stop_button.click()
    wait_for(lambda: word(panel) == "Lost")
    assert "Resume goes on" in panel.error
    assert (panel.stop_button.text(), panel.stop_button.isEnabled()) == ("Stop", False)
    assert panel.pause_button.text() == "Resume"


def test_another_widget_finds_the_job_with_all_its_curves(
    widget: Any, open_widget: Callable[[], Any], patches: Path, tmp_path: Path, wait_for: Wait,
    viewer: Any,
) -> None:  # fmt: skip
    start(widget, patches, tmp_path / "run", epochs=40, seed=60)
    wait_for(lambda: widget.training_panel.clicks_chart.n_points >= 6)
    viewer.window.remove_dock_widget("all")
    again = open_widget()
    assert again is not widget
    assert again.job_panel.job.id == find_jobs()[0].id
    wait_for(lambda: again.training_panel.clicks_chart.n_points >= 6)
    assert word(again.job_panel) == "Running"
    again.job_panel.stop_button.click()
    wait_for(lambda: word(again.job_panel) == "Stopped")


def test_the_result_is_chosen_in_outline_by_clicks(
    widget: Any, patches: Path, tmp_path: Path, wait_for: Wait, viewer: Any
) -> None:
    _, outline = viewer.window.add_plugin_dock_widget("napari-histosam", "Outline by clicks")
    panel = start(widget, patches, tmp_path / "liver-run", epochs=1)
    wait_for(lambda: word(panel) == "Finished")
    widget.use_button.click()
    assert outline.setup_panel.setup.model == "liver-run"
    (own,) = list_own_models()
    assert own.path == tmp_path / "liver-run" / "best.safetensors"
    widget.use_button.click()  # again: it is not added twice
    assert len(list_own_models()) == 1
    outline.shut_down()


def test_a_failed_job_shows_its_one_line_and_can_be_removed(
    widget: Any, patches: Path, tmp_path: Path, wait_for: Wait
) -> None:
    panel = start(widget, patches, tmp_path / "run", model="sam_vit_h")
    wait_for(lambda: word(panel) == "Failed")
    assert panel.error == ("sam_vit_h is not downloaded; run histosam models --download sam_vit_h")
    panel.remove_button.click()
    assert find_jobs() == []
    assert panel.status.startswith("No job yet")
    assert widget.training_panel.isHidden()


class Outlined:
    """Objects accepted on a slide, as the Annotations layer has them."""

    slide_wh, slide_mpp = (600, 400), 0.5

    def __init__(self, name: str) -> None:
        self.slide_name = name

    def regions(self) -> tuple[AnnotatedRegion, ...]:
        import shapely

        return (AnnotatedRegion(shapely.box(50, 60, 200, 210), label="Tumor").measured(0.5),)


def test_objects_accepted_in_the_viewer_are_written_for_the_job(
    widget: Any, tmp_path: Path, viewer: Any
) -> None:
    import tifffile

    path = tmp_path / "case.tif"
    tifffile.imwrite(path, np.zeros((400, 600, 3), np.uint8), photometric="rgb")
    viewer.open(path, plugin="napari-histosam")
    for name in ("case.tif", "no file"):
        tag = ours.LayerTag(ours.OBJECTS, widget, Outlined(name))
        viewer.add_labels(np.zeros((4, 4), np.uint8), metadata={ours.TAG: tag})
    widget.settings_panel.data_panel.refresh()
    widget.settings_panel.choose(out=tmp_path / "run")
    assert widget.settings_panel.check(), widget.settings_panel.verdict
    widget.settings_panel.start_panel.button.click()
    (job,) = find_jobs("improve")
    given = json.loads((job.folder / "settings.json").read_text())
    assert given["slides"] == [str(path)]
    (outlines,) = map(Path, given["annotations"])
    assert read_geojson(outlines).regions[0].geometry.bounds == (50, 60, 200, 210)
    assert "no file" not in str(given)


@pytest.mark.slow
def test_a_real_training_moves_the_curves_stops_and_resumes(
    open_widget: Callable[[], Any], small_patches: Path, tmp_path: Path, wait_for: Wait
) -> None:
    widget = open_widget()
    panel = start(
        widget,
        small_patches,
        tmp_path / "run",
        epochs=8,
        batch_size=2,
        device="cpu",
        validation_clicks=2,
        augment_variants=1,
        validation_limit=2,
    )
    wait_for(
        lambda: (
            widget.training_panel.loss_chart.n_points
            and widget.training_panel.clicks_chart.n_points >= 6
        ),
        200,
    )
    panel.stop_button.click()
    wait_for(lambda: word(panel) in ("Stopped", "Finished"), 60)
    assert word(panel) == "Stopped", widget.training_panel.log
    panel.pause_button.click()
    wait_for(lambda: word(panel) not in ("Stopped", "Running"), 200)
    assert word(panel) == "Finished", panel.error
    assert widget.training_panel.clicks_chart.n_points == 3 * 9
    assert checkpoint_of(panel.history) == tmp_path / "run" / "best.safetensors"


def test_a_licence_that_is_refused_starts_nothing(
    widget: Any, patches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(name: str, text: str, parent: Any) -> bool:
        asked.append(name)
        return False

    monkeypatch.setattr("napari_histosam.widgets.notices._is_accepted_now", refuse)
    monkeypatch.delenv("HISTOSAM_ACCEPT_LICENCE", raising=False)
    panel, started = widget.settings_panel, []
    panel.started.connect(started.append)
    panel.data_panel.choose("patches", patches=patches)
    panel.choose(model="focalclick_b0_s2", out=tmp_path / "run")
    assert panel.check(), panel.verdict
    panel.start_panel.button.click()
    assert asked == ["focalclick_b0_s2"]
    assert not started
