"""SAM's image encoder with fused attention: the published result, faster and in less memory.

``segment_anything`` materialises every attention map (800 MB a global layer of ViT-B at 1024 px)
and adds the relative-position bias to it in two more passes. Here the bias is made for a block of
query rows at a time. Two forms of the same arithmetic:

- anywhere, with gradients or not: `torch.nn.functional.scaled_dot_product_attention` per block;
- on a CPU without gradients: a block's scores are made in a buffer that fits the cache, and a
  windowed layer runs one row of windows at a time, so that no large tensor is allocated. Padding
  of windows is filled in after the linear layer (zeros become its bias), not computed.

State-dict keys are those of ``segment_anything.modeling.ImageEncoderViT``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.common import MLPBlock
from segment_anything.modeling.image_encoder import (
    Attention,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from histosam_core.errors import ConfigError
from histosam_core.model.linear import use_linear

CPU_SCORE_BYTES = 8 * 2**20
"""Scores of a global layer made at once on a CPU; a last-level cache holds them."""
BIAS_BYTES = 256 * 2**20
"""Relative-position bias made at once for the fused kernel."""
TOKENS_AT_ONCE = 1024
"""Tokens that the MLP of a global layer takes at once on a CPU."""


@dataclass(frozen=True, slots=True)
class EncoderGeometry:
    """The numbers that tell one ViT of SAM's from another."""

    # Width, number of blocks, attention heads.
    embed_dim: int
    depth: int
    num_heads: int
    # Indexes of the blocks that attend to the whole image; the others attend within windows.
    global_blocks: tuple[int, ...]
    image_size: int = 1024  # side of the square input in pixels
    window_size: int = 14  # side of a window in tokens
    patch_size: int = 16  # side of a token in pixels
    out_chans: int = 256  # channels of the embedding


SAM_ENCODERS: dict[str, EncoderGeometry] = {
    "sam_vit_b": EncoderGeometry(768, 12, 12, (2, 5, 8, 11)),
    "sam_vit_l": EncoderGeometry(1024, 24, 16, (5, 11, 17, 23)),
    "sam_vit_h": EncoderGeometry(1280, 32, 16, (7, 15, 23, 31)),
}


def build_image_encoder(architecture: str) -> FusedImageEncoder:
    """Build SAM's image encoder, one of `SAM_ENCODERS`, with random weights.

    (B, 3, 1024, 1024) float32 preprocessed -> (B, 256, 64, 64) float32.
    """
    if architecture not in SAM_ENCODERS:
        names = ", ".join(SAM_ENCODERS)
        raise ConfigError(f"no SAM encoder {architecture!r}; choose one of {names}")
    return FusedImageEncoder(SAM_ENCODERS[architecture])


class FusedImageEncoder(ImageEncoderViT):  # type: ignore[misc]
    """SAM's image encoder, (B, 3, S, S) -> (B, C, S/16, S/16); see the module's text."""

    def __init__(self, geometry: EncoderGeometry) -> None:
        super().__init__(
            img_size=geometry.image_size,
            patch_size=geometry.patch_size,
            embed_dim=geometry.embed_dim,
            depth=0,
            out_chans=geometry.out_chans,
        )
        self._early_block = geometry.global_blocks[0]
        self.early_channels = geometry.embed_dim
        grid = geometry.image_size // geometry.patch_size
        self.blocks.extend(
            FusedBlock(
                geometry.embed_dim,
                geometry.num_heads,
                window_size=0 if index in geometry.global_blocks else geometry.window_size,
                grid=grid,
            )
            for index in range(geometry.depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch of preprocessed images."""
        return self.with_early(x)[0]

    def with_early(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings, and early features: (B, D, S/16, S/16) after the first global attention."""
        x = self.patch_embed(x) + self.pos_embed
        in_place = (
            x.device.type == "cpu"
            and x.dtype == torch.float32
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
        )
        if in_place:
            early = torch.empty_like(x)
            for image, kept in zip(x, early, strict=True):
                for index, block in enumerate(self.blocks):
                    block.update_(image)
                    if index == self._early_block:
                        kept.copy_(image)
        else:
            early = x
            for index, block in enumerate(self.blocks):
                x = block(x)
                if index == self._early_block:
                    early = x
        embedding: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return embedding, early.permute(0, 3, 1, 2)


class FusedBlock(nn.Module):
    """A transformer block with SAM's names; `window_size` 0 attends to the whole image.

    `window_size` and `grid`, the image's side, are in tokens.
    """

    def __init__(self, dim: int, num_heads: int, *, window_size: int, grid: int) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-6)
        side = window_size or grid
        self.norm1 = norm(dim)
        self.attn = FusedAttention(dim, num_heads, use_rel_pos=True, input_size=(side, side))
        self.norm2 = norm(dim)
        self.mlp = MLPBlock(embedding_dim=dim, mlp_dim=4 * dim, act=nn.GELU)
        self.window_size = window_size
        use_linear(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C), on any device, with gradients where they are enabled."""
        y = self.norm1(x)
        if self.window_size:
            windows, padded_hw = window_partition(y, self.window_size)
            y = window_unpartition(
                self.attn(windows), self.window_size, padded_hw, (x.shape[1], x.shape[2])
            )
        else:
            y = self.attn(y)
        x = x + y
        result: Tensor = x + self.mlp(self.norm2(x))
        return result

    def update_(self, image: Tensor) -> None:
        """Replace one image's tokens (H, W, C) by the block's output; CPU, no gradients."""
        height, width, _ = image.shape
        if self.window_size:
            for top in range(0, height, self.window_size):
                rows = image[top : top + self.window_size]
                rows += self.attn.proj(self.attn.attend_windows(self.norm1(rows), self.window_size))
                rows += self.mlp(self.norm2(rows))
        else:
            image += self.attn.proj(self.attn.attend_all(self.norm1(image)))
            step = max(1, TOKENS_AT_ONCE // width)
            for top in range(0, height, step):
                rows = image[top : top + step]
                rows += self.mlp(self.norm2(rows))


class FusedAttention(Attention):  # type: ignore[misc]
    """SAM's attention with decomposed relative positions, fused; same parameters and result."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        batch, height, width, dim = x.shape
        size_hw = height, width
        qkv = self.qkv(x).view(batch, height * width, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        table_h, table_w = self._position_tables(size_hw)
        row_bytes = batch * self.num_heads * width * height * width * q.element_size()
        rows = min(height, max(1, BIAS_BYTES // row_bytes))
        # Under autograd the bias is made again in the backward pass, so that memory stays bounded.
        attend = (
            partial(checkpoint, _attend_rows, use_reentrant=False)
            if torch.is_grad_enabled() and qkv.requires_grad
            else _attend_rows
        )
        mixed = [
            attend(
                q[:, :, top * width : (top + rows) * width],
                k,
                v,
                table_h[top : top + rows],
                table_w,
            )
            for top in range(0, height, rows)
        ]
        joined = torch.cat(mixed, dim=2).transpose(1, 2).reshape(batch, height, width, dim)
        projected: Tensor = self.proj(joined)
        return projected

    def attend_all(self, tokens: Tensor) -> Tensor:
        """(H, W, C) -> (H, W, C) before `proj`: every token attends to every token. CPU."""
        height, width, dim = tokens.shape
        qkv = self.qkv(tokens).view(height * width, 3, self.num_heads, -1)
        q, k, v = qkv.permute(1, 2, 0, 3).contiguous().unbind(0)
        mixed = _attend_by_head(q, k, v, *self._position_tables((height, width)))
        return mixed.transpose(0, 1).reshape(height, width, dim)

    def attend_windows(self, tokens: Tensor, window: int) -> Tensor:
        """(h <= window, W, C), one row of windows -> (h, W, C) before `proj`. CPU."""
        height, width, dim = tokens.shape
        count, (full, rest) = -(-width // window), divmod(width, window)
        given = self.qkv(tokens).view(height, width, 3, self.num_heads, -1)
        qkv = given.new_empty(3, count, self.num_heads, window, window, dim // self.num_heads)
        # The published encoder pads tokens with zeros; after the linear layer these are its bias.
        laid = qkv.permute(3, 1, 4, 0, 2, 5)  # (row, window, column, q/k/v, head, d)
        bias = self.qkv.bias.view(3, self.num_heads, -1)
        laid[height:] = bias
        laid[:height, :full] = given[:, : full * window].unflatten(1, (full, window))
        if rest:
            laid[:height, full, :rest] = given[:, full * window :]
            laid[:height, full, rest:] = bias
        q, k, v = qkv.view(3, count * self.num_heads, window * window, -1).unbind(0)
        mixed = _attend_at_once(q, k, v, *self._position_tables((window, window)))
        mixed = mixed.view(count, self.num_heads, window, window, -1)[:, :, :height]
        mixed = mixed.permute(2, 0, 3, 1, 4).reshape(height, count * window, dim)
        return mixed[:, :width]

    def _position_tables(self, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(H, H, d) and (W, W, d): the relative-position vector of query row/column to key's."""
        height, width = size_hw
        return get_rel_pos(height, height, self.rel_pos_h), get_rel_pos(
            width, width, self.rel_pos_w
        )


def _attend_rows(q: Tensor, k: Tensor, v: Tensor, table_h: Tensor, table_w: Tensor) -> Tensor:
    """Attend with torch's fused kernel: (B, heads, r W, d) queries of r rows -> the same shape.

    `table_h` is (r, H, d), `table_w` (W, W, d); keys and values are (B, heads, H W, d).
    """
    batch, heads, _, dim = q.shape
    (rows, height, _), width = table_h.shape, table_w.shape[0]
    grid = q.reshape(batch, heads, rows, width, dim)
    bias_h = torch.einsum("bnrwd,rkd->bnrwk", grid, table_h.to(q.dtype))
    bias_w = torch.einsum("bnrwd,wkd->bnrwk", grid, table_w.to(q.dtype))
    bias = (bias_h[..., :, None] + bias_w[..., None, :]).reshape(
        batch, heads, rows * width, height * width
    )
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))


def _attend_at_once(q: Tensor, k: Tensor, v: Tensor, table_h: Tensor, table_w: Tensor) -> Tensor:
    """Attend within small windows on a CPU: (G, H W, d) queries, keys, values -> (G, H W, d).

    Scores start as the bias, the products are added to them, and softmax works in place.
    """
    groups, count, dim = q.shape
    bias_h, bias_w = _bias_of(q, table_h, table_w)
    scores = q.new_empty(groups, count, count)
    height, width = table_h.shape[0], table_w.shape[0]
    torch.add(
        bias_h[..., :, None],
        bias_w[..., None, :],
        out=scores.view(groups, height, width, height, width),
    )
    scores.baddbmm_(q * dim**-0.5, k.transpose(1, 2))
    torch.softmax(scores, dim=-1, out=scores)
    return torch.bmm(scores, v)


def _attend_by_head(q: Tensor, k: Tensor, v: Tensor, table_h: Tensor, table_w: Tensor) -> Tensor:
    """Attend to the whole image on a CPU; as `_attend_at_once`, a head and some rows at a time."""
    groups, count, dim = q.shape
    height, width = table_h.shape[0], table_w.shape[0]
    bias_h, bias_w = _bias_of(q, table_h, table_w)
    scaled, keys = q * dim**-0.5, k.transpose(1, 2)
    rows = min(height, max(1, CPU_SCORE_BYTES // (width * count * q.element_size())))
    buffer = q.new_empty(rows * width, count)
    mixed = torch.empty_like(q)
    for group in range(groups):
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            block = slice(top * width, bottom * width)
            scores = buffer[: (bottom - top) * width]
            torch.add(
                bias_h[group, top:bottom, :, :, None],
                bias_w[group, top:bottom, :, None, :],
                out=scores.view(bottom - top, width, height, width),
            )
            scores.addmm_(scaled[group, block], keys[group])
            torch.softmax(scores, dim=-1, out=scores)
            torch.mm(scores, v[group], out=mixed[group, block])
    return mixed


def _bias_of(q: Tensor, table_h: Tensor, table_w: Tensor) -> tuple[Tensor, Tensor]:
    """(G, H W, d) queries -> their bias for every key row (G, H, W, H) and column (G, H, W, W)."""
    grid = q.view(q.shape[0], table_h.shape[0], table_w.shape[0], -1)
    return torch.einsum("ghwd,hkd->ghwk", grid, table_h), torch.einsum(
        "ghwd,wkd->ghwk", grid, table_w
    )
