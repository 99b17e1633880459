"""From a ViT's one grid to a mask: SimpleClick's feature pyramid and its head.

Li et al. 2022 ("Exploring plain vision transformer backbones for object detection") make a pyramid
out of the last features alone; SimpleClick (Liu et al. 2023) reads it with SegFormer's all-MLP
head. State-dict keys are those of the published files.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model.linear import Pointwise, linear

Widths = tuple[int, int, int, int]


class SimplePyramid(nn.Module):
    """(B, C, h, w) features of 1/16 of the input -> maps of 1/4, 1/8, 1/16 and 1/32.

    `widths` are their channels, the finest first.
    """

    def __init__(self, dim: int, widths: Widths) -> None:
        super().__init__()
        quarter, eighth = max(2 * widths[0], dim // 2), max(widths[1], dim // 2)
        coarsest = max(widths[3], 2 * dim)
        self.down_4 = nn.Sequential(
            *_doubled(dim, quarter),
            nn.GELU(),
            *_doubled(quarter, quarter // 2),
            *_projected(quarter // 2, widths[0]),
        )
        self.down_8 = nn.Sequential(*_doubled(dim, eighth), *_projected(eighth, widths[1]))
        self.down_16 = nn.Sequential(*_projected(dim, widths[2]))
        self.down_32 = nn.Sequential(
            nn.Conv2d(dim, coarsest, 2, stride=2),
            nn.GroupNorm(1, coarsest),
            *_projected(coarsest, widths[3]),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Make the four maps, the finest first."""
        return [self.down_4(x), self.down_8(x), self.down_16(x), self.down_32(x)]


class PyramidHead(nn.Module):
    """The four maps of a pyramid -> (B, 1, H/4, W/4) logits, `channels` of each on the way."""

    def __init__(self, widths: Widths, channels: int) -> None:
        super().__init__()
        self.conv_seg = Pointwise(channels, 1)
        self.convs = nn.ModuleList(_named(width, channels) for width in widths)
        self.fusion_conv = _named(len(widths) * channels, channels)
        # Finer outputs than 1/4, which no published network has: their files hold the layers.
        half, quarter = channels // 2, channels // 4
        self.up_conv1 = nn.Sequential(*_doubled(channels, half), *_projected(half, half))
        self.up_conv2 = nn.Sequential(*_doubled(half, quarter), *_projected(quarter, quarter))
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Join the maps at the size of the finest."""
        fusion = cast("nn.Conv2d", self.fusion_conv["conv"])
        joined = cast("Tensor", fusion.bias)[:, None, None]
        parts = fusion.weight.flatten(1).chunk(len(maps), dim=1)
        for features, layer, weight in zip(maps, self.convs, parts, strict=True):
            own = functional.relu(cast("nn.ModuleDict", layer)["conv"](features))
            # A 1x1 convolution and an enlargement may change places: fewer pixels are less work.
            own = linear(own.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)
            if features is not maps[0]:
                own = functional.interpolate(
                    own, maps[0].shape[-2:], mode="bilinear", align_corners=False
                )
            joined = joined + own
        logits: Tensor = self.conv_seg(self.dropout(functional.relu(joined)))
        return logits


class _Doubling(nn.ConvTranspose2d):
    """A transposed 2x2 convolution with stride 2: a linear layer that makes four pixels of one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 2, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        batch, inputs, height, width = x.shape
        weight = self.weight.permute(2, 3, 1, 0).reshape(-1, inputs)
        bias = cast("Tensor", self.bias).repeat(4)
        made = linear(x.permute(0, 2, 3, 1), weight, bias).view(batch, height, width, 2, 2, -1)
        made = made.permute(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, -1)
        return made.permute(0, 3, 1, 2)


def _doubled(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return _Doubling(inputs, outputs), nn.GroupNorm(1, outputs)


def _projected(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return Pointwise(inputs, outputs), nn.GroupNorm(1, outputs), nn.GELU()


def _named(inputs: int, outputs: int) -> nn.ModuleDict:
    """A 1x1 convolution under the name that published files have it by."""
    return nn.ModuleDict({"conv": Pointwise(inputs, outputs)})
