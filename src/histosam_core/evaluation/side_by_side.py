"""The click protocol on many patches at once: batches through the model, users on threads.

Patches advance together, finished ones drop out and waiting ones come in. Where the model computes
on the CPU, several lanes do so beside each other, each with patches of its own and one thread of
torch's: networks of this size keep one core busy and gain little from a second. On a GPU one lane
feeds the device, and threads let the users click and measure.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from histosam_core.clicks.users import IDEAL
from histosam_core.embeddings.image_cache import CachedEncoder
from histosam_core.errors import ConfigError
from histosam_core.evaluation.trial import ModelCalls, Trial, checked_truth
from histosam_core.model.interface import complete, is_batched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from histosam_core.clicks import User
    from histosam_core.embeddings.image_cache import EmbeddingCache, Encoded
    from histosam_core.evaluation.protocol import (
        ClickRun,
        Clock,
        EvaluationPatch,
        ProtocolSettings,
    )
    from histosam_core.model.interface import InteractiveModel, Prediction

__all__ = ["default_lanes", "run_patches"]

MAX_THREADS = 16
IN_STEP = 4
"""Trials to a thread of the users' pool; for fewer, handing over costs more than it gains."""
BEAT_S = 0.2
"""At most, between two beats while lanes compute."""

Item = TypeVar("Item")


def _no_beat() -> None:
    """Nobody wants to be asked."""


def run_patches(
    model: InteractiveModel,
    patches: Sequence[EvaluationPatch],
    indices: Iterable[int | tuple[int, int]],
    settings: ProtocolSettings,
    *,
    user: User = IDEAL,
    batch_size: int = 8,
    lanes: int | None = None,
    cache: EmbeddingCache | None = None,
    clock: Clock = time.perf_counter,
    beat: Callable[[], None] = _no_beat,
) -> Iterator[tuple[int, ClickRun]]:
    """Click on many patches; yield each one's index and run as soon as it is finished.

    A model with batched forms gets up to `batch_size` patches at once; any other model gets them
    one after the other. The clicks are those of `run_clicks`, as far as the model answers a patch
    in a batch as it does alone.

    Parameters
    ----------
    model
        Any `InteractiveModel`.
    patches
        Read one item at a time, never all at once.
    indices
        Which of `patches` to run, in order; an index with one of the user's repeats, or an index
        alone for the first. Repeats of a patch that follow each other share its embedding.
    settings
        When to stop.
    user
        Who clicks.
    batch_size
        Patches that advance together in a lane. As many again may wait, encoded, to take a free
        place.
    lanes
        Batches that are computed beside each other; above 1 the model must bear calls from several
        threads, and runs come in no fixed order. None: `default_lanes`.
    cache
        Embeddings kept for the next model with the same encoder.
    clock
        Returns seconds.
    beat
        Called between steps on the caller's thread. While it waits nothing is computed, nor while
        the caller is busy with a run; what it raises ends all, after the step at hand.

    Raises
    ------
    ConfigError
        A setting is out of range, or a patch's image and truth do not fit.
    """
    if batch_size < 1 or (lanes is not None and lanes < 1):
        raise ConfigError(f"batch_size {batch_size} and lanes {lanes} must be at least 1")
    model = complete(model)
    batched = is_batched(model)
    calls = ModelCalls(model, clock)
    todo = [index if isinstance(index, tuple) else (index, 0) for index in indices]
    width = batch_size if batched else 1
    n_lanes = default_lanes(model) if lanes is None else lanes
    n_lanes = max(1, min(n_lanes, len(todo)))
    width = max(1, min(width, -(-len(todo) // n_lanes)))  # so that no lane waits for another
    work = _Work(
        calls,
        CachedEncoder(model, calls.encode, cache),
        patches,
        _Shared(todo),
        settings,
        user,
        width,
        n_lanes,
        clock,
        beat,
        # On a CPU images gain nothing from sharing a pass, and may take a quarter of a minute each.
        encoded_at_once=1 if _is_on_cpu(model) else width,
    )
    if n_lanes == 1:
        with _threads(_n_cores() if batched else 1, width) as pool:
            yield from work.lane(pool)
    else:
        yield from _side_by_side(work, n_lanes, beat)


def default_lanes(model: InteractiveModel) -> int:
    """Return how many lanes suit a model: one a core where it bears threads and is on the CPU."""
    known = complete(model)
    return _n_cores() if _is_on_cpu(known) and known.info.thread_safe else 1


def _is_on_cpu(model: InteractiveModel) -> bool:
    return str(model.device).partition(":")[0] == "cpu"


class _Shared:
    """What is still to do, for several lanes."""

    def __init__(self, todo: Sequence[tuple[int, int]]) -> None:
        self._todo = deque(todo)
        self._lock = threading.Lock()

    def take(self, n: int) -> list[tuple[int, int]]:
        """Take the next `n`, and more of the last one's patch, which is read and encoded once."""
        with self._lock:
            taken = [self._todo.popleft() for _ in range(min(n, len(self._todo)))]
            while taken and self._todo and self._todo[0][0] == taken[-1][0]:
                taken.append(self._todo.popleft())
        return taken


@dataclass(frozen=True, slots=True)
class _Work:
    """All that lanes share."""

    calls: ModelCalls
    encoder: CachedEncoder
    patches: Sequence[EvaluationPatch]
    shared: _Shared
    settings: ProtocolSettings
    user: User
    width: int
    n_lanes: int
    clock: Clock
    rest: Callable[[], None]
    encoded_at_once: int

    def lane(self, each: Callable[..., None]) -> Iterator[tuple[int, ClickRun]]:
        """Click on patches until none is left to take.

        Parameters
        ----------
        each
            Calls a function with every item of a list, on threads or not.
        """
        waiting: deque[Trial] = deque()
        active: list[Trial] = []
        while True:
            start = self.clock()
            if len(active) + len(waiting) < self.width:
                trials, rested_s = self._start()
                waiting.extend(trials)
                start += rested_s
            while waiting and len(active) < self.width:
                active.append(waiting.popleft())
            if not active:
                return
            each(Trial.click, active)
            answers, decode_s = self.calls.decode(active)
            # Lanes beside each other share the time as the patches of a batch do.
            each(partial(_take, decode_s / self.n_lanes), list(zip(active, answers, strict=True)))
            share = (self.clock() - start) / len(active) / self.n_lanes
            for trial in active:
                trial.wall_s.append(share)
            finished = [trial for trial in active if trial.is_finished]
            active = [trial for trial in active if not trial.is_finished]
            for trial in finished:
                yield trial.index, trial.result()
            self.rest()

    def _start(self) -> tuple[list[Trial], float]:
        """Read and encode the next patches; return them, and the seconds of rest in between."""
        trials: list[Trial] = []
        images = []
        for index, repeat in self.shared.take(self.width):
            if not trials or trials[-1].index != index:
                patch = self.patches[index]
                truth = checked_truth(patch.image, patch.gt_mask, None, name=f"patch {patch.id}: ")
                images.append(patch.image)
            rng = self.user.rng(patch.id, repeat)
            trials.append(Trial(index, truth, self.settings, self.user, rng, repeat))
        encoded, rested_s = self._encode(images)
        for i, trial in enumerate(trials):
            if i and trials[i - 1].index == trial.index:  # another repeat: at hand
                trial.embedding, trial.encode_s = trials[i - 1].embedding, trials[i - 1].encode_s
                trial.saved_s = trial.encode_s
                continue
            one = encoded.popleft()
            trial.embedding, trial.encode_s = one.embedding, one.encode_s / self.n_lanes
            trial.saved_s = trial.encode_s if one.was_at_hand else 0.0
        return trials, rested_s

    def _encode(self, images: Sequence[NDArray[np.uint8]]) -> tuple[deque[Encoded], float]:
        encoded: deque[Encoded] = deque()
        rested_s, n = 0.0, self.encoded_at_once
        for first in range(0, len(images), n):
            if first:
                began = self.clock()
                self.rest()
                rested_s += self.clock() - began
            encoded.extend(self.encoder.encode(images[first : first + n]))
        return encoded, rested_s


def _take(decode_s: float, answered: tuple[Trial, Prediction]) -> None:
    trial, prediction = answered
    trial.take(prediction, decode_s)


class _EndedError(Exception):
    """Nobody wants what this lane would compute."""


def _side_by_side(
    work: _Work, n_lanes: int, beat: Callable[[], None]
) -> Iterator[tuple[int, ClickRun]]:
    """Run lanes on threads of their own; yield what any of them finishes."""
    results: queue.SimpleQueue[tuple[int, ClickRun] | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()
    gate = threading.Lock()  # shut while who called rests, or is busy with a run

    def rest() -> None:
        with gate:
            pass
        if stop.is_set():
            raise _EndedError

    lane_work = replace(work, rest=rest)

    def run() -> None:
        try:
            _one_thread_here()
            with _threads(1, 1) as each:
                for result in lane_work.lane(each):
                    results.put(result)
        except _EndedError:
            pass
        except BaseException as error:  # raised again by who waits for results
            results.put(error)
        finally:
            results.put(None)

    with _one_torch_thread():
        lanes = [threading.Thread(target=run, name=f"lane {i}") for i in range(n_lanes)]
        for lane in lanes:
            lane.start()
        try:
            n_running = n_lanes
            while n_running:
                try:
                    result = results.get(timeout=BEAT_S)
                except queue.Empty:
                    with gate:
                        beat()
                    continue
                if isinstance(result, BaseException):
                    raise result
                if result is None:
                    n_running -= 1
                else:
                    with gate:
                        yield result
        finally:  # also where nobody wants more: a lane ends with its step
            stop.set()
            for lane in lanes:
                lane.join()


@contextmanager
def _threads(n_threads: int, n_at_once: int) -> Iterator[Callable[..., None]]:
    """Yield what calls a function with every item of a list, on `n_threads` where it pays."""
    n_threads = min(n_threads, n_at_once // IN_STEP)

    def here(function: Callable[[Item], None], items: Sequence[Item]) -> None:
        for item in items:
            function(item)

    if n_threads < 2:
        yield here
        return
    with ThreadPoolExecutor(n_threads, thread_name_prefix="users") as pool:

        def on_threads(function: Callable[[Item], None], items: Sequence[Item]) -> None:
            for _ in pool.map(function, items):
                pass

        yield on_threads


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _one_thread_here() -> None:
    """Say it in a lane too: what a new thread starts with depends on torch's build."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return min(MAX_THREADS, len(os.sched_getaffinity(0)))
    return min(MAX_THREADS, os.cpu_count() or 1)
