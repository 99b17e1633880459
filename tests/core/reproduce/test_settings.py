"""Settings: the paper's by default, checked together, the same when work goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from histosam_core.errors import ConfigError
from histosam_core.reproduce import ReproduceSettings
from histosam_core.reproduce.run import check_folder
from histosam_core.reproduce.settings import MODELS, SETTINGS_FILE
from histosam_core.settings import read_settings


def test_defaults_are_the_papers(tmp_path: Path) -> None:
    settings = ReproduceSettings(out=tmp_path, paip=tmp_path)
    assert settings.patch_size_px == 400
    assert settings.tumor_fraction == (0.2, 0.8)
    assert (settings.max_clicks, settings.target_iou, settings.epochs) == (20, 0.90, 30)
    assert settings.batch_size == 1
    assert settings.models == MODELS


def test_every_problem_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ReproduceSettings(
            out=tmp_path, models={"unet": "a"}, paip_mask="all", camelyon_part="half", limit=0,
            epochs=0, target_iou=0.8, mask_threshold=1.5, tuning={"model": "x"}, failures="none",
        )  # type: ignore[arg-type]  # fmt: skip
    message = str(caught.value)
    for word in ("--paip", "unet", "paip_mask", "camelyon_part", "limit", "epochs", "target_iou",
                 "mask_threshold", "model cannot be set", "failures"):  # fmt: skip
        assert word in message
    assert "\n" not in message


def test_a_named_model_joins_the_others(tmp_path: Path) -> None:
    settings = ReproduceSettings(out=tmp_path, paip=tmp_path, models={"ritm": "ritm_h18s"})
    assert settings.models == {**MODELS, "ritm": "ritm_h18s"}


def test_work_goes_on_with_the_same_settings_alone(tmp_path: Path) -> None:
    saved = tmp_path / SETTINGS_FILE
    ReproduceSettings(out=tmp_path, paip=tmp_path, tuning={"epochs": 3}).save(saved)
    ReproduceSettings(out=tmp_path, paip=tmp_path, tuning={"epochs": 3}).check_same(
        read_settings(saved)
    )
    moved = ReproduceSettings(
        out=tmp_path, camelyon=tmp_path / "b", device="cpu", workers=2, tuning={"epochs": 3}
    )
    moved.check_same(read_settings(saved))
    with pytest.raises(ConfigError, match="limit was None, now 5"):
        ReproduceSettings(out=tmp_path, paip=tmp_path, limit=5, tuning={"epochs": 3}).check_same(
            read_settings(saved)
        )


def test_work_that_goes_on_needs_no_slides(tmp_path: Path) -> None:
    ReproduceSettings(out=tmp_path, paip=tmp_path).save(tmp_path / SETTINGS_FILE)
    assert ReproduceSettings(out=tmp_path).paip is None


def test_a_broken_settings_file_is_told(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("{")
    with pytest.raises(ConfigError, match="not a JSON file of settings"):
        check_folder(ReproduceSettings(out=tmp_path, paip=tmp_path))
