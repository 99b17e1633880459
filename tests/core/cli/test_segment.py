"""`histosam segment`, with a model whose answer is a disk of 20 px round each positive click."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from command import Done, histosam
from PIL import Image

import histosam_core.model
from histosam_core.annotation import read_geojson
from histosam_core.errors import (
    ClickOutsideSlideError,
    ConfigError,
    EmptyMaskError,
    MissingMppError,
    OutputExistsError,
    SlideNotFoundError,
)
from histosam_core.model import ModelInfo, Prediction, TrainingGeometry
from histosam_core.session.growth.growing import WINDOWS_A_CLICK

if TYPE_CHECKING:
    from histosam_core.clicks import Click


class DiskModel:
    """Positive clicks set a ring round a hole; negative clicks clear a disk."""

    info = ModelInfo("disks", TrainingGeometry(1.0, 128), sha256="ef" * 32)
    device = "cpu"

    def encode(self, image: np.ndarray[Any, Any]) -> Any:
        return image.shape[:2]

    def decode(
        self,
        embedding: Any,
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box_xyxy: Any = None,
    ) -> Prediction:
        yy, xx = np.mgrid[: embedding[0], : embedding[1]]
        mask = np.zeros(embedding, bool)
        for click in clicks:
            r2 = (xx - click.xy[0]) ** 2 + (yy - click.xy[1]) ** 2
            mask = mask | ((r2 < 400) & (r2 >= 16)) if click.is_positive else mask & (r2 > 400)
        return Prediction(np.where(mask, 3, -3).astype(np.float32), 0.75)


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    calls: list[tuple[str, str]] = []

    def load_model(name: str, device: str = "auto", **_: Any) -> DiskModel:
        calls.append((name, device))
        return DiskModel()

    monkeypatch.setattr(histosam_core.model, "load_model", load_model, raising=False)
    return calls


@pytest.fixture
def slide_file(tmp_path: Path) -> Path:
    path = tmp_path / "scan.png"
    Image.fromarray(np.full((600, 800, 3), 220, np.uint8)).save(path)
    return path


def run(slide: Path, *arguments: object) -> Done:
    return histosam("segment", slide, *arguments)


def test_outline_and_preview_are_written_and_facts_printed(
    slide_file: Path, tmp_path: Path, loaded: list[tuple[str, str]]
) -> None:
    out, picture = tmp_path / "out.geojson", tmp_path / "out.png"
    clicks = ("--click", "400,300,+", "--click", "470,300,+")
    settings = ("--mpp", 0.5, "--label", "Stroma", "--device", "cpu", "--no-grow")
    result = run(slide_file, *clicks, *settings, "--out", out, "--preview", picture)
    assert result.exit_code == 0, result.output
    printed = "".join(result.stdout.split())
    for words in ("Stroma", "mm²", "1polygon(s),2hole(s)", "disks", "out.geojson", "0.75"):
        assert words in printed
    assert loaded == [("histosam-tiny", "cpu")]
    (feature,) = json.loads(out.read_text())["features"]
    assert feature["geometry"]["type"] == "Polygon"
    assert feature["properties"]["classification"]["name"] == "Stroma"
    assert feature["properties"]["measurements"]["Clicks"] == 2
    coordinates = np.concatenate([np.array(r) for r in feature["geometry"]["coordinates"]])
    assert (coordinates % 2 == 0).all(), "edges of 1 um pixels lie on even level-0 corners"
    with Image.open(picture) as image:
        assert image.size[0] == 1300


def test_json_has_the_numbers(slide_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.geojson"
    result = run(slide_file, "--mpp", 0.5, "--click", "400,300,+", "--click", "440,300,-",
                 "--out", out, "--json")  # fmt: skip
    facts = json.loads(result.stdout)
    assert (facts["windows"], facts["polygons"], facts["label"]) == (1, 1, "Tumor")
    assert [c["is_positive"] for c in facts["clicks"]] == [True, False]
    assert facts["clicks"][1]["encode_ms"] == 0
    (region,) = read_geojson(out).regions
    assert facts["area_mm2"] == pytest.approx(region.geometry.area * 0.25e-6)


def test_clicks_come_from_a_file(slide_file: Path, tmp_path: Path) -> None:
    clicks, out = tmp_path / "clicks.csv", tmp_path / "out.geojson"
    clicks.write_text("x,y,sign\n400,300,+\n700,500,+\n")
    result = run(slide_file, "--mpp", 0.5, "--clicks", clicks, "--out", out, "--json")
    assert json.loads(result.stdout)["windows"] == 2


def test_small_islands_are_left_out_on_request(slide_file: Path, tmp_path: Path) -> None:
    result = run(slide_file, "--mpp", 0.5, "--click", "400,300,+", "--min-island-px", 5000,
                 "--out", tmp_path / "out.geojson")  # fmt: skip
    assert isinstance(result.exception, EmptyMaskError)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--mpp", "0.5", "--click", "400;300;+"], ConfigError, "1200,800"),
        (["--mpp", "0.5"], ConfigError, "no click"),
        (["--mpp", "0.5", "--click", "1,1,+", "--clicks", "x.csv"], ConfigError, "not both"),
        (["--mpp", "0.5", "--click", "800,300,+"], ClickOutsideSlideError, "800 x 600"),
        (["--click", "400,300,+"], MissingMppError, "--mpp 0.5"),
        (["--mpp", "0.5", "--click", "400,300,-"], EmptyMaskError, "nothing was written"),
        (["--mpp", "0.5", "--click", "1,1,+", "--preview", "a.bmp"], ConfigError, "png"),
    ],
)
def test_wrong_call_is_one_line_and_leaves_nothing(
    slide_file: Path, tmp_path: Path, arguments: list[str], error: type[Exception], words: str
) -> None:
    before = set(tmp_path.iterdir())
    result = run(slide_file, *arguments, "--out", tmp_path / "out.geojson")
    assert isinstance(result.exception, error)
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)
    assert set(tmp_path.iterdir()) == before


def test_a_click_off_the_slide_is_found_before_the_model_loads(
    slide_file: Path, tmp_path: Path, loaded: list[tuple[str, str]]
) -> None:
    run(slide_file, "--mpp", 0.5, "--click", "-3,5,+", "--out", tmp_path / "out.geojson")
    assert loaded == []


def test_existing_output_is_kept_unless_asked(slide_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.geojson"
    out.write_text("mine")
    arguments = ("--mpp", 0.5, "--click", "400,300,+", "--out", out)
    assert isinstance(run(slide_file, *arguments).exception, OutputExistsError)
    assert out.read_text() == "mine"
    assert run(slide_file, *arguments, "--overwrite").exit_code == 0
    assert out.read_text() != "mine"


def test_missing_slide_and_wrong_suffix_are_named(slide_file: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "no.svs", "--click", "1,1,+", "--out", tmp_path / "out.geojson")
    assert isinstance(result.exception, SlideNotFoundError)
    result = run(slide_file, "--click", "1,1,+", "--out", tmp_path / "out.xml")
    assert isinstance(result.exception, ConfigError)


def test_help_has_examples() -> None:
    said = histosam("segment", "--help").stdout
    assert "--click 1200,800,+" in said
    assert f"[default: {WINDOWS_A_CLICK}]" in said


@pytest.mark.real_slide
def test_a_real_slide_is_outlined_round_the_click(data_dir: Path, tmp_path: Path) -> None:
    import shapely

    out = tmp_path / "out.geojson"
    result = run(data_dir / "slides" / "CMU-1-Small-Region.svs", "--click", "1000,1000,+",
                 "--out", out, "--preview", tmp_path / "out.png")  # fmt: skip
    assert result.exit_code == 0, result.output
    (region,) = read_geojson(out).regions
    assert region.geometry.is_valid
    assert region.geometry.distance(shapely.Point(1000, 1000)) < 10
    assert region.metadata["Slide mpp"] == "0.499"


@pytest.mark.real_slide
def test_an_object_grows_over_a_real_slide_as_far_as_it_may(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the bundled model
    slide = data_dir / "slides" / "CMU-1-Small-Region.svs"
    heights, said = {}, {}
    for options in (("--grow",), ("--no-grow",), ("--grow", "--grow-windows", 1)):
        out = tmp_path / f"{len(heights)}.geojson"
        result = run(slide, "--click", "1003,2332,+", *options, "--out", out)
        (region,) = read_geojson(out).regions
        _, top, _, bottom = region.geometry.bounds
        heights[options], said[options] = bottom - top, " ".join(result.stderr.split())
    grown, alone, short = heights
    assert heights[alone] <= 1604, "one window of 400 px at 2 um"
    assert heights[grown] > 2000
    assert "it had grown into 1 window" in said[short]
    assert "grown" not in said[grown] + said[alone]
