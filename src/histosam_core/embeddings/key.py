"""What an embedding depends on: one key for sessions, evaluations and training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import xxhash
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing import Self

Arrays = Mapping[str, NDArray[Any]]

UNNAMED = "in-memory-"
"""How `EmbeddingKey.weights` begins for a model that has neither a hash nor a file."""


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """All that an embedding depends on, so that none is served for another image or model."""

    slide: str  # the slide's fingerprint, or another text that stands for the pixels
    location_xy: tuple[float, float]  # level-0 corner (x, y) of the region, as `Region.location_xy`
    downsample: float  # level-0 pixels per region pixel
    size_wh: tuple[int, int]  # width and height of the region in its own pixels
    # What else decides the embedding, as text: the device, a rounding, an augmentation.
    preprocessing: str
    # `KnownEncoder.encoder_hash`, else the checkpoint's sha256, else `UNNAMED` and a text of the
    # model's own.
    weights: str

    @classmethod
    def of_pixels(cls, image: NDArray[np.uint8], preprocessing: str, weights: str) -> Self:
        """Return the key of an (H, W, 3) uint8 image, which its pixels stand for."""
        pixels = xxhash.xxh3_128_hexdigest(np.ascontiguousarray(image).data)
        size_wh = (image.shape[1], image.shape[0])
        return cls(f"pixels {pixels}", (0.0, 0.0), 1.0, size_wh, preprocessing, weights)

    @property
    def digest(self) -> str:
        """64 hexadecimal digits that stand for the key, in any process on any machine."""
        return hashlib.sha256(
            repr([getattr(self, f.name) for f in fields(self)]).encode()
        ).hexdigest()

    @property
    def outlives_process(self) -> bool:
        """Whether another process may find the embedding under this key."""
        return not self.weights.startswith(UNNAMED)


@runtime_checkable
class KnownEncoder(Protocol):
    """What a model offers whose encoder can be told from others; `SamModel` does."""

    def encoder_hash(self) -> str:
        """Digest of all that decides an embedding besides image and device."""


@runtime_checkable
class EmbeddingCodec(Protocol):
    """What a model offers whose embeddings can be kept on disk; `SamModel` does."""

    def embedding_to_arrays(self, embedding: Any) -> Arrays:
        """Return an embedding as named arrays."""

    def embedding_from_arrays(self, arrays: Arrays) -> Any:
        """Return the embedding that the arrays came from, bit for bit, on the model's device."""
