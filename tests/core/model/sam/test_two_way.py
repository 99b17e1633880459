"""SAM's decoder at inference gives what its modules give, and keeps what no click changes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from segment_anything.modeling import PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from histosam_core.clicks import Click
from histosam_core.model import ImageEmbedding, Prediction, SamModel
from histosam_core.model.checkpoint.checkpoint import describe_network
from histosam_core.model.sam import interactive
from histosam_core.model.sam.interactive import to_image_size
from histosam_core.model.sam.network import Decoder, SamNetwork
from histosam_core.model.sam.refining_decoder import RefiningMaskDecoder, SamMaskDecoder

DIM, GRID = 64, 12


class NoEncoder(nn.Module):
    img_size = 16 * GRID
    early_channels = 0


@pytest.fixture(params=["sam", "refining"])
def network(request: pytest.FixtureRequest) -> SamNetwork:
    torch.manual_seed(3)
    decoder: Decoder = request.param
    kind = SamMaskDecoder if decoder == "sam" else RefiningMaskDecoder
    side = 16 * GRID
    transformer = TwoWayTransformer(depth=2, embedding_dim=DIM, mlp_dim=128, num_heads=8)
    network = SamNetwork(
        NoEncoder(),
        PromptEncoder(DIM, (GRID, GRID), (side, side), 16),
        kind(transformer_dim=DIM, transformer=transformer),
        architecture="sam_vit_b",
        decoder=decoder,
    )
    for parameter in network.parameters():  # biases too, which start at zero
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


def prompts(batch: int, n: int, *, mask: bool, box: bool) -> tuple[Tensor | None, ...]:
    side = 16.0 * GRID
    return (
        torch.rand(batch, n, 2) * side,
        torch.randint(0, 2, (batch, n)),
        torch.randn(batch, 1, 4 * GRID, 4 * GRID) if mask else None,
        torch.tensor([[10.0, 20.0, 90.0, 100.0]]).expand(batch, -1) if box else None,
    )


@pytest.mark.parametrize("n", [1, 8, 20])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(("batch", "box"), [(1, False), (3, True)])
def test_answers_are_those_of_the_published_modules(
    network: SamNetwork, n: int, mask: bool, batch: int, box: bool
) -> None:
    features = torch.randn(batch, DIM, GRID, GRID)
    given = prompts(batch, n, mask=mask, box=box)
    expected, expected_quality = network.decode(features, *given)  # with gradients: as published
    assert expected.requires_grad
    expected = expected.detach()
    with torch.inference_mode():
        plain = network.decode(features, *given)
        known = network.decode(features, *given, first=network.first_layer(features))
    for logits, quality in (plain, known):
        scale = float(expected.abs().max())
        assert float((logits - expected).abs().max()) < 2e-5 * scale
        assert torch.allclose(quality, expected_quality, atol=1e-4)


def test_one_step_to_the_images_size_does_what_two_do(network: SamNetwork) -> None:
    low_res = torch.randn(2, 1, 4 * GRID, 4 * GRID)
    for image_hw in ((50, 80), (192, 192), (300, 17), (1, 1)):
        resized = interactive._at_image_size(network, low_res, image_hw)
        assert torch.allclose(resized, to_image_size(network, low_res, image_hw), atol=1e-5)


def model_of(network: SamNetwork) -> SamModel:
    return SamModel(network, describe_network(network, name="random"), "cpu")


def test_what_is_kept_of_an_image_follows_the_weights(network: SamNetwork) -> None:
    model = model_of(network)
    embedding = ImageEmbedding(torch.randn(DIM, GRID, GRID), (40, 40))
    clicks = [Click((5.0, 6.0))]
    first = model.decode(embedding, clicks)
    assert np.array_equal(model.decode(embedding, clicks).logits, first.logits)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.1)
    again = model.decode(embedding, clicks)
    assert not np.allclose(again.logits, first.logits)
    assert np.array_equal(model_of(network).decode(embedding, clicks).logits, again.logits)


def test_many_images_in_turn_and_together(network: SamNetwork) -> None:
    """More than are kept, so that some are made again."""
    model = model_of(network)
    embeddings = [ImageEmbedding(torch.randn(DIM, GRID, GRID), (40, 40)) for _ in range(12)]
    clicks = [[Click((float(i), 20.0))] for i in range(12)]
    before = Prediction(np.linspace(-2, 2, 1600, dtype=np.float32).reshape(40, 40))
    alone = [model.decode(e, c, before) for e, c in zip(embeddings, clicks, strict=True)]
    together = model.decode_batch(embeddings, clicks, [before] * 12)
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(one.logits, other.logits, atol=1e-4)
        assert one.quality == pytest.approx(other.quality, abs=1e-4)


def test_a_model_that_has_answered_can_be_sent_elsewhere(network: SamNetwork) -> None:
    model = model_of(network)
    embedding = ImageEmbedding(torch.randn(DIM, GRID, GRID), (40, 40))
    answer = model.decode(embedding, [Click((5.0, 6.0))])
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301 - our own
    assert np.array_equal(copy.decode(embedding, [Click((5.0, 6.0))]).logits, answer.logits)
