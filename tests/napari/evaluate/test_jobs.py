"""Jobs of the widget, over a stand-in: watched, stopped, taken up again, found by a new widget."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_histosam.jobs import job_folder as job_process
from napari_histosam.jobs.job import find_jobs

pytestmark = pytest.mark.gui

STAND_IN = Path(__file__).with_name("evaluation_stand_in.py")


@pytest.fixture
def data(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like one of patches, beside results that the stand-in lets grow."""
    monkeypatch.setattr(job_process, "PROGRAM", (str(STAND_IN),))
    folder = tmp_path / "liver"
    (folder / "test.zarr").mkdir(parents=True)
    shutil.copytree(finished / "runs", folder / "results")
    return folder


def n_done(widget: Any) -> int:
    results = widget.controller.results
    return sum(run.n_done for run in results.runs) if results else 0


def test_a_job_is_stopped_goes_on_and_is_found_again(
    open_widget: Callable[[], Any], viewer: Any, data: Path, tmp_path: Path, wait_for: Any
) -> None:
    widget = open_widget()
    widget.setup_panel.choose(data=[data], out=tmp_path / "out", limit=5)
    widget.setup_panel.start_panel.button.click()
    wait_for(lambda: n_done(widget) >= 1)
    widget.job_panel.stop_button.click()
    wait_for(lambda: widget.job_panel.status == "Stopped")
    wait_for(lambda: widget.controller.is_settled)
    stopped_at = n_done(widget)
    assert 1 <= stopped_at < 10
    assert widget.job_panel.pause_button.text() == "Resume"
    widget.job_panel.pause_button.click()
    wait_for(lambda: widget.job_panel.state == "running")
    viewer.window.remove_dock_widget(widget)
    again = open_widget()
    wait_for(lambda: again.job_panel.state == "finished")
    wait_for(lambda: n_done(again) == 10)
    assert [row[-1] for row in again.runs_table.texts] == ["5\nof 5", "5\nof 5"]
    again.open_results(tmp_path)  # no job makes these
    assert again.job_panel.status == f"Results in {tmp_path}"
    again.open_results(tmp_path / "out")
    assert again.job_panel.job.id == find_jobs("evaluate")[0].id
    again.job_panel.remove_button.click()
    wait_for(lambda: find_jobs("evaluate") == [])
    assert (tmp_path / "out" / "runs").is_dir()


def test_a_job_that_fails_says_why(
    open_widget: Callable[[], Any], data: Path, tmp_path: Path, wait_for: Any
) -> None:
    widget = open_widget()
    widget.setup_panel.choose(data=[data], out=tmp_path / "out", limit=999)
    widget.setup_panel.start_panel.button.click()
    wait_for(lambda: widget.job_panel.status == "Failed")
    assert widget.job_panel.error == "the stand-in has no 999 patches; ask for fewer"


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


def test_what_is_wrong_is_said_before_the_run(open_widget: Callable[[], Any], data: Path) -> None:
    panel = open_widget().setup_panel
    assert not panel.check()
    assert panel.verdict == "add patches or a folder of annotated slides"
    panel.choose(data=[data])
    assert panel.check()
    assert panel.verdict == "1 model on 1 data set, up to 20 clicks each"
    panel.choose(models=[])
    assert not panel.check()
    assert not panel.start_panel.button.isEnabled()
    (data / "slides").mkdir()
    panel.choose(models=["histosam-tiny"], data=[data / "slides"])
    assert panel.choices.patches == ()
    assert panel.choices.slides == data / "slides"
