"""RITM's networks (Sofiiuk et al. 2022): HRNet with OCR that takes clicks and the previous mask."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model.ritm.hrnet import STEM_CHANNELS
from histosam_core.model.ritm.ocr import HrNetOcr
from histosam_core.model.specialists.click_network import ClickNetwork, normalised, resized


class RitmNetwork(ClickNetwork):
    """Iterative-mask RITM.

    The maps of the clicks and the previous answer are added to the features of the image's first
    convolution. `prepare` keeps those features, (B, 64, H/2, W/2).

    Parameters
    ----------
    width, ocr_width, small
        As for `HrNetOcr`.
    """

    def __init__(self, width: int, ocr_width: int, *, small: bool) -> None:
        super().__init__()
        self.maps_transform = MapsTransform()
        self.feature_extractor = HrNetOcr(width, ocr_width, small=small)
        initialise(self)

    def prepare(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 -> features of the first convolution."""
        return self.feature_extractor.stem(normalised(image))

    def answer(self, prepared: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """``instances`` and, of the auxiliary head, ``instances_aux``: (B, 1, H, W) logits."""
        answer = self.feature_extractor(prepared, self.maps_transform(maps))
        size = maps.shape[-2:]
        return {
            "instances": resized(answer.logits, size),
            "instances_aux": resized(answer.auxiliary, size),
        }


class MapsTransform(nn.Sequential):
    """(B, 3, H, W) previous probability and click disks -> (B, 64, H/2, W/2) to be added."""

    channels_last = True  # as `HrNet`

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, STEM_CHANNELS, 3, stride=2, padding=1),
            _Scale(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Transform maps."""
        widen, relu, mix, scale = self
        convolution, factor = cast("nn.Conv2d", mix), cast("_Scale", scale).scale.abs()
        # Scaling 10,000 weights is less work than scaling the maps they make.
        weight, bias = convolution.weight * factor, cast("Tensor", convolution.bias) * factor
        return functional.conv2d(relu(widen(maps)), weight, bias, stride=2, padding=1)


class _Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 0.05))


def initialise(network: nn.Module) -> None:
    """Draw the convolutions' weights as RITM's training does: Xavier, normal, gain sqrt(2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_normal_(module.weight, gain=2**0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


RITM_VARIANTS: dict[str, Callable[[], RitmNetwork]] = {
    "hrnet18s_itm": partial(RitmNetwork, 18, 48, small=True),
    "hrnet18_itm": partial(RitmNetwork, 18, 64, small=False),
    "hrnet32_itm": partial(RitmNetwork, 32, 128, small=False),
}
"""What builds each network, with random weights."""
