"""Dense click prompts: disks and similarity."""

from __future__ import annotations

import torch
from segment_anything.modeling import PromptEncoder

from histosam_core.model.sam.click_prompts import (
    DenseClickPromptEncoder,
    click_disks,
    click_similarity,
)


def encoder(zero_init: bool) -> DenseClickPromptEncoder:
    torch.manual_seed(0)
    return DenseClickPromptEncoder(
        embed_dim=64,
        image_embedding_size=(8, 8),
        input_image_size=(128, 128),
        zero_init=zero_init,
    )


POINTS = (torch.tensor([[[30.0, 40.0], [90.0, 10.0], [0.0, 0.0]]]), torch.tensor([[1, 0, -1]]))


def test_zero_initialised_it_equals_sams_prompt_encoder() -> None:
    ours = encoder(zero_init=True)
    sams = PromptEncoder(64, (8, 8), (128, 128), 16)
    sams.load_state_dict({k: v for k, v in ours.state_dict().items() if not k.startswith("click")})
    image, mask = torch.randn(1, 64, 8, 8), torch.randn(1, 1, 32, 32)
    for masks in (None, mask):
        expected = sams(POINTS, None, masks)
        actual = ours(POINTS, None, masks, image)
        assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def test_trained_it_adds_to_the_dense_embedding_only() -> None:
    ours = encoder(zero_init=False)
    image = torch.randn(1, 64, 8, 8)
    plain = ours(POINTS, None, None)
    dense = ours(POINTS, None, None, image)
    assert torch.equal(plain[0], dense[0])
    assert not torch.allclose(plain[1], dense[1])


def test_disks_are_inclusive_and_keep_signs_apart() -> None:
    disks = click_disks(POINTS[0] / 4, POINTS[1], (32, 32), radius=2.0)
    ys, xs = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    assert torch.equal(disks[0, 0] > 0, (xs - 7.5) ** 2 + (ys - 10) ** 2 <= 4)
    assert torch.equal(disks[0, 1] > 0, (xs - 22.5) ** 2 + (ys - 2.5) ** 2 <= 4)


def test_padding_changes_neither_disks_nor_similarity() -> None:
    features = torch.nn.functional.normalize(torch.randn(1, 6, 8, 8), dim=1)
    relative = POINTS[0] / 64 - 1
    full = click_similarity(features, relative, POINTS[1])
    unpadded = click_similarity(features, relative[:, :2], POINTS[1][:, :2])
    torch.testing.assert_close(full, unpadded)
    assert torch.equal(
        click_disks(POINTS[0], POINTS[1], (9, 9), 2),
        click_disks(POINTS[0][:, :2], POINTS[1][:, :2], (9, 9), 2),
    )


def test_similarity_is_one_at_the_click_and_zero_for_a_sign_without_clicks() -> None:
    features = torch.nn.functional.normalize(torch.randn(1, 6, 8, 8), dim=1)
    centre_of_cell = torch.tensor([[[(3 + 0.5) / 4 - 1, (5 + 0.5) / 4 - 1]]])
    maps = click_similarity(features, centre_of_cell, torch.tensor([[1]]))[0]
    assert torch.isclose(maps[0, 5, 3], torch.tensor(1.0), atol=1e-5)
    assert maps[0].argmax() == 5 * 8 + 3
    assert torch.equal(maps[2:4], torch.zeros(2, 8, 8))
    none = click_similarity(features, torch.zeros(1, 0, 2), torch.zeros(1, 0))
    assert torch.equal(none, torch.zeros(1, 5, 8, 8))
