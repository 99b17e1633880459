"""`histosam finetune`: settings from everywhere, output for both readers, a stop, a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import histosam

from histosam_core.cli.options import gather
from histosam_core.errors import ConfigError
from histosam_core.training import SCENARIOS, TrainConfig, TrainResult, ValidationScores


class Training:
    """Stands in for the training itself: remembers the call, saves the settings, answers."""

    def __init__(self, noc85_after: float = 4.0, stop: bool = False) -> None:
        self.noc85_after, self.stop = noc85_after, stop
        self.config: TrainConfig | None = None
        self.call: dict[str, Any] = {}

    def __call__(self, config: TrainConfig, **call: Any) -> TrainResult:
        self.config, self.call = config, call
        config.save(config.out / "config.json")
        call["progress"](1, 2, "epoch 1/1, loss 0.3")
        call["on_event"]({"event": "notice", "text": "4 patches at a time"})
        if self.stop:
            raise KeyboardInterrupt
        before = ValidationScores(6.0, 8.0, 12.0, (0.4, 0.6, 0.8), 20)
        after = ValidationScores(3.0, self.noc85_after, 9.0, (0.5, 0.7, 0.9), 20)
        out = config.out
        return TrainResult(
            out, out / "best.safetensors", out / "last.safetensors", before, after, after, 7, 9, 99,
            60.0,
        )  # fmt: skip


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    stand_in = Training()
    monkeypatch.setattr("histosam_core.training.finetune", stand_in, raising=False)
    return stand_in


def _run(*arguments: str) -> Any:
    return histosam("finetune", *arguments)


def test_options_reach_the_settings(tmp_path: Path, training: Training) -> None:
    out = tmp_path / "run"
    result = _run(
        "--out", str(out), "--patches", str(tmp_path), "--scenario", "md", "--epochs", "4",
        "--set", "validation_clicks=9", "--set", "augment.resize=false", "--max-minutes", "1.5",
        "--stain", "--patience", "3", "--accumulate-steps", "2", "--cache-disk-mb", "7",
        "--cache-dir", str(tmp_path / "cache"), "--tensorboard", "--precision", "bf16",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    config = training.config
    assert config is not None
    assert (config.out, config.patches, config.scenario) == (out, tmp_path, "md")
    assert (config.epochs, config.max_minutes, config.validation_clicks) == (4, 1.5, 9)
    assert (config.patience, config.accumulate_steps, config.cache_disk_mb) == (3, 2, 7)
    assert (config.cache_dir, config.tensorboard) == (tmp_path / "cache", True)
    assert (config.augment.stain, config.augment.resize, config.augment.dihedral) == (
        True, False, True,
    )  # fmt: skip
    assert training.call["resume"] is False
    assert training.call["overwrite"] is False


def test_the_end_tells_before_and_after_and_what_to_do_next(
    tmp_path: Path, training: Training
) -> None:
    result = _run("--out", str(tmp_path / "run"), "--patches", "data/liver")
    for text in ("8.00", "4.00", "before", "epoch 7", "histosam evaluate --model"):
        assert text in result.stdout
    assert "more clicks" not in result.stdout


def test_a_model_that_got_worse_is_called_so(tmp_path: Path, training: Training) -> None:
    training.noc85_after = 9.0
    result = _run("--out", str(tmp_path / "run"), "--patches", "data/liver")
    assert "needs more clicks than before" in result.stdout


def test_notices_are_shown_beside_the_bar(tmp_path: Path, training: Training) -> None:
    result = _run("--out", str(tmp_path / "run"), "--patches", "data/liver")
    assert "4 patches at a time" in result.stderr


def test_of_several_processes_the_first_one_speaks(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    result = _run("--out", str(tmp_path / "run"), "--patches", "data/liver", "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert training.config is not None


def test_json_is_all_that_stdout_holds(tmp_path: Path, training: Training) -> None:
    result = _run("--out", str(tmp_path / "run"), "--patches", "data/liver", "--json")
    answer = json.loads(result.stdout)
    assert answer["before"]["noc85"] == 8.0
    assert answer["best"]["miou_per_click"] == [0.5, 0.7, 0.9]
    assert answer["best_checkpoint"].endswith("best.safetensors")


def test_a_stop_says_how_to_go_on_and_exits_with_1(tmp_path: Path, training: Training) -> None:
    training.stop = True
    out = tmp_path / "run"
    result = _run("--out", str(out), "--patches", "data/liver", "--epochs", "3")
    assert result.exit_code == 1
    assert f"histosam finetune --out {out} --resume" in result.stderr

    training.stop = False
    result = _run("--out", str(out), "--resume")
    assert result.exit_code == 0, result.output
    assert training.call["resume"] is True
    assert training.config is not None
    assert (training.config.epochs, training.config.patches) == (3, Path("data/liver"))


def test_a_file_gives_settings_and_options_go_before_it(tmp_path: Path, training: Training) -> None:
    TrainConfig(out=Path("elsewhere"), epochs=5, seed=3).save(tmp_path / "my.json")
    config = gather(
        TrainConfig,
        {"out": "run", "epochs": 7},
        config=tmp_path / "my.json",
        extra=["seed=4", "milestones=[0.5]"],
    )
    assert (config.out, config.epochs, config.seed) == (Path("run"), 7, 4)
    assert config.milestones == (0.5,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "--overwrite"], "pass one"),
        (["--resume"], "holds no run to resume"),
        (["--set", "epochs"], "NAME=VALUE"),
        (["--set", "epoch=3"], "no setting is called 'epoch'"),
        (["--scenario", "ours"], "one of md, ie_md, whole, refining, histosam"),
        (["--config", "missing.json"], "no settings file"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    tmp_path: Path, training: Training, arguments: list[str], message: str
) -> None:
    result = _run("--out", str(tmp_path / "run"), *arguments)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
    assert training.config is None


def test_help_explains_every_scenario() -> None:
    result = histosam("finetune", "--help")
    assert result.exit_code == 0
    for scenario in SCENARIOS.values():
        assert scenario.explanation in result.words
