"""`histosam reproduce`: options become settings, output for both readers, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import histosam

from histosam_core.errors import ConfigError, SlideNotFoundError
from histosam_core.recipes.stand_in_study import SMALL_MODELS
from histosam_core.reproduce import ReproduceSettings, Selection, Survey
from histosam_core.reproduce.survey import ALL_CELLS, CellState


class Work:
    """Stands in for the work itself: remembers the call, answers with cells of one status."""

    def __init__(self) -> None:
        self.stop = False
        self.status: Any = "done"
        self.settings: ReproduceSettings | None = None
        self.selection = Selection()

    def __call__(self, settings: ReproduceSettings, selection: Selection, **call: Any) -> Survey:
        self.settings, self.selection = settings, selection
        if "bars" in call:
            with call["bars"]("Patches, PAIP2019 x5") as progress:
                progress(1, 2, "a.svs")
            call["on_event"]({"event": "notice", "text": "a.svs is left out"})
        if self.stop:
            raise KeyboardInterrupt
        reason = "weights missing: no w.pth" if self.status == "not run" else ""
        states = tuple(CellState(cell, self.status, reason) for cell in ALL_CELLS)
        nothing = {"paip2019": None, "camelyon16": None}
        return Survey(settings, states, nothing, {}, {}, {})


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    stand_in = Work()
    for name in ("reproduce", "look"):
        monkeypatch.setattr(f"histosam_core.reproduce.{name}", stand_in, raising=False)
    return stand_in


def _run(*arguments: str) -> Any:
    return histosam("reproduce", "kim2023", *arguments, columns=120)


def test_options_reach_the_settings(tmp_path: Path, work: Work) -> None:
    done = _run(
        "--out", str(tmp_path / "out"), "--paip", str(tmp_path), "--camelyon", str(tmp_path),
        "--weights", str(tmp_path), "--model", "ritm=ritm_h18s", "--limit", "20",
        "--max-minutes", "5", "--paip-mask", "whole", "--camelyon-part", "both", "--keep-partial",
        "--stride", "200", "--failures", "true", "--batch-size", "8", "--seed", "3",
        "--device", "cpu", "--set", "batch_size=4", "--only", "ritm,refining",
        "--only", "zero_shot",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    settings = work.settings
    assert settings is not None
    assert settings.paip == settings.camelyon == settings.weights == tmp_path
    assert (settings.models["ritm"], settings.models["sam"]) == ("ritm_h18s", "sam_vit_b")
    assert (settings.limit, settings.max_minutes, settings.seed) == (20, 5.0, 3)
    assert (settings.paip_mask, settings.camelyon_part) == ("whole", "both")
    assert (settings.keep_partial, settings.stride_px, settings.batch_size) == (True, 200, 8)
    assert (settings.failures, settings.device) == ("true", "cpu")
    assert settings.tuning == {"batch_size": 4}
    assert len(work.selection.cells) == 3
    assert "note: a.svs is left out" in done.output
    assert "3 of 3 cells are done" in done.output


def test_cells_that_are_not_done_end_with_1_and_say_why(tmp_path: Path, work: Work) -> None:
    work.status = "not run"
    done = _run("--out", str(tmp_path / "out"), "--paip", str(tmp_path))
    assert done.exit_code == 1
    assert "weights missing: no w.pth" in done.output
    assert "0 of 33 cells are done" in done.output


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, work: Work) -> None:
    work.stop = True
    done = _run("--out", str(tmp_path / "out"), "--paip", str(tmp_path))
    assert done.exit_code == 1
    assert "Go on with the same command" in done.output


def test_json_is_the_summary(tmp_path: Path, work: Work) -> None:
    done = _run("--out", str(tmp_path / "out"), "--paip", str(tmp_path), "--json")
    told = json.loads(done.stdout)
    assert len(told["cells"]) == 33
    assert told["paper"] == "kim2023"


def test_a_dry_run_lists_the_cells_and_what_is_missing(tmp_path: Path, work: Work) -> None:
    work.status = "to do"
    done = _run("--out", str(tmp_path / "out"), "--paip", str(tmp_path), "--dry-run")
    assert done.exit_code == 0
    assert "PAIP2019: no folder given" in done.output
    assert "Patches, CAMELYON16 x10: to be cut (397 in the paper)" in done.output
    assert "33 cells to click: about" in done.output
    assert "Fine-tuning, time not known yet: RITM, FocalClick, SimpleClick" in done.output
    assert not (tmp_path / "out").exists()


def test_a_synthetic_run_takes_the_smallest_networks(tmp_path: Path, work: Work) -> None:
    call = ("--out", str(tmp_path / "out"), "--synthetic", "--dry-run", "--limit", "1",
            "--model", "sam=sam_vit_b")  # fmt: skip
    done = _run(*call)
    assert isinstance(done.exception, ConfigError)
    assert "leave --dry-run out" in str(done.exception)
    (tmp_path / "out" / "synthetic").mkdir(parents=True)
    done = _run(*call)
    assert done.exit_code == 0
    assert work.settings is not None
    assert work.settings.models == {**SMALL_MODELS, "sam": "sam_vit_b"}
    assert work.settings.limit == 1
    assert work.settings.paip == tmp_path / "out" / "synthetic" / "PAIP2019"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--paip"),
        (("--paip", ".", "--model", "ritm_h18s"), "FAMILY=NAME"),
        (("--paip", ".", "--only", "unet"), "--only unet"),
        (("--synthetic", "--weights", "."), "leave out --weights"),
        (("--paip", ".", "--set", "epochs"), "NAME=VALUE"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = _run("--out", str(tmp_path / "out"), *arguments)
    assert isinstance(done.exception, ConfigError)
    assert words in str(done.exception)
    assert "\n" not in str(done.exception)


def test_a_folder_of_something_else_is_told(tmp_path: Path) -> None:
    done = _run("--out", str(tmp_path / "out"), "--paip", str(tmp_path))
    assert isinstance(done.exception, SlideNotFoundError)
    assert "looked in it and its subfolders for 01_01_NNNN.svs" in str(done.exception)
