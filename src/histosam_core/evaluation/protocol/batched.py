"""The click protocol on many patches at once: batches through the model, users on threads.

Patches advance together, finished ones drop out and waiting ones come in. Where the model computes
on the CPU, several workers do so at the same time, each with patches of its own and one thread of
torch's: networks of this size keep one core busy and gain little from a second. On a GPU one worker
feeds the device, and threads let the users click and measure.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from histosam_core.clicks.users import IDEAL
from histosam_core.embeddings.image_cache import CachedEncoder
from histosam_core.errors import ConfigError
from histosam_core.evaluation.protocol.click_loop import Each, ModelAnswers, Stopwatch, run_trials
from histosam_core.evaluation.protocol.runners import Outcome
from histosam_core.evaluation.protocol.threads import n_cores, on_workers, pool_of
from histosam_core.evaluation.protocol.trial import Trial, checked_truth
from histosam_core.evaluation.records import PatchRecord
from histosam_core.model.interface import complete, is_batched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from histosam_core.clicks import User
    from histosam_core.embeddings.image_cache import EmbeddingCache, Encoded
    from histosam_core.evaluation.protocol.click_loop import Clock
    from histosam_core.evaluation.protocol.runners import Key, LocalRunner, Report
    from histosam_core.evaluation.protocol.trial import (
        ClickRun,
        EvaluationPatch,
        ProtocolSettings,
    )
    from histosam_core.model.interface import InteractiveModel


@dataclass(frozen=True, slots=True)
class PatchWork:
    """Patches to click on: a `Work`."""

    patches: Sequence[EvaluationPatch]  # a `PatchStore`, or any other sequence
    settings: ProtocolSettings
    user: User
    batch_size: int

    @property
    def most_at_once(self) -> int:
        """Patches that a worker of a cluster takes at once, at most."""
        return 4 * self.batch_size

    def run(self, here: LocalRunner, todo: Sequence[Key], report: Report) -> Iterator[Outcome]:
        """Click on some of the patches with the model that is here."""
        for index, run in run_patches(
            here.model,
            self.patches,
            todo,
            self.settings,
            user=self.user,
            batch_size=self.batch_size,
            workers=here.workers,
            cache=here.cache,
            clock=here.clock,
            on_step=lambda: report(""),
        ):
            patch = self.patches[index]
            location: Sequence[float] | None = getattr(patch, "location_xy", None)
            fraction = getattr(patch, "tumor_fraction", None)
            record = PatchRecord.of_run(
                run,
                index=index,
                patch_id=patch.id,
                slide=patch.slide,
                location_xy=None if location is None else (float(location[0]), float(location[1])),
                tumor_fraction=None if fraction is None else float(fraction),
            )
            yield Outcome(record, run.mask)

    def example(self, index: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Return image and truth of a patch."""
        return self.patches[index].image, self.patches[index].gt_mask


def run_patches(
    model: InteractiveModel,
    patches: Sequence[EvaluationPatch],
    indices: Iterable[int | tuple[int, int]],
    settings: ProtocolSettings,
    *,
    user: User = IDEAL,
    batch_size: int = 8,
    workers: int | None = None,
    cache: EmbeddingCache | None = None,
    clock: Clock = time.perf_counter,
    on_step: Callable[[], None] = lambda: None,
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
        Patches that advance together in a worker. As many again may wait, encoded, to take a free
        place.
    workers
        Threads that compute batches at the same time; above 1 the model must bear calls from
        several threads, and runs come in no fixed order. None: `default_workers`.
    cache
        Embeddings kept for the next model with the same encoder.
    clock
        Returns seconds.
    on_step
        Called between steps on the caller's thread. While it waits nothing is computed, nor while
        the caller is busy with a run; what it raises ends all, after the current step.

    Raises
    ------
    ConfigError
        A setting is out of range, or a patch's image and truth do not fit.
    """
    if batch_size < 1 or (workers is not None and workers < 1):
        raise ConfigError(f"batch_size {batch_size} and workers {workers} must be at least 1")
    model = complete(model)
    todo = [index if isinstance(index, tuple) else (index, 0) for index in indices]
    n_workers = default_workers(model) if workers is None else workers
    n_workers = max(1, min(n_workers, len(todo)))
    width = batch_size if is_batched(model) else 1
    width = max(1, min(width, -(-len(todo) // n_workers)))  # so that no worker waits for another
    encoder = CachedEncoder(model, ModelAnswers(model, clock).encode, cache)
    trials = _PatchTrials(
        PatchWork(patches, settings, user, batch_size),
        todo,
        encoder,
        width=width,
        n_workers=n_workers,
        # On a CPU images gain nothing from sharing a pass, and may take a quarter of a minute each.
        encoded_at_once=1 if _is_on_cpu(model) else width,
    )

    def work(each: Each, on_step: Callable[[], None]) -> Iterator[tuple[int, ClickRun]]:
        watch = Stopwatch(clock)
        for trial in run_trials(
            trials.batches(lambda: watch.pause(on_step)),
            ModelAnswers(model, watch, n_workers=n_workers),
            width=width,
            n_workers=n_workers,
            each=each,
            watch=watch,
            on_step=on_step,
        ):
            yield trial.index, trial.result()

    if n_workers > 1:
        yield from on_workers(work, n_workers, on_step)
    else:
        with pool_of(n_cores() if is_batched(model) else 1, width) as each:
            yield from work(each, on_step)


def default_workers(model: InteractiveModel) -> int:
    """Return how many workers suit a model: one a core where it bears threads and is on the CPU."""
    known = complete(model)
    return n_cores() if _is_on_cpu(known) and known.info.thread_safe else 1


def _is_on_cpu(model: InteractiveModel) -> bool:
    return str(model.device).partition(":")[0] == "cpu"


class _PatchTrials:
    """Reads and encodes patches, batch by batch, for several workers."""

    def __init__(
        self,
        work: PatchWork,
        todo: Sequence[Key],
        encoder: CachedEncoder,
        *,
        width: int,
        n_workers: int,
        encoded_at_once: int,
    ) -> None:
        self._work, self._encoder, self._encoded_at_once = work, encoder, encoded_at_once
        self._width, self._n_workers = width, n_workers
        self._todo = deque(todo)
        self._lock = threading.Lock()

    def batches(self, pause: Callable[[], None]) -> Iterator[list[Trial]]:
        """Make trials of the next patches until none is left; pause between images."""
        while asked := self._next():
            yield self._make(asked, pause)  # not kept here, so that finished trials are freed

    def _make(self, asked: Sequence[Key], pause: Callable[[], None]) -> list[Trial]:
        settings, user = self._work.settings, self._work.user
        trials: list[Trial] = []
        images = []
        for index, repeat in asked:
            if not trials or trials[-1].index != index:
                patch = self._work.patches[index]
                truth = checked_truth(patch.image, patch.gt_mask, name=f"patch {patch.id}: ")
                images.append(patch.image)
            trials.append(Trial(truth, settings, user, user.rng(patch.id, repeat), index, repeat))
        encoded: list[Encoded] = []
        for first in range(0, len(images), self._encoded_at_once):
            if first:
                pause()
            encoded += self._encoder.encode(images[first : first + self._encoded_at_once])
        self._hand_out(iter(encoded), trials)
        return trials

    def _next(self) -> list[tuple[int, int]]:
        """Take the next patches, and more repeats of the last one, which is encoded once."""
        with self._lock:
            taken = [self._todo.popleft() for _ in range(min(self._width, len(self._todo)))]
            while taken and self._todo and self._todo[0][0] == taken[-1][0]:
                taken.append(self._todo.popleft())
        return taken

    def _hand_out(self, encoded: Iterator[Encoded], trials: Sequence[Trial]) -> None:
        for i, trial in enumerate(trials):
            before = trials[i - 1]
            if i and before.index == trial.index:  # another repeat
                trial.embedding, trial.encode_s = before.embedding, before.encode_s
                trial.saved_s = trial.encode_s
            else:
                one = next(encoded)
                trial.embedding, trial.encode_s = one.embedding, one.encode_s / self._n_workers
                trial.saved_s = trial.encode_s if one.was_at_hand else 0.0
