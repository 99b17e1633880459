"""SegFormer's decoder (Xie et al. 2021): four stages to one map of features at 1/4 of the input.

The published order is: project each stage, enlarge it, put the four side by side, fuse with a 1 x 1
convolution. Projection and fusion are linear at each pixel and enlarging is linear between pixels,
so they change places: here each stage is projected and fused where it is small, and the enlarged
maps are added. The result differs by rounding, at about a fifth of the multiplications.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

DROPOUT = 0.1


class SegFormerHead(nn.Module):
    """Features and logits of four stages; keys of FocalClick's published checkpoints.

    Parameters
    ----------
    widths
        Channels C1 to C4 of the stages.
    dim
        Channels D of the features.
    """

    def __init__(self, widths: tuple[int, int, int, int], dim: int) -> None:
        super().__init__()
        self.linear_c4 = _Projection(widths[3], dim)
        self.linear_c3 = _Projection(widths[2], dim)
        self.linear_c2 = _Projection(widths[1], dim)
        self.linear_c1 = _Projection(widths[0], dim)
        self.linear_fuse = _Fusion(dim)
        self.linear_pred = nn.Conv2d(dim, 1, 1)
        self.dropout = nn.Dropout2d(DROPOUT)

    def first_part(self, first: Tensor) -> Tensor:
        """(B, C1, h, w) of stage 1 -> (B, D, h, w), its part of the fused features."""
        return self._part(self.linear_c1, 3, first)

    def forward(
        self, first_part: Tensor, second: Tensor, third: Tensor, fourth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, 1, h, w) logits and (B, D, h, w) features of `first_part` and the later stages."""
        size = first_part.shape[-2:]
        fused = _enlarged(self._part(self.linear_c2, 2, second), size)
        fused += _enlarged(self._part(self.linear_c3, 1, third), size)
        fused += _enlarged(self._part(self.linear_c4, 0, fourth), size)
        fused += first_part
        fused = functional.relu(self.linear_fuse.bn(fused), inplace=True)
        features = self.dropout(fused)
        return self.linear_pred(features), features

    def _part(self, projection: _Projection, place: int, x: Tensor) -> Tensor:
        """Project a stage, and fuse by the columns that are its own."""
        linear, fuse = projection.proj, self.linear_fuse.conv
        columns = fuse.weight.flatten(1).chunk(4, dim=1)[place]
        bias = fuse.bias if place == 0 else None  # there once the batch norm is folded into it
        tokens = x.permute(0, 2, 3, 1)
        if linear.in_features < tokens[..., 0].numel():  # one linear layer is less work than two
            shift = columns @ linear.bias
            part = functional.linear(
                tokens, columns @ linear.weight, shift if bias is None else shift + bias
            )
        else:
            part = functional.linear(linear(tokens), columns, bias)
        return part.permute(0, 3, 1, 2)


def _enlarged(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


class _Projection(nn.Module):
    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, dim)


class _Fusion(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4 * dim, dim, 1, bias=False)
        self.bn = nn.BatchNorm2d(dim)
