"""Augmentation: image and mask stay together, switches switch, draws are repeatable."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histosam_core.dataset.augment import (
    RESIZE_RANGE,
    AugmentSettings,
    augment,
    brightness_contrast,
    dihedral,
    resize_crop,
    rgb_shift,
    stain_jitter,
)


def _patch(height: int = 48, width: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """The image says what the mask holds: object red, background blue, ignored green."""
    ys, xs = np.mgrid[:height, :width]
    mask = ((xs - 14) ** 2 + (ys - 20) ** 2 < 11**2).astype(np.int8)
    mask[: height // 4, width // 2 :] = -1
    image = np.zeros((height, width, 3), np.uint8)
    for label, channel in ((1, 0), (-1, 1), (0, 2)):
        image[mask == label, channel] = 200
    return image, mask


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(8, 60),
    width=st.integers(8, 60),
    flags=st.tuples(*[st.booleans()] * 5),
)
def test_shapes_types_and_labels_stay(
    seed: int, height: int, width: int, flags: tuple[bool, ...]
) -> None:
    image, mask = _patch(height, width)
    before = image.copy(), mask.copy()
    new_image, new_mask = augment(image, mask, AugmentSettings(*flags), np.random.default_rng(seed))
    assert new_image.shape == image.shape
    assert new_image.dtype == np.uint8
    assert new_mask.shape == mask.shape
    assert new_mask.dtype == np.int8
    assert set(np.unique(new_mask)) <= {-1, 0, 1}
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_mask_follows_the_image(seed: int) -> None:
    image, mask = _patch()
    geometry = AugmentSettings(brightness_contrast=False, rgb_shift=False)
    new_image, new_mask = augment(image, mask, geometry, np.random.default_rng(seed))
    seen = np.choose(new_image.argmax(-1), [1, -1, 0])
    # Interpolated pixels on an edge may fall either way.
    assert (seen == new_mask).mean() > 0.96


def test_nothing_on_changes_nothing(rng: np.random.Generator) -> None:
    image, mask = _patch()
    new_image, new_mask = augment(image, mask, AugmentSettings.none(), rng)
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_mask, mask)
    assert not AugmentSettings.none().any


@pytest.mark.parametrize("name", [field.name for field in fields(AugmentSettings)])
def test_each_switch_changes_the_image_by_itself(name: str, rng: np.random.Generator) -> None:
    image, mask = _patch()
    only = replace(AugmentSettings.none(), **{name: True})
    assert only.any
    draws = [augment(image, mask, only, rng)[0] for _ in range(12)]
    assert any((drawn != image).any() for drawn in draws)


def test_same_seed_gives_the_same_patch() -> None:
    image, mask = _patch()
    everything = AugmentSettings(stain=True)
    first, second = (augment(image, mask, everything, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_the_eight_symmetries_are_different_and_keep_every_pixel() -> None:
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    mask = np.zeros((4, 4), np.int8)
    results = [dihedral(image, mask, element)[0] for element in range(8)]
    assert len({result.tobytes() for result in results}) == 8
    for result in results:
        assert sorted(result.reshape(-1, 3).tolist()) == sorted(image.reshape(-1, 3).tolist())


def test_resize_keeps_the_object_at_its_scale() -> None:
    rng = np.random.default_rng(0)
    size = 400
    ys, xs = np.mgrid[:size, :size] - size // 2
    mask = (xs**2 + ys**2 < 40**2).astype(np.int8)
    image = np.zeros((size, size, 3), np.uint8)
    ratios = [resize_crop(image, mask, rng)[1].sum() / mask.sum() for _ in range(40)]
    low, high = RESIZE_RANGE
    assert min(ratios) == pytest.approx(low**2, abs=0.12)
    assert max(ratios) == pytest.approx(high**2, abs=0.25)


def test_brightness_and_contrast_by_hand() -> None:
    image = np.array([[[0, 100, 200]]], np.uint8)
    np.testing.assert_array_equal(brightness_contrast(image, 0.2, 0.0), [[[51, 151, 251]]])
    np.testing.assert_array_equal(brightness_contrast(image, 0.0, 0.4), [[[0, 140, 255]]])


def test_rgb_shift_by_hand() -> None:
    image = np.array([[[0, 100, 250]]], np.uint8)
    np.testing.assert_array_equal(rgb_shift(image, np.array([5.0, -10.0, 9.0])), [[[5, 90, 255]]])


def test_stain_jitter_of_no_strength_changes_nothing(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
    same = stain_jitter(image, rng, sigma=0.0)
    assert np.abs(same.astype(int) - image).max() <= 1


def test_stain_jitter_moves_tissue_and_hardly_glass() -> None:
    purple = np.full((4, 4, 3), (120, 60, 140), np.uint8)
    glass = np.full((4, 4, 3), 255, np.uint8)
    moved = [
        np.abs(stain_jitter(purple, np.random.default_rng(seed)).astype(int) - purple).max()
        for seed in range(20)
    ]
    kept = [
        np.abs(stain_jitter(glass, np.random.default_rng(seed)).astype(int) - glass).max()
        for seed in range(20)
    ]
    assert np.mean(moved) > 7
    assert max(kept) <= 8
