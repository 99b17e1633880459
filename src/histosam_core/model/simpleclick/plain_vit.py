"""SimpleClick's backbone: a plain ViT that attends within windows, and every few blocks globally.

A ViT pre-trained at 224 px (He et al. 2022) sees windows of that size; the last block of each group
attends to the whole image (Liu et al. 2023). State-dict keys are those of the published files.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.errors import ImageError
from histosam_core.model.linear import Linear

PRETRAINED_PX = 224


class PlainViT(nn.Module):
    """Tokens of an image -> features at the grid of its patches.

    Parameters
    ----------
    dim, depth, heads
        Width C, number of blocks, attention heads.
    patch_px
        Side of a patch in pixels.
    image_px
        Side of the training images, which positions are learnt for; those of another size are
        resized to its grid.
    """

    def __init__(
        self, dim: int, depth: int, heads: int, *, patch_px: int = 16, image_px: int = 448
    ) -> None:
        super().__init__()
        self.grid, self.window = image_px // patch_px, PRETRAINED_PX // patch_px
        self.group = 6 if depth == 12 else depth // 4
        self.patch_embed = PatchEmbedding(dim, patch_px)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid**2 + 1, dim))
        self.blocks = nn.Sequential(*(_Block(dim, heads) for _ in range(depth)))
        # The classifier of pre-training: published files hold it, nothing here uses it.
        self.fc_norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, 1000)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def embed(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> (B, h, w, C) tokens with their positions."""
        tokens: Tensor = self.patch_embed(image)
        return tokens + self.positions(tokens.shape[1], tokens.shape[2])

    def positions(self, height: int, width: int) -> Tensor:
        """(1, h, w, C) positions for a grid, resized bicubically where it is not that of training.

        The first learnt position is that of the class token, which has no part in segmentation.
        """
        learnt = self.pos_embed[:, 1:].view(1, self.grid, self.grid, -1)
        if (height, width) == (self.grid, self.grid):
            return learnt
        resized = functional.interpolate(
            learnt.permute(0, 3, 1, 2), (height, width), mode="bicubic", align_corners=False
        )
        return resized.permute(0, 2, 3, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) tokens -> (B, C, h, w) features.

        Raises
        ------
        ImageError
            The grid cannot be divided into windows of one size.
        """
        batch, height, width, dim = tokens.shape
        down, across = self._windows(height), self._windows(width)
        windows = (batch, down, height // down, across, width // across, dim)
        x, is_split = tokens.reshape(batch, -1, dim), False
        for index, block in enumerate(self.blocks, start=1):
            to_split = index % self.group != 0
            if to_split and not is_split:
                x = x.view(windows).transpose(2, 3).reshape(batch * down * across, -1, dim)
            elif is_split and not to_split:
                split = (batch, down, across, windows[2], windows[4], dim)
                x = x.view(split).transpose(2, 3).reshape(batch, -1, dim)
            is_split = to_split
            x = block(x)
        return x.view(batch, height, width, dim).permute(0, 3, 1, 2)

    def _windows(self, tokens: int) -> int:
        """How many windows a side of the grid is divided into."""
        count = max(1, tokens // self.window)
        if tokens % count:
            side = self.window * self.patch_embed.patch_px
            raise ImageError(
                f"SimpleClick cannot divide {tokens} patches of {self.patch_embed.patch_px} px "
                f"into {count} equal windows; resize the image to a multiple of {side} px"
            )
        return count


class PatchEmbedding(nn.Module):
    """(B, 3, H, W) -> (B, h, w, C) tokens, one a patch; what is left over at the end is cut off."""

    def __init__(self, dim: int, patch_px: int) -> None:
        super().__init__()
        self.patch_px = patch_px
        self.proj = nn.Conv2d(3, dim, patch_px, stride=patch_px)
        nn.init.xavier_uniform_(self.proj.weight.data.view(dim, -1))

    def forward(self, image: Tensor) -> Tensor:
        """Embed images or maps."""
        tokens: Tensor = self.proj(image)
        return tokens.permute(0, 2, 3, 1)


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.norm1 = norm(dim)
        self.norm2 = norm(dim)
        self.attn = _Attention(dim, heads)
        self.mlp = _Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*qkv.unbind(0))
        merged: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return merged


class _Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, 4 * dim)
        self.fc2 = Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return result
