"""`histosam improve`: settings from options and from earlier work, output for both readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import histosam

from histosam_core.errors import ConfigError
from histosam_core.evaluation.report.summary import Estimate
from histosam_core.improve import Improvement, ImproveSettings, Proof
from histosam_core.improve.run import SETTINGS_FILE


class Work:
    """Stands in for the work itself: remembers the call, saves the settings, answers."""

    def __init__(self) -> None:
        self.stop = False
        self.own_model: str | None = "liver"
        self.settings: ImproveSettings | None = None
        self.call: dict[str, Any] = {}

    def __call__(self, settings: ImproveSettings, **call: Any) -> Improvement:
        self.settings, self.call = settings, call
        settings.save(settings.out / SETTINGS_FILE)
        call["progress"](1, 1000, "cutting patches")
        if call["on_event"] is not None:
            call["on_event"]({"event": "stage", "stage": "patches", "number": 1, "of": 4})
        if self.stop:
            raise KeyboardInterrupt
        better = Estimate(-1.4, -2.1, -0.6)
        return Improvement(
            settings.out, settings.model, settings.scenario, settings.out / "best.safetensors",
            Proof("noc85", 5.2, 3.8, better, 48, 2, "slides", 20),
            {"train": 90, "validation": 20, "test": 48}, {"train": 4, "validation": 1, "test": 2},
            "slides", self.own_model, ("c.svs was left out",), 60.0,
        )  # fmt: skip


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    stand_in = Work()
    monkeypatch.setattr("histosam_core.improve.improve", stand_in, raising=False)
    return stand_in


def _run(*arguments: str) -> Any:
    return histosam("improve", *arguments)


def test_options_reach_the_settings(tmp_path: Path, work: Work) -> None:
    result = _run(
        "--out", str(tmp_path / "work"), "--slides", "slides", "--annotations", "outlines",
        "--model", "sam_vit_b", "--scenario", "md", "--minutes", "0", "--known-within", "slide",
        "--magnification", "10", "--tumor", "0.1", "0.9", "--epochs", "4", "--label", "Lesion",
        "--set", "augment.stain=true", "--promote", "never",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    settings = work.settings
    assert settings is not None
    assert settings.slides == (Path("slides"),)
    assert settings.annotations == (Path("outlines"),)
    assert (settings.model, settings.scenario, settings.promote) == ("sam_vit_b", "md", "never")
    assert (settings.minutes, settings.known_within_um, settings.mpp) == (None, None, 1.0)
    assert (settings.tumor_fraction, settings.labels) == ((0.1, 0.9), ("Lesion",))
    assert settings.train_config(50).epochs == 4
    assert settings.train_config(50).augment.stain


def test_the_outcome_is_said_in_plain_words(tmp_path: Path, work: Work) -> None:
    result = _run("--out", str(tmp_path / "work"), "--slides", "slides")
    assert (
        "needs 1.40 clicks fewer (95 % CI 0.60 to 2.10) to reach an IoU of 85 % on 48 held-out "
        "patches of 2 slides (5.20 before, 3.80 after); promoted as liver."
    ) in result.stdout
    assert "--model liver" in result.stdout
    assert "note: c.svs was left out" in result.stderr
    work.own_model = None
    result = _run("--out", str(tmp_path / "work"), "--slides", "slides")
    assert "; not promoted." in result.stdout
    assert "histosam models --add" in result.stdout


def test_json_is_all_that_stdout_holds(tmp_path: Path, work: Work) -> None:
    result = _run("--out", str(tmp_path / "work"), "--slides", "slides", "--json")
    answer = json.loads(result.stdout)
    assert answer["proof"]["difference"] == {"value": -1.4, "low": -2.1, "high": -0.6}
    assert (answer["is_promoted"], answer["own_model"]) == (True, "liver")


def test_events_end_with_the_result(tmp_path: Path, work: Work) -> None:
    result = _run("--out", str(tmp_path / "work"), "--slides", "slides", "--events")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"event": "stage", "stage": "patches"}.items() <= events[-2].items()
    assert events[-1]["event"] == "result"
    assert events[-1]["checkpoint"].endswith("best.safetensors")


def test_a_stop_says_how_to_go_on_with_the_settings_it_had(tmp_path: Path, work: Work) -> None:
    out = tmp_path / "work"
    work.stop = True
    result = _run("--out", str(out), "--slides", "slides", "--epochs", "3", "--minutes", "7")
    assert result.exit_code == 1
    assert f"histosam improve --out {out} --resume" in result.stderr
    work.stop = False
    result = _run("--out", str(out), "--resume", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert work.call["resume"] is True
    assert work.settings is not None
    assert (work.settings.minutes, work.settings.device) == (7, "cpu")
    assert work.settings.train_config(50).epochs == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slides", "s", "--resume", "--overwrite"], "pass one"),
        ([], "give --slides"),
        (["--resume"], "holds no work to resume"),
        (["--slides", "s", "--mpp", "1", "--magnification", "5"], "not both"),
        (["--slides", "s", "--known-within", "far"], "such as 100, or slide"),
        (["--slides", "s", "--set", "epochs"], "NAME=VALUE"),
        (["--slides", "s", "--set", "epoch=3"], "no setting is called 'epoch'"),
        (["--slides", "s", "--scenario", "ours"], "one of md, ie_md"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    tmp_path: Path, work: Work, arguments: list[str], message: str
) -> None:
    result = _run("--out", str(tmp_path / "work"), *arguments)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
    assert work.settings is None
