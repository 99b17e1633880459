"""A click of FocalClick on SegFormer B0 (S2) at 256 px on a CPU: a plain port against ours.

    python benchmarks/bench_focalclick.py [--threads 2] [--repetitions 30]

A click is the coarse answer and its refinement. The plain port, here, does what the paper's
description says in its order: all of it at every click, attention maps laid out, four stages
enlarged before they are fused, features cropped before their channels are reduced, batch norms.
Ours (`FocalClickNetwork`) has its batch norms folded and keeps the first stage, since the image is
the same; what the first click costs more is printed too. Weights are random, and the two take
turns, so that other load on the machine meets both; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align
from turns import in_turns

from histosam_core.model.focalclick.network import FOCALCLICK_VARIANTS, FocalClickSegFormer
from histosam_core.model.specialists.click_network import normalised
from histosam_core.model.specialists.click_points import disk_maps
from histosam_core.model.specialists.folding import folded

if TYPE_CHECKING:
    from histosam_core.model.focalclick.refiner import Refiner, SeparableConv
    from histosam_core.model.focalclick.segformer import MixBlock, MixTransformer, ReducedAttention
    from histosam_core.model.focalclick.segformer_head import SegFormerHead

SIDE = 256
BOX_XYXY = (60, 40, 190, 200)


def plain_attention(attention: ReducedAttention, x: Tensor, size: tuple[int, int]) -> Tensor:
    """Attend with the whole attention map laid out; x is (B, N, C)."""
    batch, _, width = x.shape
    heads = attention.heads
    coarse = x
    if attention.reduction > 1:
        image = x.transpose(1, 2).reshape(batch, width, *size)
        coarse = attention.norm(attention.sr(image).flatten(2).transpose(1, 2))
    q = attention.q(x).reshape(batch, -1, heads, width // heads).permute(0, 2, 1, 3)
    kv = attention.kv(coarse).reshape(batch, -1, 2, heads, width // heads)
    k, v = kv.permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * (width // heads) ** -0.5).softmax(-1)
    return attention.proj((weights @ v).transpose(1, 2).reshape(x.shape))


def plain_block(block: MixBlock, x: Tensor, size: tuple[int, int]) -> Tensor:
    """Run a transformer block on tokens (B, N, C)."""
    x = x + plain_attention(block.attn, block.norm1(x), size)
    hidden = block.mlp.fc1(block.norm2(x))
    image = hidden.transpose(1, 2).view(x.shape[0], hidden.shape[-1], *size)
    hidden = block.mlp.dwconv.dwconv(image).flatten(2).transpose(1, 2)
    return x + block.mlp.fc2(functional.gelu(hidden))


def plain_encoder(encoder: MixTransformer, image: Tensor, maps: Tensor) -> list[Tensor]:
    """Run all four stages; each result is (B, C, h, w)."""
    side = encoder.patch_embed_side1(maps).permute(0, 3, 1, 2).contiguous()
    x, stages = image, []
    for number in range(1, 5):
        embed = encoder.get_submodule(f"patch_embed{number}")
        x = embed.proj(x)
        size = (x.shape[-2], x.shape[-1])
        tokens = embed.norm(x.flatten(2).transpose(1, 2))
        for block in encoder.get_submodule(f"block{number}"):
            tokens = plain_block(block, tokens, size)
        tokens = encoder.get_submodule(f"norm{number}")(tokens)
        x = tokens.reshape(image.shape[0], *size, -1).permute(0, 3, 1, 2).contiguous()
        stages.append(x)
        if number == 1:
            x = x + side
    return stages


def plain_head(head: SegFormerHead, stages: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Project, enlarge, lay side by side, fuse."""
    parts = []
    for number, x in reversed(list(enumerate(stages, start=1))):
        part = head.get_submodule(f"linear_c{number}.proj")(x.flatten(2).transpose(1, 2))
        part = part.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[-2:])
        size = stages[0].shape[-2:]
        parts.append(functional.interpolate(part, size, mode="bilinear", align_corners=False))
    fused = head.linear_fuse.bn(head.linear_fuse.conv(torch.cat(parts, 1)))
    feature = functional.relu(fused)
    return head.linear_pred(feature), feature


def plain_separable(part: SeparableConv, x: Tensor) -> Tensor:
    """Run depthwise 3 x 3, 1 x 1, batch norm, ReLU."""
    return functional.relu(part.norm(part.conv1x1(part.conv3x3(x))))


def plain_refiner(
    refiner: Refiner, image: Tensor, disks: Tensor, feature: Tensor, coarse: Tensor, box: Tensor
) -> Tensor:
    """Crop the features, reduce their channels, refine."""
    scale = feature.shape[-1] / image.shape[-1]
    feature = roi_align(feature, box, feature.shape[-2:], spatial_scale=scale, aligned=True)
    x = torch.cat((image, disks, coarse.sigmoid()), 1)
    x = functional.relu(refiner.image_conv1.norm(refiner.image_conv1.conv(x)))
    x = plain_separable(refiner.image_conv3, plain_separable(refiner.image_conv2, x))
    fusion = refiner.refine_fusion
    x = x + functional.interpolate(
        functional.relu(fusion.norm(fusion.conv(feature))),
        x.shape[-2:],
        mode="bilinear",
        align_corners=True,
    )
    x = plain_separable(refiner.refine_fusion3, plain_separable(refiner.refine_fusion2, x))
    own, trimap = (
        functional.interpolate(head(x), image.shape[-2:], mode="bilinear", align_corners=True)
        for head in (refiner.refine_pred, refiner.refine_trimap)
    )
    return own * trimap.sigmoid() + coarse * (1 - trimap.sigmoid())


def plain_click(
    network: FocalClickSegFormer, x: Tensor, points: Tensor, crop: Tensor, box: Tensor
) -> Tensor:
    """Everything, from the image and the previous answer to the refined logits."""
    size = (x.shape[-2], x.shape[-1])
    disks = disk_maps(points, size, network.click_radius)
    maps = torch.cat((x[:, 3:], disks), 1)
    parts = network.feature_extractor
    stages = plain_encoder(parts.backbone, normalised(x[:, :3]), maps)
    logits, feature = plain_head(parts.decode_head, stages)
    logits = functional.interpolate(logits, size, mode="bilinear", align_corners=True)
    coarse = roi_align(logits, box, size, aligned=True)
    crop_disks = disk_maps(points, size, 5.0)
    return plain_refiner(network.refiner, crop, crop_disks, feature, coarse, box)


def our_click(
    network: FocalClickSegFormer,
    prepared: Tensor,
    previous: Tensor,
    points: Tensor,
    crop: Tensor,
    box: Tensor,
) -> Tensor:
    """Answer a click on a prepared image, and refine."""
    disks = disk_maps(points, (previous.shape[-2], previous.shape[-1]), network.click_radius)
    answer = network.answer(prepared, torch.cat((previous, disks), 1))
    refined = network.refine(crop, points, answer["feature"], answer["instances"], box)
    return refined["instances_refined"]


def randomise_norms(network: nn.Module) -> None:
    """Give batch norms statistics such as training leaves, so that folding has work to do."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)


def main() -> int:
    """Print the times, the ratio and the greatest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    network = FOCALCLICK_VARIANTS["segformerB0_S2"]().eval()
    assert isinstance(network, FocalClickSegFormer)
    randomise_norms(network)
    ours = folded(network)
    x = torch.rand(1, 4, SIDE, SIDE)
    points = torch.tensor(
        [[[60.0, 70, 0], [130, 101, 2], [-1, -1, -1], [200, 180, 1], [-1, -1, -1], [-1, -1, -1]]]
    )
    box = torch.tensor([[0.0, *BOX_XYXY]])
    crop = torch.rand(1, 3, SIDE, SIDE)

    with torch.inference_mode():
        prepared = ours.prepare(x[:, :3])
    print(f"FocalClick B0-S2, {SIDE} px, {options.threads} threads")
    _, difference = in_turns(
        {
            "plain port": lambda: plain_click(network, x, points, crop, box),
            "ours": lambda: our_click(ours, prepared, x[:, 3:], points, crop, box),
        },
        options.repetitions,
    )
    in_turns({"once an image": lambda: ours.prepare(x[:, :3])}, options.repetitions)
    print(f"greatest difference: {difference:.1e}")
    return 0 if difference < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
