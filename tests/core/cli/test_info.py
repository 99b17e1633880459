"""`histosam info`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import histosam
from PIL import Image

from histosam_core.errors import ConfigError, SlideFormatError, SlideNotFoundError


@pytest.fixture
def image_file(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)
    return path


def test_table_names_size_and_what_is_unknown(image_file: Path) -> None:
    result = histosam("info", image_file)
    assert result.exit_code == 0
    for words in ("120 x 90 px", "unknown", "--mpp", "PNG image", "Level"):
        assert words in result.stdout


def test_json_holds_the_facts(image_file: Path) -> None:
    result = histosam("info", image_file, "--json", "--mpp", "0.5")
    facts = json.loads(result.stdout)
    assert facts["size_wh"] == [120, 90]
    assert facts["mpp"] == 0.5
    assert facts["mpp_source"] == "stated by the user"
    assert facts["size_mm"] == [0.06, 0.045]
    assert facts["levels"][0]["downsample_xy"] == [1.0, 1.0]


def test_thumbnail_is_written_whole(image_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "small.png"
    call = [str(image_file), "--thumbnail", str(target), "--thumbnail-px", "60"]
    assert histosam("info", *call).exit_code == 0
    with Image.open(target) as picture:
        assert picture.size == (60, 45)
    assert [p.name for p in target.parent.iterdir()] == ["small.png"]


def test_wrong_calls_raise_our_errors(image_file: Path, tmp_path: Path) -> None:
    cases = (
        ([str(tmp_path / "none.svs")], SlideNotFoundError),
        ([str(tmp_path)], SlideFormatError),
        ([str(image_file), "--thumbnail", "x.txt"], ConfigError),
        ([str(image_file), "--mpp", "-1"], ConfigError),
    )
    for call, kind in cases:
        result = histosam("info", *call)
        assert isinstance(result.exception, kind), call


@pytest.mark.real_slide
def test_real_slide_is_described(data_dir: Path) -> None:
    result = histosam("info", data_dir / "slides/CMU-1-Small-Region.svs")
    for words in ("2,220 x 2,967", "0.499 um per pixel (Aperio description)", "20x", "jpeg"):
        assert words in result.stdout
