"""Trials on the workers of a dask.distributed scheduler.

Work goes out in portions; a worker that is free takes one, loads the model once and keeps it. What
a worker that dies was busy with goes to another one, so often as the scheduler allows
(``distributed.scheduler.allowed-failures``, 3). Results come back to the client: it alone writes.
Slides, patch stores and checkpoints are opened by path: every worker must see the same files.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from histosam_core.errors import (
    CheckpointError,
    ConfigError,
    HistoSamError,
    PatchStoreError,
    SchedulerError,
    SlideNotFoundError,
    UnknownModelError,
)
from histosam_core.evaluation.protocol.batched import default_workers
from histosam_core.evaluation.protocol.runners import (
    Key,
    LocalRunner,
    Outcome,
    Report,
    Runner,
    Work,
    describe_model,
)
from histosam_core.model.interface import complete
from histosam_core.model.registry.model_choice import ModelChoice, load_choice, parse_model
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel

CONNECT_S = 10.0
PATIENCE_S = 60.0
POLL_S = 1.0
NOT_FOUND = (CheckpointError, PatchStoreError, SlideNotFoundError, UnknownModelError)
_NOISY = ("distributed.client", "distributed.core", "distributed.comm", "tornado.application")


class ClusterRunner(Runner):
    """Runs trials with a model on a cluster's workers; connects as a context.

    Parameters
    ----------
    scheduler
        Its address, such as ``tcp://head-node:8786``.
    model
        A model's name or a checkpoint's path, with its decoder or without (see `parse_model`),
        which each worker loads for itself; or a model, which is sent to them with every portion of
        work (it must pickle).
    device
        Where workers put a model that they load: see `load_model`.
    timeout_s
        How long to try to reach the scheduler, and to wait for its first worker; None: 10 s.
    patience_s
        How long to wait for new workers when none is left.

    Raises
    ------
    ConfigError
        dask.distributed is not installed.
    SchedulerError
        On entering: no scheduler answers, or it has no worker, or one that does not fit.
    """

    def __init__(
        self,
        scheduler: str,
        model: InteractiveModel | str | os.PathLike[str],
        *,
        device: str = "auto",
        timeout_s: float | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.scheduler = scheduler
        self.patience_s = patience_s
        self._timeout_s = CONNECT_S if timeout_s is None else timeout_s
        # A name or path that means the same on another machine with the same files.
        source: Any = model
        if isinstance(model, str | os.PathLike):
            source = parse_model(model).anywhere
        self._model = source, device
        self._client: Any = None
        self._described: Mapping[str, Any] = {}
        self._levels: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            import distributed
        except ImportError as error:
            raise ConfigError(
                "a scheduler needs dask.distributed, which is not installed; "
                'pip install "napari-histosam[cluster]"'
            ) from error
        for name in _NOISY:  # what they have to say is said in one line by our errors
            self._levels[name] = logging.getLogger(name).level
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self._connect(distributed.Client)
            self._check_versions()
            (self._described,) = self._map(None, [None])
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    @property
    def described(self) -> Mapping[str, Any]:
        """The model's checkpoint as `describe_model` has it on a worker."""
        return self._described

    @property
    def n_workers(self) -> int:
        """Workers at this moment."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def run(self, work: Work, todo: Sequence[Key], report: Report) -> Iterator[Outcome]:
        """Do some of a work; yield outcomes in any order.

        A `PatchStore` is opened by workers by its path; any other sequence is sent to them.

        Raises
        ------
        SchedulerError
            Scheduler or workers are gone, or one of them does not fit.
        HistoSamError
            What a worker raises, with its name.
        """
        if todo:
            # Large enough to fill batches, small enough that all workers end at about one time.
            fair = math.ceil(len(todo) / (4 * max(self.n_workers, 1)))
            size = max(1, min(work.most_at_once, fair))
            portions = [todo[i : i + size] for i in range(0, len(todo), size)]
            yield from itertools.chain.from_iterable(self._map(work, portions))

    def _map(self, work: Work | None, portions: Sequence[Any]) -> Iterator[Any]:
        """Yield what workers make of each portion of a work, and of none: the described model."""
        from distributed.protocol.pickle import dumps

        common = __version__, self._described.get("sha256"), dumps(self._model), dumps(work)
        # Names of their own: the scheduler must not answer from what it may remember.
        run = uuid.uuid4().hex[:12]
        waiting = {
            self._client.submit(_task, *common, portion, key=f"histosam-{run}-{i}", pure=False)
            for i, portion in enumerate(portions)
        }
        try:
            while waiting:
                for future in self._finished(waiting):
                    waiting.remove(future)
                    yield self._result(future)
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self._client.cancel(list(waiting), force=True)

    def _finished(self, futures: set[Any]) -> list[Any]:
        """Wait for the next results; complain where none can come any more."""
        from distributed import wait

        alone_since: float | None = None
        while True:
            with suppress(*_lost()), self._client.as_current():
                return list(wait(list(futures), POLL_S, "FIRST_COMPLETED").done)
            comm = self._client.scheduler_comm
            if self._client.status != "running" or comm is None or comm.comm.closed():
                raise SchedulerError(self._gone())
            try:
                n = self.n_workers
            except (OSError, ValueError) as error:
                raise SchedulerError(self._gone()) from error
            alone_since = None if n else alone_since or time.monotonic()
            if alone_since is not None and time.monotonic() - alone_since > self.patience_s:
                raise SchedulerError(
                    f"no worker is left at {self.scheduler}; start some with `dask worker "
                    f"{self.scheduler}` and give the same command again: it goes on"
                )

    def _result(self, future: Any) -> Any:
        from distributed.scheduler import KilledWorker

        try:
            return future.result()
        except HistoSamError:
            raise
        except KilledWorker as error:
            raise SchedulerError(
                "workers died one after another on the same patches, perhaps because memory ran "
                "out; give them more, or use a smaller --batch-size, and give the same command "
                "again: it goes on"
            ) from error
        except _lost() as error:
            raise SchedulerError(self._gone()) from error
        except Exception as error:
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            raise SchedulerError(
                f"a worker of {self.scheduler} failed ({said}); install this program, version "
                f"{__version__}, on every worker, in the same environment as here"
            ) from error
        finally:
            future.release()

    def _connect(self, client: Any) -> None:
        try:
            self._client = client(self.scheduler, timeout=self._timeout_s, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SchedulerError(
                f"no dask scheduler answers at {self.scheduler}; start one with `dask scheduler`, "
                "or check the address"
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=self._timeout_s)
        except TimeoutError as error:
            raise SchedulerError(
                f"the scheduler {self.scheduler} has no worker; start some with "
                f"`dask worker {self.scheduler}`"
            ) from error

    def _check_versions(self) -> None:
        found = self._client.get_versions()
        mine = found["client"]["packages"]["distributed"]
        others = {"the scheduler": found["scheduler"]}
        others |= {f"worker {address}": facts for address, facts in found["workers"].items()}
        for who, facts in others.items():
            theirs = (facts or {}).get("packages", {}).get("distributed")
            if theirs != mine:
                raise SchedulerError(
                    f"{who} has dask.distributed {theirs}, here it is {mine}; install the same "
                    "version everywhere"
                )

    def _gone(self) -> str:
        return (
            f"the scheduler {self.scheduler} is gone; start it again and give the same command: "
            "it goes on with what was finished"
        )

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # the scheduler may be gone
                client.close(timeout=2)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        self._levels = {}


def _lost() -> tuple[type[BaseException], ...]:
    """What dask raises when it cannot reach what it waits for, time-outs included."""
    from concurrent.futures import CancelledError

    from distributed.client import FutureCancelledError

    return OSError, CancelledError, FutureCancelledError


# What follows runs on the workers.

_KEPT: dict[str, tuple[str, Any]] = {}
_ONE_AT_A_TIME = threading.Lock()


def _task(version: str, sha256: str | None, model: bytes, work: bytes, portion: Any) -> Any:
    from distributed import get_worker

    where = get_worker().address
    if version != __version__:
        raise SchedulerError(
            f"worker {where} has version {__version__} of this program, the client {version}; "
            "install the same version everywhere"
        )
    with _ONE_AT_A_TIME:  # threads of a worker share the model, and its memory
        try:
            loaded = _kept("model", model, _load)
            theirs = complete(loaded).info.sha256
            if sha256 is not None and theirs != sha256:
                raise SchedulerError(
                    "the checkpoint at this path is not the one that the other workers have; copy "
                    "the same file to all"
                )
            kept: Work | None = _kept("work", work, lambda work: work)
            if kept is None:
                return describe_model(loaded)
            # A machine may run several dask workers; each takes the threads that it was given.
            workers = min(default_workers(loaded), get_worker().state.nthreads)
            here = LocalRunner(loaded, workers=workers)
            return list(kept.run(here, portion, lambda message: None))
        except NOT_FOUND as error:
            raise SchedulerError(
                f"worker {where}: {error} (every worker must see the files under the same paths)"
            ) from error
        except HistoSamError as error:
            raise type(error)(f"worker {where}: {error}") from error


def _kept(kind: str, pickled: bytes, make: Callable[[Any], Any]) -> Any:
    """What a pickle makes; the last one of each kind is kept."""
    from distributed.protocol.pickle import loads

    key = hashlib.sha256(pickled).hexdigest()
    if _KEPT.get(kind, ("",))[0] != key:
        _KEPT.pop(kind, None)  # first, so that two models never lie in memory together
        _KEPT[kind] = key, make(loads(pickled))
    return _KEPT[kind][1]


def _load(source: tuple[Any, str]) -> Any:
    model, device = source
    return load_choice(model, device) if isinstance(model, ModelChoice) else model
