"""What is chosen becomes the settings of a job, or one line of what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from histosam_core.improve.settings import ImproveSettings
from histosam_core.training.config import TrainConfig
from napari_histosam.finetune.choices import Choices, Source, default_settings, free_run_folder
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


def made(source: Source, out: Path, data: dict[str, Any], **tuning: Any) -> Choices:
    return Choices(source, {"out": out, "model": "histosam-tiny", **tuning}, data, n_objects=3)


@pytest.fixture
def choices(patches: Path, tmp_path: Path) -> Choices:
    return made("patches", tmp_path / "run", {"patches": patches})


def with_(choices: Choices, **tuning: Any) -> Choices:
    return replace(choices, tuning={**choices.tuning, **tuning})


def test_patches_become_a_fine_tuning_with_every_setting(choices: Choices, patches: Path) -> None:
    chosen = with_(choices, scenario="md", epochs=4, max_minutes=1.5, augment={"stain": True})
    assert chosen.problem() == ""
    settings = chosen.settings()
    assert isinstance(settings, TrainConfig)
    assert (settings.out, settings.patches, settings.scenario) == (chosen.out, patches, "md")
    assert (settings.epochs, settings.max_minutes) == (4, 1.5)
    assert settings.augment.stain
    assert settings.augment.dihedral
    assert chosen.title == "histosam-tiny, md, on liver"


def test_annotations_become_an_improvement_slide_by_slide(tmp_path: Path) -> None:
    slides = tmp_path / "a.svs", tmp_path / "b.svs"
    outlines = tmp_path / "a.geojson", tmp_path / "b.geojson"
    data = {"slides": slides, "annotations": outlines, "slide_mpp": 0.5, "known_within_um": None}
    chosen = made("viewer", tmp_path / "run", data, max_minutes=None, seed=4, max_random_clicks=5)
    settings = chosen.settings()
    assert isinstance(settings, ImproveSettings)
    assert (settings.slides, settings.annotations) == (slides, outlines)
    assert (settings.slide_mpp, settings.known_within_um) == (0.5, None)
    assert (settings.minutes, settings.seed) == (None, 4)
    assert settings.tuning == {"max_random_clicks": 5}
    assert chosen.config().max_random_clicks == 5


def test_the_defaults_are_those_of_the_job_that_is_started() -> None:
    patches, slides = (default_settings(one, "histosam-tiny") for one in ("patches", "slides"))
    assert (patches["learning_rate"], patches["max_minutes"], patches["epochs"]) == (5e-4, None, 30)
    assert (slides["learning_rate"], slides["max_minutes"], slides["epochs"]) == (2e-4, 20, None)
    assert default_settings("slides", "ritm_h18s")["crop_size"] == [320, 480]


def test_all_that_is_wrong_is_said_at_once(choices: Choices) -> None:
    problem = with_(choices, learning_rate=-1.0, no_such=1, batch_size=0).problem()
    for text in ("learning_rate is -1.0", "batch_size is 0", "no_such"):
        assert text in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("source", "data", "told"),
    [
        ("patches", {}, "choose a folder of patches"),
        ("patches", {"patches": Path("nowhere")}, "histosam prepare"),
        ("slides", {}, "choose a slide"),
        ("slides", {"slides": (Path("nowhere"),)}, "nowhere is not there"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, source: Source, data: dict[str, Any], told: str
) -> None:
    assert told in made(source, tmp_path / "run", data).problem()


def test_an_empty_viewer_and_a_folder_that_is_taken_are_named(choices: Choices) -> None:
    nothing = replace(choices, source="viewer", data={}, n_objects=0)
    assert "no object is accepted" in nothing.problem()
    assert "is taken" in with_(choices, out=Path(__file__).parent).problem()


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
    cpu = with_(choices, device="cpu", epochs=10)

    def seconds(n_training: int = 640, n_validation: int = 80, **tuning: Any) -> float:
        return training_seconds(with_(cpu, **tuning).config(), cost, n_training, n_validation)

    assert seconds() * 1.8 < seconds(1280, 160) < seconds() * 2  # at most 100 are validated
    assert seconds(epochs=20) > 1.5 * seconds()
    # What is learnt anew cannot be kept: every epoch encodes.
    assert seconds(scenario="whole") > seconds(scenario="md")
    assert "640 patches" in estimate(cpu)
    assert estimate(cpu).startswith("About")
    assert estimate(with_(cpu, device="cuda")).startswith("No figure for a GPU")
    assert estimate(with_(cpu, model="sam_vit_h")).startswith("No figure for this model")


def test_the_widget_opens_and_checks_its_settings_without_torch() -> None:
    code = (
        "import sys\n"
        "from types import SimpleNamespace\n"
        "from qtpy.QtWidgets import QApplication\n"
        "application = QApplication([])\n"
        "from napari_histosam.finetune.widget import FinetuneWidget\n"
        "widget = FinetuneWidget(SimpleNamespace(layers=[]))\n"
        "widget.settings_panel.form.unfold()\n"
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
