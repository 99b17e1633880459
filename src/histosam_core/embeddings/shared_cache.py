"""Embeddings kept from one model for the next: decoders tuned on one frozen encoder share them.

Encoders are told apart by a hash of their weights and by what is done to pixels before, images by
a hash of their pixels. What that may miss is looked at: each model encodes its first image itself,
and where that is not what was kept for it, the model gets a part of the cache of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from histosam_core.embeddings.disk import DiskStore
from histosam_core.embeddings.memory import EmbeddingKey, size_in_bytes
from histosam_core.embeddings.tiered import EmbeddingCodec
from histosam_core.errors import ConfigError

if TYPE_CHECKING:
    from histosam_core.evaluation.trial import ModelCalls

__all__ = ["CachedEncoder", "EmbeddingCache", "Encoded", "encoder_key"]

DEFAULT_BYTES = 2**30
"""2000 patches of `histosam-tiny` (512 KiB each), or 250 of SAM."""
DEFAULT_DISK_BYTES = 20 * 2**30
ALIKE = 1e-4
"""How much of an embedding's largest value batches and threads may change."""
SECONDS = "encode_s"


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image's embedding.

    Parameters
    ----------
    embedding
        Whatever the model makes.
    encode_s
        Seconds that it took when it was made.
    was_at_hand
        Whether it was made before.
    """

    embedding: Any
    encode_s: float
    was_at_hand: bool


class EmbeddingCache:
    """Embeddings of images in memory, and on disk where a folder is given. Thread-safe.

    What is there stays: an evaluation comes by every patch once, and a cache that dropped the
    longest unused would have dropped each when it comes by again.

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
        if max_bytes < 0:
            raise ConfigError(f"max_bytes {max_bytes} must be 0 or more")
        self.max_bytes = max_bytes
        self._disk = None if folder is None else DiskStore(folder, max_disk_bytes)
        self._kept: dict[EmbeddingKey, tuple[Any, float]] = {}
        self._bytes = 0
        self._lock = Lock()

    @property
    def note(self) -> str:
        """Why nothing more is written to disk, in one line; empty while all is well."""
        return "" if self._disk is None else self._disk.note

    @property
    def n_bytes(self) -> int:
        """What is held in memory now."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: EmbeddingKey, model: object) -> Encoded | None:
        """Return the embedding that is kept under a key for a model, or None."""
        with self._lock:
            found = self._kept.get(key)
        if found is not None:
            return Encoded(*found, was_at_hand=True)
        if self._disk is None or not isinstance(model, EmbeddingCodec):
            return None
        arrays = self._disk.get(key)
        if arrays is None or SECONDS not in arrays:
            return None
        seconds = float(arrays.pop(SECONDS))
        try:
            embedding = model.embedding_from_arrays(arrays)
        except (KeyError, TypeError, ValueError):  # of another form: as good as absent
            return None
        self._keep(key, embedding, seconds)
        return Encoded(embedding, seconds, was_at_hand=True)

    def put(self, key: EmbeddingKey, encoded: Encoded, model: object) -> None:
        """Keep an embedding where there is room."""
        self._keep(key, encoded.embedding, encoded.encode_s)
        if self._disk is not None and isinstance(model, EmbeddingCodec):
            arrays = dict(model.embedding_to_arrays(encoded.embedding))
            self._disk.put(key, arrays | {SECONDS: np.array(encoded.encode_s)})

    def _keep(self, key: EmbeddingKey, embedding: Any, seconds: float) -> None:
        size = size_in_bytes(embedding)
        with self._lock:
            if key not in self._kept and self._bytes + size <= self.max_bytes:
                self._kept[key] = embedding, seconds
                self._bytes += size


class CachedEncoder:
    """Encodes images of one model, or finds their embeddings. Thread-safe.

    Parameters
    ----------
    model
        Any `InteractiveModel`. One whose encoder cannot be told from others encodes everything.
    calls
        Calls it.
    cache
        Where to look; None: nowhere.
    """

    def __init__(self, model: object, calls: ModelCalls, cache: EmbeddingCache | None) -> None:
        self._model = model
        self._calls = calls
        weights = None if cache is None else encoder_key(model)
        self._cache = None if weights is None else cache
        self._weights = weights or ""
        self._is_known = False
        self._lock = Lock()

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[Encoded]:
        """Return the embedding of each (H, W, 3) uint8 image."""
        if self._cache is None:
            return self._encode(images)
        with self._lock:
            if not self._is_known:
                self._get_known(images[0], self._cache)
        keys = [_image_key(image, self._weights) for image in images]
        found = [self._cache.get(key, self._model) for key in keys]
        missing = [i for i, one in enumerate(found) if one is None]
        for i, one in zip(missing, self._encode([images[i] for i in missing]), strict=True):
            self._cache.put(keys[i], one, self._model)
            found[i] = one
        return [one for one in found if one is not None]

    def _encode(self, images: Sequence[NDArray[np.uint8]]) -> list[Encoded]:
        if not images:
            return []
        return [Encoded(*pair, was_at_hand=False) for pair in self._calls.encode(images)]

    def _get_known(self, image: NDArray[np.uint8], cache: EmbeddingCache) -> None:
        """Make sure that what is kept under our key is what this model makes."""
        kept = cache.get(_image_key(image, self._weights), self._model)
        if kept is not None:
            (own,) = self._encode([image])
            if not _are_alike(
                _arrays(own.embedding, self._model), _arrays(kept.embedding, self._model)
            ):
                self._weights += f" {id(self._model):x}"
        self._is_known = True


def encoder_key(model: object) -> str | None:
    """Return a text for a model's image encoder, its weights, preprocessing and device.

    None for a model that is no `SamModel`, whose parts are not known.
    """
    network: Any = getattr(model, "network", None)
    encoder = getattr(network, "image_encoder", None)
    if encoder is None or not hasattr(network, "pixel_mean"):
        return None
    digest = xxhash.xxh3_128()
    tensors = {**encoder.state_dict(), "mean": network.pixel_mean, "std": network.pixel_std}
    for name, tensor in tensors.items():
        array = tensor.detach().float().cpu().contiguous().numpy()
        digest.update(f"{name} {tensor.dtype} {array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return (
        f"{type(encoder).__name__} {network.image_size} px "
        f"{getattr(network, 'embedding_shape', '')} "
        f"{getattr(model, 'device', '')} {digest.hexdigest()}"
    )


def _image_key(image: NDArray[np.uint8], weights: str) -> EmbeddingKey:
    height, width = image.shape[:2]
    return EmbeddingKey(
        slide=f"pixels {xxhash.xxh3_128_hexdigest(np.ascontiguousarray(image).data)}",
        location_xy=(0.0, 0.0),
        downsample=1.0,
        size_wh=(width, height),
        preprocessing="evaluation",
        weights=weights,
    )


def _arrays(embedding: Any, model: object) -> Mapping[str, NDArray[Any]]:
    return model.embedding_to_arrays(embedding) if isinstance(model, EmbeddingCodec) else {}


def _are_alike(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> bool:
    if not one or one.keys() != other.keys():
        return False
    for name, array in one.items():
        if array.shape != other[name].shape:
            return False
        largest = float(np.abs(array).max(initial=0))
        if not np.allclose(array, other[name], rtol=0, atol=ALIKE * largest):
            return False
    return True
