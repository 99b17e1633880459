"""Image embeddings of training and validation patches, encoded once where the encoder is frozen."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.dataset.patches import PatchStore
from histosam_core.embeddings.disk import DiskStore
from histosam_core.embeddings.key import Arrays, EmbeddingKey
from histosam_core.embeddings.memory import EmbeddingStore, MemoryStore
from histosam_core.embeddings.tiered import TieredStore
from histosam_core.model.sam.embedding import ImageEmbedding

if TYPE_CHECKING:
    from histosam_core.model.sam.network import SamNetwork
    from histosam_core.training.compute import Compute
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.run_log import RunLog
    from histosam_core.training.samples import Example, Examples, TrainingPatch

N_PROBES = 3
HALF_MAX = torch.finfo(torch.float16).max
IN_USE_S = 3600.0
"""An embedding that was used within this time may be another run's, which goes on."""
RESERVE_BYTES = 2**30
"""Disk space left free, since what the run itself saves must still fit."""

Embedded = tuple[Tensor, NDArray[np.int8]]
"""(C, h, w) embedding and (H, W) int8 mask."""


class PatchEmbeddings:
    """Embeddings and masks of one set of patches as one encoder sees them. Thread-safe.

    `facts` are all that decides them besides a patch's place, its variant and the encoder's hash:
    plain values.
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
        """What is kept of a patch and a variant, or None."""
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


class PatchEncoder:
    """Encodes what a step or a validation needs, and remembers it where it may.

    `caches` are those of training and of validation patches; None where the image encoder learns. A
    frozen encoder's embeddings are rounded to half precision if `config` says so, kept or not. The
    log gets a report before a frozen encoder encodes, which may raise to stop, and a notice when
    the disk takes no more embeddings.
    """

    def __init__(
        self,
        network: SamNetwork,
        caches: tuple[PatchEmbeddings, PatchEmbeddings] | None,
        config: TrainConfig,
        compute: Compute,
        log: RunLog,
    ) -> None:
        self.network = network
        self._caches, self._half = caches, config.half_embeddings
        self._compute, self._log = compute, log
        self._noticed = False

    @property
    def frozen(self) -> bool:
        """Whether the image encoder stays as it is, so that embeddings may be kept."""
        return self._caches is not None

    def embed(self, batch: Sequence[Example]) -> Tensor:
        """(B, C, h, w) float32 on the device, without gradient, from the cache where it has them.

        The encoder must be frozen.
        """
        fresh = [e for e in batch if e.embedding is None]
        encoded: dict[int, Tensor] = {}

        def encode(part: slice) -> None:
            self._log.encoded()
            examples = fresh[part]
            features = self._encode_once([e.image for e in examples])
            for example, one in zip(examples, features, strict=True):
                encoded[example.index] = one
                if example.key is not None:
                    self._keep(0, example.key, one, example.gt_mask)

        # On a CPU one by one: a bit in the result could depend on what shares the batch, and a
        # resumed run finds another part of the batch in its cache.
        device = self.network.device
        at_most = 1 if device.type == "cpu" else None
        self._compute.micro_batches.run(len(fresh), encode, at_most=at_most)
        kept = (encoded[e.index] if e.embedding is None else e.embedding for e in batch)
        return torch.stack([one.to(device).float() for one in kept])

    def embed_whole(
        self, patches: Sequence[TrainingPatch], index: int
    ) -> tuple[ImageEmbedding, NDArray[np.int8]]:
        """Embedding and (H, W) int8 mask of one validation patch, not augmented."""
        kept = self._caches[1].get((index, 0)) if self._caches else None
        if kept is None:
            self._log.encoded()
            patch = patches[index]
            gt_mask = np.asarray(patch.gt_mask).astype(np.int8)
            features = self._encode_once([patch.image])[0]
            self._keep(1, (index, 0), features, gt_mask)
        else:
            features, gt_mask = kept
        height, width = gt_mask.shape
        features = features.to(self.network.device).float()
        return ImageEmbedding(features, (height, width)), gt_mask

    def encode(self, images: Sequence[NDArray[np.uint8] | None]) -> Tensor:
        """(B, C, h, w) of B images of one size, with gradient where the encoder learns."""
        stack = np.stack([image for image in images if image is not None])
        with self._compute.autocast():
            return self.network.encode(self.network.preprocess(torch.from_numpy(stack)))

    @torch.no_grad()
    def _encode_once(self, images: Sequence[NDArray[np.uint8] | None]) -> Tensor:
        """(B, C, h, w) without gradient, rounded as embeddings that are kept."""
        features = self.encode(images)
        if self._caches is None:
            return features
        return features.clamp(-HALF_MAX, HALF_MAX).half() if self._half else features.float()

    def _keep(
        self, which: int, key: tuple[int, int], features: Tensor, gt_mask: NDArray[np.int8]
    ) -> None:
        if self._caches is None:
            return
        cache = self._caches[which]
        cache.put(key, features, gt_mask)
        if cache.note and not self._noticed:
            self._noticed = True
            self._log.notice(cache.note)


def _cache_folder(config: TrainConfig) -> Path | None:
    """Return the folder for embeddings on disk, or None where none are kept."""
    if not (config.cache_disk_mb and config.half_embeddings):
        return None
    if config.cache_dir is not None or config.patches is None:
        return config.cache_dir
    is_store = config.patches.suffix == ".zarr"
    return (config.patches.parent if is_store else config.patches) / "embeddings"


def open_caches(
    config: TrainConfig,
    network: SamNetwork,
    examples: Examples,
    validation_patches: Sequence[TrainingPatch],
    n_validated: int,
) -> tuple[PatchEmbeddings, PatchEmbeddings]:
    """Return what keeps training variants and `n_validated` validation patches."""
    folder = _cache_folder(config)
    if folder is not None:
        _remove_old_sets(folder)

    encoder = network.encoder_hash()
    common = {"precision": config.precision, "device": network.device.type}
    probes = [validation_patches[index].image for index in _probed(validation_patches)]
    bytes_each = math.prod(network.embedding_shape) * (2 if config.half_embeddings else 4)
    bytes_each += probes[0].shape[0] * probes[0].shape[1]
    of_validation = min(n_validated * bytes_each, config.cache_mb * 2**20 // 2)
    room, disk_room = config.cache_mb * 2**20 - of_validation, config.cache_disk_mb * 2**20
    validation = PatchEmbeddings(
        patch_store(of_validation, folder, disk_room),
        {**common, "patches": patches_digest(validation_patches), "probes": _digest(probes)},
        encoder,
    )
    if not examples.variants:
        return PatchEmbeddings(MemoryStore(0), {}, encoder), validation
    facts: dict[str, Any] = {
        **common,
        "patches": patches_digest(examples.patches),
        # Where another version of this program or of a library augments otherwise, they show it.
        "probes": _digest(examples.augmented(i, 0)[0] for i in _probed(examples.patches)),
    }
    if config.augment.any:
        facts |= {"augmentation": asdict(config.augment), "seed": config.seed}
    kept = patch_store(room, folder, disk_room - n_validated * bytes_each)
    return PatchEmbeddings(kept, facts, encoder), validation


def patches_digest(patches: Sequence[TrainingPatch]) -> str:
    """Digest of what a set of patches holds.

    A patch store is known by its settings, its slides' fingerprints and its columns, without
    reading the pixels; any other sequence by every pixel.
    """
    if isinstance(patches, PatchStore):
        slides = [(s.name, s.fingerprint, s.mpp, s.level) for s in patches.slides]
        facts = patches.split, asdict(patches.geometry), slides, sorted(patches.settings.items())
        columns: list[NDArray[Any]] = [
            patches.slide_index,
            patches.locations_xy,
            patches.tumor_fractions,
        ]
        return _digest(columns, repr(facts))
    return _digest(array for p in patches for array in (p.image, np.asarray(p.gt_mask)))


def _digest(arrays: Iterable[NDArray[Any]], text: str = "") -> str:
    digest = xxhash.xxh3_128(text.encode())
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _probed(patches: Sequence[TrainingPatch]) -> list[int]:
    """Some patches, first and last among them."""
    last = len(patches) - 1
    return sorted({last * n // (N_PROBES - 1) for n in range(N_PROBES)})


def _remove_old_sets(folder: Path) -> None:
    """Remove the sets in which earlier versions kept embeddings, which nothing reads any more."""
    with suppress(OSError):
        for facts in folder.glob("*/embeddings.json"):
            shutil.rmtree(facts.parent, ignore_errors=True)
