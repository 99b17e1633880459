"""histosam evaluate --slides: reports, what was left out, wrong calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import histosam

from histosam_core.errors import ConfigError, OutputExistsError, SchedulerError

from ..evaluation.slide_stand_ins import Brush, write_slide  # noqa: TID252


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call the command on a folder of two slides."""
    monkeypatch.setattr("histosam_core.model.load_model", lambda name, *_, **__: Brush())
    slides = tmp_path / "liver"
    slides.mkdir()
    write_slide(slides, "a", [(100, 100, 400, 160), (500, 300, 600, 400)])
    write_slide(slides, "b", [(200, 200, 300, 300)])

    def run(*more: object) -> Any:
        given = ("--slides", slides, "--model", "one", "--min-area", 0, "--out", tmp_path / "out")
        return histosam("evaluate", *given, *more)

    return run


def test_regions_are_reported_like_patches(call: Any, tmp_path: Path) -> None:
    done = call("--model", "other=two", "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert [(r["model"], r["n_patches"], r["n_slides"]) for r in summary["runs"]] == [
        ("one", 3, 2),
        ("other", 3, 2),
    ]
    assert {d["n_patches"] for d in summary["differences"]} == {3}
    assert (tmp_path / "out" / "report.html").is_file()
    assert isinstance(call().exception, OutputExistsError)


def test_another_user_repeats_on_slides_as_on_patches(call: Any) -> None:
    done = call("--user", "jitter", "--sigma", 3, "--repeats", 2, "--seed", 7, "--json")
    assert done.exit_code == 0, done.output
    (run,) = json.loads(done.stdout)["runs"]
    assert run["user"] == {"kind": "jitter", "sigma_px": 3.0, "repeats": 2, "seed": 7}
    assert (run["n_patches"], len(run["noc_repeats"]["85"]["means"])) == (3, 2)


def test_what_was_left_out_is_listed_and_ends_with_1(call: Any, tmp_path: Path) -> None:
    write_slide(tmp_path / "liver", "no_mpp", [(100, 100, 200, 200)], mpp=None)
    done = call()
    assert done.exit_code == 1
    assert "no_mpp.tif states neither um per pixel" in done.stderr
    assert "left out by error: 1" in done.stderr
    assert "NoC@85" in done.stdout
    assert call("--mpp", "0.5", "--overwrite").exit_code == 0


def test_events_tell_clicks_and_what_was_left_out(call: Any, tmp_path: Path) -> None:
    write_slide(tmp_path / "liver", "no_mpp", [(100, 100, 200, 200)], mpp=None)
    done = call("--events")
    assert done.exit_code == 1
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "result"
    (notice,) = [e["text"] for e in events if e["event"] == "notice"]
    assert notice.startswith("left out: no_mpp.tif")


def test_wrong_calls_are_refused(call: Any, tmp_path: Path) -> None:
    refused = call("--patches", "liver.zarr")
    assert isinstance(refused.exception, ConfigError)
    patches = ("--model", "one", "--patches", "x.zarr", "--mpp", "0.5")
    refused = histosam("evaluate", *patches, "--out", tmp_path)
    assert isinstance(refused.exception, ConfigError)
    assert "--slides" in str(refused.exception)


def test_a_scheduler_that_is_not_there_is_named(call: Any, monkeypatch: Any) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("histosam_core.evaluation.protocol.cluster.CONNECT_S", 0.3)
    refused = call("--scheduler", "tcp://127.0.0.1:9")
    assert isinstance(refused.exception, SchedulerError)
