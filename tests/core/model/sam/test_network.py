"""The network behind every SAM-like model."""

from __future__ import annotations

import pytest
import torch

from histosam_core.errors import ConfigError
from histosam_core.model.sam.network import SamNetwork, build_network


@pytest.fixture(scope="module")
def tiny() -> SamNetwork:
    torch.manual_seed(0)
    return build_network("histosam_tiny")


def test_preprocess_resizes_the_longest_side_and_pads_right_and_below(tiny: SamNetwork) -> None:
    white = torch.full((1, 100, 200, 3), 255, dtype=torch.uint8)
    inputs = tiny.preprocess(white)
    assert inputs.shape == (1, 3, 256, 256)
    assert torch.all(inputs[..., 128:, :] == 0)
    expected = (255 - tiny.pixel_mean) / tiny.pixel_std
    torch.testing.assert_close(inputs[0, :, 5, 5], expected.flatten())


def test_decoding_gives_logits_at_four_times_the_embedding_and_one_quality(
    tiny: SamNetwork,
) -> None:
    embeddings = tiny.encode(torch.randn(2, 3, 256, 256))
    points, labels = torch.rand(2, 3, 2) * 255, torch.tensor([[1, 0, -1], [1, 1, 0]])
    logits, quality = tiny.decode(embeddings, points, labels, torch.randn(2, 1, 128, 128))
    assert embeddings.shape == (2, 128, 32, 32)
    assert logits.shape == (2, 1, 128, 128)
    assert quality.shape == (2, 1)


@pytest.mark.parametrize("decoder", ["sam", "refining"])
def test_a_batch_of_different_images_equals_single_calls(decoder: str) -> None:
    torch.manual_seed(1)
    network = build_network("histosam_tiny", decoder=decoder)  # type: ignore[arg-type]
    embeddings = network.encode(torch.randn(3, 3, 256, 256))
    points, labels = torch.rand(3, 2, 2) * 255, torch.tensor([[1, 0], [1, 1], [0, 1]])
    masks = torch.randn(3, 1, 128, 128)
    together, _ = network.decode(embeddings, points, labels, masks)
    for i in range(3):
        one = slice(i, i + 1)
        alone, _ = network.decode(embeddings[one], points[one], labels[one], masks[one])
        torch.testing.assert_close(together[one], alone, atol=2e-4, rtol=1e-4)


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"no architecture 'sam_vit_x'.*no decoder 'unet'"):
        build_network("sam_vit_x", decoder="unet")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="always has dense prompts"):
        build_network("histosam_tiny", dense_prompts=False)
    with pytest.raises(ConfigError, match="multiple of 16"):
        build_network("histosam_tiny", image_size=200)
