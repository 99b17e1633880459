"""Embeddings and masks of patches: what comes back, what is encoded anew, what a run removes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from histosam_core.dataset.augment import AugmentSettings
from histosam_core.dataset.patches import open_patches
from histosam_core.training import TrainConfig
from histosam_core.training.families.sam_embeddings import (
    PatchEmbeddings,
    open_caches,
    patch_store,
)
from histosam_core.training.samples import Examples

SHAPE, MASK_HW = (4, 3, 3), (5, 7)
PLENTY = 10**8


def _kept(
    folder: Path | None, *, memory: int = PLENTY, disk: int = PLENTY, **facts: Any
) -> PatchEmbeddings:
    return PatchEmbeddings(patch_store(memory, folder, disk), facts, "encoder")


def _record(seed: int) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(rng.normal(size=SHAPE).astype(np.float16))
    return features, rng.integers(-1, 2, MASK_HW).astype(np.int8)


def test_another_run_finds_embedding_and_mask_bit_for_bit(tmp_path: Path) -> None:
    first = _kept(tmp_path, memory=0)
    for index, variant in ((7, 0), (0, 0), (3, 2)):
        first.put((index, variant), *_record(10 * index + variant))
    second = _kept(tmp_path)
    for index, variant in ((0, 0), (7, 0), (3, 2)):
        features, mask = second.get((index, variant))
        expected = _record(10 * index + variant)
        assert features.dtype == torch.float16
        assert torch.equal(features, expected[0])
        assert mask.dtype == np.int8
        assert np.array_equal(mask, expected[1])
        assert second.get((index, variant))[0] is features, "it is in memory now"
    assert [second.get(missing) for missing in ((1, 0), (8, 0), (3, 0), (0, 1))] == [None] * 4


def test_an_embedding_whose_axes_lie_otherwise_in_memory_comes_back(tmp_path: Path) -> None:
    features = torch.arange(36, dtype=torch.float16).view(3, 3, 4).permute(2, 0, 1)
    _kept(tmp_path).put((0, 0), features, _record(0)[1])
    assert torch.equal(_kept(tmp_path).get((0, 0))[0], features)


def test_what_other_facts_made_is_not_found(tmp_path: Path) -> None:
    _kept(tmp_path, seed=0).put((0, 0), *_record(0))
    assert _kept(tmp_path, seed=1).get((0, 0)) is None
    assert _kept(tmp_path, seed=0).get((0, 0)) is not None


def test_memory_keeps_what_came_first_within_its_bound() -> None:
    embedding, mask = torch.zeros(8), np.zeros((4, 4), np.int8)
    kept = _kept(None, memory=2 * (32 + 16))
    for index in range(3):
        kept.put((index, 0), embedding + index, mask)
    assert kept.get((1, 0))[0][0] == 1
    assert kept.get((2, 0)) is None
    kept.put((0, 0), embedding + 9, mask)
    assert kept.get((0, 0))[0][0] == 0


def test_memory_does_not_keep_a_whole_batch_alive() -> None:
    batch = torch.zeros(8, 16)
    kept = _kept(None)
    kept.put((0, 0), batch[3], np.zeros((2, 2), np.int8))
    assert kept.get((0, 0))[0].untyped_storage().nbytes() == 64


def test_disk_has_what_memory_has_no_room_for(tmp_path: Path) -> None:
    kept = _kept(tmp_path, memory=200)
    for index in range(3):
        kept.put((index, 0), *_record(index))
    assert len(kept.store.memory) == 1
    assert torch.equal(kept.get((2, 0))[0], _record(2)[0])


def test_the_bound_ends_the_writing_and_names_the_setting(tmp_path: Path) -> None:
    kept = _kept(tmp_path, memory=0, disk=2**14)
    for index in range(40):
        kept.put((index, 0), *_record(index))
    assert "no longer kept" in kept.note
    assert "cache_disk_mb" in kept.note
    assert "\n" not in kept.note
    there = [kept.get((index, 0)) is not None for index in range(40)]
    assert 0 < sum(there) < 40
    assert there == sorted(there, reverse=True), "what came first stays"


@pytest.fixture
def opened(
    small_model: Callable[..., Any], small_patches: Callable[..., Any], tmp_path: Path
) -> Callable[..., tuple[PatchEmbeddings, PatchEmbeddings]]:
    """Caches of a run, by what differs in it."""

    def open_(
        network: Any = None, patches: Any = None, *, variants: int = 2, **settings: Any
    ) -> tuple[PatchEmbeddings, PatchEmbeddings]:
        config = TrainConfig(out=tmp_path / "run", cache_dir=tmp_path / "kept", **settings)
        patches = patches or small_patches(3, 0)
        examples = Examples(patches, config, variants=variants)
        network = network or small_model("refining").network
        return open_caches(config, network, examples, patches, len(patches))

    return open_


def test_a_key_tells_weights_preprocessing_augmentation_and_patches_apart_and_no_decoder(
    opened: Callable[..., Any], small_model: Callable[..., Any], small_patches: Callable[..., Any]
) -> None:
    network = small_model("refining").network
    training, validation = opened(network)
    training.put((0, 0), *_record(0))
    validation.put((0, 0), *_record(1))
    other_decoder = small_model("sam").network
    other_decoder.image_encoder.load_state_dict(network.image_encoder.state_dict())
    for same in (opened(network), opened(other_decoder)):
        assert torch.equal(same[0].get((0, 0))[0], _record(0)[0])
        assert torch.equal(same[1].get((0, 0))[0], _record(1)[0])
    assert opened(network, seed=1)[1].get((0, 0)) is not None, "they are not augmented"
    others = [
        opened(network, small_patches(3, 1)),
        opened(network, precision="bf16"),
        opened(network, augment=AugmentSettings(stain=True)),
        opened(network, seed=1),
        opened(small_model("refining", seed=1).network),
    ]
    network.pixel_mean += 1
    others.append(opened(network))
    assert [one.get((0, 0)) for one, _ in others] == [None] * 6


def test_a_patch_store_is_known_by_its_facts(
    opened: Callable[..., Any],
    small_patches: Callable[..., Any],
    write_store: Callable[..., None],
    tmp_path: Path,
) -> None:
    patches = small_patches(3, 0)
    for name, few in (("one", patches), ("two", patches), ("other", patches[:2])):
        write_store(tmp_path / name / "train.zarr", few)
    stores = {
        name: open_patches(tmp_path / name / "train.zarr") for name in ("one", "two", "other")
    }
    opened(patches=stores["one"])[0].put((0, 0), *_record(0))
    assert opened(patches=stores["two"])[0].get((0, 0)) is not None
    assert opened(patches=stores["other"])[0].get((0, 0)) is None


def test_without_variants_or_half_precision_nothing_is_written(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    opened(variants=0)[0].put((0, 0), *_record(0))
    for kept in opened(half_embeddings=False):
        kept.put((0, 0), *_record(0))
    assert not (tmp_path / "kept").exists()


def test_sets_of_earlier_versions_are_removed_and_nothing_else(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    old = tmp_path / "kept" / ("ab" * 16)
    old.mkdir(parents=True)
    (old / "embeddings.json").write_text("{}")
    (old / "variant-000.bin").write_bytes(bytes(100))
    mine = tmp_path / "kept" / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    opened()
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["mine"]
    assert (mine / "notes.txt").exists()
