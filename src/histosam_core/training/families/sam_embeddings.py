"""Image embeddings of training and validation patches, encoded once where the encoder is frozen."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.dataset.patches import PatchStore
from histosam_core.embeddings.memory import MemoryStore
from histosam_core.model.sam.embedding import ImageEmbedding
from histosam_core.training.patch_embeddings import PatchEmbeddings, patch_store

if TYPE_CHECKING:
    from histosam_core.model.sam.network import SamNetwork
    from histosam_core.training.compute import Compute
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.run_log import RunLog
    from histosam_core.training.samples import Example, Examples, TrainingPatch

N_PROBES = 3
HALF_MAX = torch.finfo(torch.float16).max


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
    compute
        Memory and precision.
    log
        Gets a report before a frozen encoder encodes, and may raise to stop; and a notice when the
        disk takes no more embeddings.
    """

    def __init__(
        self,
        network: SamNetwork,
        *,
        half: bool,
        cache: PatchEmbeddings | None,
        validation_cache: PatchEmbeddings | None,
        compute: Compute,
        log: RunLog,
    ) -> None:
        self.network = network
        self.cache = cache
        self.validation_cache = validation_cache
        self._half = half
        self._compute = compute
        self._log = log
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
            self._log.encoded()
            examples = fresh[part]
            with torch.no_grad():
                features = self._rounded(self.encode([e.image for e in examples]))
            for example, one in zip(examples, features, strict=True):
                encoded[example.index] = one
                if example.key is not None:
                    self._keep(self.cache, example.key, one, example.gt_mask)

        # On a CPU one by one: a bit in the result could depend on what shares the batch, and a
        # resumed run finds another part of the batch in its cache.
        one_by_one = self.network.device.type == "cpu"
        self._compute.micro_batches.run(len(fresh), encode, at_most=1 if one_by_one else None)
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
            self._log.encoded()
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

    def encode(self, images: Sequence[NDArray[np.uint8] | None]) -> Tensor:
        """(B, C, h, w) of B images of one size, with gradient where the encoder learns."""
        stack = np.stack([image for image in images if image is not None])
        with self._compute.autocast():
            return self.network.encode(self.network.preprocess(torch.from_numpy(stack)))

    def _keep(
        self,
        cache: PatchEmbeddings | None,
        key: tuple[int, int],
        features: Tensor,
        gt_mask: NDArray[np.int8],
    ) -> None:
        if cache is None:
            return
        cache.put(key, features, gt_mask)
        if cache.note and not self._noticed:
            self._noticed = True
            self._log.notice(cache.note)

    def _rounded(self, features: Tensor) -> Tensor:
        if self.cache is None:
            return features
        if not self._half:
            return features.float()
        return features.clamp(-HALF_MAX, HALF_MAX).half()


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
