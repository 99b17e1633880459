"""Linear layers on a CPU: the same results and gradients whichever library does them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model import linear as linear_module
from histosam_core.model.linear import Linear, Pointwise, linear, use_linear


@pytest.fixture(params=[True, False])
def avx512(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways, whatever CPU runs the test."""
    monkeypatch.setattr(linear_module, "_has_avx512", lambda: request.param)
    return bool(request.param)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


@pytest.mark.usefixtures("avx512")
@pytest.mark.parametrize("shape", [(200, 24), (2, 3, 40, 24), (5, 24), (0, 24), (24,)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_results_and_gradients_are_those_of_torch(shape: tuple[int, ...], with_bias: bool) -> None:
    leaves = []
    for function in (linear, functional.linear):
        x, weight = draw(*shape).requires_grad_(), draw(16, 24).requires_grad_()
        bias = draw(16).requires_grad_() if with_bias else None
        y = function(x, weight, bias)
        y.square().sum().backward()
        leaves.append([y, x.grad, weight.grad, *([bias.grad] if bias is not None else [])])
    for mine, theirs in zip(*leaves, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("avx512")
def test_tokens_need_not_lie_together() -> None:
    x, weight = draw(6, 50, 24)[:, ::2], draw(16, 24)
    torch.testing.assert_close(linear(x, weight), functional.linear(x, weight))


@pytest.mark.usefixtures("avx512")
def test_other_types_are_left_to_torch() -> None:
    x, weight = draw(64, 24).double(), draw(16, 24).double()
    assert torch.equal(linear(x, weight), functional.linear(x, weight))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(draw(64, 24), draw(16, 24)).dtype == torch.bfloat16


@pytest.mark.usefixtures("avx512")
def test_modules_have_torchs_names_and_results() -> None:
    mine, theirs = Linear(24, 16), nn.Linear(24, 16)
    mine.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(mine(draw(64, 24)), theirs(draw(64, 24)))
    convolution, plain = Pointwise(24, 16), nn.Conv2d(24, 16, 1)
    convolution.load_state_dict(plain.state_dict())
    x = draw(2, 24, 9, 7)
    torch.testing.assert_close(convolution(x), plain(x))


def test_another_librarys_layers_go_the_same_way_under_their_names() -> None:
    module = nn.Sequential(
        nn.Linear(64, 48), nn.Sequential(nn.GELU(), nn.Linear(48, 8, bias=False))
    )
    x = torch.randn(3, 50, 64)
    expected, state = module(x), module.state_dict()
    use_linear(module)
    assert isinstance(module[0], Linear)
    assert isinstance(module[1][1], Linear)
    assert torch.allclose(module(x), expected, atol=1e-5)
    assert {k: v.data_ptr() for k, v in module.state_dict().items()} == {
        k: v.data_ptr() for k, v in state.items()
    }
