"""A run folder of an earlier version, stopped half-way: it is listed, and resumes.

`data/old_run` was written before runs had a `TrainState`, with the settings, model and patches
below, and stopped after step 4 of 6; curves.png and best.safetensors are left out.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything.modeling import TwoWayTransformer
from torch import nn

from histosam_core.errors import ConfigError, OutputExistsError
from histosam_core.model.checkpoint.checkpoint import describe_network
from histosam_core.model.sam.click_prompts import DenseClickPromptEncoder
from histosam_core.model.sam.interactive import SamModel
from histosam_core.model.sam.network import SamNetwork
from histosam_core.model.sam.refining_decoder import RefiningMaskDecoder
from histosam_core.training import TrainConfig, finetune
from histosam_core.training.recipes import recipe_of
from histosam_core.training.run_folder import RunFolder

OLD_RUN = Path(__file__).parent / "data" / "old_run"
CHANNELS, STEPS_DONE, STEPS = 8, 4, 6


class _Encoder(nn.Sequential):
    img_size = 32


def minute_model() -> SamModel:
    """A model of SAM's line whose run folder is small; its weights come from no library's draws."""
    prompts = DenseClickPromptEncoder(
        embed_dim=CHANNELS, image_embedding_size=(4, 4), input_image_size=(32, 32)
    )
    transformer = TwoWayTransformer(
        depth=2, embedding_dim=CHANNELS, mlp_dim=2 * CHANNELS, num_heads=4
    )
    decoder = RefiningMaskDecoder(
        transformer_dim=CHANNELS, transformer=transformer, iou_head_hidden_dim=CHANNELS
    )
    network = SamNetwork(
        _Encoder(nn.Conv2d(3, CHANNELS, 8, stride=8)),
        prompts,
        decoder,
        architecture="histosam_tiny",
        decoder="refining",
    )
    draws = np.random.RandomState(0)
    with torch.no_grad():
        for value in network.state_dict().values():
            value.copy_(torch.from_numpy(0.2 * draws.standard_normal(value.shape)))
    return SamModel(network, describe_network(network, name="minute"), "cpu")


@pytest.fixture
def train(small_patches: Callable[..., Any]) -> Callable[..., Any]:
    def run(out: Path, epochs: int = 2, **call: Any) -> Any:
        config = TrainConfig(
            out=out,
            device="cpu",
            epochs=epochs,
            batch_size=2,
            validation_clicks=2,
            augment_variants=2,
        )
        return finetune(
            config,
            **{
                "model": minute_model(),
                "train_patches": small_patches(6, 0),
                "validation_patches": small_patches(2, 1),
                **call,
            },
        )

    return run


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    shutil.copytree(OLD_RUN, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_it_is_listed(old_run: Path) -> None:
    folder = RunFolder(old_run)
    state = folder.load_state()
    assert (state["position"]["step"], state["finished"]) == (STEPS_DONE, False)
    with folder.log.open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]
    assert TrainConfig.load(folder.config).scenario == "refining"
    assert recipe_of(str(folder.last)).name == "sam"
    with pytest.raises(OutputExistsError, match="--resume"):
        folder.check_free()


def test_it_ends_as_a_run_of_today_does(
    tmp_path: Path, old_run: Path, train: Callable[..., Any]
) -> None:
    resumed, whole = train(old_run, resume=True), train(tmp_path / "whole")
    assert (resumed.epochs, resumed.steps, resumed.best_epoch) == (2, STEPS, whole.best_epoch)
    assert resumed.seconds > RunFolder(OLD_RUN).load_state()["seconds"]
    first, second = (RunFolder(run.run_folder).load_state() for run in (resumed, whole))
    assert first.keys() == second.keys()
    assert first["position"].keys() == second["position"].keys()
    for row, other in zip(first["rows"], second["rows"], strict=True):
        assert row.keys() == other.keys()
        for name in row.keys() - {"seconds"}:
            assert row[name] == (other[name] and pytest.approx(other[name], rel=1e-4)), name
    # Bit for bit where it was written; another processor may round otherwise.
    for name, value in first["weights"].items():
        torch.testing.assert_close(value, second["weights"][name], rtol=0, atol=1e-4)


def test_it_is_not_resumed_from_another_model(old_run: Path, train: Callable[..., Any]) -> None:
    other = minute_model()
    other.info = replace(other.info, sha256="0" * 64)
    with pytest.raises(ConfigError, match="not the file this run began with"):
        train(old_run, resume=True, model=other)


def test_it_is_not_resumed_with_other_settings(old_run: Path, train: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="epochs was 2, now 3"):
        train(old_run, resume=True, epochs=3)
