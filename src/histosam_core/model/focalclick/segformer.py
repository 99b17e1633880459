"""SegFormer's encoder, the Mix Transformer (Xie et al. 2021), with FocalClick's way in for clicks.

Tokens keep their place: every block takes and gives (B, H, W, C). Click maps enter through a patch
embedding of their own, added to what the first stage gives, so that the first stage depends on the
image alone. State-dict keys are those of FocalClick's published checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
"""Side of the patches that share a key and a value, stage by stage."""
MLP_RATIO = 4
MAX_DROP_PATH = 0.1
"""Chance that training leaves out the last block; it grows linearly from 0 at the first."""
MAPS = 3


@dataclass(frozen=True, slots=True)
class MixTransformerGeometry:
    """The numbers that tell one Mix Transformer from another."""

    # Channels of the four stages, at 1/4, 1/8, 1/16 and 1/32 of the input.
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]  # blocks of the four stages


MIX_TRANSFORMERS: dict[str, MixTransformerGeometry] = {
    "b0": MixTransformerGeometry((32, 64, 160, 256), (2, 2, 2, 2)),
    "b3": MixTransformerGeometry((64, 128, 320, 512), (3, 4, 18, 3)),
}


class MixTransformer(nn.Module):
    """Four stages of transformer blocks; the click maps join between the first and the second."""

    def __init__(self, geometry: MixTransformerGeometry) -> None:
        super().__init__()
        widths = self.widths = geometry.widths
        self.patch_embed1 = OverlappingPatchEmbed(3, widths[0], patch=7, stride=4)
        self.patch_embed2 = OverlappingPatchEmbed(widths[0], widths[1], patch=3, stride=2)
        self.patch_embed3 = OverlappingPatchEmbed(widths[1], widths[2], patch=3, stride=2)
        self.patch_embed4 = OverlappingPatchEmbed(widths[2], widths[3], patch=3, stride=2)
        self.patch_embed_side1 = OverlappingPatchEmbed(MAPS, widths[0], patch=7, stride=4)
        last = sum(geometry.depths) - 1
        drops = iter([MAX_DROP_PATH * block / last for block in range(last + 1)])
        for stage, (width, depth) in enumerate(zip(widths, geometry.depths, strict=True)):
            blocks = nn.ModuleList(
                MixBlock(width, HEADS[stage], reduction=REDUCTIONS[stage], drop_path=next(drops))
                for _ in range(depth)
            )
            self.add_module(f"block{stage + 1}", blocks)
            self.add_module(f"norm{stage + 1}", nn.LayerNorm(width, eps=1e-6))
        self.apply(_initialise)

    def first_stage(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB -> (B, C1, H/4, W/4), rounded up; knows of no clicks."""
        return self._stage(1, image)

    def later_stages(self, first: Tensor, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stages 2, 3 and 4 for the first one's output and click maps (B, 3, H, W).

        Returns
        -------
        tuple of Tensor
            (B, C2, H/8, W/8), (B, C3, H/16, W/16) and (B, C4, H/32, W/32), rounded up.
        """
        second = self._stage(2, first + self.patch_embed_side1(maps).permute(0, 3, 1, 2))
        third = self._stage(3, second)
        return second, third, self._stage(4, third)

    def _stage(self, number: int, x: Tensor) -> Tensor:
        tokens = self.get_submodule(f"patch_embed{number}")(x)
        for block in self.get_submodule(f"block{number}").children():
            tokens = block(tokens)
        normed: Tensor = self.get_submodule(f"norm{number}")(tokens)
        return normed.permute(0, 3, 1, 2)


class OverlappingPatchEmbed(nn.Module):
    """(B, I, H, W) -> tokens (B, H/stride, W/stride, C), rounded up, of patches that overlap."""

    def __init__(self, inputs: int, width: int, *, patch: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, width, patch, stride, padding=patch // 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return tokens


class MixBlock(nn.Module):
    """A transformer block on tokens (B, H, W, C); `drop_path`: how often training leaves it out."""

    def __init__(self, width: int, heads: int, *, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = ReducedAttention(width, heads, reduction)
        self.drop_path = StochasticDepth(drop_path, "row")
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MixMlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        result: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return result


class ReducedAttention(nn.Module):
    """Every token attends to keys and values of a grid that is coarser by `reduction`."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduction = reduction
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, stride=reduction)
            self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, _, width = x.shape
        q = self.q(x).view(batch, -1, self.heads, width // self.heads).transpose(1, 2)
        coarse = x
        if self.reduction > 1:
            coarse = self.norm(self.sr(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        kv = self.kv(coarse).view(batch, -1, 2, self.heads, width // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(x.shape))
        return projected


class MixMlp(nn.Module):
    """Linear, depthwise 3 x 3, GELU, linear; the convolution gives tokens their position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = MLP_RATIO * width
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = _Depthwise(hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(functional.gelu(self.dwconv(self.fc1(x))))
        return result


class _Depthwise(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return mixed


def _initialise(module: nn.Module) -> None:
    """Random weights as SegFormer's authors draw them before training."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
