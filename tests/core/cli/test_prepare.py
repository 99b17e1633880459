"""`histosam prepare`."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import tifffile
from command import histosam

from histosam_core.annotation import write_mask_tiff
from histosam_core.dataset import open_patches
from histosam_core.errors import ConfigError

SMALL = ["--patch-size", "32", "--stride", "16"]


@pytest.fixture
def run():
    return partial(histosam, "prepare")


@pytest.fixture
def slides(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    y, x = np.mgrid[:320, :320]
    tumor = x + y > 320
    image = np.where(tumor[..., None], (120, 60, 140), (235, 170, 200)).astype(np.uint8)
    for name in ("a", "b", "c"):
        tifffile.imwrite(
            folder / f"{name}.tif",
            image,
            tile=(64, 64),
            photometric="rgb",
            resolution=(20000, 20000),
            resolutionunit="CENTIMETER",
        )
        write_mask_tiff(folder / f"{name}_mask.tif", tumor)
    return folder


def test_one_store_per_split_is_made_and_the_table_shows_them(run, slides, tmp_path):
    result = run(slides, "--out", tmp_path / "patches", *SMALL)
    assert result.exit_code == 0, result.output
    for split in ("train", "validation", "test"):
        assert split in result.output
        assert len(open_patches(tmp_path / "patches", split)) > 0
    assert "preview.png" in result.output


def test_json_is_the_summary_and_nothing_else(run, slides, tmp_path):
    result = run(slides, "--out", tmp_path / "p", *SMALL, "--json", "--splits", 0, 0, 1)
    summary = json.loads(result.stdout)
    assert list(summary["n_patches"]) == ["test"]
    assert summary["n_patches"]["test"] == len(open_patches(tmp_path / "p"))


def test_magnification_is_another_way_to_state_the_mpp(run, slides, tmp_path):
    run(slides, "--out", tmp_path / "p", *SMALL, "--magnification", 10, "--splits", 1, 0, 0)
    assert open_patches(tmp_path / "p").geometry.mpp == 1.0


def test_mpp_and_magnification_together_are_refused(run, slides, tmp_path):
    result = run(slides, "--out", tmp_path / "p", "--mpp", 2, "--magnification", 5)
    assert isinstance(result.exception, ConfigError)


def test_split_file_decides(run, slides, tmp_path):
    (tmp_path / "splits.csv").write_text("slide,split\na,train\nb.tif,test\nc,none\n")
    run(slides, "--out", tmp_path / "p", *SMALL, "--split-file", tmp_path / "splits.csv")
    assert open_patches(tmp_path / "p", "test").slides[0].name == "b"
    assert not (tmp_path / "p" / "validation.zarr").exists()


def test_help_shows_examples(run):
    result = run("--help")
    assert result.exit_code == 0
    assert "histosam prepare slides --out patches" in result.output
