"""MobileSAM's image encoder: TinyViT-5M with SAM's neck (Wu et al. 2022; Zhang et al. 2023).

Convolutions, then windows of attention, from 1/4 to 1/16 of the input; the last stage keeps the
grid, so that the embedding has the shape of SAM's. State-dict keys are those of published files.

Two things make it fast and change no result beyond rounding. Every pass folds the batch norms into
the convolutions before them; their statistics are never updated, as is usual in fine-tuning, where
the images of a batch are too few to average over. And on a CPU a wide layer runs some rows at a
time, so that what lies between input and output stays small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model.linear import Linear, Pointwise, linear

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
WINDOWS = (0, 7, 14, 7)
HEAD_WIDTH = 32
EXPANSION = 4
MERGE_STRIDES = (2, 2, 1)
EARLY_STAGE = 1
STRIP_BYTES = 16 * 2**20
"""Of a strip's widest tensor on a CPU. Arrays of more than some 32 MB go back to the system after
use, and getting them anew costs more than the arithmetic; smaller strips gain nothing.
"""

Kernel: TypeAlias = tuple[Tensor, Tensor]
Rows: TypeAlias = Callable[[int, int], Tensor]


class TinyViTEncoder(nn.Module):
    """(B, 3, S, S) preprocessed RGB -> (B, 256, S/16, S/16) float32.

    Parameters
    ----------
    img_size
        S in pixels, a multiple of 16; no weight depends on it.
    out_chans
        Channels of the embedding.
    """

    early_channels = WIDTHS[EARLY_STAGE + 1]

    def __init__(self, img_size: int = 1024, out_chans: int = 256) -> None:
        super().__init__()
        self.img_size = img_size
        self.patch_embed = _Stem(WIDTHS[0])
        self.layers = nn.ModuleList(_Stage(index) for index in range(len(WIDTHS)))
        # TinyViT's classifier: published files hold it, nothing here uses it.
        self.norm_head = nn.LayerNorm(WIDTHS[-1])
        self.head = nn.Linear(WIDTHS[-1], 1000)
        self.neck = nn.Sequential(
            Pointwise(WIDTHS[-1], out_chans, bias=False),
            LayerNorm2d(out_chans),
            nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False),
            LayerNorm2d(out_chans),
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch of preprocessed images."""
        return self.with_early(x)[0]

    def with_early(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings, and early features: (B, 160, S/16, S/16), where the third stage starts.

        They are what Ke et al. 2023 (SAM-HQ) hand to their decoder over this encoder.
        """
        tokens = early = self.patch_embed(x)
        for index, stage in enumerate(self.layers):
            tokens = stage(tokens)
            if index == EARLY_STAGE:
                early = tokens
        embedding: Tensor = self.neck(tokens.permute(0, 3, 1, 2))
        return embedding.contiguous(), early.permute(0, 3, 1, 2)


class _Stem(nn.Module):
    """(B, 3, S, S) image -> (B, S/4, S/4, C) tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.seq = nn.Sequential(
            _ConvNorm(3, half, 3, stride=2), nn.GELU(), _ConvNorm(half, width, 3, stride=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, _, second = self.seq
        halve, quarter = cast("_ConvNorm", first).folded(), cast("_ConvNorm", second).folded()
        pixels = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        height = pixels.shape[1]

        def halved(top: int, bottom: int) -> Tensor:
            made = _convolved(lambda a, b: pixels[:, a:b], height, (top, bottom), halve, 2)
            return functional.gelu(made)

        def rows(top: int, bottom: int) -> Tensor:
            return _convolved(halved, height // 2, (top, bottom), quarter, 2)

        return _by_rows(rows, height // 4, pixels, len(halve[1]))


class _Stage(nn.Module):
    """One stage of TinyViT and the merging of tokens behind it; (B, H, W, C) tokens."""

    def __init__(self, index: int) -> None:
        super().__init__()
        width, window = WIDTHS[index], WINDOWS[index]
        self.blocks = nn.ModuleList(
            _WindowBlock(width, window) if window else _ConvBlock(width)
            for _ in range(DEPTHS[index])
        )
        if index < len(MERGE_STRIDES):
            out = WIDTHS[index + 1]
            self.downsample = _Bottleneck(width, out, out, MERGE_STRIDES[index])

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return self.downsample(tokens) if hasattr(self, "downsample") else tokens


class _ConvNorm(nn.Module):
    """A convolution and the batch norm behind it, under the published names."""

    def __init__(
        self, inputs: int, outputs: int, size: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs)

    def folded(self) -> Kernel:
        """Weight and bias of the one convolution that does the same."""
        if not isinstance(self.bn, nn.BatchNorm2d):  # folded for good, see model/folding.py
            return self.c.weight, cast("Tensor", self.c.bias)
        mean, variance = cast("Tensor", self.bn.running_mean), cast("Tensor", self.bn.running_var)
        scale = self.bn.weight * torch.rsqrt(variance + self.bn.eps)
        return self.c.weight * scale[:, None, None, None], self.bn.bias - mean * scale


class _Bottleneck(nn.Module):
    """1x1 convolution, GELU, depthwise 3x3 convolution, GELU, 1x1 convolution, on tokens."""

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(inputs, hidden)
        self.conv2 = _ConvNorm(hidden, hidden, 3, stride, groups=hidden)
        self.conv3 = _ConvNorm(hidden, outputs)
        self.stride = stride

    def forward(self, tokens: Tensor) -> Tensor:
        expand, depthwise, project = (c.folded() for c in (self.conv1, self.conv2, self.conv3))
        height = tokens.shape[1]

        def expanded(top: int, bottom: int) -> Tensor:
            return functional.gelu(_pointwise(tokens[:, top:bottom], *expand))

        def rows(top: int, bottom: int) -> Tensor:
            hidden = _convolved(expanded, height, (top, bottom), depthwise, self.stride)
            return self._finish(_pointwise(functional.gelu(hidden), *project), tokens, top, bottom)

        return _by_rows(rows, -(-height // self.stride), tokens, len(expand[1]) * self.stride)

    def _finish(self, made: Tensor, tokens: Tensor, top: int, bottom: int) -> Tensor:
        return made


class _ConvBlock(_Bottleneck):
    """A bottleneck with a shortcut; the last norm starts at zero, so the block starts as GELU."""

    def __init__(self, width: int) -> None:
        super().__init__(width, EXPANSION * width, width, 1)
        nn.init.zeros_(cast("Tensor", self.conv3.bn.weight))

    def _finish(self, made: Tensor, tokens: Tensor, top: int, bottom: int) -> Tensor:
        return functional.gelu(made + tokens[:, top:bottom])


class _WindowBlock(nn.Module):
    """Attention within windows, a depthwise convolution, an MLP."""

    def __init__(self, width: int, window: int) -> None:
        super().__init__()
        self.attn = _WindowAttention(width, window)
        self.mlp = _Mlp(width)
        self.local_conv = _ConvNorm(width, width, 3, groups=width)

    def forward(self, tokens: Tensor) -> Tensor:
        height, window = tokens.shape[1], self.attn.window
        padding, bias = self.attn.padding(), self.attn.bias()
        kernel = self.local_conv.folded()

        def attended(top: int, bottom: int) -> Tensor:
            given = tokens[:, top * window : bottom * window]
            result: Tensor = given + self.attn(given, padding, bias)
            return result

        mixed = _by_rows(attended, -(-height // window), tokens, 3 * window * tokens.shape[3])

        def rows(top: int, bottom: int) -> Tensor:
            local = _convolved(lambda a, b: mixed[:, a:b], height, (top, bottom), kernel)
            result: Tensor = local + self.mlp(local)
            return result

        return _by_rows(rows, height, mixed, EXPANSION * tokens.shape[3])


class _WindowAttention(nn.Module):
    """Attention within windows with a learnt bias for each offset of two tokens.

    A network that has only been built attends without bias, whatever is written into its weights:
    the published module keeps a table of the biases for evaluation, and its builder makes it before
    there are weights. Loading a state dict, or training, puts the biases into effect for good.
    """

    offsets: Tensor

    def __init__(self, width: int, window: int) -> None:
        super().__init__()
        self.window, self.heads = window, width // HEAD_WIDTH
        self.attention_biases = nn.Parameter(torch.zeros(self.heads, window * window))
        self.norm = nn.LayerNorm(width)
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        apart = (places[:, None] - places[None]).abs()
        self.register_buffer("offsets", apart[..., 0] * window + apart[..., 1], persistent=False)
        self._biased = False
        self.register_load_state_dict_post_hook(_switch_biases_on)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> _WindowAttention:
        """Set the mode; training switches the biases on."""
        self._biased |= mode
        super().train(mode)
        return self

    def bias(self) -> Tensor | None:
        """(1, heads, N, N) bias of every two tokens of a window of N, or None."""
        return self.attention_biases[:, self.offsets][None] if self._biased else None

    def padding(self) -> Tensor:
        """(3 C,) queries, keys and values of the zeros beyond the border, which take part."""
        padding: Tensor = self.qkv(self.norm.bias)
        return padding

    def forward(self, tokens: Tensor, padding: Tensor, bias: Tensor | None) -> Tensor:
        """(B, h, W, C) -> (B, h, W, C); whole windows but for the image's last rows."""
        batch, height, width, dim = tokens.shape
        window = self.window
        down, across = -(-height // window), -(-width // window)
        qkv = self.qkv(self.norm(tokens))
        if (down * window, across * window) != (height, width):
            real = qkv
            qkv = padding.to(real.dtype).repeat(batch, down * window, across * window, 1)
            qkv[:, :height, :width] = real
        qkv = qkv.view(batch, down, window, across, window, self.heads, 3 * HEAD_WIDTH)
        qkv = qkv.permute(0, 1, 3, 5, 2, 4, 6)
        q, k, v = qkv.reshape(-1, self.heads, window * window, 3 * HEAD_WIDTH).chunk(3, dim=-1)
        mixed = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=None if bias is None else bias.to(q.dtype)
        )
        mixed = mixed.view(batch, down, across, self.heads, window, window, HEAD_WIDTH)
        mixed = mixed.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, down * window, -1, dim)
        projected: Tensor = self.proj(mixed[:, :height, :width])
        return projected


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = Linear(width, EXPANSION * width)
        self.fc2 = Linear(EXPANSION * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.fc2(functional.gelu(self.fc1(self.norm(tokens))))
        return result


def _switch_biases_on(attention: nn.Module, _: object) -> None:
    attention._biased = True  # type: ignore[assignment]


def _pointwise(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """1x1 convolution of (B, H, W, C) tokens."""
    return linear(tokens, weight.flatten(1), bias)


def _convolved(
    source: Rows, height: int, wanted: tuple[int, int], kernel: Kernel, stride: int = 1
) -> Tensor:
    """Rows from `wanted[0]` to `wanted[1]` of a 3x3 convolution with padding 1, on tokens.

    `source` gives rows of its input, which has `height` of them.
    """
    weight, bias = kernel
    first, last = wanted[0] * stride - 1, (wanted[1] - 1) * stride + 2
    given = source(max(first, 0), min(last, height))
    if first < 0 or last > height:
        given = functional.pad(given, (0, 0, 0, 0, max(-first, 0), max(last - height, 0)))
    groups = given.shape[3] // weight.shape[1]
    made = functional.conv2d(
        given.permute(0, 3, 1, 2), weight, bias, stride, padding=(0, 1), groups=groups
    )
    return made.permute(0, 2, 3, 1)


def _by_rows(rows: Rows, height: int, tokens: Tensor, width: int) -> Tensor:
    """Join `rows(top, bottom)` over all `height` rows; on a CPU a strip at a time.

    A row's widest tensor has `width` channels for each column of `tokens` (B, H, W, C).
    """
    step = height
    if tokens.device.type == "cpu":
        row_bytes = tokens.shape[0] * tokens.shape[2] * width * tokens.element_size()
        step = min(height, max(1, STRIP_BYTES // row_bytes))
    strips = [rows(top, min(top + step, height)) for top in range(0, height, step)]
    return strips[0] if len(strips) == 1 else torch.cat(strips, dim=1)
