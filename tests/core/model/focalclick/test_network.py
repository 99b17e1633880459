"""FocalClick's networks: keys, reference vectors, and that a prepared image repeats nothing."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model.focalclick.network import (
    FOCALCLICK_VARIANTS,
    FocalClickNetwork,
)
from histosam_core.model.specialists.folding import folded

SMALL = [name for name in FOCALCLICK_VARIANTS if "32" not in name and "B3" not in name]
WITH_VECTORS = ["hrnet18s_S2", "segformerB0_S2"]


def fill(network: nn.Module) -> None:
    """Weights by the rule that the reference vectors were made with."""
    for key, value in network.state_dict().items():
        if not value.is_floating_point():
            value.zero_()
            continue
        normal = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(value.shape)
        if value.ndim >= 2:
            drawn = normal / np.sqrt(np.prod(value.shape[1:]))
        elif key.endswith("weight"):
            drawn = 1 + 0.1 * normal
        elif key.endswith("running_var"):
            drawn = 1 + 0.1 * np.abs(normal)
        else:
            drawn = 0.1 * normal
        value.copy_(torch.from_numpy(drawn.astype(np.float32)))


def filled(name: str) -> FocalClickNetwork:
    network = FOCALCLICK_VARIANTS[name]().eval()
    fill(network)
    return network


def random_input(seed: int, size: tuple[int, int], batch: int = 1) -> tuple[Tensor, Tensor]:
    """Image with previous answer, and two positive and two negative clicks, one row padding."""
    rng = np.random.default_rng(seed)
    points = rng.random((batch, 4, 3)) * [*size, 4]
    points[:, 1] = -1
    return (
        torch.from_numpy(rng.random((batch, 4, *size), dtype=np.float32)),
        torch.from_numpy(points.astype(np.float32)),
    )


@pytest.fixture
def _no_grad() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.real_slide
@pytest.mark.parametrize("name", FOCALCLICK_VARIANTS)
def test_state_dict_is_that_of_the_published_checkpoints(data_dir: Path, name: str) -> None:
    described = json.loads((data_dir / f"reference/keys_focalclick_{name}.json").read_text())
    with torch.device("meta"):
        network = FOCALCLICK_VARIANTS[name]()
    found = {
        key: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        for key, value in network.state_dict().items()
    }
    assert found == described["state_dict"]
    assert list(found) == list(described["state_dict"])
    assert sum(p.numel() for p in network.parameters()) == described["n_params"]


@pytest.mark.real_slide
@pytest.mark.usefixtures("_no_grad")
@pytest.mark.parametrize("case", ["A", "B"])
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", WITH_VECTORS)
def test_reproduces_the_reference_vectors(data_dir: Path, name: str, fold: bool, case: str) -> None:
    vectors = np.load(data_dir / f"reference/forward_focalclick_{name}.npz")
    network = folded(filled(name)) if fold else filled(name)
    image = torch.from_numpy(np.random.default_rng(0).random((1, 3, 256, 256)).astype(np.float32))
    previous = np.random.default_rng(1).random((1, 1, 256, 256)).astype(np.float32)
    previous = torch.from_numpy(previous if case == "A" else np.zeros_like(previous))
    y1, y2, x1, x2 = vectors["focus_roi_y1y2x1x2"].tolist()
    crop = functional.interpolate(
        image[:, :, y1:y2, x1:x2], (256, 256), mode="bilinear", align_corners=True
    )

    answer = network(torch.cat((image, previous), 1), torch.from_numpy(vectors[f"points_{case}"]))
    answer |= network.refine(
        crop,
        torch.from_numpy(vectors[f"points_focus_{case}"]),
        answer["feature"],
        answer["instances"],
        torch.tensor([[0.0, x1, y1, x2, y2]]),
    )

    coarse_noise = vectors["instances_A__fp32_minus_fp64_maxabs"]
    refined_noise = vectors["instances_refined_A__fp32_minus_fp64_maxabs"]
    for key, noise in {
        "instances": coarse_noise,
        "instances_aux": coarse_noise,
        "instances_coarse": coarse_noise,
        "instances_refined": refined_noise,
        "trimap": refined_noise,
    }.items():
        stride = int(vectors[f"{key}_{case}__stride"])
        assert answer[key].shape == tuple(vectors[f"{key}_{case}__full_shape"])
        difference = answer[key].numpy()[..., ::stride, ::stride] - vectors[f"{key}_{case}"]
        assert np.abs(difference).max() <= 10 * noise, key
    assert answer["feature"].shape == tuple(vectors[f"feature_{case}__shape"])
    means = answer["feature"].numpy().mean((0, 2, 3))
    assert np.abs(means - vectors[f"feature_{case}__chan_mean"]).max() <= 10 * coarse_noise


@pytest.mark.usefixtures("_no_grad")
@pytest.mark.parametrize("name", SMALL)
def test_a_prepared_image_gives_what_the_whole_network_gives(name: str) -> None:
    network = filled(name)
    x, points = random_input(0, (96, 128))
    prepared = network.prepare(x[:, :3])
    kept = prepared.clone()
    for seed in (1, 2):
        other, points = random_input(seed, (96, 128))
        whole = network(torch.cat((x[:, :3], other[:, 3:]), 1), points)
        again = network.answer(prepared, maps_of(network, other[:, 3:], points))
        for key in ("instances", "instances_aux", "feature"):
            assert torch.equal(whole[key], again[key])
    assert torch.equal(prepared, kept)


def maps_of(network: FocalClickNetwork, previous: Tensor, points: Tensor) -> Tensor:
    """The maps that `forward` makes of the previous answer and the clicks."""
    ys, xs = (torch.arange(n, dtype=torch.float32) for n in previous.shape[-2:])
    disks = torch.zeros(len(points), 2, *previous.shape[-2:])
    for image, rows in enumerate(points):
        for number, (y, x, _) in enumerate(rows.tolist()):
            if max(y, x) >= 0:
                inside = (ys[:, None] - y) ** 2 + (xs - x) ** 2 <= network.click_radius**2
                disks[image, number // (points.shape[1] // 2)][inside] = 1
    return torch.cat((previous, disks), 1)


@pytest.mark.usefixtures("_no_grad")
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(150, 227), (97, 64)])
def test_odd_sizes_and_batches_answer_like_single_images(name: str, size: tuple[int, int]) -> None:
    network = filled(name)
    x, points = random_input(3, size, batch=2)
    together = network(x, points)
    assert together["instances"].shape == (2, 1, *size)
    for index in range(2):
        alone = network(x[index : index + 1], points[index : index + 1])
        for key, value in alone.items():
            torch.testing.assert_close(
                together[key][index : index + 1], value, rtol=1e-5, atol=1e-4
            )


@pytest.mark.usefixtures("_no_grad")
@pytest.mark.parametrize("name", SMALL)
def test_s1_features_are_half_as_large_and_still_refine(name: str) -> None:
    network = filled(name)
    x, points = random_input(4, (128, 128), batch=2)
    answer = network(x, points)
    side = 16 if name.endswith("S1") else 32
    assert answer["feature"].shape[-2:] == (side, side)
    boxes = torch.tensor([[1.0, 10, 20, 90, 100], [0, 0, 0, 128, 128]])
    crops = torch.rand(2, 3, 128, 128)
    refined = network.refine(crops, points, answer["feature"], answer["instances"], boxes)
    assert {value.shape for value in refined.values()} == {(2, 1, 128, 128)}
    one = network.refine(
        crops[:1],
        points[:1],
        answer["feature"][1:],
        answer["instances"][1:],
        torch.tensor([[0.0, 10, 20, 90, 100]]),
    )
    for key, value in one.items():
        torch.testing.assert_close(refined[key][:1], value)


@pytest.mark.parametrize(
    ("name", "radius"),
    [
        ("hrnet18s_S1", 2.0),
        ("hrnet18s_S2", 5.0),
        ("segformerB0_S1", 3.0),
        ("segformerB0_S2", 5.0),
    ],
)
def test_disks_have_the_radius_of_the_variant(name: str, radius: float) -> None:
    with torch.device("meta"):
        assert FOCALCLICK_VARIANTS[name]().click_radius == radius


@pytest.mark.parametrize("name", ["hrnet18s_S1", "segformerB0_S1"])
def test_training_reaches_every_weight_that_has_an_effect(name: str) -> None:
    torch.manual_seed(0)
    network = FOCALCLICK_VARIANTS[name]().train()
    fill(network)
    x, points = random_input(5, (128, 128), batch=2)
    box = torch.tensor([[0.0, 8, 8, 100, 100], [1, 8, 8, 100, 100]])
    answer = network(x, points)
    refined = network.refine(x[:, :3], points, answer["feature"], answer["instances"], box)
    loss = sum((value**2).mean() for value in (*answer.values(), *refined.values()))
    assert isinstance(loss, Tensor)
    loss.backward()
    idle = ("f_pixel", "f_object", "refiner.feature_gate")
    if "segformer" in name:
        idle += ("maps_transform",)
    for key, parameter in network.named_parameters():
        assert (parameter.grad is None) == any(part in key for part in idle), key


@pytest.mark.parametrize("name", SMALL)
def test_folding_leaves_no_batch_norm(name: str) -> None:
    assert not [
        m for m in folded(FOCALCLICK_VARIANTS[name]()).modules() if "BatchNorm" in str(type(m))
    ]
