"""Embeddings on disk: what comes back, what is made again, and that nothing breaks a run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from histosam_core.dataset.augment import AugmentSettings
from histosam_core.training import embedding_files
from histosam_core.training.embedding_files import EmbeddingFiles
from histosam_core.training.embedding_key import embedding_facts
from histosam_core.training.embeddings import EmbeddingCache

SHAPE, MASK_HW = (4, 3, 3), (5, 7)
RECORD_BYTES = 16 + 2 * 36 + 2 * 5


def _files(folder: Path, facts: dict[str, object] | None = None, **changes: Any) -> EmbeddingFiles:
    settings: dict[str, Any] = {
        "feature_shape": SHAPE, "mask_hw": MASK_HW, "max_bytes": 10**8, **changes,
    }  # fmt: skip
    return EmbeddingFiles(folder, facts or {"encoder": "a"}, **settings)


def _record(seed: int) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(rng.normal(size=SHAPE).astype(np.float16))
    return features, rng.integers(-1, 2, MASK_HW).astype(np.int8)


def test_another_run_finds_embedding_and_mask_bit_for_bit(tmp_path: Path) -> None:
    first = _files(tmp_path)
    for index, variant in ((7, 0), (0, 0), (3, 2)):
        first.put(index, variant, *_record(10 * index + variant))
    first.close()
    second = _files(tmp_path)
    for index, variant in ((0, 0), (7, 0), (3, 2)):
        features, mask = second.get(index, variant)
        expected = _record(10 * index + variant)
        assert features.dtype == torch.float16
        assert torch.equal(features, expected[0])
        assert np.array_equal(mask, expected[1])
    assert [second.get(*missing) for missing in ((1, 0), (8, 0), (3, 0), (0, 1))] == [None] * 4
    second.close()


def test_what_other_facts_made_is_not_found(tmp_path: Path) -> None:
    first, second = _files(tmp_path), _files(tmp_path, {"encoder": "b"})
    first.put(0, 0, *_record(0))
    assert second.get(0, 0) is None
    first.close()


@pytest.mark.parametrize("damage", ["flipped", "truncated", "moved"])
def test_a_damaged_record_is_as_good_as_absent_and_can_be_made_again(
    tmp_path: Path, damage: str
) -> None:
    files = _files(tmp_path)
    for index in (0, 1):
        files.put(index, 0, *_record(index))
    files.close()
    (path,) = files.folder.glob("*.bin")
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[RECORD_BYTES + 40] ^= 1
    elif damage == "truncated":
        del content[-1:]
    else:
        content[RECORD_BYTES:] = content[:RECORD_BYTES]
    path.write_bytes(content)
    files = _files(tmp_path)
    assert files.get(0, 0) is not None
    assert files.get(1, 0) is None
    files.put(1, 0, *_record(1))
    assert torch.equal(files.get(1, 0)[0], _record(1)[0])
    files.close()


def test_a_full_disk_ends_the_writing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = _files(tmp_path)
    files.put(0, 0, *_record(0))
    usage = embedding_files.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        embedding_files.shutil, "disk_usage", lambda path: usage._replace(free=2**20)
    )
    files.put(1, 0, *_record(1))
    assert "disk is nearly full" in files.note
    assert "\n" not in files.note
    monkeypatch.undo()
    files.put(2, 0, *_record(2))
    assert [files.get(index, 0) is not None for index in range(3)] == [True, False, False]
    files.close()


def test_a_folder_that_cannot_be_made_is_no_more_than_a_note(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    files = _files(tmp_path / "taken")
    files.put(0, 0, *_record(0))
    assert files.get(0, 0) is None
    assert "no longer kept" in files.note


def test_the_bound_ends_the_writing(tmp_path: Path) -> None:
    files = _files(tmp_path, max_bytes=2**14)
    for index in range(400):
        files.put(index, 0, *_record(0))
    assert "cache_disk_mb" in files.note
    assert 0 < sum(files.get(index, 0) is not None for index in range(400)) < 400
    files.close()


def test_sets_that_nobody_uses_make_room_and_those_in_use_do_not(tmp_path: Path) -> None:
    old, used = (_files(tmp_path, {"encoder": name}) for name in ("old", "used"))
    for files in (old, used):
        for index in range(200):
            files.put(index, 0, *_record(0))
        files.close()
    (tmp_path / "notes.txt").write_text("mine")
    hours_ago = time.time() - 7200
    os.utime(old.folder, (hours_ago, hours_ago))
    new = _files(tmp_path, {"encoder": "new"}, max_bytes=2**15)
    assert not old.folder.exists()
    assert used.folder.exists()
    assert (tmp_path / "notes.txt").exists()
    new.close()


def test_threads_may_read_and_write_together(tmp_path: Path) -> None:
    files, wrong = _files(tmp_path), []

    def work(first: int) -> None:
        for index in range(first, 200, 4):
            files.put(index, index % 2, *_record(index))
            kept = files.get(index, index % 2)
            if kept is None or not torch.equal(kept[0], _record(index)[0]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    files.close()


def test_the_cache_reads_from_disk_what_memory_has_no_room_for(tmp_path: Path) -> None:
    cache = EmbeddingCache(200, _files(tmp_path))
    for index in range(3):
        cache.put((index, 0), *_record(index))
    assert len(cache) == 1
    assert torch.equal(cache.get((2, 0))[0], _record(2)[0])
    cache.files.close()


def test_facts_tell_weights_preprocessing_augmentation_and_patches_apart_and_no_decoder(
    small_model: Callable[..., Any], small_patches: Callable[..., Any]
) -> None:
    patches = small_patches(3, 0)

    def facts(network: Any, given: Any = patches, **changes: Any) -> dict[str, Any]:
        settings = {"precision": "fp32", "augmentation": AugmentSettings(), "seed": 0, **changes}
        return embedding_facts(network, given, [given[0].image], **settings)

    network = small_model("refining").network
    base = facts(network)
    other_decoder = small_model("sam").network
    other_decoder.image_encoder.load_state_dict(network.image_encoder.state_dict())
    assert facts(other_decoder) == base
    changed = [
        facts(network, small_patches(3, 1)),
        facts(network, precision="bf16"),
        facts(network, augmentation=AugmentSettings(stain=True)),
        facts(network, seed=1),
        facts(small_model("refining", seed=1).network),
    ]
    network.pixel_mean += 1
    changed.append(facts(network))
    texts = {repr(one) for one in (base, *changed)}
    assert len(texts) == 7
