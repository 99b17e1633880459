"""What is chosen: problems in one line, the command, and what a folder offers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from histosam_core.errors import ConfigError
from napari_histosam.evaluate.choices import Choices, data_in, free_results_folder


@pytest.fixture
def choices(tmp_path: Path) -> Choices:
    store = tmp_path / "liver" / "test.zarr"
    store.mkdir(parents=True)
    return Choices(("histosam-tiny", "runs/liver/best.safetensors"), tmp_path / "out", (store,))


def test_the_settings_name_models_data_and_what_was_changed(choices: Choices) -> None:
    assert choices.settings().model_fields_set == {"models", "out", "patches", "slides"}
    folder = choices.patches[0].parent
    slides = replace(
        choices, patches=(), slides=folder, given={"slide_mpp": 0.25, "labels": ("HCC",)}
    )
    assert slides.settings().slide_mpp == 0.25
    assert slides.settings().labels == ("HCC",)
    both = replace(choices, models=("histosam-tiny", "histosam-tiny@sam", "runs/v1/best.pt@sam"))
    assert both.about["models"] == {
        "histosam-tiny": "histosam-tiny",
        "histosam-tiny@sam": "histosam-tiny@sam",
        "v1 best@sam": "runs/v1/best.pt@sam",
    }
    assert both.title == "histosam-tiny, histosam-tiny@sam, best@sam on liver/test"


def test_all_problems_are_told_in_one_line(choices: Choices) -> None:
    assert choices.problem() == ""
    wrong = replace(choices, models=(), patches=())
    assert wrong.problem() == (
        "add patches or a folder of annotated slides; tick at least one model"
    )
    for other, text in (
        (replace(choices, patches=(Path("gone"),)), "gone is not there"),
        (replace(choices, slides=Path("/")), "two runs"),
        (replace(choices, given={"target_iou": 0.0, "max_clicks": 0}), "target_iou"),
        (replace(choices, given={"target_iou": 0.0, "max_clicks": 0}), "max_clicks"),
        (replace(choices, out=choices.patches[0].parent), "is taken"),
        (replace(choices, models=("a/best.pt", "b/a/best.pt")), "write LABEL=NAME"),
        (replace(choices, models=("sam_vit_b@refining",)), "write sam_vit_b@sam"),
    ):
        assert text in other.problem()


def test_of_several_splits_the_test_split_is_meant(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.zarr").mkdir()
    kind, found = data_in(tmp_path)
    assert kind == "patches"
    assert {path.stem: meant for path, meant in found.items()} == {"test": True, "train": False}
    (tmp_path / "test.zarr" / "zarr.json").touch()
    assert data_in(tmp_path / "test.zarr") == ("patches", {tmp_path / "test.zarr": True})
    (tmp_path / "slides").mkdir()
    assert data_in(tmp_path / "slides")[0] == "slides"
    with pytest.raises(ConfigError, match="no folder"):
        data_in(tmp_path / "gone")


def test_a_results_folder_that_is_there_is_not_offered() -> None:
    first = free_results_folder()
    first.mkdir(parents=True)
    assert free_results_folder() != first
