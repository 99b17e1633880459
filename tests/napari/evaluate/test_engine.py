"""Patches and regions of slides opened from records, their clicks given to models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from histosam_core.annotation import AnnotatedRegion, write_geojson
from histosam_core.dataset import open_patches
from histosam_core.errors import PatchStoreError
from histosam_core.evaluation import evaluate, evaluate_slides
from histosam_core.model import ModelInfo, Prediction, TrainingGeometry
from histosam_core.slide.write import write_svs
from napari_histosam.evaluate.engine import Engine, source_of


class Dark:
    """Says that what is dark within some pixels of a click is the object."""

    info = ModelInfo("dark", TrainingGeometry(1.0, 64))
    device = "cpu"

    def __init__(self, reach_px: float) -> None:
        self.reach_px = reach_px

    def encode(self, image: Any) -> Any:
        return image[..., 0] < 150

    def decode(self, embedding: Any, clicks: Any, previous: Any = None, **_: Any) -> Any:
        yy, xx = np.mgrid[: embedding.shape[0], : embedding.shape[1]]
        mask = np.zeros(embedding.shape, bool) if previous is None else previous.logits > 0
        for click in clicks:
            near = np.hypot(xx - click.xy[0], yy - click.xy[1]) < self.reach_px
            mask = mask | (near & embedding) if click.is_positive else mask & ~near
        return Prediction(np.where(mask, 4, -4).astype(np.float32))


def engine(*, loaded: list[str]) -> Engine:
    def load(source: str, device: str, *, decoder: Any = None) -> Dark:
        loaded.append(source)
        return Dark(float(source))

    return Engine(load)


def test_two_models_are_kept_and_answer_the_same_clicks(patches: Path, tmp_path: Path) -> None:
    result = evaluate(
        Dark(15), open_patches(patches), name="15", out=tmp_path / "run", max_clicks=4
    )
    loaded: list[str] = []
    opens = engine(loaded=loaded)
    pictures = [opens.open(result, record) for record in result.patches[:2]]
    for picture in pictures:
        walks = [opens.walk(picture, result, source) for source in ("15", "5")]
        np.testing.assert_array_equal(walks[0].ious, picture.record.ious)
        np.testing.assert_array_equal(walks[0].masks[-1], picture.last_mask)
        assert walks[1].clicks == walks[0].clicks
        assert walks[1].masks.sum() < walks[0].masks.sum()
    assert loaded == ["15", "5"]
    opens.walk(pictures[0], result, "9")
    opens.walk(pictures[0], result, "15")
    assert loaded == ["15", "5", "9", "15"]


def test_the_decoder_is_the_runs_own_whatever_its_model_is_called(patches: Path) -> None:
    result = evaluate(Dark(15), open_patches(patches), name="histosam-tiny@sam", max_clicks=1)
    assert source_of(result, {}) == "histosam-tiny"
    asked: list[tuple[str, Any]] = []

    def load(source: str, device: str, *, decoder: Any = None) -> Dark:
        asked.append((source, decoder))
        return Dark(15)

    picture = Engine().open(result, result.patches[0])
    recorded = replace(result, header={"checkpoint": {"decoder": "sam"}})
    Engine(load).walk(picture, recorded, "histosam-tiny")
    Engine(load).walk(picture, recorded, "histosam-tiny@refining")
    Engine(load).walk(picture, result, "histosam-tiny@sam")
    assert asked == [("histosam-tiny", "sam")] * 3


def test_patches_that_were_prepared_anew_are_told(patches: Path) -> None:
    result = evaluate(Dark(15), open_patches(patches), name="15", max_clicks=1)
    for record in (
        replace(result.patches[0], patch_id="elsewhere"),
        replace(result.patches[0], index=99),
    ):
        with pytest.raises(PatchStoreError, match="evaluate again"):
            Engine().open(result, record)
    gone = replace(result, header={"dataset": {"path": "gone/test.zarr"}})
    with pytest.raises(PatchStoreError, match=r"no patch store gone/test\.zarr"):
        Engine().open(gone, result.patches[0])


def test_a_region_of_a_slide_opens_thinned_with_its_clicks_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.full((400, 600, 3), 220, np.uint8)
    image[100:240, 120:480] = 80
    write_svs(tmp_path / "a.svs", image, mpp=0.5, magnification=20)
    box = AnnotatedRegion(shapely.box(119.5, 99.5, 479.5, 239.5), "Tumor")
    write_geojson(tmp_path / "a.geojson", [box])
    result = evaluate_slides(
        Dark(20), tmp_path, name="20", out=tmp_path / "run", max_clicks=8, min_area_mm2=0
    )
    monkeypatch.setattr(
        "histosam_core.evaluation.slide_walkthrough.open_region.__kwdefaults__",
        {"longest_px": 100},
    )
    opens = engine(loaded=[])
    picture = opens.open(result, result.patches[0])
    assert picture.region is not None
    assert max(picture.image.shape) <= 100
    for (x, y), click in zip(picture.clicks_xy, picture.record.clicks, strict=True):
        if click.is_positive:
            assert picture.truth[round(y), round(x)] == 1
            assert picture.image[round(y), round(x)].max() < 150
    walk = opens.walk(picture, result, "20")
    np.testing.assert_array_equal(walk.ious, picture.record.ious)
    np.testing.assert_array_equal(walk.masks[-1], picture.last_mask)
