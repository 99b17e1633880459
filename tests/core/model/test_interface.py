"""What models and what uses them agree on: predictions, what a model states, what is filled in."""

from __future__ import annotations

import dataclasses
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from histosam_core.clicks import Click
from histosam_core.errors import ImageError
from histosam_core.model import (
    CheckpointInfo,
    ModelInfo,
    Prediction,
    TrainingGeometry,
)
from histosam_core.model.interface import (
    NOT_STATED,
    BatchedInteractiveModel,
    InteractiveModel,
    as_prediction,
    check_image,
    complete,
    is_batched,
)

LOGITS = np.array([[0.5, -1.0], [2.0, 0.0]], np.float32)
CLICKS = [Click((1, 0))]


class Own:
    """Has what somebody's own model needs; remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[Any, ...]] = []

    def encode(self, image: Any) -> Any:
        return ("embedding of", image)

    def decode(self, embedding: Any, clicks: Any, previous: Any = None, **options: Any) -> Any:
        self.given.append((embedding, clicks, previous, options))
        return LOGITS.astype(np.float64)


class OwnInBatches(Own):
    def encode_batch(self, images: Any) -> Any:
        return [self.encode(image) for image in images]

    def decode_batch(
        self, embeddings: Any, clicks: Any, previous: Any = None, **options: Any
    ) -> Any:
        self.given.append((embeddings, clicks, previous, options))
        return np.stack([LOGITS] * len(embeddings))


class Full(Own):
    """States all that there is to state."""

    info = ModelInfo("full", thread_safe=True)
    device = "cpu"


# Prediction


def test_a_prediction_is_logits_and_nothing_more_unless_said() -> None:
    prediction = Prediction(LOGITS)
    assert prediction.logits is LOGITS
    assert (prediction.quality, prediction.state) == (None, None)
    full = Prediction(LOGITS, 0.75, ("zoomed", 3))
    assert (full.quality, full.state) == (0.75, ("zoomed", 3))


def test_a_prediction_cannot_be_changed_and_is_equal_to_itself_alone() -> None:
    """So that one of long ago may be gone on from; arrays would make comparing ambiguous."""
    prediction = Prediction(LOGITS, 0.75, "state")
    for name in ("logits", "quality", "state"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(prediction, name, None)
    assert prediction == prediction
    assert prediction != Prediction(LOGITS, 0.75, "state")
    assert len({prediction, prediction}) == 1


def test_a_prediction_may_be_sent_to_another_process() -> None:
    back = pickle.loads(pickle.dumps(Prediction(LOGITS, 0.75, ("zoomed", 3))))  # noqa: S301
    assert np.array_equal(back.logits, LOGITS)
    assert (back.quality, back.state) == (0.75, ("zoomed", 3))


# as_prediction


def test_a_prediction_of_float32_is_taken_as_it_is() -> None:
    prediction = Prediction(LOGITS, 0.75, "state")
    assert as_prediction(prediction) is prediction


def test_a_prediction_of_other_numbers_keeps_quality_and_state() -> None:
    taken = as_prediction(Prediction(LOGITS.astype(np.float64), 0.75, "state"))  # type: ignore[arg-type]
    assert taken.logits.dtype == np.float32
    assert np.array_equal(taken.logits, LOGITS)
    assert (taken.quality, taken.state) == (0.75, "state")


@pytest.mark.parametrize(
    "answer", [LOGITS, LOGITS.astype(np.float64), LOGITS.tolist(), LOGITS.astype(np.float16)]
)
def test_an_array_is_taken_as_logits(answer: Any) -> None:
    taken = as_prediction(answer)
    assert isinstance(taken, Prediction)
    assert taken.logits.dtype == np.float32
    assert np.array_equal(taken.logits, LOGITS)
    assert (taken.quality, taken.state) == (None, None)


def test_an_array_of_float32_is_not_copied() -> None:
    assert as_prediction(LOGITS).logits is LOGITS


def test_a_tensor_is_taken_as_logits() -> None:
    torch = pytest.importorskip("torch")
    assert np.array_equal(as_prediction(torch.from_numpy(LOGITS)).logits, LOGITS)


# ModelInfo


def test_what_a_model_does_not_say_of_itself() -> None:
    info = ModelInfo("mine")
    assert info.geometry == TrainingGeometry(2.0, 400)
    assert info.licence == NOT_STATED == "not stated"
    assert (info.sha256, info.path, info.decoder) == ("", "", "")
    assert (info.takes_boxes, info.encodes_ahead, info.thread_safe) == (False, True, False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.name = "another"  # type: ignore[misc]


def test_a_checkpoint_says_the_same_and_more() -> None:
    tiny = CheckpointInfo(name="tiny", architecture="histosam_tiny")
    assert isinstance(tiny, ModelInfo)
    assert tiny.thread_safe
    assert not tiny.takes_boxes
    assert CheckpointInfo(name="sam", architecture="sam_vit_b").takes_boxes


# is_batched


def test_only_what_has_all_forms_is_batched() -> None:
    class Batched(OwnInBatches, Full):
        pass

    batched = Batched()
    assert isinstance(batched, BatchedInteractiveModel)
    assert is_batched(batched)
    assert isinstance(Full(), InteractiveModel)
    assert not is_batched(Full())
    for missing in ("encode_batch", "decode_batch"):
        half: Any = Full()
        setattr(half, missing, list)
        assert not is_batched(half)


# complete


@pytest.mark.parametrize("kind", [Full, type("Batched", (OwnInBatches, Full), {})])
def test_a_model_that_states_all_is_left_alone(kind: Any) -> None:
    model = kind()
    assert complete(model) is model


@pytest.mark.parametrize("kind", [Own, OwnInBatches])
def test_a_model_that_states_nothing_has_it_filled_in(kind: Any) -> None:
    own = kind()
    model = complete(own)
    assert isinstance(model, InteractiveModel)
    assert model.info == ModelInfo(kind.__name__)
    assert model.device == "cpu"
    assert is_batched(model) == (kind is OwnInBatches)
    assert complete(model) is model
    assert not hasattr(own, "info")


def test_its_answers_become_predictions() -> None:
    own = Own()
    model = complete(own)
    image = np.zeros((2, 2, 3), np.uint8)
    embedding = model.encode(image)
    assert embedding == ("embedding of", image)
    first = model.decode(embedding, CLICKS)
    second = model.decode(embedding, CLICKS, first)
    for answer in (first, second):
        assert answer.logits.dtype == np.float32
        assert np.array_equal(answer.logits, LOGITS)
    assert own.given == [(embedding, CLICKS, None, {}), (embedding, CLICKS, first, {})]


def test_a_box_is_handed_on_where_there_is_one() -> None:
    own = Own()
    complete(own).decode("e", [], None, box_xyxy=(0, 0, 1, 1))
    assert own.given == [("e", [], None, {"box_xyxy": (0, 0, 1, 1)})]


def test_its_batches_become_predictions_too() -> None:
    own = OwnInBatches()
    model = complete(own)
    assert is_batched(model)
    assert model.encode_batch([1, 2]) == [("embedding of", 1), ("embedding of", 2)]  # type: ignore[list-item]
    answers = model.decode_batch(["a", "b"], [CLICKS, CLICKS])
    assert [type(answer) for answer in answers] == [Prediction, Prediction]
    assert all(np.array_equal(answer.logits, LOGITS) for answer in answers)
    before = [answers[0], None]
    model.decode_batch(["a", "b"], [CLICKS, []], before, boxes_xyxy=[None, (0, 0, 1, 1)])
    assert own.given == [
        (["a", "b"], [CLICKS, CLICKS], None, {}),
        (["a", "b"], [CLICKS, []], before, {"boxes_xyxy": [None, (0, 0, 1, 1)]}),
    ]


@pytest.mark.parametrize("has", ["encode_batch", "decode_batch"])
def test_a_model_with_half_of_the_batched_forms_has_none(has: str) -> None:
    own = Own()
    setattr(own, has, list)
    assert not is_batched(complete(own))


def test_what_a_model_does_state_is_kept() -> None:
    own: Any = Own()
    own.device, own.takes_boxes = "cuda:1", True
    own.info = SimpleNamespace(
        name="theirs", geometry=TrainingGeometry(0.5, 256), sha256="ab" * 32, decoder="own"
    )
    model = complete(own)
    assert model.device == "cuda:1"
    assert model.info == ModelInfo(
        "theirs", TrainingGeometry(0.5, 256), sha256="ab" * 32, decoder="own", takes_boxes=True
    )


def test_what_is_stated_as_none_is_not_stated() -> None:
    own: Any = Own()
    own.device = None
    own.info = SimpleNamespace(name=None, geometry=None, licence=None, sha256=None, path=None)
    model = complete(own)
    assert model.info == ModelInfo("Own")
    assert model.device == "cpu"


def test_an_info_of_ours_is_kept_where_only_the_device_is_not_stated() -> None:
    own: Any = Own()
    own.info = CheckpointInfo(name="tiny", architecture="histosam_tiny", provenance={"epochs": 3})
    model = complete(own)
    assert model.info is own.info
    assert model.device == "cpu"


def test_a_completed_model_may_be_sent_to_another_process() -> None:
    back = pickle.loads(pickle.dumps(complete(Own())))  # noqa: S301
    assert np.array_equal(back.decode("e", CLICKS).logits, LOGITS)
    assert back.info == ModelInfo("Own")


# check_image


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3)])
def test_rgb_images_of_any_size_are_accepted(shape: tuple[int, ...]) -> None:
    check_image(np.zeros(shape, np.uint8))
    check_image(np.zeros(shape, np.uint8)[::-1])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ([[[0, 0, 0]]], "uint8 array; this is a list"),
        (None, "uint8 array; this is a NoneType"),
        (np.zeros((4, 5, 3), np.float32), r"\(4, 5, 3\) float32; convert it first"),
        (np.zeros((4, 5, 3), bool), r"\(4, 5, 3\) bool; convert it first"),
        (np.zeros((4, 5, 3), np.int8), r"\(4, 5, 3\) int8; convert it first"),
        (np.zeros((4, 5), np.uint8), r"\(H, W, 3\) RGB; this is \(4, 5\) uint8"),
        (np.zeros((4, 5, 4), np.uint8), r"this is \(4, 5, 4\)"),
        (np.zeros((3, 4, 5), np.uint8), r"this is \(3, 4, 5\)"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"this is \(1, 4, 5, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), r"this is \(0, 5, 3\)"),
        (np.zeros((4, 0, 3), np.uint8), r"this is \(4, 0, 3\)"),
    ],
)
def test_what_is_no_rgb_image_is_refused_by_name(image: Any, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        check_image(image)
