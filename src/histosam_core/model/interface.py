"""What every interactive model offers: encode an image once, decode a mask per click."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.errors import ImageError

if TYPE_CHECKING:
    from histosam_core.clicks import Click

__all__ = [
    "NOT_STATED",
    "BatchedInteractiveModel",
    "Box",
    "InteractiveModel",
    "ModelInfo",
    "Prediction",
    "TrainingGeometry",
    "as_prediction",
    "check_image",
    "complete",
    "is_batched",
]

Box = tuple[float, float, float, float]

NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class TrainingGeometry:
    """The scale a checkpoint was trained at, by default the paper's; windows use the same."""

    mpp: float = 2.0  # micrometres per patch pixel; 2.0 is 5x
    patch_size_px: int = 400  # side of the square patch in pixels


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model says of itself."""

    name: str  # for tables and reports
    geometry: TrainingGeometry = field(default_factory=TrainingGeometry)  # it was trained at
    licence: str = NOT_STATED  # of its weights
    sha256: str = ""  # of its file; empty for a model that is in no file
    path: str = ""  # its file, where it was loaded from one that is no registered model's
    decoder: str = ""  # which of its decoders answers; empty where it has but one
    decoders: tuple[str, ...] = ()  # all that its file holds, the default first
    takes_boxes: bool = False  # whether a box prompt was part of the training
    encodes_ahead: bool = True  # whether `encode` is the costly part, worth making ahead of clicks
    thread_safe: bool = False  # whether several threads may call it at once


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A model's answer to the clicks on one image.

    Parameters
    ----------
    logits
        (H, W) float32 at the size of the image; the mask is where their sigmoid exceeds the
        threshold.
    quality
        The model's own estimate of the mask's IoU; None where it gives none.
    state
        What the model must know of this answer at the next click and cannot read from the
        logits, such as where it had zoomed in. Opaque and never changed: an answer of long ago
        may be gone on from.
    """

    logits: NDArray[np.float32]
    quality: float | None = None
    state: Any = None


@runtime_checkable
class InteractiveModel(Protocol):
    """A model that answers clicks on one image.

    Coordinates of clicks and boxes are pixels (x, y) of the image given to `encode`, pixel centres
    at whole numbers. All that a click leaves behind is in its `Prediction`; none of it is in the
    model, so that undo, batches and threads need not know of each other.
    """

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""

    @property
    def device(self) -> Any:
        """Where it computes: a device of torch's, or its name."""

    def encode(self, image: NDArray[np.uint8]) -> Any:
        """(H, W, 3) uint8 RGB -> an embedding, whatever the model needs later."""

    def decode(
        self,
        embedding: Any,
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box_xyxy: Box | None = None,
    ) -> Prediction:
        """All clicks so far and the `Prediction` before the last of them -> the next one."""


@runtime_checkable
class BatchedInteractiveModel(InteractiveModel, Protocol):
    """A model whose real forms are batched; the single forms call them with one image."""

    def encode_batch(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Any]:
        """B images of (H, W, 3) uint8 -> B embeddings."""

    def decode_batch(
        self,
        embeddings: Sequence[Any],
        clicks: Sequence[Sequence[Click]],
        previous: Sequence[Prediction | None] | None = None,
        *,
        boxes_xyxy: Sequence[Box | None] | None = None,
    ) -> list[Prediction]:
        """B embeddings and their clicks -> B predictions."""


def as_prediction(answer: Prediction | ArrayLike) -> Prediction:
    """Return a model's answer as a `Prediction`; a plain (H, W) array is taken as its logits."""
    if isinstance(answer, Prediction):
        logits = np.asarray(answer.logits, np.float32)
        if logits is answer.logits:
            return answer
        return Prediction(logits, answer.quality, answer.state)
    return Prediction(np.asarray(answer, np.float32))


def is_batched(model: InteractiveModel) -> TypeGuard[BatchedInteractiveModel]:
    """Whether a model has the batched forms."""
    return isinstance(model, BatchedInteractiveModel)


def complete(model: Any) -> InteractiveModel:
    """Return a model that states all that `InteractiveModel` does.

    Somebody's own model needs ``encode`` and ``decode`` alone. What neither its ``info`` nor its
    attributes ``path`` and ``takes_boxes`` state is filled in, as are the CPU and its class's name.
    """
    info, device = getattr(model, "info", None), getattr(model, "device", None)
    if isinstance(info, ModelInfo) and device is not None:
        return model  # type: ignore[no-any-return]
    if not isinstance(info, ModelInfo):
        stated = {f.name: getattr(info, f.name, None) for f in fields(ModelInfo)}
        for name in ("path", "takes_boxes"):
            stated[name] = getattr(model, name, stated[name])
        stated["name"] = stated["name"] or type(model).__name__
        info = ModelInfo(**{name: value for name, value in stated.items() if value is not None})
    has_batches = hasattr(model, "encode_batch") and hasattr(model, "decode_batch")
    return (_CompletedBatched if has_batches else _Completed)(model, info, device or "cpu")


class _Completed:
    """Somebody's model with what it does not state itself."""

    def __init__(self, model: Any, info: ModelInfo, device: Any) -> None:
        self.own, self.info, self.device = model, info, device

    def encode(self, image: NDArray[np.uint8]) -> Any:
        return self.own.encode(image)

    def decode(
        self,
        embedding: Any,
        clicks: Sequence[Click],
        previous: Prediction | None = None,
        *,
        box_xyxy: Box | None = None,
    ) -> Prediction:
        if box_xyxy is None:
            return as_prediction(self.own.decode(embedding, clicks, previous))
        return as_prediction(self.own.decode(embedding, clicks, previous, box_xyxy=box_xyxy))


class _CompletedBatched(_Completed):
    def encode_batch(self, images: Sequence[NDArray[np.uint8]]) -> Sequence[Any]:
        return self.own.encode_batch(images)  # type: ignore[no-any-return]

    def decode_batch(
        self,
        embeddings: Sequence[Any],
        clicks: Sequence[Sequence[Click]],
        previous: Sequence[Prediction | None] | None = None,
        *,
        boxes_xyxy: Sequence[Box | None] | None = None,
    ) -> list[Prediction]:
        boxes = {} if boxes_xyxy is None else {"boxes_xyxy": boxes_xyxy}
        answers = self.own.decode_batch(embeddings, clicks, previous, **boxes)
        return [as_prediction(answer) for answer in answers]


def check_image(image: object) -> None:
    """Raise ImageError unless `image` is (H, W, 3) uint8 RGB with pixels."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an image must be a uint8 array; this is a {type(image).__name__}")
    described = f"{image.shape} {image.dtype}; convert it first"
    if image.dtype != np.uint8:
        raise ImageError(f"an image must be a uint8 array; this is {described}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(f"an image must be (H, W, 3) RGB; this is {described}")
