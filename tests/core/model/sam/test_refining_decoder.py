"""SAM's decoder for true batches, and the refining decoder."""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

from histosam_core.model.sam.refining_decoder import (
    ConvBlock,
    GlobalSelfAttention,
    RefiningMaskDecoder,
    SamMaskDecoder,
    UpConvBlock,
)


def transformer(dim: int = 64) -> TwoWayTransformer:
    return TwoWayTransformer(depth=2, embedding_dim=dim, mlp_dim=128, num_heads=8)


def prompts(dim: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    encoder = PromptEncoder(dim, (8, 8), (128, 128), 16)
    points = (torch.tensor([[[30.0, 40.0], [90.0, 10.0]]]), torch.tensor([[1, 0]]))
    sparse, dense = encoder(points, None, None)
    return encoder.get_dense_pe(), sparse, dense


def test_sam_decoder_equals_the_published_one_on_one_image() -> None:
    torch.manual_seed(0)
    published = MaskDecoder(transformer_dim=64, transformer=transformer())
    ours = SamMaskDecoder(transformer_dim=64, transformer=transformer())
    ours.load_state_dict(published.state_dict(), strict=True)
    position, sparse, dense = prompts()
    image = torch.randn(1, 64, 8, 8)
    expected = published(image, position, sparse, dense, multimask_output=False)
    actual = ours(image, position, sparse, dense)
    for ours_out, published_out in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours_out, published_out, atol=1e-5, rtol=1e-5)


def test_refining_decoder_has_the_papers_shapes() -> None:
    """Kim et al. 2023: 256 x 64 x 64 -> 128 px -> 256 px -> one map of 256 x 256."""
    decoder = RefiningMaskDecoder(transformer_dim=256, transformer=transformer(256))
    x = torch.randn(1, 256, 64, 64)
    up1, up2, block, to_logits = decoder.refine_path
    widths = []
    for layer in (up1, up2, block, to_logits):
        x = layer(x)
        widths.append(tuple(x.shape[1:]))
    assert widths == [(128, 128, 128), (64, 256, 256), (32, 256, 256), (1, 256, 256)]
    assert isinstance(up1, UpConvBlock)
    assert isinstance(block, ConvBlock)


def test_refining_decoder_keeps_sams_transformer_and_drops_its_product() -> None:
    sam = SamMaskDecoder(transformer_dim=64, transformer=transformer())
    refining = RefiningMaskDecoder(transformer_dim=64, transformer=transformer())
    sam_keys, keys = set(sam.state_dict()), set(refining.state_dict())
    dropped = {k for k in sam_keys if k.startswith(("output_upscaling", "output_hyper"))}
    assert sam_keys - keys == dropped
    assert all(k.startswith("refine_") for k in keys - sam_keys)


def test_self_attention_depends_on_position() -> None:
    torch.manual_seed(0)
    image, position = torch.randn(1, 64, 4, 4), torch.randn(1, 64, 4, 4)
    layer = GlobalSelfAttention(64)
    assert not torch.equal(layer(image, position), layer(image, 2 * position))


def test_keeping_sams_head_gives_both_answers() -> None:
    decoder = RefiningMaskDecoder(
        transformer_dim=64, transformer=transformer(), keep_sam_head=True
    ).eval()
    position, sparse, dense = prompts()
    image = torch.randn(1, 64, 8, 8)
    refined, plain, quality = decoder.forward_both(image, position, sparse, dense)
    torch.testing.assert_close(refined, decoder(image, position, sparse, dense)[0])
    sam = SamMaskDecoder(transformer_dim=64, transformer=transformer()).eval()
    shared = {k: v for k, v in decoder.state_dict().items() if not k.startswith("refine_")}
    sam.load_state_dict(shared, strict=True)
    torch.testing.assert_close(plain, sam(image, position, sparse, dense)[0])
    assert quality.shape == (1, 1)
