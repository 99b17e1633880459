"""What is chosen becomes a command that the command line takes, or one line of what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import histosam

from histosam_core.errors import ConfigError
from napari_histosam.finetune.choices import Choices, free_run_folder
from napari_histosam.finetune.estimate import COSTS, count_patches, estimate, training_seconds


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    folder = tmp_path / "liver"
    for part, count in (("train", 640), ("validation", 80)):
        (folder / f"{part}.zarr" / "images").mkdir(parents=True)
        (folder / f"{part}.zarr" / "images" / "zarr.json").write_text(
            json.dumps({"shape": [count, 400, 400, 3]})
        )
    return folder


@pytest.fixture
def choices(patches: Path, tmp_path: Path) -> Choices:
    return Choices("patches", tmp_path / "run", patches=patches)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings that reach the work itself."""
    told: dict[str, Any] = {}

    def work(settings: Any, **call: Any) -> Any:
        told["settings"] = settings
        raise ConfigError("enough")

    monkeypatch.setattr("histosam_core.training.finetune", work, raising=False)
    monkeypatch.setattr("histosam_core.improve.improve", work, raising=False)
    return told


def test_patches_become_a_fine_tuning_with_every_setting(
    choices: Choices, received: dict[str, Any]
) -> None:
    chosen = replace(
        choices,
        scenario="md",
        epochs=4,
        minutes=1.5,
        batch_size=3,
        device="cpu",
        settings={"learning_rate": 1e-3, "validation_clicks": 9, "augment.stain": True, "seed": 5},
    )
    assert chosen.problem() == ""
    histosam(*chosen.arguments())
    got = received["settings"]
    assert (got.out, got.patches, got.scenario) == (chosen.out, choices.patches, "md")
    assert (got.epochs, got.max_minutes, got.batch_size, got.device) == (4, 1.5, 3, "cpu")
    assert (got.learning_rate, got.validation_clicks, got.seed) == (1e-3, 9, 5)
    assert got.augment.stain
    assert got.augment.dihedral


def test_annotations_become_an_improvement_slide_by_slide(
    tmp_path: Path, received: dict[str, Any]
) -> None:
    slides = tmp_path / "a.svs", tmp_path / "b.svs"
    outlines = tmp_path / "a.geojson", tmp_path / "b.geojson"
    chosen = Choices(
        "viewer",
        tmp_path / "run",
        slides=slides,
        annotations=outlines,
        n_objects=3,
        slide_mpp=0.5,
        label="Tumor",
        is_all_outlined=True,
        settings={"max_random_clicks": 5},
    )
    histosam(*chosen.arguments())
    got = received["settings"]
    assert (got.slides, got.annotations) == (slides, outlines)
    assert (got.slide_mpp, got.labels, got.known_within_um) == (0.5, ("Tumor",), None)
    assert got.minutes is None
    assert got.tuning == {"batch_size": 8, "max_random_clicks": 5}


def test_all_that_is_wrong_is_said_at_once(choices: Choices) -> None:
    wrong = replace(choices, settings={"learning_rate": -1.0, "no_such": 1}, batch_size=0)
    problem = wrong.problem()
    for text in ("learning_rate is -1.0", "batch_size is 0", "no_such"):
        assert text in problem
    assert "\n" not in problem
    with pytest.raises(ConfigError, match="batch_size"):
        wrong.arguments()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"patches": None}, "choose a folder of patches"),
        ({"patches": Path("nowhere")}, "histosam prepare"),
        ({"source": "viewer"}, "no object is accepted"),
        ({"source": "slides"}, "choose a slide"),
        ({"source": "slides", "slides": (Path("nowhere"),)}, "nowhere is not there"),
        ({"out": Path(__file__).parent}, "is taken"),
    ],
)
def test_what_is_missing_is_named(choices: Choices, change: dict[str, Any], told: str) -> None:
    assert told in replace(choices, **change).problem()


def test_a_run_folder_is_one_that_is_not_there_yet() -> None:
    first = free_run_folder("models/ours.safetensors", "md")
    assert first.name == "ours-md-1"
    first.mkdir(parents=True)
    assert free_run_folder("models/ours.safetensors", "md").name == "ours-md-2"


def test_patches_are_counted_without_opening_them(patches: Path) -> None:
    assert count_patches(patches / "train.zarr") == 640
    assert count_patches(patches / "test.zarr") is None


def test_an_estimate_grows_with_patches_and_epochs_and_says_what_it_does_not_know(
    choices: Choices,
) -> None:
    cost = COSTS["histosam_tiny"]
    cpu = replace(choices, device="cpu")
    once = training_seconds(replace(cpu, epochs=10), cost, 640, 80)
    twice = training_seconds(replace(cpu, epochs=10), cost, 1280, 160)
    assert once * 1.8 < twice < once * 2  # at most 100 patches are validated
    assert training_seconds(replace(cpu, epochs=20), cost, 640, 80) > 1.5 * once
    # What is learnt anew cannot be kept: every epoch encodes.
    whole = training_seconds(replace(cpu, epochs=10, scenario="whole"), cost, 640, 80)
    assert whole > training_seconds(replace(cpu, epochs=10, scenario="md"), cost, 640, 80)
    assert "640 patches" in estimate(cpu)
    assert estimate(cpu).startswith("About")
    assert estimate(replace(cpu, device="cuda")).startswith("No figure for a GPU")
    assert estimate(replace(cpu, model="sam_vit_h")).startswith("No figure for this model")


def test_the_widget_opens_and_checks_its_settings_without_torch() -> None:
    code = (
        "import sys\n"
        "from types import SimpleNamespace\n"
        "from qtpy.QtWidgets import QApplication\n"
        "application = QApplication([])\n"
        "from napari_histosam.finetune.widget import FinetuneWidget\n"
        "widget = FinetuneWidget(SimpleNamespace(layers=[]))\n"
        "widget.settings_panel.advanced_panel.unfold(True)\n"
        "widget.settings_panel.check()\n"
        "print(sorted({'torch', 'torchvision', 'matplotlib'} & set(sys.modules)))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "[]"
