"""RITM, FocalClick and SimpleClick in the fine-tune widget: what applies, and the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from napari_histosam.finetune.choices import Choices, free_run_folder
from napari_histosam.finetune.estimate import SPECIALIST_COSTS, estimate, training_seconds

Wait = Callable[..., None]


@pytest.fixture
def chosen(patches: Path, tmp_path: Path) -> Choices:
    fixed = {"out": tmp_path / "run", "model": "ritm_h18s", "device": "cpu"}
    return Choices("patches", {**fixed, "crop_size": (224, 224)}, {"patches": patches})


def with_(choices: Choices, **tuning: Any) -> Choices:
    return replace(choices, tuning={**choices.tuning, **tuning})


def test_a_specialists_settings_name_no_scenario(chosen: Choices) -> None:
    assert chosen.problem() == ""
    assert chosen.title == "ritm_h18s on liver"
    settings = chosen.config()
    assert settings.scenario == "specialist"
    assert settings.crop_size == (224, 224)
    assert free_run_folder("ritm_h18s", None).name == "ritm_h18s-tuned-1"


def test_what_does_not_apply_is_said(chosen: Choices) -> None:
    for change, told in (
        ({"scenario": "md"}, "ritm_h18s is a RITM model"),
        ({"early_features": True}, "early_features is True"),
        ({"crop_size": "large"}, "crop_size is 'large'"),
    ):
        assert told in with_(chosen, **change).problem()
    slides = replace(chosen, source="slides", data={"slides": (Path(__file__),)})
    assert slides.problem().startswith("RITM models learn from patches alone")


def test_the_estimate_grows_with_the_crops(chosen: Choices) -> None:
    assert estimate(chosen).startswith("About")
    assert "640 patches" in estimate(chosen)
    cost = SPECIALIST_COSTS["ritm_hrnet18s_itm"]
    small = training_seconds(chosen.config(), cost, 640, 80)
    large = training_seconds(with_(chosen, crop_size=None).config(), cost, 640, 80)
    assert small < large
    other = with_(chosen, model="simpleclick_vit_h", crop_size=None)
    assert estimate(other).startswith("No figure")


@pytest.mark.gui
def test_choosing_a_specialist_puts_away_what_does_not_apply(
    open_widget: Callable[[], Any], stand_in: None, patches: Path, wait_for: Wait
) -> None:
    panel = open_widget().settings_panel
    form = panel.form

    def given() -> dict[str, Any]:
        return {name: value for name, value in form.given.items() if name not in ("out", "model")}

    listed = form.widget("model").values
    assert {"ritm_h18s", "focalclick_h18s_s2", "simpleclick_vit_b"} <= set(listed)
    panel.data_panel.choose("patches", patches=patches)
    panel.choose(early_features=True)
    assert given() == {"early_features": True}
    panel.choose(model="simpleclick_vit_b")
    assert panel.scenario is None
    assert form.widget("scenario").native.isHidden()
    assert "448 x 448" in form.note_of("model")
    assert given() == {}  # neither early features nor another learning rate
    for name in ("early_features", "augment_variants", "cache_mb", "half_embeddings"):
        assert form.widget(name).native.isHidden()
    panel.choose(crop_size=(224, 224), learning_rate=0.0001)
    assert given() == {"crop_size": (224, 224), "learning_rate": 0.0001}
    wait_for(lambda: "No figure" in panel.verdict or "640 patches" in panel.verdict)
    assert panel.start_panel.button.isEnabled()
    panel.choose(model="histosam-tiny")
    assert panel.scenario == "refining"
    assert not form.widget("scenario").native.isHidden()
    assert given() == {"early_features": True, "learning_rate": 0.0001}
