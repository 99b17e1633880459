"""Losses against the reference vectors, hand-computed values and properties."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.training.losses import (
    bce_dice_loss,
    bce_loss,
    dice_loss,
    normalized_focal_loss,
)


@pytest.fixture(scope="module")
def reference(data_dir: Path) -> dict[str, np.ndarray]:
    with np.load(data_dir / "reference" / "nfl.npz") as vectors:
        return dict(vectors)


def _cases(reference: dict[str, np.ndarray]) -> list[str]:
    return sorted({key.split("_")[0] for key in reference})


@pytest.mark.real_slide
def test_normalized_focal_loss_equals_the_reference_values(
    reference: dict[str, np.ndarray],
) -> None:
    assert len(_cases(reference)) >= 8
    for case in _cases(reference):
        logits = torch.from_numpy(reference[f"{case}_logits"])
        label = torch.from_numpy(reference[f"{case}_label"])
        for name, kwargs in {
            "a0.5_g2": {},
            "a0.25_g2_default": {"alpha": 0.25},
        }.items():
            loss = normalized_focal_loss(logits, label, reduction="none", **kwargs)
            np.testing.assert_allclose(
                loss.numpy(), reference[f"{case}_{name}"], rtol=1e-6, atol=1e-12
            )


@pytest.mark.real_slide
def test_normalized_focal_loss_gradient_equals_the_reference(
    reference: dict[str, np.ndarray],
) -> None:
    for case in _cases(reference):
        logits = torch.from_numpy(reference[f"{case}_logits"]).requires_grad_()
        label = torch.from_numpy(reference[f"{case}_label"])
        normalized_focal_loss(logits, label).backward()
        expected = reference[f"{case}_a0.5_g2__grad_of_mean"]
        np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-6, atol=1e-10)


@pytest.mark.real_slide
def test_a_normaliser_that_is_not_detached_would_be_noticed(
    reference: dict[str, np.ndarray],
) -> None:
    differs = [
        not np.allclose(
            reference[f"{case}_a0.5_g2__grad_of_mean"],
            reference[f"{case}_a0.5_g2_nodetach__grad_of_mean"],
            rtol=1e-5,
            atol=1e-9,
        )
        for case in _cases(reference)
    ]
    assert any(differs)


def test_normalized_focal_loss_of_two_pixels_by_hand() -> None:
    # p = 0.5 on both pixels: b = 0.25 each, normaliser 4, so the loss is alpha * log 2.
    logits = torch.zeros(1, 1, 1, 2)
    target = torch.tensor([[[[1.0, 0.0]]]])
    assert normalized_focal_loss(logits, target).item() == pytest.approx(0.5 * math.log(2))


def test_ignored_pixels_change_nothing_and_get_no_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 8, 8, generator=generator)
    target = (torch.rand(2, 1, 8, 8, generator=generator) > 0.5).float()
    target[..., 4:] = -1
    half = logits[..., :4].clone()
    for loss in (normalized_focal_loss, bce_loss, dice_loss, bce_dice_loss):
        whole = logits.clone().requires_grad_()
        value = loss(whole, target)
        assert value.item() == pytest.approx(loss(half, target[..., :4]).item(), rel=1e-5)
        value.backward()
        assert (whole.grad[..., 4:] == 0).all()
        assert (whole.grad[..., :4] != 0).any()


def test_a_sample_without_a_labelled_pixel_gives_zero() -> None:
    logits = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.full_like(logits, -1)
    target[1] = 1
    for loss in (normalized_focal_loss, bce_loss, dice_loss):
        assert loss(logits[:1], target[:1]).item() == pytest.approx(0.0, abs=1e-6)
        assert loss(logits[1:], target[1:]).item() > 0
    for per_sample in (normalized_focal_loss, bce_loss):
        assert per_sample(logits, target, reduction="none").shape == (2,)


def test_losses_are_computed_in_float32() -> None:
    logits = torch.linspace(-30, 30, 64).view(1, 1, 8, 8)
    target = (torch.arange(64).view(1, 1, 8, 8) % 2).float()
    expected = normalized_focal_loss(logits.bfloat16().float(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = normalized_focal_loss(logits.bfloat16(), target)
    assert value.dtype == torch.float32
    assert value.item() == expected.item()


def test_bce_equals_torch_where_every_pixel_is_labelled() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 1, 5, 7, generator=generator)
    target = (torch.rand(3, 1, 5, 7, generator=generator) > 0.5).float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    assert bce_loss(logits, target).item() == pytest.approx(expected.item(), rel=1e-6)


def test_dice_of_an_empty_object_is_perfect_when_nothing_is_predicted() -> None:
    empty = torch.zeros(1, 1, 4, 4)
    assert dice_loss(empty - 100, empty).item() == pytest.approx(0.0, abs=1e-6)
    assert dice_loss(empty + 100, empty).item() == pytest.approx(1 - 1 / 17, rel=1e-6)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="must both be"):
        normalized_focal_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 200))
def test_normalized_focal_loss_is_finite_and_never_negative(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(1, 1, 6, 6, generator=generator) * scale).requires_grad_()
    target = torch.randint(-1, 2, (1, 1, 6, 6), generator=generator).float()
    loss = normalized_focal_loss(logits, target)
    loss.backward()
    assert loss.item() >= 0
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
