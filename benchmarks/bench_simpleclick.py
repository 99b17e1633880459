"""A click of SimpleClick's at 448 px on a CPU: a plain port against ours.

    python benchmarks/bench_simpleclick.py [--network vitb448] [--threads 2] [--repetitions 3]

A click is one pass over the input and its mirror image in a batch. The plain port, here, does what
the paper describes in its order: attention maps laid out, windows cut and joined, maps enlarged
before they are fused, torch's own linear layers and convolutions. Ours keeps the image's tokens, as
between clicks on one image. Weights are random. The two take turns, so that other load on the
machine meets both; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from turns import in_turns

from histosam_core.model.simpleclick.network import SIMPLECLICK_VARIANTS, SimpleClickNetwork
from histosam_core.model.specialists.click_network import normalised
from histosam_core.model.specialists.click_points import disk_maps

if TYPE_CHECKING:
    from histosam_core.model.simpleclick.plain_vit import PlainViT

SIDE = 448


def plain_linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer as torch does."""
    return functional.linear(x, layer.weight, layer.bias)


def plain_block(block: nn.Module, x: Tensor) -> Tensor:
    """Run a transformer block on tokens (B, N, C)."""
    batch, count, dim = x.shape
    heads = block.attn.heads
    qkv = plain_linear(block.attn.qkv, block.norm1(x)).reshape(batch, count, 3, heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * (dim // heads) ** -0.5).softmax(-1)
    x = x + plain_linear(block.attn.proj, (weights @ v).transpose(1, 2).reshape(x.shape))
    hidden = functional.gelu(plain_linear(block.mlp.fc1, block.norm2(x)))
    return x + plain_linear(block.mlp.fc2, hidden)


def plain_backbone(vit: PlainViT, tokens: Tensor) -> Tensor:
    """Run all blocks on tokens (B, C, h, w), cut into windows before those that want them."""
    batch, dim, side, _ = tokens.shape
    count = side // vit.window
    x = tokens.flatten(2).transpose(1, 2)
    for index, block in enumerate(vit.blocks, start=1):
        if index % vit.group:
            x = x.reshape(batch, count, vit.window, count, vit.window, dim)
            x = x.permute(0, 1, 3, 2, 4, 5).reshape(batch * count**2, -1, dim)
            x = plain_block(block, x).reshape(batch, count, count, vit.window, vit.window, dim)
            x = x.permute(0, 1, 3, 2, 4, 5).reshape(batch, side**2, dim)
        else:
            x = plain_block(block, x)
    return x.transpose(1, 2).reshape(tokens.shape)


def plain_layer(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution as torch does, or what else there is."""
    if isinstance(layer, nn.ConvTranspose2d):
        return functional.conv_transpose2d(x, layer.weight, layer.bias, stride=2)
    if isinstance(layer, nn.Conv2d):
        return functional.conv2d(x, layer.weight, layer.bias, stride=layer.stride)
    result: Tensor = layer(x)
    return result


def plain_click(network: SimpleClickNetwork, x: Tensor, points: Tensor) -> Tensor:
    """Answer with nothing kept and nothing merged."""
    maps = torch.cat((x[:, 3:], disk_maps(points, (SIDE, SIDE), network.click_radius)), 1)
    vit = network.backbone
    tokens = vit.patch_embed.proj(normalised(x[:, :3])) + network.patch_embed_coords.proj(maps)
    positions = vit.pos_embed[:, 1:].transpose(1, 2).reshape(1, -1, vit.grid, vit.grid)
    features = plain_backbone(vit, tokens + positions)
    neck, head = network.neck, network.head
    read = []
    for branch, part in zip(
        (neck.down_4, neck.down_8, neck.down_16, neck.down_32), head.convs, strict=True
    ):
        level = features
        for layer in (*branch, part["conv"], nn.ReLU()):
            level = plain_layer(layer, level)
        size = read[0].shape[-2:] if read else level.shape[-2:]
        read.append(functional.interpolate(level, size, mode="bilinear", align_corners=False))
    fused = functional.relu(plain_layer(head.fusion_conv["conv"], torch.cat(read, 1)))
    logits = plain_layer(head.conv_seg, fused)
    return functional.interpolate(logits, x.shape[-2:], mode="bilinear", align_corners=True)


@torch.inference_mode()
def main() -> int:
    """Print the times, the ratio and the greatest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="vitb448")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    network = SIMPLECLICK_VARIANTS[options.network.removeprefix("simpleclick_")]().eval()
    image = torch.rand(1, 4, SIDE, SIDE)
    x = torch.cat((image, image.flip(3)))
    points = torch.full((2, 2, 3), -1.0)
    points[:, 0] = torch.tensor([[120.0, 90, 0], [120, SIDE - 91, 0]])
    prepared = network.prepare(x[:, :3])

    def ours() -> Tensor:
        disks = disk_maps(points, (SIDE, SIDE), network.click_radius)
        return network.answer(prepared, torch.cat((x[:, 3:], disks), 1))["instances"]

    print(f"{options.network}, 2 x {SIDE} px, {options.threads} threads")
    _, difference = in_turns(
        {"plain port": lambda: plain_click(network, x, points), "ours": ours}, options.repetitions
    )
    print(f"greatest difference: {difference:.1e}")
    return 0 if difference < 1e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
