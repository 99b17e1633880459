from __future__ import annotations

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from histosam_core.clicks import Click
from histosam_core.errors import ConfigError, ImageError, PredictionError
from histosam_core.model import FocalClickModel, InteractiveModel, Prediction
from histosam_core.model.focalclick.network import FOCALCLICK_VARIANTS
from histosam_core.model.ritm.model import ZoomState
from histosam_core.model.specialists.click_model import CERTAIN

from ..click_stand_ins import BlobNetwork, RefiningNetwork  # noqa: TID252

CLICKS = (
    Click((40, 30)),
    Click((10, 50), is_positive=False),
    Click((55, 35)),
    Click((30, 44)),
)


def picture(height: int = 60, width: int = 80, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def model_of(network: nn.Module, **settings: Any) -> FocalClickModel:
    return FocalClickModel(network, **({"infer_size": 64, "device": "cpu"} | settings))


def answers(
    model: FocalClickModel,
    image: NDArray[np.uint8],
    clicks: Sequence[Click] = CLICKS,
    start: Prediction | NDArray[np.float32] | None = None,
) -> list[Prediction]:
    """Each click answered in turn."""
    embedding, made, previous = model.encode(image), [], start
    for n in range(1, len(clicks) + 1):
        previous = model.decode(embedding, clicks[:n], previous)
        made.append(previous)
    return made


def standing() -> NDArray[np.float32]:
    """Logits of a mask that is there before the first click."""
    mask = np.full((60, 80), -12, np.float32)
    mask[20:40, 20:50] = 12
    return mask


def test_it_is_an_interactive_model_and_says_what_it_is() -> None:
    network = RefiningNetwork()
    model = FocalClickModel(network, device="cpu")
    assert isinstance(model, InteractiveModel)
    assert model.network is network
    assert model.info.name == "FocalClickModel"
    assert not model.info.encodes_ahead
    assert not model.info.takes_boxes
    assert model.info.thread_safe
    assert (model.infer_size, model.focus_ratio, model.flip) == (256, 1.4, False)


def test_coarse_network_sees_the_image_squashed() -> None:
    network = RefiningNetwork()
    answers(model_of(network), picture(), CLICKS[:1])
    assert network.inputs[0].shape == (1, 4, 64, 64)
    assert network.points[0].tolist() == [[[30 * (64 / 60), 40 * (64 / 80), 0], [-1] * 3]]


def test_later_clicks_see_the_target_crop_made_anew() -> None:
    network = RefiningNetwork(bias=-3)
    first, second, third, _ = answers(model_of(network), picture())
    assert first.state.roi is None
    assert second.state.roi is not None
    assert third.state.roi != second.state.roi
    top, bottom, left, right = second.state.roi
    y, x, _ = network.points[1][0, 0].tolist()
    assert y == (30 - top) * (64 / (bottom - top + 1))
    assert x == (40 - left) * (64 / (right - left + 1))
    outside = np.ones((60, 80), bool)
    outside[top : bottom + 1, left : right + 1] = False
    assert outside.any()
    np.testing.assert_allclose(second.logits[outside], -CERTAIN, rtol=1e-6)


def test_refiner_sees_a_crop_of_the_image_and_all_clicks_without_order() -> None:
    network = RefiningNetwork(bias=-3)
    image = picture()
    answers(model_of(network, max_net_clicks=1), image, CLICKS[:2])
    crop, points, box = network.crops[1]
    assert crop.shape == (1, 3, 64, 64)
    assert box.shape == (1, 5)
    assert box.dtype == torch.float32
    assert 0 <= box[0, 1] < box[0, 3] <= 64
    assert 0 <= box[0, 2] < box[0, 4] <= 64
    assert points[0, :, 2].tolist() == [0, 0]
    assert network.points[1].shape == (1, 2, 3)
    assert network.points[1][0, 1].tolist() == [-1] * 3


def test_crop_is_refined_and_the_rest_is_coarse() -> None:
    class Refines(RefiningNetwork):
        def refine(
            self, image: Tensor, points: Tensor, feature: Tensor, logits: Tensor, box: Tensor
        ) -> dict[str, Tensor]:
            super().refine(image, points, feature, logits, box)
            return {"instances_refined": torch.full((1, 1, *image.shape[-2:]), 7.0)}

    network = Refines(bias=-3)
    (answer,) = answers(model_of(network), picture(), CLICKS[:1])
    _, left, top, right, bottom = network.crops[0][2][0].tolist()
    y1, y2, x1, x2 = (
        round(end / 64 * side) for end, side in ((top, 60), (bottom, 60), (left, 80), (right, 80))
    )
    is_refined = np.isclose(answer.logits, 7)
    assert is_refined[y1:y2, x1:x2].all()
    assert np.count_nonzero(is_refined) == (y2 - y1) * (x2 - x1) < 60 * 80


def test_flip_is_one_batch_and_the_refiner_sees_the_straight_one() -> None:
    network = RefiningNetwork()
    answers(model_of(network, flip=True), picture(), CLICKS[:1])
    assert network.inputs[0].shape[0] == 2
    assert network.points[0][1, 0, 1] == 64 - network.points[0][0, 0, 1] - 1
    assert network.crops[0][0].shape[0] == 1


def test_after_ten_clicks_only_the_crop_changes() -> None:
    network = RefiningNetwork(bias=-3)
    rng = np.random.default_rng(0)
    clicks = [Click(tuple(rng.integers(0, (80, 60)).tolist()), bool(i % 2)) for i in range(12)]
    made = answers(model_of(network), picture(), clicks)
    for n in (10, 11):
        same = made[n].logits == made[n - 1].logits
        changed = np.argwhere(~same)
        height, width = np.ptp(changed, axis=0) + 1
        _, x1, y1, x2, y2 = network.crops[n][2][0].tolist()
        roi = made[n].state.roi
        assert height <= round((y2 - y1) / 64 * (roi[1] - roi[0] + 1))
        assert width <= round((x2 - x1) / 64 * (roi[3] - roi[2] + 1))


def test_first_click_on_a_mask_changes_it_only_there() -> None:
    start = standing()
    mask = start > 0
    for given in (start, Prediction(start)):
        first, *_, last = answers(model_of(RefiningNetwork(bias=-4)), picture(), CLICKS[2:], given)
        assert first.state.from_mask
        assert last.state.from_mask
        new = first.logits > 0
        assert new[35, 55]
        assert (new != mask).any()
        # One component is added and nothing else has changed.
        assert (new | mask == new).all()


def test_network_goes_on_from_what_it_said_where_the_merge_overruled_it() -> None:
    network = RefiningNetwork(bias=-4)
    model = model_of(network, zoom_in=None)
    start = np.full((64, 64), -12, np.float32)
    start[20:40, 20:50] = 12
    first, _ = answers(model, picture(64, 64), CLICKS[2:], start)
    np.testing.assert_array_equal(network.inputs[0][0, 3], torch.sigmoid(torch.tensor(start)))
    overruled = first.state.overruled
    assert overruled is not None
    said = first.logits.copy()
    said.reshape(-1)[overruled.pixels] = overruled.said
    is_other = (said > 0) != (first.logits > 0)
    assert np.flatnonzero(is_other).tolist() == overruled.pixels.tolist()
    np.testing.assert_array_equal(network.inputs[1][0, 3], torch.sigmoid(torch.tensor(said)))


def test_changed_logits_count_even_where_they_were_overruled() -> None:
    network = RefiningNetwork(bias=-4)
    model = model_of(network, zoom_in=None)
    embedding = model.encode(picture())
    first = model.decode(embedding, CLICKS[2:3], standing())
    lasso = first.logits.copy()
    lasso[20:40, 20:50] = 9  # all of it had been overruled
    network.inputs.clear()
    model.decode(embedding, CLICKS[2:], first)
    model.decode(embedding, CLICKS[2:], replace(first, logits=lasso))
    before, after = (x[0, 3] for x in network.inputs)
    assert before[32, 28] < 0.5 < after[32, 28]


@pytest.mark.parametrize("state", [None, ZoomState((0, 9, 0, 9))])
def test_answer_of_another_model_is_gone_on_from(state: ZoomState | None) -> None:
    network = RefiningNetwork()
    model = model_of(network)
    answer = model.decode(model.encode(picture()), CLICKS[:2], Prediction(standing(), 0.5, state))
    assert not answer.state.from_mask
    assert answer.state.roi is not None
    assert network.inputs[0][0, 3].max() > 0.99


def test_without_a_mask_there_is_no_merge() -> None:
    for answer in answers(model_of(RefiningNetwork()), picture()):
        assert not answer.state.from_mask
        assert answer.state.overruled is None


@pytest.mark.parametrize("start", [None, standing()])
def test_going_on_twice_from_an_answer_gives_the_same_bits(
    start: NDArray[np.float32] | None,
) -> None:
    torch.manual_seed(0)
    model = model_of(FOCALCLICK_VARIANTS["segformerB0_S2"]())
    image = picture()
    embedding = model.encode(image)
    made = answers(model, image, CLICKS[:3], start)
    kept = made[1].logits.copy()
    for _ in range(2):
        again = model.decode(embedding, CLICKS[:3], made[1])
        np.testing.assert_array_equal(again.logits, made[2].logits)
        assert again.state.roi == made[2].state.roi
        model.decode(embedding, [*CLICKS[:2], Click((5, 5))], made[1])
    np.testing.assert_array_equal(made[1].logits, kept)
    assert pickle.loads(pickle.dumps(made[1].state)).roi == made[1].state.roi  # noqa: S301


def test_threads_do_not_disturb_each_other() -> None:
    torch.manual_seed(0)
    model = model_of(FOCALCLICK_VARIANTS["segformerB0_S1"]())
    images = [picture(seed=seed) for seed in range(3)] * 3
    alone = [answers(model, image, CLICKS[:3])[-1].logits for image in images[:3]]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: answers(model, x, CLICKS[:3])[-1].logits, images))
    for n, one in enumerate(together):
        np.testing.assert_array_equal(one, alone[n % 3])


@pytest.mark.parametrize("name", ["segformerB0_S1", "segformerB0_S2", "hrnet18s_S1", "hrnet18s_S2"])
def test_own_network_and_its_forward_answer_alike(name: str) -> None:
    torch.manual_seed(0)
    network = FOCALCLICK_VARIANTS[name]().eval()

    class Plain(nn.Module):
        def forward(self, x: Tensor, points: Tensor) -> dict[str, Tensor]:
            return network(x, points)  # type: ignore[no-any-return]

        def refine(self, *given: Tensor) -> dict[str, Tensor]:
            return network.refine(*given)

    image = picture(61, 83)
    (ours,) = answers(model_of(network), image, CLICKS[:1])
    (plain,) = answers(model_of(Plain()), image, CLICKS[:1])
    scale = np.abs(plain.logits).max()
    np.testing.assert_allclose(ours.logits, plain.logits, atol=1e-4 * scale)


@pytest.mark.parametrize("hw", [(1, 1), (1, 50), (7, 3), (33, 47)])
@pytest.mark.parametrize("with_mask", [False, True])
def test_odd_images(hw: tuple[int, int], with_mask: bool) -> None:
    clicks = [Click((0, 0)), Click((hw[1] - 1, hw[0] - 1)), Click((0, 0), is_positive=False)] * 4
    start = np.full(hw, 3, np.float32) if with_mask else None
    for answer in answers(model_of(RefiningNetwork()), picture(*hw), clicks, start):
        assert answer.logits.shape == hw
        assert np.isfinite(answer.logits).all()


def test_clicks_far_from_the_object_are_answered() -> None:
    """Where FocalClick's own code would cut out nothing and fail."""
    clicks = [Click((5, 5)), Click((75, 55), is_positive=False), Click((79, 0), is_positive=False)]
    for answer in answers(model_of(RefiningNetwork(reach=0.05, bias=-4)), picture(), clicks):
        assert np.isfinite(answer.logits).all()


def test_bad_settings_and_calls_name_the_fix() -> None:
    with pytest.raises(ConfigError, match="infer_size") as told:
        model_of(BlobNetwork(), infer_size=0, focus_ratio=0, merge_threshold=1)
    for words in ("focus_ratio", "merge_threshold", "RitmModel"):
        assert words in str(told.value)
    model = model_of(RefiningNetwork())
    embedding = model.encode(picture())
    with pytest.raises(ConfigError, match="at least one"):
        model.decode(embedding, [])
    with pytest.raises(ConfigError, match="takes no box"):
        model.decode(embedding, CLICKS, box_xyxy=(0, 0, 9, 9))
    with pytest.raises(ImageError, match="previous"):
        model.decode(embedding, CLICKS, np.zeros((3, 3), np.float32))


def test_refiner_that_answers_no_numbers_is_refused() -> None:
    class Broken(RefiningNetwork):
        def refine(
            self, image: Tensor, points: Tensor, feature: Tensor, logits: Tensor, box: Tensor
        ) -> dict[str, Tensor]:
            return {"instances_refined": image[:, :1] * float("nan")}

    model = model_of(Broken())
    with pytest.raises(PredictionError, match="not numbers"):
        model.decode(model.encode(picture()), CLICKS[:1])
