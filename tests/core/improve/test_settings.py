from __future__ import annotations

import json
from pathlib import Path

import pytest

from histosam_core.errors import ConfigError
from histosam_core.improve import ImproveSettings
from histosam_core.model.interface import TrainingGeometry


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ImproveSettings(
            out="work",
            slides=("a.svs", "b.svs"),
            annotations=("a.xml", "b.xml", "c.xml"),
            scenario="ours",
            promote="maybe",
            stride_px=0,
            splits=(0.5, 0.5, 0.0),
            tuning={"epoch": 3, "model": "x"},
        )
    for told in (
        "3 annotations for 2 slides", "one of md, ie_md", "one of better, always, never",
        "stride_px is 0", "three shares above 0", "no setting is called 'epoch'",
        "model cannot be set",
    ):  # fmt: skip
        assert told in str(caught.value)


def test_patches_are_cut_as_the_model_was_trained_unless_it_is_said() -> None:
    geometry = TrainingGeometry(mpp=1.0, patch_size_px=300)
    cut = ImproveSettings(out="work", slides="slides").extraction(geometry)
    assert (cut.mpp, cut.patch_size_px, cut.stride_px) == (1.0, 300, 150)
    stated = ImproveSettings(out="work", slides="slides", mpp=2.0, patch_size_px=64, stride_px=64)
    cut = stated.extraction(geometry)
    assert (cut.mpp, cut.patch_size_px, cut.stride_px) == (2.0, 64, 64)


@pytest.mark.parametrize("n_patches", [8, 30, 100, 2000])
def test_few_patches_are_repeated_and_an_epoch_of_many_is_one_pass(n_patches: int) -> None:
    settings = ImproveSettings(out="work", slides="slides")
    repeats, config = settings.repeats(n_patches), settings.train_config(n_patches)
    steps = repeats * n_patches // config.batch_size
    assert steps >= min(20, 4 * n_patches // 8)
    assert config.epochs * steps >= 600
    assert config.epochs // config.validate_every <= 31
    assert 1 <= repeats * config.augment_variants <= 4
    assert (repeats == 1) == (n_patches >= 160)


def test_half_of_the_base_is_kept_where_it_has_the_decoder_and_unless_told_otherwise(
    tmp_path: Path,
) -> None:
    settings = ImproveSettings(out=tmp_path / "out", slides=(tmp_path,))
    assert settings.train_config(50).keep_base == 0.5
    assert settings.train_config(50, starts_fresh=True).keep_base == 0
    told = ImproveSettings(out=tmp_path / "out", slides=(tmp_path,), tuning={"keep_base": 0.25})
    assert told.train_config(50, starts_fresh=True).keep_base == 0.25


def test_other_training_settings_win_over_ours() -> None:
    settings = ImproveSettings(
        out="work",
        slides="slides",
        tuning={"epochs": 3, "validation_limit": 7, "augment": {"resize": False}},
        minutes=None,
    )
    config = settings.train_config(50)
    assert (config.epochs, config.validation_limit, config.max_minutes) == (3, 7, None)
    assert (config.augment.resize, config.augment.stain) == (False, True)
    assert config.out == Path("work/tuning").absolute()


def test_settings_come_back_from_their_file_and_from_any_folder(tmp_path: Path) -> None:
    settings = ImproveSettings(
        out=tmp_path / "work",
        slides="slides",
        labels=["Lesion"],
        tuning={"epochs": 3, "augment": {"stain": True}},
    )
    settings.save(tmp_path / "improve.json")
    back = ImproveSettings.load(tmp_path / "improve.json")
    assert back.slides == (Path("slides").absolute(),)
    back.check_same(settings.as_dict())
    assert back.labels == ("Lesion",)
    assert back.train_config(20).augment.stain
    (tmp_path / "improve.json").write_text(json.dumps({"out": "work", "slide": "a"}))
    with pytest.raises(ConfigError, match=r"slides is missing; no setting is called 'slide'"):
        ImproveSettings.load(tmp_path / "improve.json")


def test_work_can_be_resumed_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.pt").touch()
    monkeypatch.chdir(tmp_path)
    here = ImproveSettings(out="work", slides="slides", model="mine.pt", split_file="splits.csv")
    saved, config = here.as_dict(), here.train_config(20)
    monkeypatch.chdir("/")
    there = ImproveSettings.from_dict({**saved, "out": tmp_path / "work"})
    there.check_same(saved)
    assert there.as_dict() == saved
    assert there.train_config(20) == config


def test_only_what_decides_nothing_may_change_on_resuming() -> None:
    first = ImproveSettings(out="work", slides="slides")
    ImproveSettings(out="moved", slides="slides", device="cpu", promote="always").check_same(
        first.as_dict()
    )
    with pytest.raises(ConfigError, match=r"scenario was 'refining', now 'md'"):
        ImproveSettings(out="work", slides="slides", scenario="md").check_same(first.as_dict())
