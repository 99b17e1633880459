from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.clicks import Click
from histosam_core.errors import ConfigError, ImageError
from histosam_core.model import SamModel, build_network, describe_network, pick_device
from histosam_core.model.interface import (
    BatchedInteractiveModel,
    InteractiveModel,
    Prediction,
    is_batched,
)
from histosam_core.model.sam.interactive import to_image_size, to_mask_input


@pytest.fixture(scope="module", params=["refining", "sam"])
def model(request: pytest.FixtureRequest) -> SamModel:
    torch.manual_seed(0)
    network = build_network("histosam_tiny", decoder=request.param, image_size=64)
    return SamModel(network, describe_network(network, name="tiny"), "cpu")


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


CLICKS = (Click((10, 20)), Click((30.5, 7.25), is_positive=False), Click((3, 3)))


def test_model_is_both_kinds_of_interactive_model(model: SamModel) -> None:
    assert isinstance(model, InteractiveModel)
    assert isinstance(model, BatchedInteractiveModel)
    assert is_batched(model)


def test_answer_has_the_size_of_the_image_and_a_quality(model: SamModel) -> None:
    embedding = model.encode(picture(40, 56))
    answer = model.decode(embedding, CLICKS[:1])
    assert answer.logits.shape == (40, 56)
    assert answer.logits.dtype == np.float32
    assert np.isfinite(answer.logits).all()
    assert isinstance(answer.quality, float)
    assert answer.state is None


def test_the_previous_answer_or_its_logits_are_the_same_mask_prompt(model: SamModel) -> None:
    embedding = model.encode(picture(40, 56))
    first = model.decode(embedding, CLICKS[:1])
    whole = model.decode(embedding, CLICKS[:2], first)
    plain = model.decode(embedding, CLICKS[:2], first.logits)
    assert np.array_equal(whole.logits, plain.logits)
    assert whole.quality == plain.quality
    assert np.array_equal(model.decode(embedding, CLICKS[:1]).logits, first.logits)


def test_batch_gives_the_answers_that_single_calls_give(model: SamModel) -> None:
    pictures = [picture(40, 56, 1), picture(64, 64, 2), picture(40, 56, 3), picture(90, 30, 4)]
    clicks: list[Sequence[Click]] = [CLICKS[:1], CLICKS, CLICKS[1:2], ()]
    boxes = [None, None, (4.0, 5.0, 50.0, 30.0), (1.0, 1.0, 20.0, 60.0)]
    embeddings = model.encode_batch(pictures)
    assert [e.image_hw for e in embeddings] == [p.shape[:2] for p in pictures]
    previous: list[Prediction | None] = [None] * 4
    for _ in range(2):
        together = model.decode_batch(embeddings, clicks, previous, boxes_xyxy=boxes)
        for i, one in enumerate(pictures):
            alone = model.decode(model.encode(one), clicks[i], previous[i], box_xyxy=boxes[i])
            np.testing.assert_allclose(together[i].logits, alone.logits, atol=2e-5)
            assert together[i].quality == pytest.approx(alone.quality, abs=1e-5)
        previous = [together[0], None, together[2], together[3]]


def test_each_prompt_changes_the_answer(model: SamModel) -> None:
    embedding = model.encode(picture(64, 64))
    first = model.decode(embedding, CLICKS[:1])
    others = [
        model.decode(embedding, [Click(CLICKS[0].xy, is_positive=False)]),
        model.decode(embedding, CLICKS[:2]),
        model.decode(embedding, CLICKS[:1], Prediction(np.full((64, 64), 8, np.float32))),
        model.decode(embedding, CLICKS[:1], box_xyxy=(0, 0, 30, 30)),
    ]
    for other in others:
        assert np.abs(other.logits - first.logits).max() > 1e-4


def test_clicks_reach_the_network_in_model_input_pixels(
    model: SamModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of 32 x 128 px is halved: pixel edges stay edges, centres move by a quarter."""
    seen: dict[str, Tensor] = {}
    decode = model.network.decode

    def spy(
        features: Tensor, points: Tensor, labels: Tensor, mask: Tensor | None, boxes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        assert boxes is not None
        seen.update(points=points, labels=labels, boxes=boxes)
        return decode(features, points, labels, mask, boxes)

    monkeypatch.setattr(model.network, "decode", spy)
    embedding = model.encode(picture(32, 128))
    clicks = [Click((0, 0)), Click((127, 31), is_positive=False), Click((-0.5, 31.5))]
    model.decode(embedding, clicks, box_xyxy=(-0.5, -0.5, 127.5, 31.5))
    assert seen["points"][0].tolist() == [[-0.25, -0.25], [63.25, 15.25], [-0.5, 15.5]]
    assert seen["labels"][0].tolist() == [1, 0, 1]
    assert seen["boxes"][0].tolist() == [-0.5, -0.5, 63.5, 15.5]


@pytest.mark.parametrize("image_hw", [(64, 64), (100, 40), (33, 120), (256, 256)])
def test_mask_input_lies_where_the_image_lies(model: SamModel, image_hw: tuple[int, int]) -> None:
    """A half-plane sent to the mask input and back keeps its edge to within a mask pixel."""
    height, width = image_hw
    logits = torch.full((1, 1, height, width), -6.0)
    logits[..., : width // 2] = 6.0
    mask_input = to_mask_input(model.network, logits)
    assert mask_input.shape[-2:] == model.network.prompt_encoder.mask_input_size
    back = to_image_size(model.network, mask_input, image_hw)
    wrong = (back > 0) != (logits > 0)
    reach = max(height, width) / mask_input.shape[-1]
    columns = torch.nonzero(wrong.any(dim=2)[0, 0]).flatten()
    assert all(abs(int(c) + 0.5 - width // 2) <= reach for c in columns)
    pad_rows = mask_input[..., int(np.ceil(height / reach)) + 1 :, :]
    assert (pad_rows < 0).all()


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 150), width=st.integers(1, 150))
def test_any_image_size_can_be_answered(height: int, width: int) -> None:
    network = build_network("histosam_tiny", decoder="sam", image_size=32)
    answerer = SamModel(network, describe_network(network, name="tiny"), "cpu")
    embedding = answerer.encode(picture(height, width))
    first = answerer.decode(embedding, [Click((width - 1, height - 1))])
    second = answerer.decode(embedding, [Click((0, 0))], first)
    assert first.logits.shape == second.logits.shape == (height, width)


def test_answers_keep_full_precision_where_the_network_runs_in_less(model: SamModel) -> None:
    embedding = model.encode(picture(40, 56))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.decode(embedding, CLICKS).logits
    assert logits.dtype == np.float32
    coarse = torch.from_numpy(logits).bfloat16().float().numpy()
    assert np.mean(coarse != logits) > 0.5, "what lies between two pixels is not rounded"


def test_decoding_resizes_as_segment_anything_does(model: SamModel) -> None:
    from segment_anything.modeling import Sam

    low_res = torch.randn(1, 1, 32, 32)
    size = model.network.input_size_hw(50, 80)
    expected = Sam.postprocess_masks(model.network, low_res, size, (50, 80))
    assert torch.equal(to_image_size(model.network, low_res, (50, 80)), expected)


def test_previous_logits_of_another_size_are_refused(model: SamModel) -> None:
    embedding = model.encode(picture(20, 30))
    with pytest.raises(ImageError, match=r"\(30, 20\), the image is \(20, 30\)"):
        model.decode(embedding, CLICKS[:1], Prediction(np.zeros((30, 20), np.float32)))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        [[1, 2, 3]],
    ],
)
def test_what_is_not_an_rgb_image_is_refused(model: SamModel, image: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="an image must be"):
        model.encode(image)


def test_device_that_is_not_there_is_an_error_that_says_what_to_choose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="choose 'cpu' or 'auto'"):
        pick_device("cuda")
    with pytest.raises(ConfigError, match="no device 'gpu'"):
        pick_device("gpu")


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("auto") == torch.device("cuda")
    with pytest.raises(ConfigError, match="sees 1 CUDA GPUs"):
        pick_device("cuda:3")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("early_features", [False, True])
def test_answers_on_a_gpu_are_those_of_the_cpu(early_features: bool) -> None:
    torch.manual_seed(0)
    network = build_network(
        "histosam_tiny", decoder="refining", image_size=64, early_features=early_features
    )
    for name, parameter in network.mask_decoder.named_parameters():
        if name.startswith("refine_early"):
            torch.nn.init.normal_(parameter, std=0.1)
    image, answers = picture(40, 56), []
    for device in ("cpu", "cuda"):
        model = SamModel(network, describe_network(network, name="tiny"), device)
        answers.append(model.decode(model.encode(image), CLICKS).logits)
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-2)


def test_an_embedding_of_a_batch_does_not_keep_the_others_in_memory(model: SamModel) -> None:
    for embedding in model.encode_batch([picture(40, 56, seed) for seed in range(3)]):
        features = embedding.features
        assert features.untyped_storage().nbytes() == features.nbytes
