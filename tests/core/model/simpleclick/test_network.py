"""SimpleClick's networks against reference vectors and against a plain port."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.errors import ImageError
from histosam_core.model.simpleclick.network import (
    SIMPLECLICK_VARIANTS,
    SimpleClickNetwork,
)
from histosam_core.model.specialists.click_network import normalised
from histosam_core.model.specialists.click_points import disk_maps
from histosam_core.model.specialists.folding import folded

Fill = Callable[[nn.Module], None]


@pytest.fixture
def xtiny(fill_weights: Fill) -> SimpleClickNetwork:
    network = SIMPLECLICK_VARIANTS["xtiny448"]().eval()
    fill_weights(network)
    return network


def image_and_points(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    x = torch.rand(batch, 4, height, width, generator=torch.Generator().manual_seed(3))
    y, right = height / 2 + 0.3, width - 2.5
    points = torch.tensor([[[30.0, 40, 0], [y, right, 2], [8, 9, 1], [-1, -1, -1]]])
    return x, points.repeat(batch, 1, 1)


def plain_forward(network: SimpleClickNetwork, x: Tensor, points: Tensor) -> Tensor:
    """Every step in the order of the paper, attention maps written out, no step merged."""
    vit, patch = network.backbone, network.backbone.patch_embed.patch_px
    maps = torch.cat((x[:, 3:], disk_maps(points, (x.shape[-2], x.shape[-1]), 5.0)), 1)
    tokens = [
        functional.conv2d(given, layer.proj.weight, layer.proj.bias, stride=patch)
        for given, layer in (
            (normalised(x[:, :3]), vit.patch_embed),
            (maps, network.patch_embed_coords),
        )
    ]
    batch, dim, height, width = tokens[0].shape
    learnt = vit.pos_embed[0, 1:].T.reshape(1, dim, vit.grid, vit.grid)
    positions = functional.interpolate(learnt, (height, width), mode="bicubic")
    t = (tokens[0] + tokens[1] + positions).permute(0, 2, 3, 1)
    down, across = max(1, height // vit.window), max(1, width // vit.window)
    for index, block in enumerate(vit.blocks, start=1):
        rows, columns = (1, 1) if index % vit.group == 0 else (down, across)
        result = torch.empty_like(t)
        h, w = height // rows, width // columns
        for top in range(0, height, h):
            for left in range(0, width, w):
                part = t[:, top : top + h, left : left + w].reshape(batch, h * w, dim)
                mixed = plain_attention(block.attn, block.norm1(part))
                result[:, top : top + h, left : left + w] = mixed.view(batch, h, w, dim)
        t = t + result
        mlp = block.mlp
        t = t + mlp.fc2(functional.gelu(mlp.fc1(block.norm2(t))))
    features = t.permute(0, 3, 1, 2)
    neck, head = network.neck, network.head
    levels = [plain_layers(one, features) for one in (neck.down_4, neck.down_8)]
    levels += [plain_layers(one, features) for one in (neck.down_16, neck.down_32)]
    read = [
        functional.interpolate(
            functional.relu(plain(one["conv"], level)),
            levels[0].shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        for one, level in zip(head.convs, levels, strict=True)
    ]
    fused = functional.relu(plain(head.fusion_conv["conv"], torch.cat(read, 1)))
    logits = plain(head.conv_seg, fused)
    return functional.interpolate(logits, x.shape[-2:], mode="bilinear", align_corners=True)


def plain_attention(attention: nn.Module, x: Tensor) -> Tensor:
    batch, count, dim = x.shape
    qkv = attention.qkv(x).reshape(batch, count, 3, attention.heads, -1).permute(2, 0, 3, 1, 4)
    scores = qkv[0] @ qkv[1].transpose(-2, -1) * (dim // attention.heads) ** -0.5
    return attention.proj((scores.softmax(-1) @ qkv[2]).transpose(1, 2).reshape(x.shape))


def plain(layer: nn.Module, x: Tensor) -> Tensor:
    if isinstance(layer, nn.ConvTranspose2d):
        return functional.conv_transpose2d(x, layer.weight, layer.bias, stride=2)
    if isinstance(layer, nn.Conv2d):
        return functional.conv2d(x, layer.weight, layer.bias, stride=layer.stride)
    return layer(x)


def plain_layers(layers: nn.Sequential, x: Tensor) -> Tensor:
    for layer in layers:
        x = plain(layer, x)
    return x


@pytest.mark.real_slide
@pytest.mark.parametrize("name", SIMPLECLICK_VARIANTS)
def test_keys_shapes_and_types_are_those_of_the_published_files(
    reference_dir: Path, name: str
) -> None:
    listed = json.loads((reference_dir / f"keys_simpleclick_{name}.json").read_text())
    with torch.device("meta"):
        network = SIMPLECLICK_VARIANTS[name]().eval()
    held = {
        key: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        for key, value in network.state_dict().items()
    }
    assert held == listed["state_dict"]
    assert sum(p.numel() for p in network.parameters()) == listed["n_params"]


@pytest.mark.real_slide
@torch.inference_mode()
def test_vit_b_answers_as_the_published_network_does(
    reference_dir: Path, fill_weights: Fill
) -> None:
    network = SIMPLECLICK_VARIANTS["vitb448"]().eval()
    fill_weights(network)
    expected = np.load(reference_dir / "forward_simpleclick_vitb448.npz")
    noise = float(expected["instances_A__fp32_minus_fp64_maxabs"])
    image = np.random.default_rng(0).random((1, 3, 448, 448)).astype(np.float32)
    previous = np.random.default_rng(1).random((1, 1, 448, 448)).astype(np.float32)
    cases = {
        "A": np.concatenate((image, previous), 1),
        "B": np.concatenate((image, np.zeros_like(previous)), 1),
        "C": np.random.default_rng(2).random((1, 4, 672, 672)).astype(np.float32),
    }
    for case, x in cases.items():
        points = torch.from_numpy(expected[f"points_{case}"])
        answer = network(torch.from_numpy(x), points)["instances"].numpy()
        stride = int(expected[f"instances_{case}__stride"])
        assert answer.shape == tuple(expected[f"instances_{case}__full_shape"])
        np.testing.assert_allclose(
            answer[..., ::stride, ::stride], expected[f"instances_{case}"], atol=10 * noise, rtol=0
        )
        assert answer.mean() == pytest.approx(expected[f"instances_{case}__mean"], abs=noise)
        assert answer.std() == pytest.approx(expected[f"instances_{case}__std"], abs=noise)
    maps = torch.cat(
        (
            torch.from_numpy(previous),
            disk_maps(torch.from_numpy(expected["points_A"]), (448, 448), 5),
        ),
        1,
    )
    prepared = network.prepare(torch.from_numpy(image))
    features = network.backbone(prepared + network.patch_embed_coords(maps))
    np.testing.assert_allclose(
        features.flatten(2).transpose(1, 2)[:, ::37, :32][0],
        expected["backbone_tokens_A__every_37th_token_first_32ch"],
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "size", [(448, 448), (224, 448), (230, 455), (240, 480), (100, 60), (672, 224)]
)
@torch.inference_mode()
def test_every_size_answers_as_a_plain_port_does(
    xtiny: SimpleClickNetwork, size: tuple[int, int]
) -> None:
    x, points = image_and_points(*size, batch=2)
    answer = xtiny(x, points)
    assert list(answer) == ["instances"]
    assert answer["instances"].shape == (2, 1, *size)
    torch.testing.assert_close(
        answer["instances"], plain_forward(xtiny, x, points), atol=5e-6, rtol=0
    )


@torch.inference_mode()
def test_a_prepared_image_serves_every_click_and_batch(xtiny: SimpleClickNetwork) -> None:
    x, points = image_and_points(224, 224)
    prepared = xtiny.prepare(x[:, :3])
    kept = prepared.clone()
    for moved in (points, points + 5):
        maps = torch.cat((x[:, 3:], disk_maps(moved, (224, 224), 5.0)), 1)
        answer = xtiny.answer(prepared, maps)["instances"]
        torch.testing.assert_close(answer, xtiny(x, moved)["instances"])
    assert torch.equal(prepared, kept)


@pytest.mark.parametrize("size", [(464, 448), (448, 464), (690, 690)])
def test_a_size_that_the_windows_do_not_fit_is_refused(
    xtiny: SimpleClickNetwork, size: tuple[int, int]
) -> None:
    with pytest.raises(ImageError, match="resize the image to a multiple of 224 px"):
        xtiny(*image_and_points(*size))


@pytest.mark.real_slide
def test_training_reaches_every_weight_that_has_an_effect(
    xtiny: SimpleClickNetwork, reference_dir: Path
) -> None:
    xtiny.train()
    xtiny(*image_and_points(240, 240, batch=2))["instances"].square().mean().backward()
    unused = json.loads((reference_dir / "unused_parameters.json").read_text())
    idle = {name for name, p in xtiny.named_parameters() if p.grad is None}
    assert idle == set(unused["simpleclick_xtiny448"])
    grad = xtiny.backbone.pos_embed.grad
    assert grad is not None
    assert not grad[:, 0].any()
    assert grad[:, 1:].any()


@torch.inference_mode()
def test_a_folded_copy_answers_the_same(xtiny: SimpleClickNetwork) -> None:
    x, points = image_and_points(224, 224)
    torch.testing.assert_close(folded(xtiny)(x, points), xtiny(x, points))
