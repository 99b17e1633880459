"""Embeddings of images kept from one model for the next: decoders on one frozen encoder share them.

Encoders are told apart by their hash, images by a hash of their pixels. What that may miss is
looked at: each model encodes its first image itself, and where that is not what was kept for it,
the model gets a part of the cache of its own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.embeddings.disk import DiskStore
from histosam_core.embeddings.key import (
    UNNAMED,
    Arrays,
    EmbeddingCodec,
    EmbeddingKey,
    KnownEncoder,
)
from histosam_core.embeddings.memory import EmbeddingStore, MemoryStore
from histosam_core.embeddings.tiered import TieredStore

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel

DEFAULT_BYTES = 2**30
"""2000 patches of `histosam-tiny` (512 KiB each), or 250 of SAM."""
DEFAULT_DISK_BYTES = 20 * 2**30
ALIKE = 1e-4
"""How much of an embedding's largest value batches and threads may change."""
SECONDS = "encode_s"

Encode = Callable[[Sequence[NDArray[np.uint8]]], Sequence[tuple[Any, float]]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image's embedding."""

    embedding: Any  # whatever the model makes
    encode_s: float  # seconds that it took when it was made
    was_at_hand: bool  # whether it was made before


class EmbeddingCache:
    """Embeddings of images in memory, and on disk where a folder is given. Thread-safe.

    Memory keeps what came first: an evaluation comes by every patch once a model.

    Parameters
    ----------
    max_bytes
        Bound on what is held in memory; on a GPU it counts, and stays, there.
    folder
        Keeps embeddings over runs, and those that memory has no room for.
    max_disk_bytes
        Bound on the folder.

    Raises
    ------
    ConfigError
        A bound is negative.
    """

    def __init__(
        self,
        max_bytes: int = DEFAULT_BYTES,
        folder: str | os.PathLike[str] | None = None,
        *,
        max_disk_bytes: int = DEFAULT_DISK_BYTES,
    ) -> None:
        self.memory = MemoryStore(max_bytes, keep="first")
        self.disk = None if folder is None else DiskStore(folder, max_disk_bytes)

    def store(self, model: object) -> EmbeddingStore:
        """Return the store of a model's embeddings with their seconds."""
        if self.disk is None or not isinstance(model, EmbeddingCodec):
            return self.memory
        return TieredStore(self.memory, self.disk, model=_TimedCodec(model), waits=True)


class CachedEncoder:
    """Encodes images of one model, or finds their embeddings. Thread-safe.

    Parameters
    ----------
    model
        One that is no `KnownEncoder` encodes everything.
    encode
        Encodes images with it; returns an embedding and its seconds for each.
    cache
        Where to look; None: nowhere.
    """

    def __init__(
        self, model: InteractiveModel, encode: Encode, cache: EmbeddingCache | None
    ) -> None:
        self._codec = model if isinstance(model, EmbeddingCodec) else None
        self._calls = encode
        self._device = f"evaluation on {model.device}"
        self._store: EmbeddingStore | None = None
        if cache is not None and isinstance(model, KnownEncoder):
            self._store, self._weights = cache.store(model), model.encoder_hash()
        self._is_checked = False
        self._lock = Lock()

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[Encoded]:
        """Return the embedding of each (H, W, 3) uint8 image."""
        store = self._store
        if store is None:
            return self._encode(images)
        with self._lock:
            if not self._is_checked:
                self._check(images[0], store)
        keys = [self._key(image) for image in images]
        found: list[Encoded | None] = [store.get(key) for key in keys]
        missing = [i for i, one in enumerate(found) if one is None]
        for i, one in zip(missing, self._encode([images[i] for i in missing]), strict=True):
            store.put(keys[i], Encoded(one.embedding, one.encode_s, was_at_hand=True))
            found[i] = one
        return [one for one in found if one is not None]

    def _key(self, image: NDArray[np.uint8]) -> EmbeddingKey:
        return EmbeddingKey.of_pixels(image, self._device, self._weights)

    def _encode(self, images: Sequence[NDArray[np.uint8]]) -> list[Encoded]:
        if not images:
            return []
        return [Encoded(*pair, was_at_hand=False) for pair in self._calls(images)]

    def _check(self, image: NDArray[np.uint8], store: EmbeddingStore) -> None:
        """Make sure that what is kept under our key is what this model makes."""
        kept = store.get(self._key(image))
        if kept is not None:
            (own,) = self._encode([image])
            if not self._are_alike(own.embedding, kept.embedding):
                self._weights = f"{UNNAMED}{uuid.uuid4()}"
        self._is_checked = True

    def _are_alike(self, own: Any, kept: Any) -> bool:
        if self._codec is None:
            return False
        one, other = self._codec.embedding_to_arrays(own), self._codec.embedding_to_arrays(kept)
        return one.keys() == other.keys() and all(
            array.shape == other[name].shape
            and np.allclose(array, other[name], rtol=0, atol=ALIKE * np.abs(array).max(initial=0))
            for name, array in one.items()
        )


class _TimedCodec:
    """Arrays of an `Encoded`: those of its embedding, and the seconds."""

    def __init__(self, codec: EmbeddingCodec) -> None:
        self._codec = codec

    def embedding_to_arrays(self, embedding: Encoded) -> Arrays:
        arrays = self._codec.embedding_to_arrays(embedding.embedding)
        return {**arrays, SECONDS: np.array(embedding.encode_s)}

    def embedding_from_arrays(self, arrays: Arrays) -> Encoded:
        own = {name: array for name, array in arrays.items() if name != SECONDS}
        seconds = float(arrays[SECONDS])
        return Encoded(self._codec.embedding_from_arrays(own), seconds, was_at_hand=True)
