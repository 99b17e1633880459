"""The recipe behind the bundled weights, in small."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from histosam_core.clicks import Click
from histosam_core.model.sam.start import EARLY_STEM
from histosam_core.recipes.pretraining.pretrain import (
    Pool,
    PretrainConfig,
    Stage,
    draw_batch,
    far_from,
    make_pool,
    pretrain,
)
from histosam_core.recipes.pretraining.random_tissue import GLASS


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    make_pool(folder, count=8, size_px=64, seed=3, workers=1)
    make_pool(folder / "tissue", count=8, size_px=80, seed=3, tissue=True, workers=1)
    return folder


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_objects_of_a_batch_are_neither_empty_nor_everything(pool: Path, share: float) -> None:
    generic, tissue = Pool.open(pool), Pool.open(pool / "tissue")
    rng = np.random.default_rng(0)
    batch, gt = draw_batch(generic, tissue, Stage(48, 1, 24, share), rng)
    assert batch.shape == (24, 48, 48, 3)
    covered = gt.mean((1, 2))
    assert covered.min() > 0.02
    assert covered.max() < 0.9


def test_far_is_what_lies_beyond_a_share_of_the_longer_side() -> None:
    far = far_from(Click((10, 4)), (20, 40), 0.25)
    assert not far[4, 20]
    assert far[4, 21]
    assert not far[4:15, 10].any()
    assert far[15:, 10].all()


def test_pretraining_writes_log_and_weights_and_changes_every_part(
    pool: Path, tmp_path: Path
) -> None:
    config = PretrainConfig(stages=(Stage(48, 20, 2), Stage(64, 20, 2, 0.5)), warmup_steps=2)
    network = pretrain(config, tmp_path / "run", pool)
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [20, 40]
    first = torch.load(tmp_path / "run" / "stage0.pt", weights_only=True)
    last = network.state_dict()
    parts = ("image_encoder", "prompt_encoder.click_fusion", "mask_decoder.refine_path")
    for part in (*parts, EARLY_STEM):
        changed = [k for k in last if k.startswith(part) and not torch.equal(first[k], last[k])]
        assert changed, part
    assert any(k.startswith("mask_decoder.output_upscaling") for k in last)


def test_stages_of_before_there_were_early_features_can_be_gone_on_from(
    pool: Path, tmp_path: Path
) -> None:
    config = PretrainConfig(stages=(Stage(48, 1, 2), Stage(48, 1, 2)))
    pretrain(config, tmp_path, pool)
    older = torch.load(tmp_path / "stage0.pt", weights_only=True)
    older = {name: value for name, value in older.items() if not name.startswith(EARLY_STEM)}
    torch.save(older, tmp_path / "stage0.pt")
    network = pretrain(config, tmp_path, pool, resume_stage=1)
    assert network.early_features


def test_glass_is_never_the_object() -> None:
    images = np.full((1, 64, 64, 3), 240, np.uint8)
    regions = np.full((1, 64, 64), GLASS, np.uint8)
    images[:, :, :32], regions[:, :, :32] = 20, 0
    tissue = Pool(images, regions)
    batch, gt = draw_batch(tissue, tissue, Stage(48, 1, 12, 1.0), np.random.default_rng(0))
    is_dark = batch.mean(-1) < 130
    assert (gt ^ is_dark).mean() < 0.02
