"""Generic images for pre-training."""

from __future__ import annotations

import numpy as np

from histosam_core.recipes.pretraining.generic_images import generic_image


def test_the_same_seed_draws_the_same_image() -> None:
    first, second = (generic_image(96, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_images_hold_several_regions_that_differ_to_the_eye() -> None:
    several, differing = 0, 0
    for seed in range(40):
        image, regions = generic_image(128, np.random.default_rng(seed))
        assert image.shape == (128, 128, 3)
        assert image.dtype == regions.dtype == np.uint8
        assert regions.max() <= 3
        present = [v for v in range(4) if (regions == v).mean() > 0.03]
        several += len(present) > 1
        # What differs is colour or local contrast: compare both, mean and gradient.
        contrast = np.abs(np.diff(image.astype(float), axis=0, prepend=0)).mean(2)
        features = np.dstack([image, contrast])
        means = np.array([features[regions == v].mean(0) for v in present])
        differing += len(present) > 1 and np.ptp(means, axis=0).max() > 4
    assert several > 32
    assert differing > 28
