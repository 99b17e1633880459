"""What decides an embedding: weights, preprocessing, augmentation, patches; as facts to digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from histosam_core.dataset.augment import AugmentSettings
    from histosam_core.model.sam.network import SamNetwork
    from histosam_core.training.examples import TrainingPatch

__all__ = ["embedding_facts", "encoder_digest", "patches_digest"]

FORMAT = 1
N_PROBES = 3


def embedding_facts(
    network: SamNetwork,
    patches: Sequence[TrainingPatch],
    probes: Sequence[NDArray[np.uint8]],
    *,
    precision: str,
    augmentation: AugmentSettings | None,
    seed: int | None,
) -> dict[str, Any]:
    """Return all that decides the embeddings of `patches`, as plain values.

    Parameters
    ----------
    network
        Its image encoder's weights are part of it, its decoder's are not, so that runs of several
        scenarios share what they encode.
    patches
        What is encoded.
    probes
        Some of the images as they are encoded, augmented: where another version of this program
        or of a library makes others, they give it away.
    precision
        As in `TrainConfig`.
    augmentation, seed
        Of the variants; None where patches are encoded as they are.
    """
    return {
        "format": FORMAT,
        "architecture": network.architecture,
        "encoder": encoder_digest(network),
        "embedding_shape": network.embedding_shape,
        "image_size": network.image_size,
        "pixel_mean": network.pixel_mean.flatten().tolist(),
        "pixel_std": network.pixel_std.flatten().tolist(),
        "precision": precision,
        "device": network.device.type,
        "patches": patches_digest(patches),
        "augmentation": None if augmentation is None else asdict(augmentation),
        "seed": seed,
        "probes": _digest_arrays(probes),
    }


def encoder_digest(network: SamNetwork) -> str:
    """Digest of the image encoder's weights: names, types, shapes, bytes."""
    digest = xxhash.xxh3_128()
    for name, value in sorted(network.image_encoder.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def patches_digest(patches: Sequence[TrainingPatch]) -> str:
    """Digest of what a set of patches holds.

    A patch store is known by its settings, its slides' fingerprints and its columns, without
    reading the pixels; any other sequence by every pixel.
    """
    digest = xxhash.xxh3_128()
    columns = ("slide_index", "locations_xy", "tumor_fractions")
    if all(hasattr(patches, name) for name in ("settings", "slides", *columns)):
        store: Any = patches
        slides = [(s.name, s.fingerprint, s.mpp, s.level) for s in store.slides]
        digest.update(repr((store.split, asdict(store.geometry), slides)).encode())
        digest.update(repr(sorted(store.settings.items())).encode())
        digest.update(_digest_arrays([getattr(store, name) for name in columns]).encode())
        return digest.hexdigest()
    for index in range(len(patches)):
        patch = patches[index]
        digest.update(_digest_arrays([patch.image, np.asarray(patch.gt_mask)]).encode())
    return digest.hexdigest()


def _digest_arrays(arrays: Sequence[NDArray[Any]]) -> str:
    digest = xxhash.xxh3_128()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
