"""Random tissue for pre-training."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from histosam_core.recipes.pretraining.random_tissue import GLASS, TissueKind, random_tissue


def test_the_same_seed_draws_the_same_field() -> None:
    first, second = (random_tissue(96, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_a_related_kind_differs_in_some_properties_and_keeps_others() -> None:
    rng = np.random.default_rng(1)
    kind = TissueKind.draw(rng)
    for _ in range(20):
        related = kind.related(rng)
        same = [getattr(kind, f.name) == getattr(related, f.name) for f in fields(kind)]
        assert not all(same)
        assert sum(same) > 4


def test_most_fields_hold_regions_that_differ_to_the_eye() -> None:
    several, differing, colours = 0, 0, []
    for seed in range(40):
        image, regions = random_tissue(128, np.random.default_rng(seed))
        assert image.shape == (128, 128, 3)
        assert image.dtype == regions.dtype == np.uint8
        assert set(np.unique(regions)) <= {0, 1, 2, 3, GLASS}
        colours.append(image.reshape(-1, 3).mean(0))
        present = [v for v in range(4) if (regions == v).mean() > 0.03]
        several += len(present) > 1
        contrast = np.abs(np.diff(image.astype(float), axis=0, prepend=0)).mean(2)
        features = np.dstack([image, contrast])
        means = np.array([features[regions == v].mean(0) for v in present])
        differing += len(present) > 1 and np.ptp(means, axis=0).max() > 4
    assert several > 32
    assert differing > 26
    # Stains vary from field to field.
    assert np.std(colours, axis=0).min() > 15


def test_bare_glass_is_bright_and_no_region() -> None:
    fields_with_glass = 0
    for seed in range(30):
        image, regions = random_tissue(96, np.random.default_rng(seed))
        glass = regions == GLASS
        # Away from the border, where the tissue's edge is soft.
        if glass.mean() < 0.1 or not (~glass).any():
            continue
        fields_with_glass += 1
        light = image.astype(float).mean(2)
        assert np.median(light[glass]) > 190
        assert np.median(light[glass]) >= np.median(light[~glass])
    assert 4 <= fields_with_glass <= 15
