"""The fine-tuning loop: epochs, validation, checkpoints, exact resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from histosam_core.dataset import open_patches
from histosam_core.errors import (
    ConfigError,
    EmptyDatasetError,
    HistoSamError,
    OutputWriteError,
)
from histosam_core.model.interface import TrainingGeometry
from histosam_core.progress import ProgressCallback, silent
from histosam_core.training.events import OnEvent, silent_event
from histosam_core.training.interrupt import StopRequest
from histosam_core.training.processes import Processes
from histosam_core.training.run_folder import RunFolder
from histosam_core.training.run_state import restore
from histosam_core.training.start import find_start
from histosam_core.training.tensorboard_log import TensorBoardLog, check_installed
from histosam_core.training.trainer import Trainer, TrainingDivergedError

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.examples import TrainingPatch
    from histosam_core.training.validation import ValidationScores

__all__ = ["TrainResult", "finetune"]

Value = TypeVar("Value")

FREE_ON_RESUME = frozenset(
    {
        "out", "device", "workers", "cache_mb", "cache_dir", "cache_disk_mb", "save_every_minutes",
        "tensorboard",
    }
)  # fmt: skip
"""Settings that may differ when a run is resumed: they decide where and how fast, not what."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a finished run left behind.

    Parameters
    ----------
    run_folder
        Holds config.json, log.csv, curves.png, state.pt and the checkpoints.
    best_checkpoint, last_checkpoint
        Of the epoch with the lowest validation NoC@85, and of the last one.
    before, best, last
        Validation of the model as it was given, of the best and of the last epoch.
    best_epoch, epochs, steps
        The best epoch, epochs and optimiser steps done.
    seconds
        Wall time, validation included, over all sittings.
    """

    run_folder: Path
    best_checkpoint: Path
    last_checkpoint: Path
    before: ValidationScores
    best: ValidationScores
    last: ValidationScores
    best_epoch: int
    epochs: int
    steps: int
    seconds: float


def finetune(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    model: InteractiveModel | None = None,
    train_patches: Sequence[TrainingPatch] | None = None,
    validation_patches: Sequence[TrainingPatch] | None = None,
    progress: ProgressCallback = silent,
    on_event: OnEvent | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainResult:
    """Fine-tune a model on patches: SAM's line by a scenario, a specialist as a whole.

    The state is saved after every epoch, every few minutes within one, and at the last whole step
    when the run is interrupted (Ctrl-C, or `progress` raising). A resumed run gives, on a CPU and
    with the same number of threads, bit for bit what the uninterrupted one gives, even if the
    process was killed. Started by ``accelerate launch`` or ``torchrun``, all processes take part:
    the first one alone writes and calls `progress` and `on_event`.

    Parameters
    ----------
    config
        Settings; written to the run folder.
    resume
        Go on with the run in ``config.out``.
    overwrite
        Start anew in a folder that holds a run, deleting that run's files first.
    model
        Start from this model instead of ``config.model``, which must name one of its family; it is
        copied, not changed.
    train_patches, validation_patches
        Train on these instead of the stores that `config` names.
    progress
        Called after every step, in steps; in seconds where `config` has a time budget.
    on_event
        Called with each step's and each validation's figures, and with notices, as flat dicts of
        plain values; see docs/finetuning.md.
    clock
        Returns seconds.

    Raises
    ------
    OutputExistsError
        ``config.out`` is taken, and neither `resume` nor `overwrite` was asked for.
    ConfigError
        Patches are not named, a resumed run has other settings than it began with, or `model` is
        not of the family that the settings are for.
    EmptyDatasetError
        No training or no validation patches.
    TrainingDivergedError
        The loss is no longer a number; the last good state stays.
    OutOfMemoryError
        The device has too little memory for a single patch.
    OutputWriteError
        A file of the run cannot be written; those written before stay as they were.
    KeyboardInterrupt
        Passed on, once the state is saved.
    """
    training, validation = _open_patches(config, train_patches, validation_patches)
    processes = Processes.join(config.device)
    folder = RunFolder(Path(config.out))
    with _own_torch_random_state(config.seed), StopRequest() as stop:
        state = _on_main(processes, lambda: _previous_state(config, folder, resume, overwrite))
        start = find_start(config, model, processes.device)
        if config.channels_last:
            start.network.to(memory_format=torch.channels_last)
        trainer = Trainer(
            config,
            start,
            training,
            validation,
            geometry=_geometry(training, start.model.info.geometry),
            data_name=str(getattr(training, "name", config.patches or "in memory")),
            folder=folder,
            progress=_heard(progress, processes, stop),
            on_event=_heard(on_event or silent_event, processes, stop),
            clock=clock,
            stop=stop,
            processes=processes,
        )
        if state is not None:
            restore(trainer, state)
        _on_main(processes, lambda: _make_ready(trainer, is_new=state is None, clear=overwrite))
        try:
            trainer.run()
        except TrainingDivergedError:
            raise
        except BaseException:
            # What went wrong is told by the exception itself, even if this cannot be written.
            with suppress(OutputWriteError):
                trainer.save_state()
            raise
        finally:
            trainer.close()
    before, best, last = trainer.before, trainer.best, trainer.last
    if before is None or best is None or last is None:
        raise ConfigError("the run ended before its first epoch; allow it more time")
    return TrainResult(
        run_folder=folder.path,
        best_checkpoint=folder.best,
        last_checkpoint=folder.last,
        before=before,
        best=best,
        last=last,
        best_epoch=trainer.best_epoch,
        epochs=trainer.epochs_done,
        steps=trainer.step,
        seconds=trainer.seconds,
    )


def _previous_state(
    config: TrainConfig, folder: RunFolder, resume: bool, overwrite: bool
) -> dict[str, Any] | None:
    """State to go on from, or None to start; what is in the folder is left as it is."""
    if resume and folder.has_begun_only:
        return None
    if resume:
        state = folder.load_state()
        _check_same_settings(config, state)
        return state
    if not overwrite:
        folder.check_free()
    return None


def _make_ready(trainer: Trainer, *, is_new: bool, clear: bool) -> None:
    """Put the folder in order: what a killed process left goes, what there is to know is there."""
    folder, config = trainer.folder, trainer.config
    if config.tensorboard:
        check_installed()
    if is_new and clear:
        folder.clear()
    folder.clear_leftovers()
    if config.tensorboard:
        trainer.narrator.tensorboard = TensorBoardLog(folder.tensorboard, trainer.step)
    if is_new:
        config.save(folder.config)
        trainer.save_state()


def _on_main(processes: Processes, work: Callable[[], Value]) -> Value:
    """Do something in the first process; its answer, or its error, is everybody's."""
    answer: Value | None = None
    error: HistoSamError | None = None
    if processes.is_main:
        try:
            answer = work()
        except HistoSamError as raised:
            error = raised
    answer, error = processes.from_main((answer, error))
    if error is not None:
        raise error
    return cast("Value", answer)


def _heard(
    call: Callable[..., None], processes: Processes, stop: StopRequest
) -> Callable[..., None]:
    """Return `call`, in the first process only where there are several; its stop is everybody's."""
    if processes.count == 1:
        return call

    def hear(*arguments: Any) -> None:
        if processes.is_main:
            try:
                call(*arguments)
            except KeyboardInterrupt:
                stop.requested = True

    return hear


def _check_same_settings(config: TrainConfig, state: dict[str, Any]) -> None:
    # By way of today's settings, so that those which the run did not know have their defaults.
    now, then = config.as_dict(), type(config).from_dict(state["config"]).as_dict()
    changed = sorted(
        name
        for name in now.keys() | then.keys()
        if name not in FREE_ON_RESUME and now.get(name) != then.get(name)
    )
    if changed:
        listed = "; ".join(
            f"{name} was {then.get(name)!r}, now {now.get(name)!r}" for name in changed
        )
        raise ConfigError(
            f"a resumed run keeps its settings ({listed}); leave them as they were, or start a new "
            f"run from {config.out}/last.safetensors"
        )


def _open_patches(
    config: TrainConfig,
    train_patches: Sequence[TrainingPatch] | None,
    validation_patches: Sequence[TrainingPatch] | None,
) -> tuple[Sequence[TrainingPatch], Sequence[TrainingPatch]]:
    path = config.patches
    if path is None and (train_patches is None or validation_patches is None):
        raise ConfigError("no patches named; set patches to a folder made by `histosam prepare`")
    if train_patches is None and path is not None:
        is_store = path.suffix == ".zarr"
        train_patches = open_patches(path) if is_store else open_patches(path, "train")
    if validation_patches is None and config.validation_patches is not None:
        validation_patches = open_patches(config.validation_patches)
    elif validation_patches is None and path is not None:
        beside = path.parent if path.suffix == ".zarr" else path
        validation_patches = open_patches(beside, "validation")
    for name, patches in (("training", train_patches), ("validation", validation_patches)):
        if not patches:
            raise EmptyDatasetError(
                f"there are no {name} patches; prepare patches from more slides, or with a larger "
                "share for that split"
            )
    return train_patches or (), validation_patches or ()


def _geometry(patches: Sequence[TrainingPatch], fallback: TrainingGeometry) -> TrainingGeometry:
    """Scale and size of the patches, as far as they tell."""
    known: Any = getattr(patches, "geometry", None)
    first = patches[0]
    mpp = getattr(known, "mpp", None) or getattr(first, "mpp", None) or fallback.mpp
    return TrainingGeometry(mpp=float(mpp), patch_size_px=int(first.gt_mask.shape[0]))


@contextmanager
def _own_torch_random_state(seed: int) -> Iterator[None]:
    """Seed torch for the run, and give the caller's random state back afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
