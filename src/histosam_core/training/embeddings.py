"""Image embeddings of training and validation patches, encoded once where the encoder is frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.model.sam.embedding import ImageEmbedding

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from histosam_core.model.sam.network import SamNetwork
    from histosam_core.training.chunks import Chunks
    from histosam_core.training.embedding_files import EmbeddingFiles
    from histosam_core.training.examples import Example, TrainingPatch

__all__ = ["EmbeddingCache", "PatchEncoder"]

HALF_MAX = torch.finfo(torch.float16).max


class EmbeddingCache:
    """Embeddings and masks of augmented patches in memory, up to a bound, and on disk.

    What came first stays in memory: patches are visited in random order, so any other policy would
    hit no more often and read more. Thread-safe.

    Parameters
    ----------
    max_bytes
        Bound on what is kept in memory.
    files
        Where all is kept on disk; None keeps nothing there.
    """

    def __init__(self, max_bytes: int, files: EmbeddingFiles | None = None) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self.files = files
        self._lock = Lock()
        self._kept: dict[tuple[int, int], tuple[Tensor, NDArray[np.int8]]] = {}

    def get(self, key: tuple[int, int]) -> tuple[Tensor, NDArray[np.int8]] | None:
        """Embedding (C, h, w) and mask (H, W) kept under `key`, a patch and a variant, or None."""
        kept = self._kept.get(key)
        if kept is None and self.files is not None:
            kept = self.files.get(*key)
            if kept is not None:
                self._remember(key, *kept)
        return kept

    def put(self, key: tuple[int, int], embedding: Tensor, gt_mask: NDArray[np.int8]) -> None:
        """Keep both where there is room."""
        self._remember(key, embedding, gt_mask)
        if self.files is not None:
            self.files.put(*key, embedding, gt_mask)

    def __len__(self) -> int:
        return len(self._kept)

    def _remember(self, key: tuple[int, int], embedding: Tensor, gt_mask: NDArray[np.int8]) -> None:
        size = embedding.numel() * embedding.element_size() + gt_mask.nbytes
        with self._lock:
            if key in self._kept or self.used_bytes + size > self.max_bytes:
                return
            self.used_bytes += size
            # A part of a batch would keep all of it in memory.
            self._kept[key] = (embedding.detach().to("cpu", copy=True), gt_mask)


class PatchEncoder:
    """Encodes what a step or a validation needs, and remembers it where it may.

    Parameters
    ----------
    network
        Its image encoder is used.
    half
        Round embeddings to half precision, where the encoder is frozen; always, so that it makes
        no difference whether one was kept.
    cache, validation_cache
        Of training and of validation patches; None where the image encoder learns.
    precision
        Makes the context in which the network computes.
    chunks
        How many patches fit into memory.
    on_encode
        Called before a frozen encoder encodes; may raise to stop.
    notice
        Called with a line when the disk takes no more embeddings.
    """

    def __init__(
        self,
        network: SamNetwork,
        *,
        half: bool,
        cache: EmbeddingCache | None,
        validation_cache: EmbeddingCache | None,
        precision: Callable[[], AbstractContextManager[Any]],
        chunks: Chunks,
        on_encode: Callable[[], None],
        notice: Callable[[str], None],
    ) -> None:
        self.network = network
        self.cache = cache
        self.validation_cache = validation_cache
        self._half = half
        self._precision = precision
        self._chunks = chunks
        self._on_encode = on_encode
        self._notice = notice
        self._noticed = False

    @property
    def frozen(self) -> bool:
        """Whether the image encoder stays as it is, so that embeddings may be kept."""
        return self.cache is not None

    def embed(self, batch: Sequence[Example]) -> Tensor:
        """(B, C, h, w) float32 on the device, without gradient, from the cache where it has them.

        The encoder must be frozen.
        """
        fresh = [e for e in batch if e.embedding is None]
        encoded: dict[int, Tensor] = {}

        def encode(part: slice) -> None:
            self._on_encode()
            chunk = fresh[part]
            with torch.no_grad():
                features = self._rounded(self.encode([e.image for e in chunk]))
            for example, one in zip(chunk, features, strict=True):
                encoded[example.index] = one
                if example.key is not None:
                    self._keep(self.cache, example.key, one, example.gt_mask)

        # On a CPU one by one: a bit in the result could depend on what shares the batch, and a
        # resumed run finds another part of the batch in its cache.
        one_by_one = self.network.device.type == "cpu"
        self._chunks.run(len(fresh), encode, at_most=1 if one_by_one else None)
        device = self.network.device
        return torch.stack(
            [
                (encoded[e.index] if e.embedding is None else e.embedding).to(device).float()
                for e in batch
            ]
        )

    def embed_whole(
        self, patches: Sequence[TrainingPatch], index: int
    ) -> tuple[ImageEmbedding, NDArray[np.int8]]:
        """Embedding and (H, W) int8 mask of one validation patch, not augmented."""
        cache = self.validation_cache
        kept = cache.get((index, 0)) if cache is not None else None
        if kept is None:
            self._on_encode()
            patch = patches[index]
            gt_mask = np.asarray(patch.gt_mask).astype(np.int8)
            with torch.no_grad():
                features = self._rounded(self.encode([patch.image]))[0]
            self._keep(cache, (index, 0), features, gt_mask)
        else:
            features, gt_mask = kept
        height, width = gt_mask.shape
        features = features.to(self.network.device).float()
        return ImageEmbedding(features, (height, width)), gt_mask

    def close(self) -> None:
        """Close the caches' files."""
        for cache in (self.cache, self.validation_cache):
            if cache is not None and cache.files is not None:
                cache.files.close()

    def encode(self, images: Sequence[NDArray[np.uint8] | None]) -> Tensor:
        """(B, C, h, w) of B images of one size, with gradient where the encoder learns."""
        stack = np.stack([image for image in images if image is not None])
        with self._precision():
            return self.network.encode(self.network.preprocess(torch.from_numpy(stack)))

    def _keep(
        self,
        cache: EmbeddingCache | None,
        key: tuple[int, int],
        features: Tensor,
        gt_mask: NDArray[np.int8],
    ) -> None:
        if cache is None:
            return
        cache.put(key, features, gt_mask)
        if cache.files is not None and cache.files.note and not self._noticed:
            self._noticed = True
            self._notice(cache.files.note)

    def _rounded(self, features: Tensor) -> Tensor:
        if self.cache is None:
            return features
        if not self._half:
            return features.float()
        return features.clamp(-HALF_MAX, HALF_MAX).half()
