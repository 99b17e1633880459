from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn

from histosam_core.errors import ConfigError
from histosam_core.model.sam import image_encoder
from histosam_core.model.sam.image_encoder import (
    SAM_ENCODERS,
    EncoderGeometry,
    FusedImageEncoder,
    build_image_encoder,
)

SMALL = EncoderGeometry(
    embed_dim=32,
    depth=3,
    num_heads=4,
    global_blocks=(1,),
    image_size=160,
    window_size=4,
    out_chans=16,
)


def published_encoder(geometry: EncoderGeometry) -> ImageEncoderViT:
    encoder: ImageEncoderViT = ImageEncoderViT(
        img_size=geometry.image_size,
        patch_size=geometry.patch_size,
        embed_dim=geometry.embed_dim,
        depth=geometry.depth,
        num_heads=geometry.num_heads,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=geometry.window_size,
        global_attn_indexes=geometry.global_blocks,
        out_chans=geometry.out_chans,
    )
    return encoder.eval()


def encoder_pair(geometry: EncoderGeometry) -> tuple[FusedImageEncoder, ImageEncoderViT]:
    """Both encoders with one set of weights, positions (zero at the start) included."""
    torch.manual_seed(3)
    published = published_encoder(geometry)
    for name, parameter in published.named_parameters():
        if "rel_pos" in name or name == "pos_embed":
            nn.init.normal_(parameter, std=0.5)
    fused = FusedImageEncoder(geometry).eval()
    fused.load_state_dict(published.state_dict())
    return fused, published


def images(geometry: EncoderGeometry, batch: int = 2) -> Tensor:
    side = geometry.image_size
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("without_gradients", [torch.inference_mode, torch.no_grad])
def test_fused_encoder_equals_published_one(without_gradients: type) -> None:
    fused, published = encoder_pair(SMALL)
    x = images(SMALL)
    with without_gradients():
        torch.testing.assert_close(fused(x), published(x), atol=1e-5, rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(grid=st.integers(3, 11), window=st.integers(2, 6), batch=st.integers(1, 3))
def test_fused_encoder_equals_published_one_for_any_padding(
    grid: int, window: int, batch: int
) -> None:
    geometry = EncoderGeometry(16, 2, 2, (1,), 16 * grid, window, out_chans=8)
    fused, published = encoder_pair(geometry)
    x = images(geometry, batch)
    with torch.inference_mode():
        expected = published(x)
        torch.testing.assert_close(fused(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused(x), expected, atol=1e-5, rtol=1e-5)


def test_result_does_not_depend_on_how_many_rows_go_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fused, _ = encoder_pair(SMALL)
    x = images(SMALL)
    with torch.inference_mode():
        at_once = fused(x)
    monkeypatch.setattr(image_encoder, "CPU_SCORE_BYTES", 1)
    monkeypatch.setattr(image_encoder, "BIAS_BYTES", 1)
    monkeypatch.setattr(image_encoder, "TOKENS_AT_ONCE", 1)
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), at_once, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused(x), at_once, atol=1e-5, rtol=1e-5)


def test_gradients_equal_those_of_the_published_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        image_encoder, "BIAS_BYTES", 3 * 2 * 4 * 10 * 100 * 4
    )  # three rows at a time
    fused, published = encoder_pair(SMALL)
    x = images(SMALL)
    weight = torch.randn(2, 16, 10, 10)
    for encoder in (fused, published):
        (encoder(x) * weight).sum().backward()
    theirs = dict(published.named_parameters())
    for name, parameter in fused.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(
            parameter.grad, theirs[name].grad, atol=2e-4, rtol=1e-3, msg=name
        )


def test_encoding_leaves_its_input_alone() -> None:
    fused, _ = encoder_pair(SMALL)
    x = images(SMALL)
    before = x.clone()
    with torch.inference_mode():
        first, second = fused(x), fused(x)
    assert torch.equal(x, before)
    assert torch.equal(first, second)


def test_image_in_a_batch_encodes_as_it_does_alone() -> None:
    fused, _ = encoder_pair(SMALL)
    x = images(SMALL, 3)
    with torch.inference_mode():
        together = fused(x)
        torch.testing.assert_close(fused(x[1:2])[0], together[1], atol=1e-6, rtol=1e-6)


def test_autocast_is_as_exact_as_it_is_for_the_published_encoder() -> None:
    fused, published = encoder_pair(SMALL)
    x = images(SMALL)
    with torch.inference_mode():
        expected = published(x)
        with torch.autocast("cpu", torch.bfloat16):
            theirs, ours = published(x), fused(x)
    assert ours.dtype == theirs.dtype
    assert (ours - expected).abs().mean() < 1.5 * (theirs - expected).abs().mean()


@pytest.mark.parametrize("name", ["sam_vit_b", "sam_vit_l", "sam_vit_h"])
def test_state_dict_is_that_of_the_published_encoder(name: str) -> None:
    with torch.device("meta"):
        fused = build_image_encoder(name).state_dict()
        published = published_encoder(SAM_ENCODERS[name]).state_dict()
    assert {k: v.shape for k, v in fused.items()} == {k: v.shape for k, v in published.items()}


def test_unknown_encoder_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="sam_vit_b, sam_vit_l, sam_vit_h"):
        build_image_encoder("sam_vit_x")


def test_a_global_layer_does_not_hold_all_scores_at_once() -> None:
    """One 64 x 64 global layer with 4 heads: all scores would be 268 MB."""
    geometry = EncoderGeometry(64, 1, 4, (0,), 1024, out_chans=8)
    fused = FusedImageEncoder(geometry).eval()
    sizes = []
    with torch.inference_mode(), _TensorSizes(sizes):
        fused(images(geometry, 1))
    assert max(sizes) <= 16 * 2**20
    assert sum(a >= 2**20 for a, _ in pairwise(sizes)) > 3  # the recorder saw the layer run


class _TensorSizes(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes the size in bytes of every tensor that an operation returns."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.sizes.append(result.numel() * result.element_size())
        return result


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_vit_b_equals_the_published_encoder_at_full_size() -> None:
    fused, published = encoder_pair(SAM_ENCODERS["sam_vit_b"])
    x = images(SAM_ENCODERS["sam_vit_b"], 1)
    with torch.inference_mode():
        assert (fused(x) - published(x)).abs().max() < 1e-4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_fused_encoder_equals_published_one_on_a_gpu() -> None:
    fused, published = (encoder.cuda() for encoder in encoder_pair(SMALL))
    x = images(SMALL).cuda()
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), published(x), atol=1e-3, rtol=1e-3)


def test_blocks_are_named_as_in_segment_anything() -> None:
    block = Block(32, 4, use_rel_pos=True, window_size=4, input_size=(10, 10))
    assert block.state_dict().keys() == FusedImageEncoder(SMALL).blocks[0].state_dict().keys()
