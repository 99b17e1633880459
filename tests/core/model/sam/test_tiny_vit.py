"""MobileSAM: its encoder against reference vectors, and the networks and checkpoints around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.clicks import Click
from histosam_core.errors import CheckpointError
from histosam_core.model import (
    SamModel,
    SamNetwork,
    build_network,
    describe_network,
    load_checkpoint,
    save_checkpoint,
)
from histosam_core.model.sam import tiny_vit
from histosam_core.model.sam.tiny_vit import TinyViTEncoder
from histosam_core.model.specialists.folding import folded

Fill = Callable[[nn.Module], None]
POINTS = torch.tensor([[[300, 400], [700.5, 512.25], [100, 900]]])
LABELS = torch.tensor([[1, 0, 1]])


@pytest.fixture
def small(fill_weights: Fill) -> TinyViTEncoder:
    """An encoder for 96 px, whose grids fill no whole number of windows, with biases in effect."""
    encoder = TinyViTEncoder(96).eval()
    fill_weights(encoder)
    encoder.load_state_dict(encoder.state_dict())
    return encoder


@pytest.fixture
def mobile_sam() -> SamNetwork:
    torch.manual_seed(1)
    return build_network("mobile_sam")


def image(side: int = 96, batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(2))


@pytest.mark.real_slide
def test_keys_shapes_and_types_are_those_of_the_published_file(
    reference_dir: Path, mobile_sam: SamNetwork
) -> None:
    listed = json.loads((reference_dir / "keys_mobile_sam.json").read_text())
    held = {
        key: {"shape": list(value.shape), "dtype": str(value.dtype)}
        for key, value in mobile_sam.state_dict().items()
    }
    assert held == listed["state_dict"]
    assert sum(p.numel() for p in mobile_sam.parameters()) == listed["n_params"]


@pytest.mark.real_slide
@torch.inference_mode()
def test_embedding_mask_and_quality_are_those_of_the_published_network(
    reference_dir: Path, mobile_sam: SamNetwork, fill_weights: Fill
) -> None:
    fill_weights(mobile_sam)
    expected = np.load(reference_dir / "forward_mobile_sam.npz")
    inputs = np.random.default_rng(0).random((1, 3, 1024, 1024)).astype(np.float32)
    mask = np.random.default_rng(1).standard_normal((1, 1, 256, 256)).astype(np.float32)
    embedding = mobile_sam.encode(torch.from_numpy(inputs))
    logits, quality = mobile_sam.decode(embedding, POINTS, LABELS, torch.from_numpy(mask))
    np.testing.assert_allclose(embedding[..., ::4, ::4], expected["embedding_A_stride4"], atol=3e-5)
    np.testing.assert_allclose(
        [embedding.mean(), embedding.std()], expected["embedding_A_mean_std"], rtol=1e-4
    )
    np.testing.assert_allclose(
        logits[..., ::4, ::4], expected["low_res_logits_A_stride4"], atol=3e-5
    )
    np.testing.assert_allclose(quality, expected["iou_A"], atol=1e-5)


def published_block(block: nn.Module, tokens: Tensor, *, biased: bool) -> Tensor:
    """A block of windows as the paper has it: zeros are padded, all of a window attends to all."""
    batch, height, width, dim = tokens.shape
    attn, window = block.attn, block.attn.window
    below, right = -height % window, -width % window
    down, across = (height + below) // window, (width + right) // window
    x = functional.pad(tokens, (0, 0, 0, right, 0, below))
    x = x.view(batch, down, window, across, window, dim).transpose(2, 3)
    x = attn.norm(x.reshape(-1, window * window, dim))
    q, k, v = (
        attn.qkv(x).view(len(x), window * window, attn.heads, -1).transpose(1, 2).split(32, -1)
    )
    scores = q @ k.transpose(-2, -1) * 32**-0.5
    if biased:
        for one in range(window * window):
            for other in range(window * window):
                rows = abs(one // window - other // window)
                columns = abs(one % window - other % window)
                scores[:, :, one, other] += attn.attention_biases[:, rows * window + columns]
    x = attn.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(len(x), -1, dim))
    x = x.view(batch, down, across, window, window, dim).transpose(2, 3)
    x = tokens + x.reshape(batch, height + below, width + right, dim)[:, :height, :width]
    local = block.local_conv.bn(block.local_conv.c(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
    mlp = block.mlp
    return local + mlp.fc2(functional.gelu(mlp.fc1(mlp.norm(local))))


def published_bottleneck(layer: nn.Module, tokens: Tensor, *, shortcut: bool) -> Tensor:
    x = tokens.permute(0, 3, 1, 2)
    x = functional.gelu(layer.conv1.bn(layer.conv1.c(x)))
    x = functional.gelu(layer.conv2.bn(layer.conv2.c(x)))
    x = layer.conv3.bn(layer.conv3.c(x)).permute(0, 2, 3, 1)
    return functional.gelu(x + tokens) if shortcut else x


@torch.inference_mode()
def published(encoder: TinyViTEncoder, x: Tensor, *, biased: bool = True) -> tuple[Tensor, Tensor]:
    """Embedding and early features, layer by layer with norms of their own."""
    halve, gelu, quarter = encoder.patch_embed.seq
    x = quarter.bn(quarter.c(gelu(halve.bn(halve.c(x))))).permute(0, 2, 3, 1)
    early = x
    for index, stage in enumerate(encoder.layers):
        for block in stage.blocks:
            if index:
                x = published_block(block, x, biased=biased)
            else:
                x = published_bottleneck(block, x, shortcut=True)
        if index < 3:
            x = published_bottleneck(stage.downsample, x, shortcut=False)
        if index == 1:
            early = x
    return encoder.neck(x.permute(0, 3, 1, 2)), early.permute(0, 3, 1, 2)


@pytest.mark.parametrize("strip_bytes", [1, 40_000, 2**24])
@torch.inference_mode()
def test_strips_of_any_height_and_folded_norms_change_nothing(
    small: TinyViTEncoder, strip_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_vit, "STRIP_BYTES", strip_bytes)
    x = image(batch=2)
    for mine, theirs in zip(small.with_early(x), published(small, x), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=0)


@torch.inference_mode()
def test_biases_act_once_weights_were_loaded_or_trained(fill_weights: Fill) -> None:
    encoder = TinyViTEncoder(96).eval()
    fill_weights(encoder)
    with_, without = (published(encoder, image(), biased=b)[0] for b in (True, False))
    assert (with_ - without).abs().max() > 1e-3
    torch.testing.assert_close(encoder(image()), without, atol=2e-5, rtol=0)
    encoder.train().eval()
    torch.testing.assert_close(encoder(image()), with_, atol=2e-5, rtol=0)
    loaded = TinyViTEncoder(96).eval()
    loaded.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(loaded(image()), with_, atol=2e-5, rtol=0)


def test_training_reaches_every_weight_and_leaves_the_statistics_alone(
    small: TinyViTEncoder,
) -> None:
    before = {key: value.clone() for key, value in small.named_buffers()}
    small.train()
    small(image(batch=2)).square().mean().backward()
    unused = {"norm_head.weight", "norm_head.bias", "head.weight", "head.bias"}
    assert {name for name, p in small.named_parameters() if p.grad is None} == unused
    assert all(bool(p.grad.abs().sum() > 0) for p in small.parameters() if p.grad is not None)
    for key, value in small.named_buffers():
        torch.testing.assert_close(value, before[key])


@torch.inference_mode()
def test_a_folded_copy_answers_the_same(small: TinyViTEncoder) -> None:
    torch.testing.assert_close(folded(small)(image()), small(image()), atol=2e-5, rtol=0)


@torch.inference_mode()
def test_a_batch_equals_single_images(small: TinyViTEncoder) -> None:
    x = image(batch=3)
    single = torch.cat([small(one[None]) for one in x])
    torch.testing.assert_close(small(x), single, atol=1e-5, rtol=0)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_the_refining_decoder_starts_from_mobile_sam(
    mobile_sam: SamNetwork, tmp_path: Path, dense: bool, early: bool
) -> None:
    path = tmp_path / "mobile_sam.pt"
    torch.save(mobile_sam.state_dict(), path)
    network, info = load_checkpoint(
        path, decoder="refining", dense_prompts=dense, early_features=early
    )
    assert (info.architecture, info.decoder) == ("mobile_sam", "refining")
    assert (network.dense_prompts, network.early_features) == (dense, early)
    assert network.embedding_shape == (416 if early else 256, 64, 64)
    embedding = torch.randn(1, *network.embedding_shape)
    with torch.inference_mode():
        logits, _ = network.decode(embedding, POINTS, LABELS)
    assert logits.shape == (1, 1, 256, 256)


def test_a_published_file_is_recognised_and_answers(mobile_sam: SamNetwork, tmp_path: Path) -> None:
    path = tmp_path / "mobile_sam.pt"
    torch.save(mobile_sam.state_dict(), path)
    network, info = load_checkpoint(path)
    assert (info.architecture, info.decoders) == ("mobile_sam", ("sam",))
    assert info.takes_boxes
    assert info.preprocessing.image_size == 1024
    assert network.state_dict().keys() == mobile_sam.state_dict().keys()
    model = SamModel(network, info, "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    answer = model.decode(model.encode(pixels), [Click((10, 20))], box_xyxy=(2, 3, 30, 30))
    assert answer.logits.shape == (40, 50)


@pytest.mark.parametrize("half", [False, True])
def test_a_saved_checkpoint_gives_the_same_network(
    mobile_sam: SamNetwork, tmp_path: Path, half: bool
) -> None:
    norm = mobile_sam.image_encoder.patch_embed.seq[0].bn
    norm.num_batches_tracked.fill_(123_457)
    path = tmp_path / "mine.safetensors"
    save_checkpoint(path, mobile_sam, describe_network(mobile_sam, name="mine"), half=half)
    network, info = load_checkpoint(path)
    assert info.architecture == "mobile_sam"
    for key, value in mobile_sam.state_dict().items():
        torch.testing.assert_close(network.state_dict()[key], value, atol=1e-3 * half, rtol=1e-3)


def test_weights_that_lack_a_layer_are_refused(mobile_sam: SamNetwork, tmp_path: Path) -> None:
    state = mobile_sam.state_dict()
    del state["image_encoder.layers.3.blocks.1.attn.attention_biases"]
    path = tmp_path / "mobile_sam.pt"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"do not fit mobile_sam .*1 missing"):
        load_checkpoint(path)
