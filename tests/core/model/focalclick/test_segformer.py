"""SegFormer's encoder and decoder against the plain order of their steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from histosam_core.model.focalclick.segformer import (
    MIX_TRANSFORMERS,
    MixTransformer,
    MixTransformerGeometry,
    ReducedAttention,
)
from histosam_core.model.focalclick.segformer_head import SegFormerHead
from histosam_core.model.specialists.folding import folded

SMALL = MixTransformerGeometry((10, 20, 40, 80), (1, 2, 1, 1))


@pytest.mark.parametrize("size", [(64, 64), (65, 98)])
def test_stages_are_a_quarter_to_a_thirty_second_rounded_up(size: tuple[int, int]) -> None:
    encoder = MixTransformer(MIX_TRANSFORMERS["b0"]).eval()
    with torch.inference_mode():
        first = encoder.first_stage(torch.rand(2, 3, *size))
        later = encoder.later_stages(first, torch.rand(2, 3, *size))
    for divisor, width, stage in zip((4, 8, 16, 32), encoder.widths, (first, *later), strict=True):
        assert stage.shape == (2, width, *(-(-side // divisor) for side in size))


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_attention_is_the_softmax_of_scaled_products(reduction: int) -> None:
    torch.manual_seed(0)
    attention = ReducedAttention(12, 3, reduction)
    x = torch.randn(2, 8, 12, 12)
    coarse = x
    if reduction > 1:
        image = attention.sr(x.permute(0, 3, 1, 2))
        coarse = attention.norm(image.permute(0, 2, 3, 1))
    q = attention.q(x).flatten(1, 2).unflatten(2, (3, 4))
    k, v = attention.kv(coarse).flatten(1, 2).unflatten(2, (2, 3, 4)).unbind(2)
    weights = (torch.einsum("bqhd,bkhd->bhqk", q, k) / 2).softmax(-1)
    mixed = torch.einsum("bhqk,bkhd->bqhd", weights, v)
    expected = attention.proj(mixed.reshape(x.shape))
    torch.testing.assert_close(attention(x), expected)


def plain_head(head: SegFormerHead, stages: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Project, enlarge, lay side by side from coarse to fine, fuse."""
    projections = head.linear_c1, head.linear_c2, head.linear_c3, head.linear_c4
    parts = [
        functional.interpolate(
            projection.proj(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
            stages[0].shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        for projection, x in zip(projections, stages, strict=True)
    ]
    fused = head.linear_fuse.conv(torch.cat(parts[::-1], 1))
    features = functional.relu(head.linear_fuse.bn(fused))
    return head.linear_pred(features), features


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("finest", [(8, 8), (19, 13)])
def test_decoder_equals_the_published_order(finest: tuple[int, int], training: bool) -> None:
    torch.manual_seed(0)
    widths = 8, 12, 40, 24
    head = SegFormerHead(widths, 16).train(training)
    head.dropout.p = 0
    torch.nn.init.uniform_(head.linear_fuse.bn.running_var, 0.5, 1.5)
    torch.nn.init.normal_(head.linear_fuse.bn.running_mean)
    stages = [
        torch.randn(2, width, *(-(-side // 2**n) for side in finest))
        for n, width in enumerate(widths)
    ]
    found = head(head.first_part(stages[0]), *stages[1:])
    for one, other in zip(found, plain_head(head, stages), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    if not training:
        slim = folded(head)
        for one, other in zip(slim(slim.first_part(stages[0]), *stages[1:]), found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_blocks_are_left_out_in_training_alone() -> None:
    torch.manual_seed(0)
    encoder = MixTransformer(SMALL)
    encoder.block1[0].drop_path.p = 0.5  # the first is always kept as published
    image = torch.rand(8, 3, 32, 32)
    assert not torch.equal(encoder.first_stage(image), encoder.first_stage(image))
    encoder.eval()
    assert torch.equal(encoder.first_stage(image), encoder.first_stage(image))


def test_chance_of_leaving_a_block_out_grows_to_a_tenth() -> None:
    encoder = MixTransformer(SMALL)
    chances = [m.p for m in encoder.modules() if type(m).__name__ == "StochasticDepth"]
    assert chances == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])
