"""MobileSAM's image encoder at 1024 px on a CPU: a plain port against ours.

    python benchmarks/bench_mobile_sam.py [--threads 2] [--repetitions 5]

The plain port, here, does what the papers describe in their order: whole layers at a time, batch
norms, windows padded with zeros, attention maps laid out, torch's own linear layers. Weights are
random. The two take turns, so that other load on the machine meets both; the ratio is that of the
medians.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor, nn
from torch.nn import functional
from turns import in_turns

from histosam_core.model.sam.tiny_vit import TinyViTEncoder


def plain_linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer as torch does."""
    return functional.linear(x, layer.weight, layer.bias)


def plain_norm(layer: nn.Module, x: Tensor) -> Tensor:
    """Convolution, then batch norm; (B, C, H, W)."""
    result: Tensor = layer.bn(layer.c(x))
    return result


def plain_bottleneck(layer: nn.Module, x: Tensor) -> Tensor:
    """Three convolutions, each with its norm; (B, C, H, W)."""
    x = functional.gelu(plain_norm(layer.conv1, x))
    x = functional.gelu(plain_norm(layer.conv2, x))
    return plain_norm(layer.conv3, x)


def plain_attention(attention: nn.Module, x: Tensor) -> Tensor:
    """Attend within windows (G, N, C)."""
    groups, count, dim = x.shape
    qkv = plain_linear(attention.qkv, attention.norm(x)).view(groups, count, attention.heads, -1)
    q, k, v = (part.permute(0, 2, 1, 3) for part in qkv.chunk(3, dim=-1))
    bias = attention.attention_biases[:, attention.offsets]
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias).softmax(-1)
    mixed = (weights @ v).transpose(1, 2).reshape(groups, count, dim)
    return plain_linear(attention.proj, mixed)


def plain_block(block: nn.Module, x: Tensor) -> Tensor:
    """Attention in windows, a depthwise convolution, an MLP; (B, H, W, C)."""
    batch, height, width, dim = x.shape
    window = block.attn.window
    below, right = -height % window, -width % window
    down, across = (height + below) // window, (width + right) // window
    y = functional.pad(x, (0, 0, 0, right, 0, below))
    y = y.view(batch, down, window, across, window, dim).transpose(2, 3)
    y = plain_attention(block.attn, y.reshape(-1, window**2, dim))
    y = y.view(batch, down, across, window, window, dim).transpose(2, 3)
    y = y.reshape(batch, down * window, across * window, dim)
    x = x + y[:, :height, :width]
    x = plain_norm(block.local_conv, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    hidden = functional.gelu(plain_linear(block.mlp.fc1, block.mlp.norm(x)))
    return x + plain_linear(block.mlp.fc2, hidden)


def plain_encoder(encoder: TinyViTEncoder, x: Tensor) -> Tensor:
    """Encode a batch of preprocessed images."""
    first, _, second = encoder.patch_embed.seq
    x = plain_norm(second, functional.gelu(plain_norm(first, x)))
    for index, stage in enumerate(encoder.layers):
        for block in stage.blocks:
            if index == 0:
                x = functional.gelu(plain_bottleneck(block, x) + x)
            else:
                x = plain_block(block, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if hasattr(stage, "downsample"):
            x = plain_bottleneck(stage.downsample, x)
    narrow, norm, spread, last = encoder.neck
    result: Tensor = last(spread(norm(functional.conv2d(x, narrow.weight))))
    return result


@torch.inference_mode()
def main() -> int:
    """Print the times, the ratio and the greatest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    encoder = TinyViTEncoder().eval()
    for name, parameter in encoder.named_parameters():
        if name.endswith((".attention_biases", ".bn.weight")):
            nn.init.normal_(parameter, mean=float("bn" in name), std=0.3)
    encoder.load_state_dict(encoder.state_dict())
    image = torch.randn(1, 3, 1024, 1024)
    print(f"MobileSAM, 1024 px, {options.threads} threads")
    _, difference = in_turns(
        {"plain port": lambda: plain_encoder(encoder, image), "ours": lambda: encoder(image)},
        options.repetitions,
    )
    print(f"greatest difference: {difference:.1e}")
    return 0 if difference < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
