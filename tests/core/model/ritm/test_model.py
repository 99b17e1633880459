from __future__ import annotations

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from histosam_core.clicks import Click
from histosam_core.embeddings.memory import size_in_bytes
from histosam_core.errors import (
    ClickOutsideSlideError,
    ConfigError,
    ImageError,
    PredictionError,
)
from histosam_core.model import InteractiveModel, Prediction, RitmModel, ZoomIn
from histosam_core.model.ritm.network import RITM_VARIANTS
from histosam_core.model.specialists.click_model import CERTAIN

from ..click_stand_ins import BlobNetwork, PreparingNetwork  # noqa: TID252

CLICKS = (
    Click((40, 30)),
    Click((10, 50), is_positive=False),
    Click((55, 35)),
    Click((30, 44.5)),
)
SMALL_ZOOM = ZoomIn(target_size=64, min_crop_size=20)


def picture(height: int = 60, width: int = 80, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def answers(
    model: RitmModel, image: NDArray[np.uint8], clicks: Sequence[Click] = CLICKS
) -> list[Prediction]:
    """Each click answered in turn."""
    embedding, made, previous = model.encode(image), [], None
    for n in range(1, len(clicks) + 1):
        previous = model.decode(embedding, clicks[:n], previous)
        made.append(previous)
    return made


def test_it_is_an_interactive_model_and_says_what_it_is() -> None:
    network = BlobNetwork()
    model = RitmModel(network, device="cpu")
    assert isinstance(model, InteractiveModel)
    assert model.network is network
    assert model.info.name == "RitmModel"
    assert (model.info.encodes_ahead, model.info.takes_boxes, model.info.thread_safe) == (
        False,
        False,
        True,
    )
    assert RitmModel(network, device="cpu", info=replace(model.info, name="x")).info.name == "x"


def test_answers_have_the_image_size_and_are_finite() -> None:
    for answer in answers(RitmModel(BlobNetwork(), zoom_in=SMALL_ZOOM, device="cpu"), picture()):
        assert answer.logits.shape == (60, 80)
        assert answer.logits.dtype == np.float32
        assert np.isfinite(answer.logits).all()
        assert answer.quality is None
        assert pickle.loads(pickle.dumps(answer.state)) == answer.state  # noqa: S301


def test_network_sees_image_previous_answer_and_clicks() -> None:
    network = BlobNetwork()
    image = picture()
    first, second = answers(
        RitmModel(network, flip=False, zoom_in=None, device="cpu"), image, CLICKS[:2]
    )
    seen = network.inputs[1]
    assert seen.shape == (1, 4, 60, 80)
    np.testing.assert_array_equal(
        seen[0, :3], torch.from_numpy(image).permute(2, 0, 1).to(torch.float32).div(255)
    )
    np.testing.assert_array_equal(seen[0, 3], torch.sigmoid(torch.tensor(first.logits)))
    assert network.points[1].tolist() == [[[30, 40, 0], [50, 10, 1]]]
    assert not network.inputs[0][:, 3].any()
    np.testing.assert_array_equal(
        second.logits, BlobNetwork()(seen, network.points[1])["instances"][0, 0]
    )


def test_flip_averages_logits_of_one_batch() -> None:
    network = BlobNetwork()
    image = picture()
    (answer,) = answers(RitmModel(network, zoom_in=None, device="cpu"), image, CLICKS[:1])
    assert len(network.inputs) == 1
    assert network.points[0].tolist() == [[[30, 40, 0], [-1] * 3], [[30, 39, 0], [-1] * 3]]
    np.testing.assert_array_equal(network.inputs[0][1], network.inputs[0][0].flip(2))
    straight, other = BlobNetwork()(network.inputs[0], network.points[0])["instances"]
    np.testing.assert_array_equal(answer.logits, (0.5 * (straight + other.flip(2)))[0])


def test_zoom_begins_at_the_second_click_and_outside_is_background() -> None:
    network = BlobNetwork(bias=-3)
    model = RitmModel(network, zoom_in=SMALL_ZOOM, device="cpu")
    first, second, *_ = answers(model, picture())
    assert first.state.roi is None
    assert network.inputs[0].shape[-2:] == (60, 80)
    top, bottom, left, right = second.state.roi
    assert max(network.inputs[1].shape[-2:]) == 64
    outside = np.ones((60, 80), bool)
    outside[top : bottom + 1, left : right + 1] = False
    assert outside.any()
    np.testing.assert_allclose(second.logits[outside], -CERTAIN, rtol=1e-6)
    y, x, number = network.points[1][0, 0].tolist()
    height, width = network.inputs[1].shape[-2:]
    assert y == height * (30 - top) / (bottom - top + 1)
    assert x == width * (40 - left) / (right - left + 1)
    assert number == 0


def test_skip_of_no_click_looks_twice_where_the_object_is_small() -> None:
    network = BlobNetwork(reach=0.05, bias=-3)
    zoom_in = replace(SMALL_ZOOM, skip_clicks=0)
    (answer,) = answers(RitmModel(network, zoom_in=zoom_in, device="cpu"), picture(), CLICKS[:1])
    assert len(network.inputs) == 2
    assert answer.state.roi is not None
    assert not network.inputs[1][:, 3].any()  # the previous answer is still none


def test_only_the_first_clicks_reach_the_network_when_limited() -> None:
    network = BlobNetwork()
    model = RitmModel(network, zoom_in=None, flip=False, max_net_clicks=2, device="cpu")
    answers(model, picture())
    table = network.points[-1][0]
    assert table.shape == (4, 3)
    assert sorted(table[:, 2].tolist()) == [-1, -1, 0, 1]
    with pytest.raises(ConfigError, match="max_net_clicks"):
        RitmModel(network, max_net_clicks=0, device="cpu")


def test_going_on_twice_from_an_answer_gives_the_same_bits() -> None:
    model = RitmModel(RITM_VARIANTS["hrnet18s_itm"](), zoom_in=SMALL_ZOOM, device="cpu")
    image = picture()
    embedding = model.encode(image)
    made = answers(model, image, CLICKS[:3])
    kept = made[1].logits.copy()
    for _ in range(2):
        again = model.decode(embedding, CLICKS[:3], made[1])
        np.testing.assert_array_equal(again.logits, made[2].logits)
        assert again.state == made[2].state
        elsewhere = [*CLICKS[:2], Click((5, 5))]
        model.decode(embedding, elsewhere, made[1])
    np.testing.assert_array_equal(made[1].logits, kept)


def test_changed_logits_are_gone_on_from() -> None:
    network = BlobNetwork()
    model = RitmModel(network, zoom_in=SMALL_ZOOM, device="cpu")
    image = picture()
    embedding = model.encode(image)
    first = model.decode(embedding, CLICKS[:1])
    changed = np.full((60, 80), -9, np.float32)
    changed[5:15, 5:15] = 9
    answer = model.decode(embedding, CLICKS[:2], replace(first, logits=changed))
    top, bottom, left, right = answer.state.roi
    assert (top, left) == (0, 0)
    assert (bottom, right) == (36, 48)  # the first click's pixel is part of the object
    as_array = model.decode(embedding, CLICKS[:2], changed)
    np.testing.assert_array_equal(as_array.logits, answer.logits)


@pytest.mark.parametrize("threads", [4])
def test_threads_do_not_disturb_each_other(threads: int) -> None:
    torch.manual_seed(0)
    model = RitmModel(PreparingNetwork(), zoom_in=SMALL_ZOOM, device="cpu")
    images = [picture(seed=seed) for seed in range(3)] * 4
    alone = [answers(model, image)[-1].logits for image in images]
    shared = model.encode(images[0])
    with ThreadPoolExecutor(threads) as pool:
        together = list(pool.map(lambda image: answers(model, image)[-1].logits, images))
        same = list(pool.map(lambda n: model.decode(shared, CLICKS[:n]).logits, [1, 2, 3] * 6))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    for n, one in enumerate(same):
        np.testing.assert_array_equal(one, same[n % 3])


def test_own_network_prepares_a_region_once_for_both_flips() -> None:
    network = PreparingNetwork()
    model = RitmModel(network, zoom_in=None, device="cpu", fold=False)
    answers(model, picture())
    assert network.n_prepared == [(2, 3, 60, 80)]


def test_what_is_kept_does_not_change_the_answer() -> None:
    torch.manual_seed(0)
    network = PreparingNetwork()
    model = RitmModel(network, zoom_in=SMALL_ZOOM, device="cpu")
    other = RitmModel(network, zoom_in=SMALL_ZOOM, device="cpu", flip=False)
    image = picture()
    embedding = model.encode(image)
    for _ in range(2):
        previous = None
        for n in range(1, len(CLICKS) + 1):
            other.decode(embedding, CLICKS[:n])
            fresh = model.decode(model.encode(image), CLICKS[:n], previous)
            previous = model.decode(embedding, CLICKS[:n], previous)
            np.testing.assert_array_equal(previous.logits, fresh.logits)


def test_folding_leaves_the_network_to_train_and_answers_alike() -> None:
    torch.manual_seed(0)
    network = PreparingNetwork().train()
    for statistic in (network.bn.running_mean, network.bn.running_var):
        assert statistic is not None
        statistic.uniform_(0.5, 2)
    keys = list(network.state_dict())
    model = RitmModel(network, zoom_in=SMALL_ZOOM, device="cpu")
    assert model.network is network
    assert network.training
    assert list(network.state_dict()) == keys
    assert all(parameter.requires_grad for parameter in network.parameters())
    image = picture()
    plain = RitmModel(network, zoom_in=SMALL_ZOOM, device="cpu", fold=False)
    for one, other in zip(answers(model, image), answers(plain, image), strict=True):
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-4)


def test_own_network_and_its_forward_answer_alike() -> None:
    network = RITM_VARIANTS["hrnet18s_itm"]().eval()

    class Plain(nn.Module):
        def forward(self, x: Tensor, points: Tensor) -> dict[str, Tensor]:
            return network(x, points)  # type: ignore[no-any-return]

    image = picture(61, 83)
    ours = answers(RitmModel(network, device="cpu"), image, CLICKS[:3])
    plain = answers(RitmModel(Plain(), device="cpu"), image, CLICKS[:3])
    for one, other in zip(ours, plain, strict=True):
        scale = np.abs(other.logits).max()
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-4 * scale)


def test_store_counts_what_an_embedding_will_keep() -> None:
    model = RitmModel(PreparingNetwork(), zoom_in=None, device="cpu")
    embedding = model.encode(picture())
    pixels = 60 * 80 * 3 * 4
    assert size_in_bytes(embedding) == pixels
    model.decode(embedding, CLICKS[:1])
    assert size_in_bytes(model.encode(picture())) == pixels + 2 * (2 * 60 * 80 * 4 * 4)


@pytest.mark.parametrize("hw", [(1, 1), (1, 50), (7, 3), (33, 47)])
@pytest.mark.parametrize("zoom_in", [None, SMALL_ZOOM, replace(SMALL_ZOOM, skip_clicks=-1)])
def test_odd_images(hw: tuple[int, int], zoom_in: ZoomIn | None) -> None:
    clicks = [Click((0, 0)), Click((hw[1] - 1, hw[0] - 1)), Click((0, 0), is_positive=False)]
    model = RitmModel(PreparingNetwork(), zoom_in=zoom_in, device="cpu")
    for answer in answers(model, picture(*hw), clicks):
        assert answer.logits.shape == hw
        assert np.isfinite(answer.logits).all()


def test_image_of_one_pixel_goes_through_the_real_network() -> None:
    model = RitmModel(RITM_VARIANTS["hrnet18s_itm"](), zoom_in=SMALL_ZOOM, device="cpu")
    made = answers(model, picture(1, 1), [Click((0, 0)), Click((0, 0))])
    assert made[-1].logits.shape == (1, 1)


def test_a_hundred_clicks() -> None:
    rng = np.random.default_rng(0)
    clicks = [Click(tuple(rng.uniform(0, (79, 59))), bool(i % 3)) for i in range(100)]
    network = BlobNetwork()
    answer = RitmModel(network, zoom_in=SMALL_ZOOM, device="cpu").decode(
        RitmModel(network, device="cpu").encode(picture()), clicks
    )
    assert network.points[0].shape == (2, 2 * 66, 3)
    assert np.isfinite(answer.logits).all()


@pytest.mark.parametrize(
    ("clicks", "box", "error", "fix"),
    [
        ([], None, ConfigError, "at least one"),
        (CLICKS, (0.0, 0.0, 9.0, 9.0), ConfigError, "takes no box"),
        ([Click((80, 5))], None, ClickOutsideSlideError, "x from 0 to 79"),
        ([Click((5, -3))], None, ClickOutsideSlideError, "y from 0 to 59"),
        ([Click((float("nan"), 3))], None, ConfigError, "numbers"),
    ],
)
def test_bad_calls_name_the_fix(
    clicks: Sequence[Click],
    box: tuple[float, float, float, float] | None,
    error: type[Exception],
    fix: str,
) -> None:
    model = RitmModel(BlobNetwork(), device="cpu")
    embedding = model.encode(picture())
    with pytest.raises(error, match=fix):
        model.decode(embedding, clicks, box_xyxy=box)


def test_click_on_the_very_border_is_taken() -> None:
    border = [Click((-0.5, -0.5)), Click((79.5, 59.5))]
    made = answers(RitmModel(BlobNetwork(), zoom_in=SMALL_ZOOM, device="cpu"), picture(), border)
    assert np.isfinite(made[-1].logits).all()


def test_previous_must_fit() -> None:
    model = RitmModel(BlobNetwork(), device="cpu")
    embedding = model.encode(picture())
    with pytest.raises(ImageError, match=r"\(60, 81\)"):
        model.decode(embedding, CLICKS[:1], np.zeros((60, 81), np.float32))
    with pytest.raises(ImageError, match="not numbers"):
        model.decode(embedding, CLICKS[:1], np.full((60, 80), np.nan, np.float32))
    certain = np.full((60, 80), -np.inf, np.float32)
    certain[:30] = np.inf
    assert np.isfinite(model.decode(embedding, CLICKS[:2], certain).logits).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_network_that_answers_no_numbers_is_refused(value: float) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor, points: Tensor) -> dict[str, Tensor]:
            return {"instances": torch.full_like(x[:, :1], value)}

    model = RitmModel(Broken(), device="cpu")
    with pytest.raises(PredictionError, match="not numbers"):
        model.decode(model.encode(picture()), CLICKS[:1])


def test_answer_smaller_than_the_input_is_resized() -> None:
    class Coarse(nn.Module):
        def forward(self, x: Tensor, points: Tensor) -> dict[str, Tensor]:
            return {"instances": x[:, :1, ::4, ::4]}

    (answer,) = answers(RitmModel(Coarse(), device="cpu"), picture(), CLICKS[:1])
    assert answer.logits.shape == (60, 80)


def test_images_are_checked_and_may_be_read_only() -> None:
    model = RitmModel(BlobNetwork(), device="cpu")
    with pytest.raises(ImageError):
        model.encode(np.zeros((60, 80), np.uint8))
    image = picture()[::-1, ::2]
    image.setflags(write=False)
    assert answers(model, image, CLICKS[:0]) == []
    np.testing.assert_array_equal(model.encode(image).pixels, model.encode(image.copy()).pixels)


def test_an_image_can_be_pickled_and_copied() -> None:
    model = RitmModel(BlobNetwork(), device="cpu")
    embedding = model.encode(picture())
    first = model.decode(embedding, CLICKS[:1])
    for other in (pickle.loads(pickle.dumps(embedding)), deepcopy(embedding)):  # noqa: S301
        assert other.image_hw == embedding.image_hw
        assert np.array_equal(model.decode(other, CLICKS[:1]).logits, first.logits)
