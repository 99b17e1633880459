"""Embeddings and masks of training and validation patches, kept in memory and on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.embeddings.disk import DiskStore
from histosam_core.embeddings.key import Arrays, EmbeddingKey
from histosam_core.embeddings.memory import EmbeddingStore, MemoryStore
from histosam_core.embeddings.tiered import TieredStore

Embedded = tuple[Tensor, NDArray[np.int8]]

IN_USE_S = 3600.0
"""An embedding that was used within this time may be another run's, which goes on."""
RESERVE_BYTES = 2**30
"""Disk space left free, since what the run itself saves must still fit."""


class PatchEmbeddings:
    """Embeddings and masks of one set of patches as one encoder sees them. Thread-safe.

    Parameters
    ----------
    store
        Where they are kept.
    facts
        All that decides them besides a patch's place and variant, as plain values.
    encoder
        `SamNetwork.encoder_hash`.
    """

    def __init__(self, store: EmbeddingStore, facts: Mapping[str, Any], encoder: str) -> None:
        self.store = store
        self._facts = json.dumps(facts, sort_keys=True)
        self._key = EmbeddingKey("", (0.0, 0.0), 1.0, (0, 0), "", encoder)

    @property
    def note(self) -> str:
        """Why nothing more is written to disk, in one line; empty while all is well."""
        note = self.store.note if isinstance(self.store, TieredStore) else ""
        return note and f"{note} (settings: cache_disk_mb, cache_dir)"

    def get(self, key: tuple[int, int]) -> Embedded | None:
        """(C, h, w) embedding and (H, W) int8 mask of a patch and a variant, or None."""
        kept: Embedded | None = self.store.get(self._key_of(*key))
        return kept

    def put(self, key: tuple[int, int], embedding: Tensor, gt_mask: NDArray[np.int8]) -> None:
        """Keep both where there is room."""
        # A part of a batch would keep all of it in memory.
        own = embedding.detach().to("cpu", copy=True)
        self.store.put(self._key_of(*key), (own, gt_mask))

    def _key_of(self, index: int, variant: int) -> EmbeddingKey:
        return replace(self._key, slide=f"patch {index} {variant} of {self._facts}")


class _Codec:
    """An embedding and its mask as arrays."""

    def embedding_to_arrays(self, embedding: Embedded) -> Arrays:
        features, gt_mask = embedding
        return {
            "features": features.contiguous().numpy(),
            "object": np.packbits(gt_mask == 1),
            "ignored": np.packbits(gt_mask == -1),
            "mask_hw": np.array(gt_mask.shape),
        }

    def embedding_from_arrays(self, arrays: Arrays) -> Embedded:
        height, width = (int(size) for size in arrays["mask_hw"])
        is_object, is_ignored = (
            np.unpackbits(arrays[name], count=height * width).view(np.int8)
            for name in ("object", "ignored")
        )
        features = torch.from_numpy(np.require(arrays["features"], requirements="W"))
        return features, (is_object - is_ignored).reshape(height, width)


def patch_store(memory_bytes: int, folder: Path | None, disk_bytes: int = 0) -> EmbeddingStore:
    """Return a store of embeddings with masks: in memory, and in `folder` where one is given."""
    memory = MemoryStore(memory_bytes, keep="first")
    if folder is None or disk_bytes <= 0:
        return memory
    disk = DiskStore(folder, disk_bytes, unused_s=IN_USE_S, reserve_bytes=RESERVE_BYTES)
    return TieredStore(memory, disk, model=_Codec(), waits=True)
