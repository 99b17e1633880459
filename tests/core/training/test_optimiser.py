"""How weights change: clipping, half precision's scale, the learning rate, interpolation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from histosam_core.errors import ConfigError
from histosam_core.model.checkpoint.checkpoint import load_checkpoint
from histosam_core.training import TrainConfig, finetune, optimiser
from histosam_core.training.optimiser import (
    Optimiser,
    WeightInterpolation,
    learning_rate_factor,
)

if TYPE_CHECKING:
    from histosam_core.model.sam.network import SamNetwork

NAME = "mask_decoder.iou_token.weight"


def _optimiser(small_model: Callable[..., Any], precision: str = "fp32") -> Any:
    network = small_model().network
    config = TrainConfig(out=Path("run"), precision=precision, clip_norm=1.0)
    made = Optimiser(config, network, [NAME], lambda name: 1.0)
    return made, network.get_parameter(NAME)


def test_a_long_gradient_is_clipped(small_model: Callable[..., Any]) -> None:
    made, weight = _optimiser(small_model)
    weight.grad = torch.full_like(weight, 1e6)
    assert made.clip(0.5)
    assert weight.grad.norm().item() == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(("loss", "gradient"), [(float("nan"), 0.1), (0.5, float("inf"))])
def test_what_is_no_number_is_told(
    small_model: Callable[..., Any], loss: float, gradient: float
) -> None:
    made, weight = _optimiser(small_model)
    weight.grad = torch.full_like(weight, gradient)
    assert not made.clip(loss)


def test_half_precision_passes_over_an_overflow_and_lowers_the_scale(
    small_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch's scaler works on a CPU too; only our rule keeps half precision from it.
    monkeypatch.setattr(
        optimiser, "make_scaler", lambda *_: torch.amp.GradScaler("cpu", init_scale=4.0)
    )
    made, weight = _optimiser(small_model)
    before = weight.detach().clone()

    def scale() -> float:
        loss = torch.tensor(1.0, requires_grad=True)
        made.backward(loss)
        return loss.grad.item()

    def step(gradient: float) -> bool:
        assert scale() in (4.0, 2.0, 1.0)
        weight.grad = torch.full_like(weight, gradient * scale())
        good = made.clip(0.5)
        if good:
            made.step()
        return good

    assert step(float("inf"))
    assert torch.equal(weight, before)
    assert scale() == 2.0
    state = made.state_dict()
    assert step(0.01)
    assert not torch.equal(weight, before)
    made.load_state_dict(state)
    assert step(float("inf"))
    assert not step(float("inf"))  # at the least scale it is not for want of range


def _factors(total: int, **settings: Any) -> list[float]:
    milestones = (20 / 30, 25 / 30)
    config = TrainConfig(out=Path("run"), milestones=milestones, **settings)
    return [learning_rate_factor(config, step, total) for step in range(total)]


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 64, 649])
def test_the_rate_falls_at_the_start_of_epoch_20_and_25_of_30(steps_per_epoch: int) -> None:
    factors = _factors(30 * steps_per_epoch, warmup_steps=0)
    for epoch, expected in ((0, 1), (19, 1), (20, 0.1), (24, 0.1), (25, 0.01), (29, 0.01)):
        of_epoch = factors[epoch * steps_per_epoch : (epoch + 1) * steps_per_epoch]
        assert of_epoch == pytest.approx([expected] * steps_per_epoch)


def test_the_rate_rises_linearly_in_a_warm_up_of_at_most_a_tenth_of_the_run() -> None:
    assert _factors(40, warmup_steps=4)[:6] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert _factors(40, warmup_steps=100)[:6] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert _factors(5, warmup_steps=100)[0] == 1.0


def test_a_time_budget_that_is_used_up_faster_lowers_the_rate() -> None:
    config = TrainConfig(out=Path("run"), warmup_steps=0)
    assert learning_rate_factor(config, 3, 30, 0.7) == pytest.approx(0.1)


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
