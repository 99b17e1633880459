"""FocalClick's refiner (Chen et al. 2022): a light network that corrects a crop of the answer.

It reads the crop of the image, the clicks in it and the coarse answer, and the coarse network's
features of the same place. Where its trimap says so, its own logits replace the coarse ones.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from histosam_core.model.specialists.click_network import resized

WIDTH = 32
INPUTS = 6
"""RGB, positive and negative disks, coarse probability."""


class Refiner(nn.Module):
    """The refining network; keys of FocalClick's published checkpoints.

    Parameters
    ----------
    feature_channels
        C, channels of the coarse network's features.
    with_gate
        Have the gate that SegFormer's checkpoints hold; it has no effect.
    """

    def __init__(self, feature_channels: int, *, with_gate: bool = False) -> None:
        super().__init__()
        self.image_conv1 = _ConvNorm(INPUTS, WIDTH, 3, stride=2)
        self.image_conv2 = SeparableConv(WIDTH)
        self.image_conv3 = SeparableConv(WIDTH)
        self.refine_fusion = _ConvNorm(feature_channels, WIDTH, 1)
        self.refine_fusion2 = SeparableConv(WIDTH)
        self.refine_fusion3 = SeparableConv(WIDTH)
        if with_gate:
            self.feature_gate = nn.Sequential(nn.Conv2d(WIDTH, 1, 1), nn.Sigmoid())
        self.refine_pred = nn.Conv2d(WIDTH, 1, 3, padding=1)
        self.refine_trimap = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(
        self, image: Tensor, disks: Tensor, feature: Tensor, coarse: Tensor, box: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refine.

        Parameters
        ----------
        image
            (B, 3, S, S) RGB in 0..1, the crop.
        disks
            (B, 2, S, S) positive and negative disks in the crop.
        feature
            (N, C, h, w) of the coarse network, for its whole input.
        coarse
            (B, 1, S, S) logits of the coarse answer in the crop.
        box
            (B, 5): index into `feature`, then x1, y1, x2, y2 of the crop in pixels of the coarse
            network's input, which is S wide too.

        Returns
        -------
        refined : Tensor
            (B, 1, S, S) logits.
        trimap : Tensor
            (B, 1, S, S) logits of where `refined` departs from `coarse`.
        """
        size = image.shape[-2:]
        scale = feature.shape[-1] / image.shape[-1]
        # On a CPU each step from here is faster with a pixel's channels side by side.
        x = torch.cat((image, disks, coarse.sigmoid()), 1)
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.image_conv3(self.image_conv2(self.image_conv1(x)))
        x = x + resized(self._crop(feature, box, scale), x.shape[-2:])
        x = self.refine_fusion3(self.refine_fusion2(x))
        own, trimap = resized(self._both_heads(x), size).chunk(2, 1)
        share = trimap.sigmoid()
        return own * share + coarse * (1 - share), trimap

    def _crop(self, feature: Tensor, box: Tensor, scale: float) -> Tensor:
        """(N, C, h, w) features -> (B, 32, h, w) of the box, after the 1 x 1 convolution.

        Cropping weighs pixels, the convolution channels: it comes first here, so that fewer
        channels are cropped. Its bias must wait, since a crop is zero outside of the features.
        """
        conv, size = self.refine_fusion.conv, feature.shape[-2:]
        mixed = functional.conv2d(feature, conv.weight)
        cropped = roi_align(mixed, box, size, spatial_scale=scale, aligned=True)
        if conv.bias is not None:
            cropped = cropped + conv.bias.view(1, -1, 1, 1)
        cropped = functional.relu(self.refine_fusion.norm(cropped), inplace=True)
        return cropped.contiguous(memory_format=torch.channels_last)

    def _both_heads(self, x: Tensor) -> Tensor:
        """(B, 32, H, W) -> (B, 2, H, W) in one pass, which takes the time of one of the two."""
        one, other = self.refine_pred, self.refine_trimap
        weight = torch.cat((one.weight, other.weight))
        bias = torch.cat((cast("Tensor", one.bias), cast("Tensor", other.bias)))
        return functional.conv2d(x, weight, bias, padding=1).contiguous()


class SeparableConv(nn.Module):
    """Depthwise 3 x 3, 1 x 1, batch norm, ReLU: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv1x1(self.conv3x3(x))), inplace=True)


class _ConvNorm(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)), inplace=True)
