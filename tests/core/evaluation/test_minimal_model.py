"""Somebody's own model: encode, and decode that returns a plain array. Nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histosam_core.evaluation import (
    ProtocolSettings,
    evaluate,
    evaluate_slides,
    read_records,
    run_clicks,
)
from histosam_core.evaluation.protocol.batched import default_workers, run_patches
from histosam_core.evaluation.walkthrough import walk_through
from histosam_core.model import Prediction

from .slide_stand_ins import write_slide


class Model:
    """Paints a disk round positive clicks, and keeps what was painted before."""

    def __init__(self) -> None:
        self.befores: list[Prediction | None] = []

    def encode(self, image: Any) -> Any:
        return image.shape[:2]

    def decode(self, embedding: Any, clicks: Any, previous: Any = None) -> Any:
        self.befores.append(previous)
        yy, xx = np.mgrid[: embedding[0], : embedding[1]]
        mask = np.zeros(embedding, bool) if previous is None else previous.logits > 0
        for click in clicks:
            near = (xx - click.xy[0]) ** 2 + (yy - click.xy[1]) ** 2 < 40
            mask = mask | near if click.is_positive else mask & ~near
        return np.where(mask, 2.0, -2.0)  # float64


def test_it_is_clicked_on_and_gets_its_answers_back(store: Any) -> None:
    patch, own = store[0], Model()
    run = run_clicks(own, patch.image, patch.gt_mask, max_clicks=4, target_iou=1.01)
    assert len(run.clicks) == 4
    assert len(set(run.ious.tolist())) == 4, "each click changes the mask"
    first, *others = own.befores
    assert first is None
    for previous in others:
        assert isinstance(previous, Prediction)
        assert previous.logits.dtype == np.float32
        assert (previous.quality, previous.state) == (None, None)
    walk = walk_through(own, patch.image, patch.gt_mask, run.clicks)
    assert walk.ious.tolist() == run.ious.tolist()
    assert np.array_equal(walk.masks[-1], run.mask)


def test_it_is_evaluated_on_patches(store: Any, tmp_path: Path) -> None:
    result = evaluate(Model(), store, name="own", max_clicks=4, out=tmp_path / "run")
    (read,) = read_records(tmp_path / "run")
    for one in (result, read):
        assert [p.index for p in one.patches] == list(range(len(store)))
        assert one.header["checkpoint"]["name"] == one.header["checkpoint"]["class"] == "Model"
    for record in result.patches:
        patch = store[record.index]
        alone = run_clicks(Model(), patch.image, patch.gt_mask, max_clicks=4)
        assert record.ious.tolist() == alone.ious.tolist()


@pytest.mark.parametrize("workers", [1, 3])
def test_it_gets_one_worker_unless_it_is_said_to_bear_more(store: Any, workers: int) -> None:
    assert default_workers(Model()) == 1  # type: ignore[arg-type]
    settings = ProtocolSettings(max_clicks=3)
    runs = dict(run_patches(Model(), store, range(len(store)), settings, workers=workers))  # type: ignore[arg-type]
    assert sorted(runs) == list(range(len(store)))


def test_it_is_evaluated_on_slides(tmp_path: Path) -> None:
    write_slide(tmp_path, "a", [(100, 100, 300, 160)], mpp=2.0)
    result = evaluate_slides(Model(), tmp_path, name="own", max_clicks=3, min_area_mm2=0)
    (record,) = result.patches
    assert len(record.clicks) == 3
    assert record.ious[-1] > 0
    assert result.header["checkpoint"]["geometry"] == {"mpp": 2.0, "patch_size_px": 400}
