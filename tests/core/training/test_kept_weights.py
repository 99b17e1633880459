"""Checkpoints that keep a share of the weights the model started with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from histosam_core.errors import ConfigError
from histosam_core.model.checkpoint.checkpoint import load_checkpoint
from histosam_core.training import TrainConfig, finetune
from histosam_core.training.optimiser import WeightInterpolation

if TYPE_CHECKING:
    from histosam_core.model.sam.network import SamNetwork

NAME = "mask_decoder.iou_token.weight"


def test_the_average_holds_while_entered_and_the_network_is_itself_again(
    network: SamNetwork,
) -> None:
    kept = WeightInterpolation(network, [NAME], 0.25)
    parameter = network.get_parameter(NAME)
    start = parameter.detach().clone()
    with torch.no_grad():
        parameter.add_(1.0)
    trained = parameter.detach().clone()
    with kept.applied():
        assert torch.allclose(parameter, start + 0.75, atol=1e-6)
    assert torch.equal(parameter, trained)


def test_without_a_share_the_trained_weights_are_written(network: SamNetwork) -> None:
    kept = WeightInterpolation(network, [NAME], 0.0)
    with torch.no_grad():
        network.get_parameter(NAME).add_(1.0)
    trained = network.get_parameter(NAME).detach().clone()
    with kept.applied():
        assert torch.equal(network.get_parameter(NAME), trained)


def _run(out: Path, model: Any, patches: Callable[..., Any], **settings: Any) -> Any:
    config = TrainConfig(
        out=out, device="cpu", epochs=2, batch_size=2, validation_clicks=2, **settings
    )
    return finetune(
        config, model=model, train_patches=patches(4, 0), validation_patches=patches(2, 1)
    )


def test_checkpoints_lie_between_the_start_and_the_same_run_without_it(
    tmp_path: Path, small_model: Callable[..., Any], small_patches: Callable[..., Any]
) -> None:
    model = small_model()
    start = model.network.state_dict()
    last = []
    for keep in (0.0, 0.5):
        run = _run(tmp_path / str(keep), model, small_patches, keep_base=keep)
        last.append(load_checkpoint(run.last_checkpoint)[0].state_dict())
    trained, averaged = last
    for key, value in start.items():
        assert torch.allclose(averaged[key], (value + trained[key]) / 2, atol=1e-6), key
    assert not torch.equal(trained[NAME], start[NAME])


def test_a_decoder_that_starts_fresh_has_nothing_to_keep(
    tmp_path: Path, small_model: Callable[..., Any], small_patches: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match=r"no refining decoder .* set keep_base to 0"):
        _run(tmp_path / "run", small_model("sam"), small_patches, keep_base=0.5)
