"""`histosam finetune` for RITM, FocalClick and SimpleClick: options, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import histosam

from histosam_core.errors import ConfigError

if TYPE_CHECKING:
    from histosam_core.training import TrainConfig


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """The settings that reach the training, which does nothing."""
    told: list[TrainConfig] = []

    def train(config: TrainConfig, **call: Any) -> None:
        told.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("histosam_core.training.finetune", train, raising=False)
    return told


def _run(*arguments: str) -> Any:
    return histosam("finetune", *arguments)


@pytest.mark.parametrize(
    ("given", "crop"), [("224", (224, 224)), ("448X448", (448, 448)), ("", (448, 448))]
)
def test_a_specialist_needs_no_scenario(
    tmp_path: Path, received: list[TrainConfig], given: str, crop: tuple[int, int]
) -> None:
    crops = ["--crop-size", given] if given else []
    out = str(tmp_path / "run")
    _run("--model", "simpleclick_vit_b", "--patches", "p", "--out", out, *crops)
    (config,) = received
    assert (config.model, config.scenario) == ("simpleclick_vit_b", "specialist")
    assert (config.crop_size, config.learning_rate) == (crop, 5e-5)


def test_options_go_before_the_familys_own(tmp_path: Path, received: list[TrainConfig]) -> None:
    _run(
        "--model", "focalclick_h18s_s2", "--patches", "p", "--out", str(tmp_path / "run"),
        "--learning-rate", "1e-4", "--set", "encoder_lr_factor=1", "--set", "milestones=[0.5]",
    )  # fmt: skip
    (config,) = received
    assert (config.learning_rate, config.encoder_lr_factor) == (1e-4, 1)
    assert config.milestones == (0.5,)
    assert config.first_click_centre


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "ritm_h18s", "--scenario", "refining"], "ritm_h18s is a RITM model"),
        (["--scenario", "specialist"], "histosam-tiny is of SAM's line"),
        (["--model", "ritm_h18s", "--crop-size", "large"], "HEIGHTxWIDTH"),
        (["--model", "ritm_h18s", "--crop-size", "1x2x3"], "HEIGHTxWIDTH"),
        (["--crop-size", "256"], "takes whole patches"),
        (["--model", "focalclick_b0_s2", "--early-features"], "early_features is True"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    tmp_path: Path, received: list[TrainConfig], arguments: list[str], message: str
) -> None:
    result = _run("--patches", "p", "--out", str(tmp_path / "run"), *arguments)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not received


def test_help_names_every_family() -> None:
    words = histosam("finetune", "--help").words
    for text in (
        "RITM, FocalClick and SimpleClick train as a whole",
        "--model ritm_h18s",
        "320x480",
    ):
        assert text in words
