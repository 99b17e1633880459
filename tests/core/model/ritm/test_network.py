"""RITM's networks: reference vectors, what is kept of an image, and one object's context."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model.ritm.network import RITM_VARIANTS, RitmNetwork
from histosam_core.model.specialists.click_points import disk_maps
from histosam_core.model.specialists.folding import folded

Fill = Callable[[nn.Module], None]
WITHOUT_EFFECT = ("f_pixel", "f_object")


@pytest.fixture
def network(fill_weights: Fill) -> RitmNetwork:
    built = RITM_VARIANTS["hrnet18s_itm"]().eval()
    fill_weights(built)
    return built


def inputs(height: int = 64, width: int = 96, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Images with previous answers, and two positive clicks and a negative one on each."""
    rng = np.random.default_rng(0)
    points = rng.random((batch, 4, 3)) * (height, width, 1)
    points[:, 3] = -1
    return (
        torch.from_numpy(rng.random((batch, 4, height, width), dtype=np.float32)),
        torch.from_numpy(points.astype(np.float32)),
    )


def maps_of(network: RitmNetwork, x: Tensor, points: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    return torch.cat((x[:, 3:], disk_maps(points, (height, width), network.click_radius)), 1)


@pytest.mark.real_slide
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("case", ["A", "B", "O"])
@torch.inference_mode()
def test_logits_are_those_of_the_published_network(
    reference_dir: Path, network: RitmNetwork, case: str, fold: bool
) -> None:
    vectors = np.load(reference_dir / "forward_ritm_hrnet18s_itm.npz")
    if case == "O":
        x = np.random.default_rng(3).random((1, 4, 150, 227)).astype(np.float32)
    else:
        image = np.random.default_rng(0).random((1, 3, 256, 256)).astype(np.float32)
        previous = np.random.default_rng(1).random((1, 1, 256, 256)).astype(np.float32)
        x = np.concatenate((image, previous * (case == "A")), 1)

    answering = folded(network) if fold else network
    answer = answering(torch.from_numpy(x), torch.from_numpy(vectors[f"points_{case}"]))

    tolerance = 10 * vectors["instances_A__fp32_minus_fp64_maxabs"]
    for head in ("instances", "instances_aux"):
        if f"{head}_{case}" in vectors:
            stride = int(vectors[f"{head}_{case}__stride"])
            logits = answer[head].numpy()
            assert logits.shape == tuple(vectors[f"{head}_{case}__full_shape"])
            found, expected = logits[..., ::stride, ::stride], vectors[f"{head}_{case}"]
            assert np.abs(found - expected).max() <= tolerance
            assert abs(logits.mean(dtype=np.float64) - vectors[f"{head}_{case}__mean"]) <= tolerance


@torch.inference_mode()
def test_a_second_click_on_a_prepared_image_changes_neither_it_nor_the_maps(
    network: RitmNetwork,
) -> None:
    x, points = inputs()
    expected = network(x, points)
    maps = maps_of(network, x, points)
    prepared = network.prepare(x[:, :3])
    before = prepared.clone(), maps.clone()
    for _ in range(2):
        again = network.answer(prepared, maps)
        assert all(torch.equal(again[head], expected[head]) for head in expected)
    assert torch.equal(prepared, before[0])
    assert torch.equal(maps, before[1])


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (32, 200)])
@torch.inference_mode()
def test_logits_have_the_size_of_the_input(network: RitmNetwork, size: tuple[int, int]) -> None:
    answer = network(*inputs(*size))
    assert {head: tuple(x.shape) for head, x in answer.items()} == {
        "instances": (2, 1, *size),
        "instances_aux": (2, 1, *size),
    }
    assert all(torch.isfinite(x).all() for x in answer.values())


@torch.inference_mode()
def test_images_of_a_batch_do_not_know_of_each_other(network: RitmNetwork) -> None:
    x, points = inputs()
    together = network(x, points)["instances"]
    alone = network(x[1:], points[1:])["instances"]
    torch.testing.assert_close(together[1:], alone, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_weights_without_effect_have_none(network: RitmNetwork) -> None:
    x, points = inputs()
    expected = network(x, points)["instances"]
    for name, tensor in network.state_dict().items():
        if any(part in name for part in WITHOUT_EFFECT):
            tensor.fill_(7)
    assert torch.equal(network(x, points)["instances"], expected)


@pytest.mark.parametrize("training", [False, True])
def test_context_is_that_of_ocr_with_its_attention_written_out(
    network: RitmNetwork, training: bool
) -> None:
    head = network.double().feature_extractor.ocr_distri_head.train(training)
    head.conv_bn_dropout[-1].eval()
    block = head.object_context_block
    features, mean = torch.rand(3, 96, 5, 6).double(), torch.rand(3, 96, 1, 1).double()
    norm = block.f_down[1][0]
    fresh = {name: tensor.clone() for name, tensor in norm.state_dict().items()}

    found = head(features, mean)
    counted = {name: tensor.clone() for name, tensor in norm.state_dict().items()}

    norm.load_state_dict(fresh)
    query, key = block.f_pixel(features).flatten(2), block.f_object(mean).flatten(2)
    value = block.f_down(mean).flatten(2)
    attention = torch.softmax(query.transpose(1, 2) @ key / query.shape[1] ** 0.5, dim=-1)
    context = block.f_up((value @ attention.transpose(1, 2)).unflatten(2, (5, 6)))
    expected = head.conv_bn_dropout(torch.cat((context, features), 1))

    torch.testing.assert_close(found, expected)
    for name, tensor in norm.state_dict().items():
        torch.testing.assert_close(counted[name], tensor)


def test_training_reaches_every_weight_that_has_an_effect() -> None:
    torch.manual_seed(0)
    network = RITM_VARIANTS["hrnet18s_itm"]().train()
    answer = network(*inputs(64, 64))
    sum(functional.softplus(x).mean() for x in answer.values()).backward()
    for name, parameter in network.named_parameters():
        if any(part in name for part in WITHOUT_EFFECT):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()
