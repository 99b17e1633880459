"""One run in progress: steps, epochs, validation, and the state that it can go on from."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from histosam_core import __version__
from histosam_core.errors import ConfigError, HistoSamError
from histosam_core.model.checkpoint import describe_network, save_checkpoint
from histosam_core.model.interactive import SamModel, to_image_size
from histosam_core.training.embeddings import PatchEncoder
from histosam_core.training.events import StepPace, validation_event
from histosam_core.training.examples import Examples
from histosam_core.training.losses import batch_iou, normalized_focal_loss
from histosam_core.training.parts import part_of, prepare_for_training, set_training_mode
from histosam_core.training.prompts import PromptSettings, add_error_clicks, pack_clicks
from histosam_core.training.run_state import capture
from histosam_core.training.schedule import learning_rate_factor, warmup_length
from histosam_core.training.validation import ValidationScores, click_batch, evenly_spread, score

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from histosam_core.model.interface import TrainingGeometry
    from histosam_core.progress import ProgressCallback
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.events import OnEvent
    from histosam_core.training.examples import Example, TrainingPatch
    from histosam_core.training.interrupt import StopRequest
    from histosam_core.training.run_folder import RunFolder
    from histosam_core.training.scenarios import Scenario

__all__ = ["Trainer", "TrainingDivergedError"]

Row = dict[str, float | int | None]


class TrainingDivergedError(HistoSamError, ArithmeticError):
    """The loss or its gradient is no longer a number."""


class Trainer:
    """Trains `model` by `scenario`; parameters as `finetune` gathers them.

    Attributes
    ----------
    step, epochs_done, best_epoch : int
        Optimiser steps and whole epochs done; the epoch of `best`.
    before, best, last : ValidationScores or None
        Validation before training, of the best and of the last validated epoch.
    """

    def __init__(
        self,
        config: TrainConfig,
        scenario: Scenario,
        model: SamModel,
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
    ) -> None:
        self.config = config
        self.scenario = scenario
        self.model = model
        self.network = model.network
        self.geometry = geometry
        self.data_name = data_name
        self.folder = folder
        self.progress = progress
        self.tell = on_event
        self.pace = StepPace()
        self.stop = stop
        self._clock = clock
        self._started = clock()
        self.seconds_before = 0.0

        self.trained_names = prepare_for_training(self.network, scenario)
        self.optimiser = self._make_optimiser()
        self.encoder = PatchEncoder(
            self.network,
            frozen=scenario.freezes_encoder,
            cache_bytes=config.cache_mb * 2**20,
            precision=self._precision,
            check=stop.check,
        )
        self.examples = Examples(
            train_patches,
            batch_size=config.batch_size,
            max_steps_per_epoch=config.max_steps_per_epoch,
            augmentation=config.augment,
            variants=config.augment_variants if scenario.freezes_encoder else 0,
            prompts=PromptSettings(
                config.max_random_clicks,
                config.max_iterations,
                config.first_click_centre,
                config.single_click_share,
            ),
            seed=config.seed,
            cache=self.encoder.cache if scenario.freezes_encoder else None,
            workers=config.workers,
        )
        self.validation_patches = validation_patches
        self.validation_indices = evenly_spread(len(validation_patches), config.validation_limit)
        self.total_steps = config.epochs * self.examples.steps_per_epoch

        self.epochs_done = 0
        self.steps_in_epoch = 0
        self.step = 0
        self.finished = False
        self.best_epoch = 0
        self.before: ValidationScores | None = None
        self.best: ValidationScores | None = None
        self.last: ValidationScores | None = None
        self.rows: list[Row] = []
        self.loss_sum = self.iou_sum = 0.0
        self.validation_seconds = 0.0

    # The run.

    @property
    def seconds(self) -> float:
        """Wall time so far, over all sittings."""
        return self.seconds_before + self._clock() - self._started

    def run(self) -> None:
        """Train to the end of the epochs or of the time budget."""
        if self.finished:
            self.last = self.last or self.best
            return
        self._report("validating the model as it is")
        if self.before is None:
            self.before = self._validate()
            self._log_row(0, self.before)
            self.tell(validation_event(0, self.before, is_best=False))
        while not self.finished:
            epoch = self.epochs_done + 1
            self._train_epoch(epoch)
            self.finished = epoch == self.config.epochs or self._out_of_time(
                coming_validations=int(epoch % self.config.validate_every == 0)
            )
            self._end_epoch(epoch)
        self._report(f"done, NoC@85 {self.best.noc85:.2f}" if self.best else "done")

    def _train_epoch(self, epoch: int) -> None:
        for batch in self.examples.batches(epoch, self.steps_in_epoch):
            self.stop.check()
            # One step at least, so that every epoch has something to tell.
            if self.steps_in_epoch and self._out_of_time():
                break
            self._train_step(epoch, batch)

    def _train_step(self, epoch: int, batch: list[Example]) -> None:
        config, network = self.config, self.network
        began = self._clock()
        gt_masks = [example.gt_mask for example in batch]
        patch_hw = gt_masks[0].shape
        if any(mask.shape != patch_hw for mask in gt_masks):
            raise ConfigError("all patches of a run must be of one size; prepare them again")
        patch_hw = (patch_hw[0], patch_hw[1])
        rng = self.examples.step_rng(epoch, self.steps_in_epoch)
        iterations = int(rng.integers(0, config.max_iterations + 1))

        with self._precision():
            set_training_mode(network, self.scenario)
            embeddings = self.encoder.embed(batch)
            network.eval()
            clicks, previous = add_error_clicks(
                network, embeddings, gt_masks, [e.clicks for e in batch], iterations, rng
            )
            set_training_mode(network, self.scenario)
            points_xy, labels = pack_clicks(clicks, patch_hw, network)
            low_res, quality = network.decode(embeddings, points_xy, labels, previous)
        logits = to_image_size(network, low_res.float(), patch_hw)
        target = torch.from_numpy(np.stack(gt_masks))[:, None].to(self.model.device)
        overlap = batch_iou(logits, target)
        loss = normalized_focal_loss(
            logits, target, alpha=config.focal_alpha, gamma=config.focal_gamma
        )
        if config.quality_weight:
            error = functional.mse_loss(quality[:, 0].float(), overlap)
            loss = loss + config.quality_weight * error

        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._trained(), config.clip_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise TrainingDivergedError(
                f"the loss is no longer a number in epoch {epoch}, step {self.steps_in_epoch + 1}; "
                f"lower the learning rate (now {config.learning_rate:g}) or raise the warm-up; "
                f"the last whole epoch is kept in {self.folder.path}"
            )
        self._set_learning_rate()
        self.optimiser.step()
        self.step += 1
        self.steps_in_epoch += 1
        self.loss_sum += loss.item()
        self.iou_sum += overlap.mean().item()
        self.pace.add(self._clock() - began)
        self._tell_step(epoch, loss.item(), overlap.mean().item())
        best = f", NoC@85 {self.best.noc85:.2f}" if self.best else ""
        self._report(
            f"epoch {epoch}/{config.epochs}, loss {self.loss_sum / self.steps_in_epoch:.3f}, "
            f"IoU {self.iou_sum / self.steps_in_epoch:.2f}{best}"
        )

    def _end_epoch(self, epoch: int) -> None:
        """Validate, log, and save everything."""
        config = self.config
        scores = None
        if self.finished or epoch % config.validate_every == 0:
            self._report(f"epoch {epoch}/{config.epochs}, validating")
            scores = self._validate()
            self.last = scores
            is_best = scores.is_better_than(self.best)
            if is_best:
                self.best, self.best_epoch = scores, epoch
                self._save_checkpoint(self.folder.best, epoch, scores)
            self.tell(validation_event(epoch, scores, is_best=is_best))
        self._log_row(epoch, scores)
        self.epochs_done, self.steps_in_epoch = epoch, 0
        self.loss_sum = self.iou_sum = 0.0
        self.save_state()
        self._save_checkpoint(self.folder.last, epoch, scores)
        self.folder.write_log(self.rows)
        self.folder.write_curves(self.rows, f"{self.model.info.name}, {self.scenario.name}")

    def _validate(self) -> ValidationScores:
        """Click on the validation patches with the network as it stands."""
        began = self._clock()
        self.network.eval()
        curves = []
        size = self.config.batch_size
        for start in range(0, len(self.validation_indices), size):
            self.stop.check()
            pairs = [
                self.encoder.embed_whole(self.validation_patches, index)
                for index in self.validation_indices[start : start + size]
            ]
            with self._precision():
                curves += click_batch(
                    self.model,
                    [embedding for embedding, _ in pairs],
                    [gt_mask for _, gt_mask in pairs],
                    max_clicks=self.config.validation_clicks,
                    check=self.stop.check,
                )
        self.validation_seconds = self._clock() - began
        return score(curves, self.config.validation_clicks)

    # Optimiser.

    def _trained(self) -> list[Tensor]:
        return [p for group in self.optimiser.param_groups for p in group["params"]]

    def _make_optimiser(self) -> torch.optim.Adam:
        config = self.config
        of_encoder: list[Tensor] = []
        others: list[Tensor] = []
        for name in self.trained_names:
            parameter = self.network.get_parameter(name)
            (of_encoder if part_of(name) == "image_encoder" else others).append(parameter)
        groups = [{"params": others, "share": 1.0}]
        if of_encoder:
            groups.append({"params": of_encoder, "share": config.encoder_lr_factor})
        return torch.optim.Adam(groups, lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8)

    def _set_learning_rate(self) -> None:
        config = self.config
        share_done = self.step / self.total_steps
        if config.max_minutes is not None:
            share_done = max(share_done, self.seconds / self._training_budget())
        rate = config.learning_rate * learning_rate_factor(
            self.step,
            share_done,
            warmup=warmup_length(config.warmup_steps, self.total_steps),
            milestones=config.milestones,
            milestone_factor=config.milestone_factor,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]

    def _training_budget(self) -> float:
        """Seconds until training must end, so that the last validation still fits."""
        budget = (self.config.max_minutes or 0.0) * 60
        return max(budget - self.validation_seconds, 0.1 * budget)

    def _out_of_time(self, coming_validations: int = 0) -> bool:
        if self.config.max_minutes is None:
            return False
        soon = self.seconds + coming_validations * self.validation_seconds
        return soon >= self._training_budget()

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(
            self.model.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"
        )

    # Records.

    def _report(self, message: str) -> None:
        minutes = self.config.max_minutes
        if minutes is None:
            self.progress(self.step, self.total_steps, message)
            return
        total = round(minutes * 60)
        over = self.finished and message.startswith("done")
        self.progress(total if over else min(int(self.seconds), total), total, message)

    def _tell_step(self, epoch: int, loss: float, iou: float) -> None:
        self.tell(
            {
                "event": "step",
                "epoch": epoch,
                "epochs": self.config.epochs,
                "step": self.step,
                "steps": self.total_steps,
                "loss": loss,
                "iou": iou,
                "learning_rate": self.optimiser.param_groups[0]["lr"],
                "seconds": self.seconds,
                "seconds_left": self._seconds_left(epoch),
            }
        )

    def _seconds_left(self, epoch: int) -> float:
        every, epochs = self.config.validate_every, self.config.epochs
        validations = epochs // every - (epoch - 1) // every + int(epochs % every != 0)
        left = self.pace.seconds_left(
            self.total_steps - self.step, validations, self.validation_seconds
        )
        if self.config.max_minutes is not None:
            left = min(left, max(0.0, self.config.max_minutes * 60 - self.seconds))
        return left

    def _log_row(self, epoch: int, scores: ValidationScores | None) -> None:
        steps = self.steps_in_epoch
        group = self.optimiser.param_groups[0]
        row: Row = {
            "epoch": epoch,
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "learning_rate": group["lr"] if steps else None,
            "loss": self.loss_sum / steps if steps else None,
            "train_iou": self.iou_sum / steps if steps else None,
        }
        if scores is not None:
            row |= {
                "val_noc80": scores.noc80,
                "val_noc85": scores.noc85,
                "val_noc90": scores.noc90,
                "val_iou_1_click": scores.miou_after(1),
                "val_iou_5_clicks": scores.miou_after(5),
                "val_iou_last_click": scores.miou_per_click[-1],
            }
        # An epoch whose end was interrupted ends twice.
        self.rows = [r for r in self.rows if r["epoch"] != epoch] + [row]

    def _save_checkpoint(self, path: Any, epoch: int, scores: ValidationScores | None) -> None:
        start = self.model.info
        info = describe_network(
            self.network,
            name=f"{start.name}-{self.scenario.name}",
            scenario=self.scenario.name,
            geometry=self.geometry,
            provenance={
                "base": start.name,
                "base_sha256": start.sha256,
                "data": self.data_name,
                "n_training_patches": len(self.examples.patches),
                "epoch": epoch,
                "steps": self.step,
                "settings": self.config.as_dict(),
                "validation": scores.as_dict() if scores else None,
                "software": f"napari-histosam {__version__}, torch {torch.__version__}, "
                f"Python {platform.python_version()}",
            },
        )
        save_checkpoint(path, self.network, info)

    def save_state(self) -> None:
        """Write all that the run needs to go on from here."""
        self.folder.save_state(capture(self))
