from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from histosam_core.clicks import Click
from histosam_core.errors import ImageError
from histosam_core.model import SamModel, build_network, describe_network

CLICKS = (Click((10, 20)), Click((30.5, 7.25), is_positive=False))


@pytest.fixture(scope="module")
def model() -> SamModel:
    torch.manual_seed(0)
    network = build_network("histosam_tiny", decoder="refining", image_size=64)
    return SamModel(network, describe_network(network, name="tiny"), "cpu")


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def test_arrays_give_the_same_mask_bit_for_bit(model: SamModel, image: NDArray[np.uint8]) -> None:
    embedding = model.encode(image)
    arrays = model.embedding_to_arrays(embedding)
    assert all(array.flags.c_contiguous for array in arrays.values())
    copies = {name: array.copy() for name, array in arrays.items()}
    copies["features"].flags.writeable = False  # as of a file that is mapped
    back = model.embedding_from_arrays(copies)
    assert torch.equal(back.features, embedding.features)
    assert back.features.stride() == embedding.features.stride()
    assert (back.image_hw, back.features.device) == (embedding.image_hw, model.device)
    of_back, of_own = model.decode(back, CLICKS), model.decode(embedding, CLICKS)
    assert np.array_equal(of_back.logits, of_own.logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_dtype_is_kept(model: SamModel, image: NDArray[np.uint8], dtype: torch.dtype) -> None:
    embedding = model.encode(image)
    embedding = type(embedding)(embedding.features.to(dtype), embedding.image_hw)
    back = model.embedding_from_arrays(model.embedding_to_arrays(embedding))
    assert back.features.dtype is dtype
    assert torch.equal(back.features, embedding.features)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": None}, "no embedding"),
        ({"axes": np.array([0, 1])}, "no embedding"),
        ({"image_hw": np.array([40])}, "no embedding"),
        ({"features": np.zeros((8, 8, 64), np.float32)}, "encode the image again"),
        ({"features": np.zeros((8, 8, 128), np.int64)}, "encode the image again"),
    ],
)
def test_arrays_of_another_model_are_refused(
    model: SamModel,
    image: NDArray[np.uint8],
    change: dict[str, NDArray[np.float32] | None],
    message: str,
) -> None:
    arrays = {**model.embedding_to_arrays(model.encode(image)), **change}
    kept = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(ImageError, match=message):
        model.embedding_from_arrays(kept)


def test_only_sam_itself_was_trained_on_boxes(model: SamModel) -> None:
    assert not model.info.takes_boxes
    network = build_network("histosam_tiny", image_size=64)
    network.architecture = "sam_vit_b"  # stands in for SAM, whose encoder is large
    info = describe_network(network, name="stand-in")
    assert SamModel(network, info, "cpu").info.takes_boxes


def test_the_hash_is_of_the_encoder_alone_and_follows_its_weights(model: SamModel) -> None:
    torch.manual_seed(1)
    plain = build_network("histosam_tiny", decoder="sam", image_size=64)
    before = plain.encoder_hash()
    assert before != model.encoder_hash()
    plain.image_encoder.load_state_dict(model.network.image_encoder.state_dict())
    assert plain.encoder_hash() == model.encoder_hash() != before
    with torch.no_grad():
        next(plain.mask_decoder.parameters()).add_(1)
        assert plain.encoder_hash() == model.encoder_hash()
        next(plain.image_encoder.parameters())[0] += 1e-3
        assert plain.encoder_hash() != model.encoder_hash()
    plain.image_encoder.load_state_dict(model.network.image_encoder.state_dict())
    plain.pixel_mean += 1
    assert plain.encoder_hash() != model.encoder_hash()
    large = build_network("histosam_tiny", decoder="sam", image_size=128)
    large.image_encoder.load_state_dict(model.network.image_encoder.state_dict())
    assert large.encoder_hash() != model.encoder_hash()
