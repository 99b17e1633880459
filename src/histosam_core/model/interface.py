"""What every interactive model offers: encode an image once, decode a mask per click."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from histosam_core.clicks import Click

__all__ = ["BatchedInteractiveModel", "InteractiveModel", "TrainingGeometry"]

Box = tuple[float, float, float, float]


@runtime_checkable
class InteractiveModel(Protocol):
    """A model that answers clicks on one image.

    Coordinates of clicks and boxes are pixels (x, y) of the image given to `encode`, pixel centres
    at whole numbers.
    """

    def encode(self, image: NDArray[np.uint8]) -> Any:
        """(H, W, 3) uint8 RGB -> an embedding, whatever the model needs later."""

    def decode(
        self,
        embedding: Any,
        clicks: Sequence[Click],
        previous_logits: NDArray[np.float32] | None = None,
        *,
        box_xyxy: Box | None = None,
    ) -> NDArray[np.float32]:
        """All clicks so far and the previous answer -> (H, W) float32 logits."""


@runtime_checkable
class BatchedInteractiveModel(InteractiveModel, Protocol):
    """A model whose real forms are batched; the single forms call them with one image."""

    def encode_batch(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Any]:
        """B images of (H, W, 3) uint8 -> B embeddings."""

    def decode_batch(
        self,
        embeddings: Sequence[Any],
        clicks: Sequence[Sequence[Click]],
        previous_logits: Sequence[NDArray[np.float32] | None] | None = None,
        *,
        boxes_xyxy: Sequence[Box | None] | None = None,
    ) -> list[NDArray[np.float32]]:
        """B embeddings and their clicks -> B arrays of (H, W) float32 logits."""


@dataclass(frozen=True, slots=True)
class TrainingGeometry:
    """The scale a checkpoint was trained at; inference windows use the same.

    Parameters
    ----------
    mpp
        Micrometres per patch pixel (the paper: 2.0, i.e. 5x).
    patch_size_px
        Side of the square patch in pixels (the paper: 400).
    """

    mpp: float = 2.0
    patch_size_px: int = 400
