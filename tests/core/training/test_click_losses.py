"""Losses of RITM's line against the reference vectors, and how they add up over a batch's parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from histosam_core.training.losses import bce_loss, weighted_normalized_focal_loss


@pytest.fixture(scope="module")
def reference(data_dir: Path) -> dict[str, np.ndarray]:
    with np.load(data_dir / "reference" / "nfl.npz") as vectors:
        return dict(vectors)


def _cases(reference: dict[str, np.ndarray]) -> list[str]:
    return sorted({key.split("_")[0] for key in reference})


@pytest.mark.real_slide
def test_bce_over_all_pixels_equals_the_reference(reference: dict[str, np.ndarray]) -> None:
    ignoring = 0
    for case in _cases(reference):
        logits = torch.from_numpy(reference[f"{case}_logits"])
        label = torch.from_numpy(reference[f"{case}_label"])
        loss = bce_loss(logits, label, over="all", reduction="none")
        np.testing.assert_allclose(loss.numpy(), reference[f"{case}_bce"], rtol=1e-6, atol=1e-12)
        ignoring += int((label == -1).any())
    assert ignoring > 0


def test_bce_is_divided_by_the_labelled_pixels_or_by_all() -> None:
    logits, target = torch.zeros(1, 1, 1, 4), torch.tensor([[[[1.0, 0.0, -1.0, -1.0]]]])
    assert bce_loss(logits, target).item() == pytest.approx(np.log(2))
    assert bce_loss(logits, target, over="all").item() == pytest.approx(np.log(2) / 2)


@pytest.mark.real_slide
def test_the_weighted_focal_loss_equals_the_reference(reference: dict[str, np.ndarray]) -> None:
    for case in _cases(reference):
        logits = torch.from_numpy(reference[f"{case}_logits"])
        label = torch.from_numpy(reference[f"{case}_label"])
        weight = torch.from_numpy(reference[f"{case}_wfnl_weight"]) * 0.5 + 0.5
        loss = weighted_normalized_focal_loss(logits, label, weight)
        np.testing.assert_allclose(
            loss.numpy(), reference[f"{case}_wfnl_a0.5_g2_w0.5"], rtol=2e-6, atol=1e-12
        )


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 1, 6, 7, generator=generator)
    target = (torch.rand(5, 1, 6, 7, generator=generator) > 0.5).float()
    target[1, :, :2] = -1
    weight = torch.rand(5, 1, 6, 7, generator=generator)
    return logits, target, weight


def test_the_weighted_losses_of_parts_add_up_to_that_of_the_batch() -> None:
    logits, target, weight = _batch()
    whole = weighted_normalized_focal_loss(logits, target, weight)
    parts = [
        weighted_normalized_focal_loss(
            logits[part], target[part], weight[part], total_weight=weight.sum()
        )
        for part in (slice(0, 2), slice(2, 5))
    ]
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-6)


def test_an_ignored_pixel_gets_no_gradient_and_a_weight_of_zero_neither() -> None:
    logits, target, weight = _batch()
    weight[0, :, 3:] = 0
    logits.requires_grad_()
    weighted_normalized_focal_loss(logits, target, weight).backward()
    assert logits.grad is not None
    assert (logits.grad[1, :, :2] == 0).all()
    assert (logits.grad[0, :, 3:] == 0).all()
    assert (logits.grad[2] != 0).any()


def test_weights_of_another_shape_are_refused() -> None:
    logits, target, weight = _batch()
    with pytest.raises(ValueError, match="must both be"):
        weighted_normalized_focal_loss(logits, target, weight[:, :, :3])
