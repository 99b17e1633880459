"""Which caches a run has: of training and of validation patches, in memory and in which folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.training.embedding_files import EmbeddingFiles
from histosam_core.training.embedding_key import N_PROBES, embedding_facts
from histosam_core.training.embeddings import EmbeddingCache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from histosam_core.model.sam.network import SamNetwork
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.examples import Examples, TrainingPatch

__all__ = ["cache_folder", "open_caches"]


def cache_folder(config: TrainConfig) -> Path | None:
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
) -> tuple[EmbeddingCache, EmbeddingCache]:
    """Return the caches of training variants and of `n_validated` validation patches."""
    folder = cache_folder(config)
    probes = [validation_patches[index].image for index in _probed(validation_patches)]
    bytes_each = math.prod(network.embedding_shape) * (2 if config.half_embeddings else 4)
    bytes_each += probes[0].shape[0] * probes[0].shape[1]
    of_validation = min(n_validated * bytes_each, config.cache_mb * 2**20 // 2)
    training = EmbeddingCache(config.cache_mb * 2**20 - of_validation)
    validation = EmbeddingCache(of_validation)
    if folder is not None:
        max_bytes = config.cache_disk_mb * 2**20
        validation.files = _open(
            folder, config, network, validation_patches, probes, max_bytes, is_augmented=False
        )
        if examples.variants:
            patches = examples.patches
            training.files = _open(
                folder,
                config,
                network,
                patches,
                [examples.augmented(index, 0)[0] for index in _probed(patches)],
                max_bytes - n_validated * bytes_each,
                is_augmented=examples.augmentation.any,
            )
    return training, validation


def _open(
    folder: Path,
    config: TrainConfig,
    network: SamNetwork,
    patches: Sequence[TrainingPatch],
    probes: list[NDArray[np.uint8]],
    max_bytes: int,
    *,
    is_augmented: bool,
) -> EmbeddingFiles:
    facts = embedding_facts(
        network,
        patches,
        probes,
        precision=config.precision,
        augmentation=config.augment if is_augmented else None,
        seed=config.seed if is_augmented else None,
    )
    height, width = probes[0].shape[:2]
    return EmbeddingFiles(
        folder,
        facts,
        feature_shape=network.embedding_shape,
        mask_hw=(height, width),
        max_bytes=max_bytes,
    )


def _probed(patches: Sequence[TrainingPatch]) -> list[int]:
    """Some patches, first and last among them."""
    last = len(patches) - 1
    return sorted({last * n // (N_PROBES - 1) for n in range(N_PROBES)})
