"""The click protocol: a simulated user clicks, the model answers, until the mask is good enough.

One loop, `run_trials`, drives every trial: a single image here in `run_clicks`, many patches in
batches, a region of a slide through a session, validation while a model is trained.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histosam_core.clicks import MASK_THRESHOLD, User, logits_to_mask
from histosam_core.clicks.users import IDEAL
from histosam_core.errors import ConfigError, PredictionError
from histosam_core.evaluation.protocol.trial import (
    ClickRun,
    ProtocolSettings,
    Trial,
    checked_truth,
)
from histosam_core.model.interface import as_prediction, complete, is_batched

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel

Clock = Callable[[], float]
Each = Callable[[Callable[..., None], Iterable[Any]], object]
"""Calls a function with every item, in turn or on threads, as `map` does."""
Answer = Callable[[Sequence[Trial], Each], None]
"""Answers the last click of every trial: each then has its new mask."""


class Stopwatch:
    """A clock that stands still in pauses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._paused_s = 0.0

    def __call__(self) -> float:
        return self._clock() - self._paused_s

    def pause(self, during: Callable[[], None]) -> None:
        """Call something whose time does not count."""
        start = self._clock()
        during()
        self._paused_s += self._clock() - start


def in_turn(function: Callable[..., None], items: Iterable[Any]) -> None:
    """Call a function with every item: an `Each` without threads."""
    for item in items:
        function(item)


def run_trials(
    batches: Iterator[Sequence[Trial]],
    answer: Answer,
    *,
    width: int = 1,
    n_workers: int = 1,
    each: Each = in_turn,
    watch: Stopwatch | None = None,
    on_step: Callable[[], None] | None = None,
) -> Iterator[Trial]:
    """Let trials advance together, click by click; yield each as soon as it is finished.

    Parameters
    ----------
    batches
        More trials each time that there is room; may make them only then.
    answer
        Answers the clicks.
    width
        Trials that advance together; others wait until one is finished.
    n_workers, watch
        Loops that share the machine, and so the time that the watch takes of each step.
    each
        Lets the users click.
    on_step
        Called after each click of all trials, in a pause of the watch; may raise to stop.
    """
    watch = Stopwatch(time.perf_counter) if watch is None else watch
    waiting: deque[Trial] = deque()
    active: list[Trial] = []
    while True:
        start = watch()
        if len(active) + len(waiting) < width:
            waiting.extend(next(batches, ()))
        while waiting and len(active) < width:
            active.append(waiting.popleft())
        if not active:
            return
        each(Trial.click, active)
        answer(active, each)
        share = (watch() - start) / len(active) / n_workers
        for trial in active:
            trial.charge(share)
        finished = [trial for trial in active if trial.is_finished]
        active = [trial for trial in active if not trial.is_finished]
        yield from finished
        if on_step is not None:
            watch.pause(on_step)


class ModelAnswers:
    """Answers trials on images by a model, in batches where it takes them; times its calls.

    Parameters
    ----------
    model, clock
        Any `InteractiveModel`, and what returns seconds.
    batched
        Whether to use the batched forms of a model that has them.
    n_workers
        Threads that call models at the same time and share the machine.
    accepts_nan
        Whether pixels whose answer is not a number are background, instead of an error.
    """

    def __init__(
        self,
        model: InteractiveModel,
        clock: Clock = time.perf_counter,
        *,
        batched: bool = True,
        n_workers: int = 1,
        accepts_nan: bool = False,
    ) -> None:
        self._model = model
        self._clock = clock
        self._batched = model if batched and is_batched(model) else None
        self._n_workers, self._accepts_nan = n_workers, accepts_nan

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

    def __call__(self, trials: Sequence[Trial], each: Each) -> None:
        """Answer the last click of every trial.

        Raises
        ------
        ConfigError
            An answer has another size than the image.
        PredictionError
            An answer holds what is not a number.
        """
        start = self._clock()
        if self._batched is not None:
            answers: Sequence[Any] = self._batched.decode_batch(
                [t.embedding for t in trials],
                [t.clicks for t in trials],
                [t.previous for t in trials],
            )
        else:
            answers = [self._model.decode(t.embedding, t.clicks, t.previous) for t in trials]
        decode_s = (self._clock() - start) / len(trials) / self._n_workers

        def take(answered: tuple[Trial, Any]) -> None:
            trial, prediction = answered[0], as_prediction(answered[1])
            _check_answer(prediction.logits, trial, self._accepts_nan)
            trial.previous = prediction
            trial.take(logits_to_mask(prediction.logits, trial.settings.mask_threshold), decode_s)

        each(take, list(zip(trials, answers, strict=True)))


def run_clicks(
    model: InteractiveModel,
    image: NDArray[np.uint8],
    gt_mask: ArrayLike,
    *,
    target_iou: float = 0.90,
    max_clicks: int = 20,
    min_clicks: int = 1,
    mask_threshold: float = MASK_THRESHOLD,
    ignore_mask: ArrayLike | None = None,
    user: User = IDEAL,
    rng: np.random.Generator | None = None,
    clock: Clock = time.perf_counter,
) -> ClickRun:
    """Click on one image until its mask reaches the target or the budget is spent.

    Before each click the model's previous `Prediction` goes back into it; the first click has none
    and sees an empty mask.

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
    user
        Who clicks.
    rng
        The user's draws, such as ``user.rng(patch.id, repeat)``, which `evaluate` takes. None:
        ``user.rng("")``.
    clock
        Returns seconds.

    Raises
    ------
    ConfigError
        A setting is out of range, image and truth do not fit, or the model's answer does not.
    PredictionError
        The model answers with what is not a number.
    """
    settings = ProtocolSettings(target_iou, max_clicks, min_clicks, mask_threshold)
    answer = ModelAnswers(complete(model), clock, batched=False)

    def batches() -> Iterator[list[Trial]]:
        truth = checked_truth(image, gt_mask, ignore_mask)
        trial = Trial(truth, settings, user, user.rng("") if rng is None else rng)
        trial.embedding, trial.encode_s = answer.encode([image])[0]
        yield [trial]

    (trial,) = run_trials(batches(), answer, watch=Stopwatch(clock))
    return trial.result()


def _check_answer(logits: NDArray[np.float32], trial: Trial, accepts_nan: bool) -> None:
    if logits.shape != trial.gt_mask.shape:
        raise ConfigError(
            f"the model answered {logits.shape} logits for an image of {trial.gt_mask.shape}; "
            "decode must return them at the size of the image"
        )
    if not accepts_nan and not np.isfinite(logits).all():
        raise PredictionError(
            "the model answered with values that are not numbers, which cannot be scored; try "
            "the CPU (--device cpu), or another checkpoint"
        )


def _wait_for_device() -> None:
    """Let a GPU finish, so that its time is charged to the call that asked for the work."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
