"""The refiner against the plain order of its steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align

from histosam_core.model.focalclick.refiner import Refiner, SeparableConv
from histosam_core.model.specialists.folding import folded


def refiner(*, with_gate: bool = False) -> Refiner:
    torch.manual_seed(0)
    network = Refiner(24, with_gate=with_gate)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean)
    return network.eval()


def given(batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    box = torch.tensor([[0.0, 3, 5, 40, 61], [1, -8, 30.5, 70, 72]])[:batch]
    return (
        torch.rand(batch, 3, 64, 64, generator=generator),
        (torch.rand(batch, 2, 64, 64, generator=generator) > 0.9).float(),
        torch.randn(batch, 24, 16, 16, generator=generator),
        3 * torch.randn(batch, 1, 64, 64, generator=generator),
        box,
    )


def plain(network: Refiner, image: Tensor, disks: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    """Crop all channels of the features, then reduce them; each head by itself."""
    feature, coarse, box = rest
    scale = feature.shape[-1] / image.shape[-1]
    cropped = roi_align(feature, box, feature.shape[-2:], spatial_scale=scale, aligned=True)

    def separable(part: SeparableConv, x: Tensor) -> Tensor:
        return functional.relu(part.norm(part.conv1x1(part.conv3x3(x))))

    def larger(x: Tensor, size: torch.Size) -> Tensor:
        return functional.interpolate(x, size, mode="bilinear", align_corners=True)

    first, fusion = network.image_conv1, network.refine_fusion
    x = functional.relu(first.norm(first.conv(torch.cat((image, disks, coarse.sigmoid()), 1))))
    x = separable(network.image_conv3, separable(network.image_conv2, x))
    x = x + larger(functional.relu(fusion.norm(fusion.conv(cropped))), x.shape[-2:])
    x = separable(network.refine_fusion3, separable(network.refine_fusion2, x))
    own = larger(network.refine_pred(x), image.shape[-2:])
    trimap = larger(network.refine_trimap(x), image.shape[-2:])
    return own * trimap.sigmoid() + coarse * (1 - trimap.sigmoid()), trimap


@pytest.mark.parametrize("training", [False, True])
def test_equals_the_published_order(training: bool) -> None:
    network = refiner().train(training)
    for one, other in zip(network(*given()), plain(network, *given()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_folding_changes_nothing_but_rounding() -> None:
    network = refiner()
    slim = folded(network)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in slim.modules())
    for one, other in zip(slim(*given()), network(*given()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_trimap_decides_between_coarse_and_own_logits() -> None:
    network = refiner()
    torch.nn.init.zeros_(network.refine_trimap.weight)
    image, disks, feature, coarse, box = given()
    network.refine_trimap.bias.data.fill_(-100)
    refined, _ = network(image, disks, feature, coarse, box)
    assert torch.equal(refined, coarse)
    network.refine_trimap.bias.data.fill_(100)
    torch.nn.init.zeros_(network.refine_pred.weight)
    network.refine_pred.bias.data.fill_(7)
    refined, _ = network(image, disks, feature, coarse, box)
    torch.testing.assert_close(refined, torch.full_like(coarse, 7))


def test_the_gate_has_no_effect() -> None:
    network = refiner(with_gate=True)
    before = network(*given())
    for parameter in network.feature_gate.parameters():
        torch.nn.init.normal_(parameter)
    for one, other in zip(before, network(*given()), strict=True):
        assert torch.equal(one, other)
