"""One image on its way through the protocol, and the calls to the model that answers it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.clicks.mask import logits_to_mask
from histosam_core.errors import ConfigError, PredictionError
from histosam_core.metrics import iou
from histosam_core.model.interface import as_prediction, is_batched

if TYPE_CHECKING:
    from histosam_core.clicks import Click, User
    from histosam_core.evaluation.protocol import ProtocolSettings
    from histosam_core.model.interface import InteractiveModel, Prediction

__all__ = ["ClickRun", "Clock", "ModelCalls", "Trial", "checked_logits", "checked_truth"]

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class ClickRun:
    """What happened on one image.

    Parameters
    ----------
    clicks
        The n clicks in order, image pixels (x, y).
    ious
        (n,) float32, the IoU after each click.
    mask
        (H, W) bool, the mask after the last click.
    encode_s
        Seconds to encode the image (its share, where images are encoded together). An embedding
        that was at hand counts what it took when it was made.
    decode_s
        (n,) float64, seconds to decode each click (its share, likewise).
    wall_s
        (n,) float64, each click's share of the loop's wall time: reading, encoding, decoding and
        the simulated user.
    repeat
        Which of the user's repeats this is, from 0.
    """

    clicks: list[Click]
    ious: NDArray[np.float32]
    mask: NDArray[np.bool_]
    encode_s: float
    decode_s: NDArray[np.float64]
    wall_s: NDArray[np.float64]
    repeat: int = 0


@dataclass(slots=True)
class Trial:
    """One image on its way: the clicks so far and the last answer.

    Parameters
    ----------
    index
        Its place in the store.
    gt_mask
        (H, W) int8 from `checked_truth`.
    settings
        When to stop.
    user, rng
        Who clicks, and the draws.
    repeat
        Which of the user's repeats.

    Attributes
    ----------
    saved_s : float
        Seconds that an embedding at hand has saved; they are charged to the first click, so that
        models which share an encoder stay comparable.
    """

    index: int
    gt_mask: NDArray[np.int8]
    settings: ProtocolSettings
    user: User
    rng: np.random.Generator
    repeat: int = 0
    embedding: Any = None
    clicks: list[Click] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    mask: NDArray[np.bool_] = field(init=False)
    prediction: Prediction | None = None
    encode_s: float = 0.0
    saved_s: float = 0.0
    decode_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mask = np.zeros(self.gt_mask.shape, dtype=bool)

    @property
    def is_finished(self) -> bool:
        """Whether the protocol stops here."""
        n = len(self.ious)
        if n >= self.settings.max_clicks:
            return True
        return n >= self.settings.min_clicks and self.ious[-1] >= self.settings.target_iou

    def click(self) -> None:
        """Let the user click."""
        self.clicks.append(self.user.next_click(self.gt_mask, self.mask, self.clicks, rng=self.rng))

    def take(self, prediction: Prediction, decode_s: float) -> None:
        """Take the model's answer and the seconds it took.

        Raises
        ------
        ConfigError
            It has another size than the image.
        PredictionError
            It holds what is not a number.
        """
        logits = checked_logits(prediction, self.gt_mask.shape)
        self.prediction = prediction
        self.mask = logits_to_mask(logits, self.settings.mask_threshold)
        self.ious.append(iou(self.gt_mask, self.mask))
        self.decode_s.append(decode_s)

    def result(self) -> ClickRun:
        """Return what happened."""
        wall_s = np.array(self.wall_s)
        wall_s[:1] += self.saved_s
        return ClickRun(
            clicks=self.clicks,
            ious=np.array(self.ious, dtype=np.float32),
            mask=self.mask,
            encode_s=self.encode_s,
            decode_s=np.array(self.decode_s),
            wall_s=wall_s,
            repeat=self.repeat,
        )


class ModelCalls:
    """Calls a model, in batches where it takes them, and takes the time.

    Parameters
    ----------
    model
        Any `InteractiveModel`.
    clock
        Returns seconds.
    batched
        Whether to use the batched forms of a model that has them.
    """

    def __init__(self, model: InteractiveModel, clock: Clock, *, batched: bool = True) -> None:
        self._model = model
        self._clock = clock
        self._batched = model if batched and is_batched(model) else None

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[Any, float]]:
        """Return each image's embedding and its share of the seconds."""
        start = self._clock()
        embeddings: Sequence[Any]
        if self._batched is not None:
            embeddings = self._batched.encode_batch(images)
        else:
            embeddings = [self._model.encode(image) for image in images]
        _wait_for_device()
        share = (self._clock() - start) / max(len(images), 1)
        return [(embedding, share) for embedding in embeddings]

    def decode(self, trials: Sequence[Trial]) -> tuple[list[Prediction], float]:
        """Return the answer to each trial's clicks, and each one's share of the seconds."""
        start = self._clock()
        if self._batched is not None:
            answers = self._batched.decode_batch(
                [t.embedding for t in trials],
                [t.clicks for t in trials],
                [t.prediction for t in trials],
            )
        else:
            answers = [self._model.decode(t.embedding, t.clicks, t.prediction) for t in trials]
        share = (self._clock() - start) / len(trials)
        return [as_prediction(answer) for answer in answers], share


def checked_logits(prediction: Prediction, image_hw: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a model's (H, W) logits after making sure that they can be counted.

    Raises
    ------
    ConfigError
        They have another size than the image.
    PredictionError
        They hold what is not a number.
    """
    logits = prediction.logits
    if logits.shape != image_hw:
        raise ConfigError(
            f"the model answered {logits.shape} logits for an image of {image_hw}; "
            "decode must return them at the size of the image"
        )
    if not np.isfinite(logits).all():
        raise PredictionError(
            "the model answered with values that are not numbers, which count for nothing; try "
            "the CPU (--device cpu), or another checkpoint"
        )
    return logits


def checked_truth(
    image: NDArray[np.uint8], gt_mask: ArrayLike, ignore_mask: ArrayLike | None, name: str = ""
) -> NDArray[np.int8]:
    """Return the truth as (H, W) int8 of 1, 0, -1 after making sure that it fits the image.

    Raises
    ------
    ConfigError
        It does not; `name` says of which image.
    """
    truth = np.asarray(gt_mask)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ConfigError(f"{name}image {image.shape} {image.dtype} must be (H, W, 3) uint8 RGB")
    if truth.shape != image.shape[:2]:
        raise ConfigError(f"{name}gt_mask {truth.shape} must cover the image {image.shape[:2]}")
    labels = np.unique(truth)
    if not np.isin(labels, (-1, 0, 1)).all():
        raise ConfigError(f"{name}gt_mask holds {labels[:4].tolist()}...; it may hold 1, 0 and -1")
    checked: NDArray[np.int8] = truth.astype(np.int8)
    if ignore_mask is not None:
        ignored = np.asarray(ignore_mask, dtype=bool)
        if ignored.shape != truth.shape:
            raise ConfigError(f"{name}ignore_mask {ignored.shape} must cover the image")
        checked[ignored] = -1
    return checked


def _wait_for_device() -> None:
    """Let a GPU finish, so that its time is charged to the call that asked for the work."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
