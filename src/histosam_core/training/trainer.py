"""One run in progress: steps, epochs, validation, and the state that it can go on from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from histosam_core.errors import ConfigError, HistoSamError
from histosam_core.model.checkpoint.checkpoint import save_checkpoint
from histosam_core.training.chunks import ADVICE, EFFECT, Chunks
from histosam_core.training.events import step_event, validation_event
from histosam_core.training.kept_weights import KeptWeights
from histosam_core.training.learner import Tools
from histosam_core.training.narrator import Narrator
from histosam_core.training.optimiser import Optimiser, mixed_precision
from histosam_core.training.run_record import Row, checkpoint_info, log_row
from histosam_core.training.run_state import capture
from histosam_core.training.schedule import learning_rate_factor, warmup_length
from histosam_core.training.time_budget import TimeBudget
from histosam_core.training.validator import Validator

if TYPE_CHECKING:
    from torch import Tensor

    from histosam_core.model.interface import TrainingGeometry
    from histosam_core.progress import ProgressCallback
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.events import OnEvent
    from histosam_core.training.examples import Example, TrainingPatch
    from histosam_core.training.interrupt import StopRequest
    from histosam_core.training.processes import Processes
    from histosam_core.training.run_folder import RunFolder
    from histosam_core.training.start import Start
    from histosam_core.training.validation import ValidationScores

__all__ = ["Trainer", "TrainingDivergedError"]

CROP_ADVICE = "choose a smaller crop_size, a smaller model, precision bf16, or another device"
CROP_EFFECT = "the batch norms of the network, if it has any, see that many together"


class TrainingDivergedError(HistoSamError, ArithmeticError):
    """The loss or its gradient is no longer a number."""


class Trainer:
    """Trains what `start` holds; parameters as `finetune` gathers them.

    Attributes
    ----------
    learner : Learner
        What depends on the kind of model.
    changing_names : list of str
        What training changes in the network, by its names in the state dict.
    step, epochs_done, best_epoch : int
        Optimiser steps and whole epochs done; the epoch of `best`.
    chunk : int
        Patches of a step that go through the network at a time.
    seconds, seconds_before, validation_seconds : float
        Wall time over all sittings, of earlier ones, and of the last validation.
    before, best, last : ValidationScores or None
        Validation before training, of the best and of the last validated epoch.
    """

    def __init__(
        self,
        config: TrainConfig,
        start: Start,
        train_patches: Sequence[TrainingPatch],
        validation_patches: Sequence[TrainingPatch],
        *,
        geometry: TrainingGeometry,
        data_name: str,
        folder: RunFolder,
        progress: ProgressCallback,
        on_event: OnEvent,
        clock: Callable[[], float],
        stop: StopRequest,
        processes: Processes,
    ) -> None:
        self.config = config
        self.model, self.network = start.model, start.network
        self.device = torch.device(start.model.device)
        self.geometry, self.data_name = geometry, data_name
        self.folder = folder
        self.stop, self.processes = stop, processes
        self.time = TimeBudget(config.max_minutes, clock)
        self.narrator = Narrator(
            progress, on_event, self.time, lambda: (self.step, self.total_steps)
        )
        self._saved_at = clock()

        is_specialist = config.recipe.is_specialist
        self.chunks = Chunks(
            math.ceil(min(config.batch_size, len(train_patches)) / processes.count),
            self.device,
            self.narrator.notice,
            advice=CROP_ADVICE if is_specialist else ADVICE,
            effect=CROP_EFFECT if is_specialist else EFFECT,
        )
        self.validator = Validator(
            config,
            self.model,
            self.network,
            validation_patches,
            processes=processes,
            chunks=self.chunks,
            precision=self._precision,
            agree=self._agree,
            check=self._look_up,
        )
        self.learner = start.learner(
            config,
            train_patches,
            validation_patches,
            len(self.validator.indices),
            Tools(
                processes,
                self.chunks,
                self._precision,
                self._scaled,
                self._on_encode,
                self.narrator.notice,
            ),
        )
        self.examples = self.learner.examples
        self._check_processes()
        self.changing_names = [*self.learner.names, *self.learner.buffers]
        self.kept = KeptWeights(self.network, self.changing_names, config.keep_base)
        self.optimiser = Optimiser(config, self.network, self.learner.names, self.learner.share_of)
        self.total_steps = config.epochs * self.examples.steps_per_epoch

        self.epochs_done = self.steps_in_epoch = self.step = self.best_epoch = 0
        self.finished = False
        self.before: ValidationScores | None = None
        self.best: ValidationScores | None = None
        self.last: ValidationScores | None = None
        self.rows: list[Row] = []
        self.loss_sum = self.iou_sum = 0.0

    # What the state is made of, beside plain attributes.

    @property
    def chunk(self) -> int:
        """Patches of a step that go through the network at a time."""
        return self.chunks.size

    @chunk.setter
    def chunk(self, size: int) -> None:
        self.chunks.size = size

    @property
    def seconds(self) -> float:
        """Wall time so far, over all sittings."""
        return self.time.seconds

    @property
    def validation_seconds(self) -> float:
        """What the last validation took."""
        return self.time.validation_seconds

    @validation_seconds.setter
    def validation_seconds(self, seconds: float) -> None:
        self.time.validation_seconds = seconds

    # The run.

    def run(self) -> None:
        """Train to the end of the epochs, of the patience or of the time budget."""
        if self.finished:
            self.last = self.last or self.best
            return
        self._agree()
        if self.before is None:
            self.narrator.say("validating the model as it is")
            self.before = self._validate()
            self._log_row(0, self.before)
            self.narrator.tell(validation_event(0, self.before, is_best=False))
        while not self.finished:
            epoch = self.epochs_done + 1
            self._train_epoch(epoch)
            self.finished = epoch == self.config.epochs or self.time.is_spent(
                coming_validations=int(epoch % self.config.validate_every == 0)
            )
            self._end_epoch(epoch)
        result = f"done, NoC@85 {self.best.noc85:.2f}" if self.best else "done"
        self.narrator.say(result, is_over=True)

    def close(self) -> None:
        """Close files; nothing more is to be done with this object."""
        self.narrator.close()

    def _train_epoch(self, epoch: int) -> None:
        clock = self.time.clock
        began = clock()
        for batch in self.examples.batches(epoch, self.steps_in_epoch):
            self._agree()
            # One step at least, so that every epoch has something to tell.
            if self.steps_in_epoch and self.time.is_spent():
                break
            self._train_step(epoch, batch, began)
            began = clock()
            if began - self._saved_at >= 60 * self.config.save_every_minutes:
                self.save_state()

    def _train_step(self, epoch: int, batch: list[Example], began: float) -> None:
        config, examples = self.config, self.examples
        self.narrator.begin(f"epoch {epoch}/{config.epochs}")
        rng = examples.step_rng(epoch, self.steps_in_epoch)
        means = self.learner.make(
            batch,
            n_in_all=examples.batch_size,
            iterations=int(rng.integers(0, config.max_iterations + 1)),
            sources=[examples.error_rng(epoch, example) for example in batch],
        )
        if not self.optimiser.clip(means.loss):
            raise TrainingDivergedError(
                f"the loss is no longer a number in epoch {epoch}, step {self.steps_in_epoch + 1}; "
                f"lower the learning rate (now {config.learning_rate:g}) or raise the warm-up; "
                f"the last good state is kept in {self.folder.path}"
            )
        self.optimiser.set_rate(self._learning_rate())
        self.optimiser.step()
        self.step += 1
        self.steps_in_epoch += 1
        self.loss_sum += means.loss
        self.iou_sum += means.iou
        self.time.add_step(self.time.clock() - began)
        self._tell_step(epoch, means.loss, means.iou)
        best = f", NoC@85 {self.best.noc85:.2f}" if self.best else ""
        self.narrator.say(
            f"epoch {epoch}/{config.epochs}, loss {self.loss_sum / self.steps_in_epoch:.3f}, "
            f"IoU {self.iou_sum / self.steps_in_epoch:.2f}{best}"
        )

    def _end_epoch(self, epoch: int) -> None:
        """Validate, log, and save everything; the state last, so that it has all it speaks of."""
        scores = None
        if self.finished or epoch % self.config.validate_every == 0:
            self.narrator.say(f"epoch {epoch}/{self.config.epochs}, validating")
            scores = self._validate()
            self.last = scores
            is_best = scores.is_better_than(self.best)
            if is_best:
                self.best, self.best_epoch = scores, epoch
                self._save_checkpoint(self.folder.best, epoch, scores)
            self.narrator.tell(validation_event(epoch, scores, is_best=is_best))
        self._log_row(epoch, scores)
        self._end_early(epoch)
        self._save_checkpoint(self.folder.last, epoch, scores)
        if self.processes.is_main:
            self.folder.write_log(self.rows)
            self.folder.write_curves(self.rows, f"{self.model.info.name}, {self.config.scenario}")
        self.epochs_done, self.steps_in_epoch = epoch, 0
        self.loss_sum = self.iou_sum = 0.0
        self.save_state()

    def _end_early(self, epoch: int) -> None:
        """End the run when its patience is at an end."""
        patience = self.config.patience
        if patience is None or self.finished:
            return
        validated = [int(r["epoch"] or 0) for r in self.rows if r.get("val_noc85") is not None]
        if sum(one > self.best_epoch for one in validated) >= patience:
            self.finished = True
            self.narrator.notice(
                f"stopped after epoch {epoch}: NoC@85 has not fallen since epoch "
                f"{self.best_epoch} (patience {patience})"
            )

    def _validate(self) -> ValidationScores:
        began = self.time.clock()
        with self.kept.averaged():
            scores = self.validator.run(self.learner)
        (self.validation_seconds,) = self.processes.largest([self.time.clock() - began])
        return scores

    def _learning_rate(self) -> float:
        config = self.config
        return config.learning_rate * learning_rate_factor(
            self.step,
            max(self.step / self.total_steps, self.time.share_used()),
            warmup=warmup_length(config.warmup_steps, self.total_steps),
            milestones=config.milestones,
            milestone_factor=config.milestone_factor,
        )

    # What it is made of.

    def _check_processes(self) -> None:
        count = self.processes.count
        least = self.config.recipe.least_at_a_time
        if self.examples.batch_size < count * least:
            if count == 1:
                raise ConfigError(
                    f"a step needs {least} patches or more, and there is one; prepare more patches"
                )
            raise ConfigError(
                f"{count} processes cannot share steps of {self.examples.batch_size} patches; "
                "raise batch_size, prepare more patches, or start fewer processes"
            )

    def _precision(self) -> AbstractContextManager[Any]:
        return mixed_precision(self.config.precision, self.device.type)

    def _scaled(self, loss: Tensor) -> Tensor:
        return self.optimiser.scaled(loss)

    # Stopping and telling.

    def _check(self) -> None:
        """Stop if it was asked for, where no other process waits for this one."""
        if self.processes.count == 1:
            self.stop.check()

    def _look_up(self) -> None:
        """Let the user see that validation goes on, and pause or stop it."""
        self._check()
        if self.processes.count == 1:
            self.narrator.repeat()

    def _agree(self) -> None:
        """Stop if it was asked for, and agree on the time, so that all processes do the same."""
        self._check()
        if self.processes.count > 1:
            wishes = [float(self.stop.requested), self.seconds]
            stop, self.time.agreed_seconds = self.processes.largest(wishes)
            if stop:
                raise KeyboardInterrupt

    def _on_encode(self) -> None:
        """Let the user see, and stop, what may take a quarter of a minute for each patch."""
        self._check()
        self.narrator.encoded()

    def _tell_step(self, epoch: int, loss: float, iou: float) -> None:
        every, epochs = self.config.validate_every, self.config.epochs
        validations = epochs // every - (epoch - 1) // every + int(epochs % every != 0)
        self.narrator.tell(
            step_event(
                epoch=epoch,
                epochs=epochs,
                step=self.step,
                steps=self.total_steps,
                loss=loss,
                iou=iou,
                learning_rate=self.optimiser.rate,
                seconds=self.seconds,
                seconds_left=self.time.seconds_left(self.total_steps - self.step, validations),
            )
        )

    def _log_row(self, epoch: int, scores: ValidationScores | None) -> None:
        # An epoch whose end was interrupted ends twice.
        earlier = [row for row in self.rows if row["epoch"] != epoch]
        self.rows = [*earlier, log_row(self, epoch, scores)]

    def _save_checkpoint(self, path: Path, epoch: int, scores: ValidationScores | None) -> None:
        if self.processes.is_main:
            with self.kept.averaged():
                save_checkpoint(path, self.network, checkpoint_info(self, epoch, scores))

    def save_state(self) -> None:
        """Write all that the run needs to go on from here."""
        if self.processes.is_main:
            self.folder.save_state(capture(self))
        self._saved_at = self.time.clock()
