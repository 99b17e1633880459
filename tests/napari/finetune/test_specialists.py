"""RITM, FocalClick and SimpleClick in the fine-tune widget: what applies, the command, the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import histosam

from histosam_core.errors import ConfigError
from napari_histosam.finetune.choices import Choices, free_run_folder
from napari_histosam.finetune.estimate import SPECIALIST_COSTS, estimate, training_seconds

Wait = Callable[..., None]


@pytest.fixture
def chosen(patches: Path, tmp_path: Path) -> Choices:
    return Choices(
        "patches",
        tmp_path / "run",
        patches=patches,
        model="ritm_h18s",
        scenario=None,
        device="cpu",
        settings={"crop_size": [224, 224]},
    )


def test_a_specialists_command_names_no_scenario(
    chosen: Choices, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def work(settings: Any, **call: Any) -> Any:
        told.append(settings)
        raise ConfigError("enough")

    monkeypatch.setattr("histosam_core.training.finetune", work, raising=False)
    assert chosen.problem() == ""
    assert "--scenario" not in chosen.arguments()
    assert chosen.title == "ritm_h18s on liver"
    histosam(*chosen.arguments())
    (got,) = told
    assert (got.model, got.scenario, got.crop_size) == ("ritm_h18s", "specialist", (224, 224))
    assert free_run_folder("ritm_h18s", None).name == "ritm_h18s-tuned-1"


def test_what_does_not_apply_is_said(chosen: Choices) -> None:
    for change, told in (
        ({"scenario": "md"}, "ritm_h18s is a RITM model"),
        ({"settings": {"early_features": True}}, "early_features is True"),
        ({"settings": {"crop_size": "large"}}, "crop_size is 'large'"),
        ({"source": "slides", "slides": (Path(__file__),)}, "RITM models learn from patches alone"),
    ):
        assert told in replace(chosen, **change).problem()


def test_the_estimate_grows_with_the_crops(chosen: Choices) -> None:
    assert estimate(chosen).startswith("About")
    assert "640 patches" in estimate(chosen)
    cost = SPECIALIST_COSTS["ritm_hrnet18s_itm"]
    small = training_seconds(chosen, cost, 640, 80)
    large = training_seconds(replace(chosen, settings={}), cost, 640, 80)
    assert small < large
    assert estimate(replace(chosen, model="simpleclick_vit_h")).startswith("No figure")


@pytest.mark.gui
def test_choosing_a_specialist_puts_away_what_does_not_apply(
    open_widget: Callable[[], Any], stand_in: None, patches: Path, wait_for: Wait
) -> None:
    widget = open_widget()
    panel, advanced = widget.settings_panel, widget.settings_panel.advanced_panel
    assert {"ritm_h18s", "focalclick_h18s_s2", "simpleclick_vit_b"} <= set(panel._model.values)
    panel.data_panel.choose("patches", patches=patches)
    advanced.choose(early_features=True, learning_rate=0.0005)
    assert advanced.settings == {"early_features": True}
    panel.choose(model="simpleclick_vit_b")
    assert panel.choices.scenario is None
    assert panel._scenario.isHidden()
    assert "448 x 448" in panel._explained.text()
    assert panel.choices.settings == {}  # neither early features nor another learning rate
    hidden = {name for name, (*_, field) in advanced._rows.items() if field.isHidden()}
    assert hidden == {
        "early_features", "augment_variants", "cache_mb", "cache_disk_mb", "half_embeddings",
    }  # fmt: skip
    advanced.choose(crop_size=(224, 224), learning_rate=0.0001)
    assert panel.choices.settings == {"crop_size": [224, 224], "learning_rate": 0.0001}
    wait_for(lambda: "No figure" in panel.verdict or "640 patches" in panel.verdict)
    assert panel.start_button.isEnabled()
    panel.choose(model="histosam-tiny")
    assert panel.choices.scenario == "refining"
    assert not panel._scenario.isHidden()
    assert panel.choices.settings == {"early_features": True, "learning_rate": 0.0001}
