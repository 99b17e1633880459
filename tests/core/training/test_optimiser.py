"""Steps of the optimiser: clipping, numbers that are none, half precision's scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from histosam_core.training import TrainConfig, optimiser
from histosam_core.training.optimiser import Optimiser

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
