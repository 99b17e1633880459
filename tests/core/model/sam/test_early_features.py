"""Early encoder features: what they are, how the decoder takes them, how a checkpoint says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.clicks import Click
from histosam_core.errors import CheckpointError, ConfigError, ImageError
from histosam_core.geometry import Region
from histosam_core.model import (
    SamModel,
    SamNetwork,
    build_network,
    describe_network,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from histosam_core.model.sam import image_encoder
from histosam_core.model.sam.image_encoder import EncoderGeometry, FusedImageEncoder
from histosam_core.model.sam.tiny import build_tiny_modules
from histosam_core.session.windows.predictor import Predictor
from histosam_core.slide import open_array

Prompts = tuple[Tensor, Tensor]
SIZE = 64
GRID = SIZE // 8
PROMPTS = torch.tensor([[[20.0, 30.0], [50.0, 8.0]]]), torch.tensor([[1, 0]])


def waken(network: SamNetwork) -> SamNetwork:
    """Give the early features an effect, as training does."""
    torch.manual_seed(9)
    for name, parameter in network.mask_decoder.named_parameters():
        if name.startswith("refine_early"):
            nn.init.normal_(parameter, std=0.2)
    return network


@pytest.fixture
def plain() -> SamNetwork:
    torch.manual_seed(1)
    return build_network("histosam_tiny", decoder="refining", image_size=SIZE)


@pytest.fixture
def early() -> SamNetwork:
    torch.manual_seed(1)
    return waken(
        build_network("histosam_tiny", decoder="refining", image_size=SIZE, early_features=True)
    )


@pytest.fixture
def both_heads(tmp_path: Path) -> Path:
    """A checkpoint with both decoders, the refining one with early features."""
    torch.manual_seed(2)
    modules = build_tiny_modules(
        "refining", image_size=SIZE, keep_sam_head=True, early_features=True
    )
    network = SamNetwork(*modules, architecture="histosam_tiny", decoder="refining")
    path = tmp_path / "both.safetensors"
    save_checkpoint(path, waken(network), describe_network(network, name="both"))
    return path


def inputs(batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))


@torch.no_grad()
def answer(network: SamNetwork) -> Tensor:
    logits, _ = network.decode(network.encode(inputs()), *PROMPTS)
    return logits


@torch.no_grad()
def test_an_embedding_carries_the_quarter_scale_features_behind_it(early: SamNetwork) -> None:
    embeddings = early.encode(inputs(2))
    assert embeddings.shape[1:] == early.embedding_shape == (128 + 256, GRID, GRID)
    image, folded = early.split(embeddings)
    encoder = early.image_encoder
    torch.testing.assert_close(image, encoder(inputs(2)))
    assert folded is not None
    quarter = encoder.stage4(encoder.stem(inputs(2)))
    torch.testing.assert_close(functional.pixel_shuffle(folded, 2), quarter)


def test_without_them_an_embedding_is_the_encoders(plain: SamNetwork) -> None:
    embeddings = plain.encode(inputs())
    assert embeddings.shape[1:] == plain.embedding_shape == (128, GRID, GRID)
    assert plain.split(embeddings)[1] is None


def test_a_fresh_way_in_changes_no_answer_and_a_trained_one_does(plain: SamNetwork) -> None:
    fresh = build_network("histosam_tiny", decoder="refining", image_size=SIZE, early_features=True)
    fresh.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(answer(fresh), answer(plain))
    assert not torch.allclose(answer(waken(fresh)), answer(plain), atol=1e-3)


@torch.no_grad()
def test_a_batch_answers_as_single_images_do(early: SamNetwork) -> None:
    embeddings = early.encode(inputs(3))
    points, labels = (part.expand(3, *part.shape[1:]) for part in PROMPTS)
    together, _ = early.decode(embeddings, points, labels)
    for i in range(3):
        alone, _ = early.decode(embeddings[i : i + 1], *PROMPTS)
        torch.testing.assert_close(together[i : i + 1], alone, atol=2e-4, rtol=1e-4)


def test_gradients_reach_the_way_in_at_its_first_step() -> None:
    fresh = build_network("histosam_tiny", decoder="refining", image_size=SIZE, early_features=True)
    logits, _ = fresh.decode(fresh.encode(inputs()), *PROMPTS)
    logits.square().mean().backward()
    gradient = fresh.mask_decoder.refine_early.layers[-1].weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("with_gradients", [False, True])
def test_sams_early_features_are_the_first_global_blocks_output(with_gradients: bool) -> None:
    torch.manual_seed(6)
    geometry = EncoderGeometry(32, 3, 4, (1,), image_size=160, window_size=4, out_chans=16)
    encoder = FusedImageEncoder(geometry).eval()
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        tokens = encoder.patch_embed(images) + encoder.pos_embed
        for block in encoder.blocks[:2]:
            tokens = block(tokens)
    with torch.set_grad_enabled(with_gradients):
        embedding, features = encoder.with_early(images)
    assert features.shape == (2, encoder.early_channels, 10, 10)
    torch.testing.assert_close(features, tokens.permute(0, 3, 1, 2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(embedding, encoder(images), atol=1e-5, rtol=1e-5)


def test_sams_encoders_hand_them_to_the_refining_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    thin = EncoderGeometry(24, 2, 2, (1,))
    monkeypatch.setattr(image_encoder, "SAM_ENCODERS", {"sam_vit_b": thin})
    torch.manual_seed(7)
    network = waken(build_network("sam_vit_b", decoder="refining", early_features=True))
    assert network.embedding_shape == (256 + 24, 64, 64)
    embedding = torch.randn(1, *network.embedding_shape)
    other = embedding.clone()
    other[:, 256:] = torch.randn(1, 24, 64, 64)
    with torch.no_grad():
        one, two = (network.decode(e, *PROMPTS)[0] for e in (embedding, other))
    assert one.shape == (1, 1, 256, 256)
    assert not torch.allclose(one, two, atol=1e-3)


def test_sams_decoder_takes_none() -> None:
    with pytest.raises(ConfigError, match="takes no early features; choose the refining"):
        build_network("histosam_tiny", decoder="sam", early_features=True)


def test_a_checkpoint_keeps_them(early: SamNetwork, tmp_path: Path) -> None:
    path = tmp_path / "early.safetensors"
    said = save_checkpoint(path, early, describe_network(early, name="early"))
    network, info = load_checkpoint(path)
    assert said.early_features
    assert info.early_features
    assert "fresh_layers" not in info.provenance
    assert torch.equal(answer(network), answer(early))


def test_the_other_decoder_of_a_file_goes_without(both_heads: Path) -> None:
    _, info = load_checkpoint(both_heads)
    network, other = load_checkpoint(both_heads, decoder="sam")
    assert (info.early_features, other.early_features) == (True, False)
    assert network.embedding_shape == (128, GRID, GRID)


def test_a_file_of_before_can_be_given_them(plain: SamNetwork, tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_checkpoint(path, plain, describe_network(plain, name="plain"))
    with safe_open(path, "pt") as file:
        metadata = {k: v for k, v in file.metadata().items() if k != "early_features"}
    save_file(load_file(path), path, metadata)
    assert not load_checkpoint(path)[1].early_features
    network, info = load_checkpoint(path, early_features=True)
    assert info.early_features
    assert info.provenance["fresh_layers"] == ["mask_decoder.refine_early."]
    assert torch.equal(answer(network), answer(plain))


def test_a_decoder_trained_with_them_cannot_go_without(both_heads: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot do without; leave early_features out"):
        load_model(both_heads, "cpu", early_features=False)


def test_embeddings_of_the_other_kind_are_told_apart(
    early: SamNetwork, plain: SamNetwork, both_heads: Path
) -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    one, other = (SamModel(n, describe_network(n, name="m"), "cpu") for n in (early, plain))
    arrays = one.embedding_to_arrays(one.encode(image))
    back = one.embedding_from_arrays(arrays)
    clicks = [Click((10, 10))]
    of_back, of_own = one.decode(back, clicks), one.decode(one.encode(image), clicks)
    assert np.array_equal(of_back.logits, of_own.logits)
    with pytest.raises(ImageError, match="encode the image again"):
        other.embedding_from_arrays(arrays)
    # One file, one encoder, two kinds of embedding: no store may hand out the wrong one.
    models = [load_model(both_heads, "cpu", decoder=d) for d in ("refining", "sam")]
    slide = open_array(np.zeros((80, 80, 3), np.uint8), name="black", mpp=2.0)
    region = Region((0.0, 0.0), (64, 64), 2.0)
    keys = {Predictor(slide, model, 2.0).key(region) for model in models}
    assert len(keys) == len({model.encoder_hash() for model in models}) == 2
