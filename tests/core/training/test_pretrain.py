"""The recipe behind the bundled weights, in small."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from histosam_core.training.pretrain import (
    PretrainConfig,
    Stage,
    generic_batch,
    make_pool,
    pretrain,
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    make_pool(folder, count=8, size_px=64, seed=3, workers=1)
    return folder


def test_objects_of_a_batch_are_neither_empty_nor_everything(pool: Path) -> None:
    images, regions = (np.load(pool / f"{n}.npy", mmap_mode="r") for n in ("images", "regions"))
    batch, gt = generic_batch(images, regions, Stage(48, 1, 24), np.random.default_rng(0))
    assert batch.shape == (24, 48, 48, 3)
    share = gt.mean((1, 2))
    assert share.min() > 0.02
    assert share.max() < 0.9


def test_pretraining_writes_log_and_weights_and_changes_every_part(
    pool: Path, tmp_path: Path
) -> None:
    config = PretrainConfig(stages=(Stage(48, 20, 2), Stage(64, 20, 2)), warmup_steps=2)
    network = pretrain(config, tmp_path / "run", pool)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [20, 40]
    first = torch.load(tmp_path / "run" / "stage0.pt", weights_only=True)
    last = network.state_dict()
    for part in ("image_encoder", "prompt_encoder.click_fusion", "mask_decoder.refine_path"):
        changed = [k for k in last if k.startswith(part) and not torch.equal(first[k], last[k])]
        assert changed, part
    assert any(k.startswith("mask_decoder.output_upscaling") for k in last)
