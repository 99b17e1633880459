"""Fine-tuning: epochs of batches, prompts, steps, validation, saved states and exact resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from histosam_core.errors import HistoSamError, OutputWriteError
from histosam_core.model.checkpoint.checkpoint import save_checkpoint
from histosam_core.model.device import pick_device
from histosam_core.progress import ProgressCallback, silent
from histosam_core.training.compute import Compute, MicroBatches, Processes
from histosam_core.training.families import start_learner
from histosam_core.training.optimiser import Optimiser, WeightInterpolation
from histosam_core.training.run_folder import RunFolder
from histosam_core.training.run_log import RunLog, check_tensorboard
from histosam_core.training.samples import open_training_patches
from histosam_core.training.state import TrainResult, TrainState
from histosam_core.training.stopping import StopRequest, TimeBudget
from histosam_core.training.validation import evenly_spread, validate

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.run_log import OnEvent
    from histosam_core.training.samples import TrainingPatch
    from histosam_core.training.validation import ValidationScores


class TrainingDivergedError(HistoSamError, ArithmeticError):
    """The loss or its gradient is no longer a number."""


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
    patches, validation = open_training_patches(config, train_patches, validation_patches)
    processes = Processes.join(config.device)
    folder = RunFolder(Path(config.out))
    budget = TimeBudget(config.max_minutes, clock)
    with _own_torch_random_state(config.seed), StopRequest(processes) as stop:
        saved = processes.on_main(
            lambda: folder.find_state(config, resume=resume, overwrite=overwrite)
        )
        log = RunLog(progress, on_event, budget, processes, stop)
        run = _Run(config, model, patches, validation, folder, log)
        if saved is not None:
            run.state.restore(saved)
            log.step = run.state.step
        processes.on_main(lambda: run.prepare_folder(is_new=saved is None, clear=overwrite))
        try:
            run.train()
        except TrainingDivergedError:
            raise
        except BaseException:
            # The exception says what went wrong, even if the state cannot be written.
            with suppress(OutputWriteError):
                run.save_state()
            raise
        finally:
            log.close()
    return run.state.result(folder)


class _Run:
    """One attempt at a run; parameters as `finetune` has them."""

    def __init__(
        self,
        config: TrainConfig,
        model: InteractiveModel | None,
        patches: Sequence[TrainingPatch],
        validation: Sequence[TrainingPatch],
        folder: RunFolder,
        log: RunLog,
    ) -> None:
        self.config, self.folder, self.validation = config, folder, validation
        self.time, self.stop, self.log, processes = log.time, log.stop, log, log.processes
        self.validated = evenly_spread(len(validation), config.validation_limit)
        device = pick_device(processes.device)
        at_a_time = math.ceil(min(config.batch_size, len(patches)) / processes.count)
        micro_batches = MicroBatches(
            at_a_time, device, log.notice, of_crops=config.recipe.is_specialist
        )
        self.compute = Compute(processes, micro_batches, device, config.precision)
        self.learner = learner = start_learner(
            config, model, patches, validation, len(self.validated), self.compute, log
        )
        if config.channels_last:
            learner.network.to(memory_format=torch.channels_last)
        changing = [*learner.names, *learner.buffers]
        self.interpolation = WeightInterpolation(learner.network, changing, config.keep_base)
        self.optimiser = Optimiser(config, learner.network, learner.names, learner.share_of)
        self.state = TrainState(config, learner, self.optimiser, micro_batches, self.time)
        log.steps = config.epochs * learner.examples.steps_per_epoch
        self._saved_at = self.time.clock()

    # The run, in order.

    def train(self) -> None:
        """Train to the end of the epochs, of the patience or of the time budget."""
        config, state, log = self.config, self.state, self.log
        if state.finished:
            state.last = state.last or state.best
            return
        self.stop.agree(self.time)
        if state.before is None:
            log.say("validating the model as it is")
            state.before = self._validate()
            state.add_row(0, state.before)
            log.event("validation", epoch=0, **state.before.figures(), is_best=False)
        while not state.finished:
            epoch = state.epochs_done + 1
            self._train_epoch(epoch)

            is_due = epoch % config.validate_every == 0
            state.finished = epoch == config.epochs or self.time.is_spent(
                coming_validations=int(is_due)
            )
            scores = None
            if state.finished or is_due:
                log.say(f"epoch {epoch}/{config.epochs}, validating")
                state.last = scores = self._validate()
                is_best = scores.is_better_than(state.best)
                if is_best:
                    state.best, state.best_epoch = scores, epoch
                    self._save_checkpoint(self.folder.best, epoch, scores)
                log.event("validation", epoch=epoch, **scores.figures(), is_best=is_best)
            state.add_row(epoch, scores)
            if not state.finished and state.is_out_of_patience():
                state.finished = True
                log.notice(
                    f"stopped after epoch {epoch}: NoC@85 has not fallen since epoch "
                    f"{state.best_epoch} (patience {config.patience})"
                )

            self._save_checkpoint(self.folder.last, epoch, scores)
            if self.compute.processes.is_main:
                title = f"{self.learner.model.info.name}, {config.scenario}"
                self.folder.write_log(state.rows)
                self.folder.write_curves(state.rows, title)
            state.end_epoch(epoch)
            self.save_state()  # last, so that all files that it speaks of are there
        log.say(f"done, NoC@85 {state.best.noc85:.2f}" if state.best else "done", is_over=True)

    def _train_epoch(self, epoch: int) -> None:
        """Train from where the state is in an epoch to its end, or that of the time budget."""
        config, state, log, clock = self.config, self.state, self.log, self.time.clock
        learner, optimiser, examples = self.learner, self.optimiser, self.learner.examples
        title = f"epoch {epoch}/{config.epochs}"
        began = clock()
        for batch in examples.batches(epoch, state.steps_in_epoch):
            self.stop.agree(self.time)
            # One step at least, so that every epoch has figures to report.
            if state.steps_in_epoch and self.time.is_spent():
                break
            log.begin(title)

            n_clicks = examples.n_error_clicks(epoch, state.steps_in_epoch)
            prompted = learner.prompt(batch, n_clicks)
            means = learner.take_gradient(prompted, examples.batch_size, optimiser.backward)
            if not optimiser.clip(means.loss):
                raise TrainingDivergedError(
                    f"the loss is no longer a number in epoch {epoch}, step "
                    f"{state.steps_in_epoch + 1}; lower the learning rate (now "
                    f"{config.learning_rate:g}) or raise the warm-up; the last good state is kept "
                    f"in {self.folder.path}"
                )
            optimiser.set_rate(state.step, log.steps, self.time.share_used())
            optimiser.step()

            state.add_step(means.loss, means.iou)
            self.time.add_step(clock() - began)
            log.step = state.step
            log.event(
                "step",
                epoch=epoch,
                epochs=config.epochs,
                step=state.step,
                steps=log.steps,
                loss=means.loss,
                iou=means.iou,
                learning_rate=optimiser.rate,
                seconds=self.time.seconds,
                seconds_left=self.time.seconds_left(
                    log.steps - state.step, self._validations_from(epoch)
                ),
            )
            best = f", NoC@85 {state.best.noc85:.2f}" if state.best else ""
            loss, iou = state.loss_sum / state.steps_in_epoch, state.iou_sum / state.steps_in_epoch
            log.say(f"{title}, loss {loss:.3f}, IoU {iou:.2f}{best}")
            began = clock()
            if began - self._saved_at >= 60 * config.save_every_minutes:
                self.save_state()

    def _validate(self) -> ValidationScores:
        began = self.time.clock()
        with self.interpolation.applied():
            scores = validate(
                self.learner,
                self.validation,
                self.validated,
                self.config,
                self.compute,
                on_batch=lambda: self.stop.agree(self.time),
                on_click=self.log.repeat,
            )
        took = self.time.clock() - began
        (self.time.validation_seconds,) = self.compute.processes.largest([took])
        return scores

    def _validations_from(self, epoch: int) -> int:
        """How many validations are to come in this epoch and those after it."""
        every, epochs = self.config.validate_every, self.config.epochs
        return epochs // every - (epoch - 1) // every + int(epochs % every != 0)

    # Files.

    def prepare_folder(self, *, is_new: bool, clear: bool) -> None:
        """Delete what a killed process left half written, and write what a new run needs."""
        if self.config.tensorboard:
            check_tensorboard()
        if is_new and clear:
            self.folder.clear()
        self.folder.clear_leftovers()
        if self.config.tensorboard:
            self.log.open_tensorboard(self.folder.tensorboard)
        if is_new:
            self.config.save(self.folder.config)
            self.save_state()

    def save_state(self) -> None:
        """Write all that the run needs to go on from here."""
        if self.compute.processes.is_main:
            self.folder.save_state(self.state.as_dict())
        self._saved_at = self.time.clock()

    def _save_checkpoint(self, path: Path, epoch: int, scores: ValidationScores | None) -> None:
        if self.compute.processes.is_main:
            with self.interpolation.applied():
                info = self.state.checkpoint_info(epoch, scores)
                save_checkpoint(path, self.learner.network, info)


@contextmanager
def _own_torch_random_state(seed: int) -> Iterator[None]:
    """Seed torch for the run, and give the caller's random state back afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
