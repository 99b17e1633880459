"""Image embeddings of training and validation patches, encoded once where the encoder is frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.model.interactive import ImageEmbedding

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from histosam_core.model.network import SamNetwork
    from histosam_core.training.examples import Example, TrainingPatch

__all__ = ["EmbeddingCache", "PatchEncoder"]


class EmbeddingCache:
    """Embeddings and masks of augmented patches in memory, up to a bound.

    What came first stays: patches are visited in random order, so any other policy would hit no
    more often and encode more. Thread-safe for reads beside one writer.

    Parameters
    ----------
    max_bytes
        Bound on what is kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self._kept: dict[tuple[int, int], tuple[Tensor, NDArray[np.int8]]] = {}

    def get(self, key: tuple[int, int]) -> tuple[Tensor, NDArray[np.int8]] | None:
        """Embedding (C, h, w) and mask (H, W) kept under `key`, or None."""
        return self._kept.get(key)

    def put(self, key: tuple[int, int], embedding: Tensor, gt_mask: NDArray[np.int8]) -> None:
        """Keep both, on the CPU, if there is room."""
        size = embedding.numel() * embedding.element_size() + gt_mask.nbytes
        if key not in self._kept and self.used_bytes + size <= self.max_bytes:
            self._kept[key] = (embedding.detach().to("cpu", copy=True), gt_mask)
            self.used_bytes += size

    def __len__(self) -> int:
        return len(self._kept)


class PatchEncoder:
    """Encodes what a step or a validation needs, and remembers it where it may.

    Parameters
    ----------
    network
        Its image encoder is used.
    frozen
        Whether the image encoder stays as it is; only then is anything kept.
    cache_bytes
        Bound of the cache.
    precision
        Makes the context in which the network computes.
    check
        Called before each encoding; may raise to stop.
    """

    def __init__(
        self,
        network: SamNetwork,
        *,
        frozen: bool,
        cache_bytes: int,
        precision: Callable[[], AbstractContextManager[Any]],
        check: Callable[[], None],
    ) -> None:
        self.network = network
        self.frozen = frozen
        self.cache = EmbeddingCache(cache_bytes if frozen else 0)
        self._precision = precision
        self._check = check

    def embed(self, batch: Sequence[Example]) -> Tensor:
        """(B, C, h, w) on the device: with gradient if the encoder learns, else from the cache."""
        if not self.frozen:
            return self._encode([e.image for e in batch if e.image is not None])
        device = self.network.device
        fresh = [e for e in batch if e.embedding is None]
        encoded: dict[int, Tensor] = {}
        # On a CPU one by one: a bit in the result could depend on what shares the batch, and a
        # resumed run finds another part of the batch in its cache.
        size = 1 if device.type == "cpu" else max(1, len(fresh))
        for start in range(0, len(fresh), size):
            self._check()
            chunk = fresh[start : start + size]
            with torch.no_grad():
                features = self._encode([e.image for e in chunk if e.image is not None])
            for example, one in zip(chunk, features, strict=True):
                encoded[id(example)] = one
                if example.key is not None:
                    self.cache.put(example.key, one, example.gt_mask)
        return torch.stack(
            [e.embedding.to(device) if e.embedding is not None else encoded[id(e)] for e in batch]
        )

    def embed_whole(
        self, patches: Sequence[TrainingPatch], index: int
    ) -> tuple[ImageEmbedding, NDArray[np.int8]]:
        """Embedding and (H, W) int8 mask of one validation patch, not augmented."""
        key = (-1 - index, 0)
        kept = self.cache.get(key)
        if kept is None:
            self._check()
            patch = patches[index]
            gt_mask = np.asarray(patch.gt_mask).astype(np.int8)
            with torch.no_grad():
                features = self._encode([patch.image])[0]
            self.cache.put(key, features, gt_mask)
        else:
            features, gt_mask = kept[0].to(self.network.device), kept[1]
        height, width = gt_mask.shape
        return ImageEmbedding(features, (height, width)), gt_mask

    def _encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        with self._precision():
            return self.network.encode(self.network.preprocess(torch.from_numpy(np.stack(images))))
