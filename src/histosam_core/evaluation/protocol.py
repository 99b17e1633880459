"""The click protocol: a simulated user clicks, the model answers, until the mask is good enough.

One image at a time in `run_clicks`; many images side by side in `run_patches`, where finished ones
drop out and new ones come in. Both make the same clicks.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from histosam_core.clicks import Click, next_click
from histosam_core.errors import ConfigError
from histosam_core.metrics import iou

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel

__all__ = ["ClickRun", "EvaluationPatch", "ProtocolSettings", "run_clicks", "run_patches"]

Clock = Callable[[], float]


class EvaluationPatch(Protocol):
    """What evaluation needs of a patch; `histosam_core.dataset.Patch` has it."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""

    @property
    def gt_mask(self) -> NDArray[Any]:
        """(H, W) bool or whole numbers: 1 object, 0 background, -1 ignored."""

    @property
    def id(self) -> str:
        """Name of the patch, unique in its data set."""

    @property
    def slide(self) -> str:
        """Name of the slide it was cut from."""


@dataclass(frozen=True, slots=True)
class ProtocolSettings:
    """When to stop clicking, and where the mask begins.

    Parameters
    ----------
    target_iou
        Stop at this IoU; above 1 means never. NoC can only be told for thresholds up to it.
    max_clicks
        The budget of clicks per image.
    min_clicks
        Clicks made even if the target is reached before.
    mask_threshold
        A pixel is foreground where its probability lies above this, strictly.
    """

    target_iou: float = 0.90
    max_clicks: int = 20
    min_clicks: int = 1
    mask_threshold: float = 0.49

    def __post_init__(self) -> None:
        wrong = []
        if not self.target_iou > 0:
            wrong.append(f"target_iou {self.target_iou} must be above 0")
        if self.max_clicks < 1:
            wrong.append(f"max_clicks {self.max_clicks} must be at least 1")
        if not 1 <= self.min_clicks <= max(self.max_clicks, 1):
            wrong.append(f"min_clicks {self.min_clicks} must lie in 1 to max_clicks")
        if not 0 < self.mask_threshold < 1:
            wrong.append(f"mask_threshold {self.mask_threshold} must lie between 0 and 1")
        if wrong:
            raise ConfigError("evaluation settings: " + "; ".join(wrong))


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
        Seconds to encode the image (its share, where images are encoded together).
    decode_s
        (n,) float64, seconds to decode each click (its share, likewise).
    wall_s
        (n,) float64, each click's share of the loop's wall time: reading, encoding, decoding and
        the simulated user.
    """

    clicks: list[Click]
    ious: NDArray[np.float32]
    mask: NDArray[np.bool_]
    encode_s: float
    decode_s: NDArray[np.float64]
    wall_s: NDArray[np.float64]


def run_clicks(
    model: InteractiveModel,
    image: NDArray[np.uint8],
    gt_mask: ArrayLike,
    *,
    target_iou: float = 0.90,
    max_clicks: int = 20,
    min_clicks: int = 1,
    mask_threshold: float = 0.49,
    ignore_mask: ArrayLike | None = None,
    clock: Clock = time.perf_counter,
) -> ClickRun:
    """Click on one image until its mask reaches the target or the budget is spent.

    Before each click the model's previous logits go back into it; the first click has none and
    sees an empty mask.

    Parameters
    ----------
    model
        Any `InteractiveModel`.
    image
        (H, W, 3) uint8 RGB.
    gt_mask
        (H, W) truth, bool or whole numbers: 1 object, 0 background, -1 ignored.
    target_iou, max_clicks, min_clicks, mask_threshold
        See `ProtocolSettings`.
    ignore_mask
        (H, W) bool, True where pixels count neither for clicks nor for the IoU.
    clock
        Returns seconds.

    Raises
    ------
    ConfigError
        A setting is out of range, image and truth do not fit, or the model's answer does not.
    """
    settings = ProtocolSettings(target_iou, max_clicks, min_clicks, mask_threshold)
    start = clock()
    trial = _Trial(0, _checked_truth(image, gt_mask, ignore_mask), settings)
    calls = _Calls(model, clock, batched=False)
    calls.encode([trial], [image])
    while not trial.is_finished:
        trial.click()
        calls.decode([trial])
        now = clock()
        trial.wall_s.append(now - start)
        start = now
    return trial.result()


def run_patches(
    model: InteractiveModel,
    patches: Sequence[EvaluationPatch],
    indices: Iterable[int],
    settings: ProtocolSettings,
    *,
    batch_size: int = 8,
    clock: Clock = time.perf_counter,
) -> Iterator[tuple[int, ClickRun]]:
    """Click on many patches; yield each one's index and run as soon as it is finished.

    A model with batched forms gets up to `batch_size` patches at once; any other model gets them
    one after the other.

    Parameters
    ----------
    model
        Any `InteractiveModel`.
    patches
        Read one item at a time, never all at once.
    indices
        Which of `patches` to run, in order.
    settings
        When to stop.
    batch_size
        Patches that advance together. As many again may wait, encoded, to take a free place.
    clock
        Returns seconds.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; it must be at least 1")
    batched = hasattr(model, "encode_batch") and hasattr(model, "decode_batch")
    calls = _Calls(model, clock, batched=batched)
    width = batch_size if batched else 1
    source = iter(indices)
    waiting: deque[_Trial] = deque()
    active: list[_Trial] = []
    while True:
        start = clock()
        if len(active) + len(waiting) < width:
            waiting.extend(_start(calls, patches, islice(source, width), settings))
        while waiting and len(active) < width:
            active.append(waiting.popleft())
        if not active:
            return
        for trial in active:
            trial.click()
        calls.decode(active)
        share = (clock() - start) / len(active)
        for trial in active:
            trial.wall_s.append(share)
        finished = [trial for trial in active if trial.is_finished]
        active = [trial for trial in active if not trial.is_finished]
        for trial in finished:
            yield trial.index, trial.result()


@dataclass(slots=True)
class _Trial:
    """One image on its way: the clicks so far and the last answer."""

    index: int
    gt_mask: NDArray[np.int8]
    settings: ProtocolSettings
    embedding: Any = None
    clicks: list[Click] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    mask: NDArray[np.bool_] = field(init=False)
    logits: NDArray[np.float32] | None = None
    encode_s: float = 0.0
    decode_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mask = np.zeros(self.gt_mask.shape, dtype=bool)

    @property
    def is_finished(self) -> bool:
        n = len(self.ious)
        if n >= self.settings.max_clicks:
            return True
        return n >= self.settings.min_clicks and self.ious[-1] >= self.settings.target_iou

    def click(self) -> None:
        self.clicks.append(next_click(self.gt_mask, self.mask, self.clicks))

    def take(self, logits: NDArray[np.float32], decode_s: float) -> None:
        if logits.shape != self.gt_mask.shape:
            raise ConfigError(
                f"the model answered {logits.shape} logits for an image of {self.gt_mask.shape}; "
                "decode must return them at the size of the image"
            )
        self.logits = logits
        # The comparison is made on float32 probabilities, as the reference makes it: the logit of
        # the threshold would treat logits within rounding of it differently.
        self.mask = expit(logits.astype(np.float32)) > np.float32(self.settings.mask_threshold)
        self.ious.append(iou(self.gt_mask, self.mask))
        self.decode_s.append(decode_s)

    def result(self) -> ClickRun:
        return ClickRun(
            clicks=self.clicks,
            ious=np.array(self.ious, dtype=np.float32),
            mask=self.mask,
            encode_s=self.encode_s,
            decode_s=np.array(self.decode_s),
            wall_s=np.array(self.wall_s),
        )


class _Calls:
    """Calls the model, in batches where it takes them, and takes the time."""

    def __init__(self, model: Any, clock: Clock, *, batched: bool) -> None:
        self._model = model
        self._clock = clock
        self._batched = batched

    def encode(self, trials: Sequence[_Trial], images: Sequence[NDArray[np.uint8]]) -> None:
        start = self._clock()
        if self._batched:
            embeddings = self._model.encode_batch(images)
        else:
            embeddings = [self._model.encode(image) for image in images]
        _wait_for_device()
        share = (self._clock() - start) / max(len(trials), 1)
        for trial, embedding in zip(trials, embeddings, strict=True):
            trial.embedding, trial.encode_s = embedding, share

    def decode(self, trials: Sequence[_Trial]) -> None:
        start = self._clock()
        if self._batched:
            answers = self._model.decode_batch(
                [t.embedding for t in trials],
                [t.clicks for t in trials],
                [t.logits for t in trials],
            )
        else:
            answers = [self._model.decode(t.embedding, t.clicks, t.logits) for t in trials]
        share = (self._clock() - start) / len(trials)
        for trial, logits in zip(trials, answers, strict=True):
            trial.take(np.asarray(logits), share)


def _start(
    calls: _Calls,
    patches: Sequence[EvaluationPatch],
    indices: Iterable[int],
    settings: ProtocolSettings,
) -> list[_Trial]:
    trials, images = [], []
    for index in indices:
        patch = patches[index]
        truth = _checked_truth(patch.image, patch.gt_mask, None, name=f"patch {patch.id}: ")
        trials.append(_Trial(index, truth, settings))
        images.append(patch.image)
    if trials:
        calls.encode(trials, images)
    return trials


def _checked_truth(
    image: NDArray[np.uint8], gt_mask: ArrayLike, ignore_mask: ArrayLike | None, name: str = ""
) -> NDArray[np.int8]:
    """Return the truth as (H, W) int8 of 1, 0, -1 after making sure that it fits the image."""
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
