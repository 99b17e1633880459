"""Folding: the same answers, no batch norm behind a convolution, the network given untouched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from histosam_core.model.ritm.network import RITM_VARIANTS
from histosam_core.model.specialists.folding import folded

Fill = Callable[[nn.Module], None]


class Numbered(nn.Module):
    """Listed convolutions first: only the names tell which batch norm follows which."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))


class ConvModule(nn.Module):
    def __init__(self, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, stride=2)
        self.add_module(norm, nn.BatchNorm2d(6))
        self.norm_name = norm

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(getattr(self, self.norm_name)(self.conv(x)))


class Separable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv3x3, self.conv1x1 = nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv1x1(self.conv3x3(x)))


def small_modules() -> dict[str, nn.Module]:
    return {
        "numbered": Numbered(),
        "conv and bn": ConvModule("bn"),
        "conv and norm": ConvModule("norm"),
        "separable": Separable(),
        "sequence": nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        "sequence in a sequence": nn.Sequential(
            nn.Conv2d(4, 8, 3, bias=False), nn.Sequential(nn.BatchNorm2d(8), nn.ReLU())
        ),
        "end of a sequence": nn.Sequential(
            nn.Sequential(nn.ReLU(), nn.Conv2d(4, 8, 3)), nn.BatchNorm2d(8)
        ),
    }


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", small_modules())
@torch.no_grad()
def test_a_folded_module_answers_the_same_without_norms(name: str, fill_weights: Fill) -> None:
    module = small_modules()[name].eval()
    fill_weights(module)
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    folded_module = folded(module)
    assert norms(folded_module) == 0
    torch.testing.assert_close(folded_module(x), module(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
    ids=["after a ReLU", "before the convolution", "of the batch itself"],
)
@torch.no_grad()
def test_what_no_convolution_can_do_stays_a_batch_norm(
    module: nn.Module, fill_weights: Fill
) -> None:
    fill_weights(module)
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    folded_module = folded(module)
    assert norms(folded_module) == 1
    assert torch.equal(folded_module(x), module.eval()(x))


@pytest.mark.parametrize("name", ["hrnet18s_itm", "hrnet18_itm", "hrnet32_itm"])
@torch.inference_mode()
def test_ritm_folded_answers_the_same(name: str, fill_weights: Fill) -> None:
    network = RITM_VARIANTS[name]().eval()
    fill_weights(network)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 4, 64, 48, generator=generator)
    points = torch.tensor([[[20.0, 30, 0], [40, 10, 1]]]).expand(2, -1, -1)

    folded_network = folded(network)
    assert norms(folded_network) == 0
    for head, logits in network(x, points).items():
        difference = (folded_network(x, points)[head] - logits).abs().max()
        assert difference <= 1e-5 * logits.abs().max()


def test_the_network_given_is_not_changed(fill_weights: Fill) -> None:
    network = RITM_VARIANTS["hrnet18s_itm"]().train()
    fill_weights(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    strides = {name: tensor.stride() for name, tensor in network.state_dict().items()}
    frozen = [not parameter.requires_grad for parameter in network.parameters()]

    folded_network = folded(network)

    assert not folded_network.training
    assert not any(parameter.requires_grad for parameter in folded_network.parameters())
    with torch.no_grad():
        for parameter in folded_network.parameters():
            parameter.fill_(0)
    assert network.training
    assert all(module.training for module in network.modules())
    assert [not parameter.requires_grad for parameter in network.parameters()] == frozen
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert {name: tensor.stride() for name, tensor in after.items()} == strides
