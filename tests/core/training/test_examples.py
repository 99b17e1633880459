"""Training examples: repeatable wherever and whenever they are made; the embedding cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from histosam_core.dataset.augment import AugmentSettings
from histosam_core.embeddings.memory import MemoryStore
from histosam_core.training import TrainConfig
from histosam_core.training.families.sam_embeddings import PatchEmbeddings
from histosam_core.training.samples import Example, Examples


def _examples(patches: Any, *, variants: int = 2, cache: Any = None, **changes: Any) -> Examples:
    config = TrainConfig(**{"out": "run", "batch_size": 3, **changes})
    examples = Examples(patches, config, variants=variants)
    examples.find_kept = cache and cache.get
    return examples


def _same(first: Example, second: Example) -> bool:
    return (
        first.key == second.key
        and first.clicks == second.clicks
        and np.array_equal(first.image, second.image)
        and np.array_equal(first.gt_mask, second.gt_mask)
    )


def test_an_epoch_takes_whole_batches_without_repeats(small_patches: Callable[..., Any]) -> None:
    examples = _examples(small_patches(10, 0))
    batches = list(examples.batches(1))
    assert [len(batch) for batch in batches] == [3, 3, 3]
    indices = [example.key[0] for batch in batches for example in batch]
    assert len(set(indices)) == 9
    assert indices != [e.key[0] for batch in examples.batches(2) for e in batch]


def test_fewer_patches_than_a_batch_make_one_step(small_patches: Callable[..., Any]) -> None:
    examples = _examples(small_patches(2, 0), batch_size=8)
    assert examples.steps_per_epoch == 1
    assert [len(batch) for batch in examples.batches(1)] == [2]


def test_steps_are_bounded(small_patches: Callable[..., Any]) -> None:
    examples = _examples(small_patches(10, 0), max_steps_per_epoch=2)
    assert examples.steps_per_epoch == 2
    assert len(list(examples.batches(1))) == 2


@pytest.mark.parametrize("variants", [0, 2])
@pytest.mark.parametrize("workers", [0, 3])
def test_an_epoch_taken_up_in_the_middle_goes_on_as_it_would_have(
    small_patches: Callable[..., Any], variants: int, workers: int
) -> None:
    patches = small_patches(12, 0)
    whole = list(_examples(patches, variants=variants).batches(3))
    rest = list(_examples(patches, variants=variants, workers=workers).batches(3, first_step=2))
    assert len(rest) == 2
    for batch, again in zip(whole[2:], rest, strict=True):
        assert all(_same(a, b) for a, b in zip(batch, again, strict=True))


def test_variants_recur_and_fresh_draws_do_not(small_patches: Callable[..., Any]) -> None:
    patches = small_patches(1, 0)

    def images(variants: int) -> set[bytes]:
        examples = _examples(patches, variants=variants)
        return {next(examples.batches(e))[0].image.tobytes() for e in range(1, 13)}

    assert len(images(2)) == 2
    assert len(images(0)) == 12


def test_without_augmentation_a_patch_is_its_only_variant(
    small_patches: Callable[..., Any],
) -> None:
    patches = small_patches(1, 0)
    examples = _examples(patches, augment=AugmentSettings.none(), variants=0)
    for epoch in (1, 2):
        (example,) = next(examples.batches(epoch))
        assert example.key == (0, 0)
        assert np.array_equal(example.image, patches[0].image)


def test_a_cached_embedding_spares_the_image_and_keeps_mask_and_clicks(
    small_patches: Callable[..., Any],
) -> None:
    cache = PatchEmbeddings(MemoryStore(), {}, "")
    examples = _examples(small_patches(1, 0), variants=1, cache=cache)
    (before,) = next(examples.batches(1))
    cache.put(before.key, torch.ones(2, 3, 3), before.gt_mask)
    (after,) = next(examples.batches(1))
    assert after.image is None
    assert torch.equal(after.embedding, torch.ones(2, 3, 3))
    assert np.array_equal(after.gt_mask, before.gt_mask)
    assert after.clicks == before.clicks
