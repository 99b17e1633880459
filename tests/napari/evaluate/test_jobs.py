"""Jobs of the widget, over a stand-in: watched, stopped, taken up again, found by a new widget."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_histosam.evaluate.watch import News
from napari_histosam.jobs import process as job_process
from napari_histosam.jobs.job import find_jobs

pytestmark = pytest.mark.gui

STAND_IN = Path(__file__).with_name("evaluation_stand_in.py")


@pytest.fixture
def job_row(application: Any) -> Any:
    from napari_histosam.jobs.job_row import JobRow

    return JobRow()


@pytest.fixture
def data(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like one of patches, beside results that the stand-in lets grow."""
    monkeypatch.setattr(job_process, "PROGRAM", (str(STAND_IN),))
    folder = tmp_path / "liver"
    (folder / "test.zarr").mkdir(parents=True)
    shutil.copytree(finished / "runs", folder / "results")
    return folder


def n_done(widget: Any) -> int:
    results = widget.controller.news.results
    return sum(run.n_done for run in results.runs) if results else 0


def test_a_job_is_stopped_goes_on_and_is_found_again(
    open_widget: Callable[[], Any], viewer: Any, data: Path, tmp_path: Path, wait_for: Any
) -> None:
    widget = open_widget()
    widget.setup_panel.choose(data=[data], out=tmp_path / "out", limit=5)
    widget.setup_panel.start_button.click()
    wait_for(lambda: n_done(widget) >= 1)
    widget.job_row.stop_button.click()
    wait_for(lambda: widget.job_row.status == "Stopped")
    wait_for(lambda: widget.controller.is_settled)
    stopped_at = n_done(widget)
    assert 1 <= stopped_at < 10
    assert widget.job_row.pause_button.text() == "Resume"
    widget.job_row.pause_button.click()
    wait_for(lambda: widget.controller.news.state == "running")
    viewer.window.remove_dock_widget(widget)
    again = open_widget()
    wait_for(lambda: again.controller.news.state == "finished")
    wait_for(lambda: n_done(again) == 10)
    assert [row[-1] for row in again.runs_table.texts] == ["5\nof 5", "5\nof 5"]
    again.job_row.remove_button.click()
    wait_for(lambda: find_jobs("evaluate") == [])
    assert (tmp_path / "out" / "runs").is_dir()


def test_a_job_that_was_told_to_stop_says_so_until_its_step_is_done(job_row: Any) -> None:
    job_row.show_news(News(state="running", awaited="stop", message="clicks before"))
    assert job_row.status == "Stopping after the current step: clicks before"
    assert not job_row.stop_button.isEnabled()
    assert job_row.pause_button.text() == "Resume"


def test_a_job_that_fails_says_why(
    open_widget: Callable[[], Any], data: Path, tmp_path: Path, wait_for: Any
) -> None:
    widget = open_widget()
    widget.setup_panel.choose(data=[data], out=tmp_path / "out", limit=999)
    widget.setup_panel.start_button.click()
    wait_for(lambda: widget.job_row.status == "Failed")
    assert widget.job_row.error == "the stand-in has no 999 patches; ask for fewer"


def test_both_decoders_of_a_model_are_offered(
    open_widget: Callable[[], Any], data: Path, other_model: Path
) -> None:
    panel = open_widget().setup_panel
    titles = dict(zip(panel.models.values, panel.models.titles, strict=True))
    assert titles["histosam-tiny"] == "histosam-tiny, refining decoder (bundled)"
    assert titles["histosam-tiny@sam"] == "histosam-tiny, SAM's decoder (bundled)"
    assert titles["sam_vit_b"] == "sam_vit_b (to download, 375 MB)"
    assert panel.models.ticked == ["histosam-tiny"]
    panel.models.tick(["histosam-tiny@sam"])
    panel.choose(data=[data])
    assert panel.check(), panel.verdict
    assert panel.choices.about["models"] == {
        name: name for name in ("histosam-tiny", "histosam-tiny@sam")
    }
    panel.choose(models=[other_model, "histosam-tiny@refining"])  # one decoder; asked for by name
    assert panel.models.ticked == [str(other_model), "histosam-tiny@refining"]
    (title,) = [t for t in panel.models.titles if "other.safetensors" in t]
    assert "decoder" not in title


def test_what_stands_against_a_run_is_said_before_it(
    open_widget: Callable[[], Any], data: Path
) -> None:
    panel = open_widget().setup_panel
    assert not panel.check()
    assert panel.verdict == "add patches or a folder of annotated slides"
    panel.choose(data=[data])
    assert panel.check()
    assert panel.verdict == "1 model on 1 data set, up to 20 clicks each"
    panel.choose(models=[])
    assert not panel.check()
    assert not panel.start_button.isEnabled()
    (data / "slides").mkdir()
    panel.choose(models=["histosam-tiny"], data=[data / "slides"])
    assert panel.choices.patches == ()
    assert panel.choices.slides == data / "slides"
