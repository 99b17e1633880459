"""The five patch sets, cut once."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from histosam_core.dataset import open_patches
from histosam_core.errors import ConfigError, EmptyDatasetError
from histosam_core.reproduce.kim2023 import SETS
from histosam_core.reproduce.patch_sets import cut_patch_set, patch_folder, prepared
from histosam_core.reproduce.survey import find_cohorts

PAIP, CAMELYON5, CAMELYON10 = SETS


def test_five_sets_at_their_scales(settings_for: Callable) -> None:
    settings = settings_for()
    cohorts = find_cohorts(settings)
    cut = {one.key: cut_patch_set(settings, one, cohorts[one.cohort]) for one in SETS}
    assert set(cut["paip2019_x5"].n_patches) == {"train", "validation", "test"}
    tests = {key: open_patches(one.out, "test") for key, one in cut.items()}
    assert {key: store.geometry.mpp for key, store in tests.items()} == {
        "paip2019_x5": 2.0,
        "camelyon16_x5": 2.0,
        "camelyon16_x10": 1.0,
    }
    for store in tests.values():
        fractions = store.tumor_fractions
        assert len(fractions)
        assert fractions.min() >= 0.2
        assert fractions.max() <= 0.8
    stores = [open_patches(cut["paip2019_x5"].out, s) for s in ("train", "validation", "test")]
    slides = [record.name for store in stores for record in store.slides]
    assert len(slides) == len(set(slides)) == 3


def test_what_is_cut_is_kept(settings_for: Callable) -> None:
    settings = settings_for()
    files = find_cohorts(settings)["camelyon16"]
    assert prepared(settings, CAMELYON5) is None
    cut_patch_set(settings, CAMELYON5, files)
    store = patch_folder(settings, CAMELYON5) / "test.zarr" / "zarr.json"
    before = store.stat().st_mtime_ns
    cut_patch_set(settings, CAMELYON5, files)
    assert store.stat().st_mtime_ns == before


def test_patches_that_were_not_finished_are_cut_again(settings_for: Callable) -> None:
    settings = settings_for()
    files = find_cohorts(settings)["camelyon16"]
    cut_patch_set(settings, CAMELYON5, files)
    (patch_folder(settings, CAMELYON5) / "source.json").unlink()
    assert len(open_patches(cut_patch_set(settings, CAMELYON5, files).out, "test"))


def test_other_slides_are_refused(copied: tuple[Path, Path], settings_for: Callable) -> None:
    settings = settings_for(camelyon=copied[1])
    cut_patch_set(settings, CAMELYON5, find_cohorts(settings)["camelyon16"])
    next(copied[1].rglob("test_002.xml")).unlink()
    with pytest.raises(ConfigError, match=r"other slides \(test_002\).*another --out"):
        cut_patch_set(settings, CAMELYON5, find_cohorts(settings)["camelyon16"])


def test_a_broken_slide_is_left_out(copied: tuple[Path, Path], settings_for: Callable) -> None:
    settings = settings_for(camelyon=copied[1])
    next(copied[1].rglob("test_001.tif")).write_bytes(b"II*\0broken")
    notices: list[str] = []
    files = find_cohorts(settings)["camelyon16"]
    cut = cut_patch_set(settings, CAMELYON5, files, notice=notices.append)
    assert list(cut.slides["test"]) == ["test_002"]
    assert any("test_001 is left out" in text for text in notices)
    next(copied[1].rglob("test_002.tif")).write_bytes(b"")
    with pytest.raises(EmptyDatasetError, match="none of the 2 slides"):
        cut_patch_set(settings, CAMELYON10, files)


def test_a_split_file_decides(tmp_path: Path, settings_for: Callable) -> None:
    path = tmp_path / "splits.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("slide", "split"), ("01_01_0083.svs", "test"), ("01_01_0085", "train"),
             ("01_01_0087", "validation")]
        )  # fmt: skip
    settings = settings_for(paip_split_file=path)
    cut = cut_patch_set(settings, PAIP, find_cohorts(settings)["paip2019"])
    assert {split: list(slides) for split, slides in cut.slides.items()} == {
        "test": ["01_01_0083"],
        "train": ["01_01_0085"],
        "validation": ["01_01_0087"],
    }
