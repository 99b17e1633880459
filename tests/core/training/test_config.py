"""Settings: every problem at once, JSON there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from histosam_core.dataset.augment import AugmentSettings
from histosam_core.errors import ConfigError
from histosam_core.training.config import TrainConfig
from histosam_core.training.recipes import SCENARIOS


def test_defaults_are_the_papers() -> None:
    config = TrainConfig(out=Path("run"))
    assert (config.epochs, config.learning_rate) == (30, 5e-4)
    assert [round(share * config.epochs, 6) for share in config.milestones] == [20, 25]
    assert (config.focal_alpha, config.focal_gamma) == (0.5, 2.0)
    assert (config.max_random_clicks, config.max_iterations) == (24, 3)


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(
            out=Path("run"),
            scenario="everything",
            epochs=0,
            learning_rate=-1.0,
            milestones=(0.9, 0.5),
            precision="fp8",
            max_minutes=0,
        )
    message = str(caught.value)
    for name in ("scenario", "epochs", "learning_rate", "milestones", "precision", "max_minutes"):
        assert name in message
    assert "refining" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 2.5),
        ("epochs", True),
        ("learning_rate", "fast"),
        ("milestones", 0.5),
        ("out", 3),
        ("augment", {"dihedral": 1}),
        ("validation_limit", "all"),
        ("first_click_centre", 1),
        ("seed", -1),
        ("focal_alpha", 1.0),
        ("single_click_share", 1.5),
        ("learning_rate", float("nan")),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        TrainConfig(**{"out": Path("run"), name: value})


def test_settings_survive_the_file(tmp_path: Path) -> None:
    config = TrainConfig(
        out=tmp_path / "run",
        patches=Path("data"),
        scenario="histosam",
        max_minutes=2,
        milestones=(0.5,),
        augment=AugmentSettings(stain=True, resize=False),
    )
    config.save(tmp_path / "config.json")
    assert TrainConfig.load(tmp_path / "config.json") == config


def test_a_file_may_hold_some_settings_only(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"out": "run", "epochs": 3, "augment": {"rgb_shift": False}})
    )
    config = TrainConfig.load(tmp_path / "config.json")
    assert config == TrainConfig(
        out=Path("run"), epochs=3, augment=AugmentSettings(rgb_shift=False)
    )


def test_unknown_names_are_reported_beside_wrong_values() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(
            {"epoch": 3, "batch_size": 0, "augment": {"flip": True, "stain": "yes"}}
        )
    for text in ("'epoch'", "batch_size", "'flip'", "augment.stain", "out is missing"):
        assert text in str(caught.value)


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", '"x"'])
def test_a_file_that_is_no_settings_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        TrainConfig.load(tmp_path / "config.json")
    with pytest.raises(ConfigError, match="no settings file"):
        TrainConfig.load(tmp_path / "missing.json")


def test_every_scenario_is_accepted() -> None:
    for name in SCENARIOS:
        assert TrainConfig(out=Path("run"), scenario=name).scenario == name


def test_sams_decoder_is_given_no_early_features() -> None:
    assert TrainConfig(out=Path("run"), scenario="md", early_features=False)
    with pytest.raises(ConfigError, match="scenario md trains SAM's decoder, which takes none"):
        TrainConfig(out=Path("run"), scenario="md", early_features=True)
