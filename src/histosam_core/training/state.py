"""What a run is at a moment: taken, saved and restored whole."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from histosam_core.errors import ConfigError
from histosam_core.model.checkpoint.checkpoint import describe_network
from histosam_core.model.interface import TrainingGeometry
from histosam_core.training.validation import ValidationScores
from histosam_core.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from histosam_core.model.checkpoint.checkpoint_info import CheckpointInfo
    from histosam_core.training.compute import MicroBatches
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.families.learner import Learner
    from histosam_core.training.optimiser import Optimiser
    from histosam_core.training.run_folder import RunFolder
    from histosam_core.training.stopping import TimeBudget

Row = dict[str, float | int | None]

POSITION = ("epochs_done", "steps_in_epoch", "step", "loss_sum", "iou_sum", "best_epoch")
SCORES = ("before", "best", "last")
"""Fields of `TrainState` as they are saved."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a finished run left behind."""

    run_folder: Path  # holds config.json, log.csv, curves.png, state.pt and the checkpoints
    best_checkpoint: Path  # of the epoch with the lowest validation NoC@85
    last_checkpoint: Path
    before: ValidationScores  # of the model as it was given
    best: ValidationScores
    last: ValidationScores
    best_epoch: int
    epochs: int  # done
    steps: int  # of the optimiser
    seconds: float  # wall time, validation included, over all attempts


@dataclass(slots=True)
class TrainState:
    """All that a run goes on from.

    Draws of patches, augmentation and clicks depend on the seed and the position alone (see
    `Examples`), so of the random states only torch's is saved.
    """

    config: TrainConfig  # settings of the run
    # Have the weights that change, and Adam's moments, rates and scale.
    learner: Learner
    optimiser: Optimiser
    # Know how many patches fit into memory, and the time that the run has taken.
    micro_batches: MicroBatches
    time: TimeBudget
    # Whole epochs, optimiser steps of the epoch that is going on, and steps in all.
    epochs_done: int = 0
    steps_in_epoch: int = 0
    step: int = 0
    finished: bool = False  # whether the last epoch, the patience or the time budget is at its end
    # Over the steps of the epoch that is going on.
    loss_sum: float = 0.0
    iou_sum: float = 0.0
    # Validation before training, of the best and of the last validated epoch; the best epoch.
    before: ValidationScores | None = None
    best: ValidationScores | None = None
    last: ValidationScores | None = None
    best_epoch: int = 0
    rows: list[Row] = field(default_factory=list)  # the log, a row per epoch

    def add_step(self, loss: float, iou: float) -> None:
        """Count a step."""
        self.step += 1
        self.steps_in_epoch += 1
        self.loss_sum += loss
        self.iou_sum += iou

    def add_row(self, epoch: int, scores: ValidationScores | None) -> None:
        """Log an epoch; `scores` None where it was not validated."""
        steps = self.steps_in_epoch
        row: Row = {
            "epoch": epoch,
            "step": self.step,
            "seconds": round(self.time.seconds, 1),
            "learning_rate": self.optimiser.rate if steps else None,
            "loss": self.loss_sum / steps if steps else None,
            "train_iou": self.iou_sum / steps if steps else None,
        }
        if scores is not None:
            row |= {f"val_{name}": value for name, value in scores.figures().items()}
        # An epoch whose end was interrupted ends twice.
        self.rows = [*(earlier for earlier in self.rows if earlier["epoch"] != epoch), row]

    def end_epoch(self, epoch: int) -> None:
        """Begin the next epoch."""
        self.epochs_done, self.steps_in_epoch = epoch, 0
        self.loss_sum = self.iou_sum = 0.0

    def is_out_of_patience(self) -> bool:
        """Whether as many epochs as the patience allows were validated since the best one."""
        validated = [int(r["epoch"] or 0) for r in self.rows if r.get("val_noc85") is not None]
        since = sum(epoch > self.best_epoch for epoch in validated)
        return self.config.patience is not None and since >= self.config.patience

    def result(self, folder: RunFolder) -> TrainResult:
        """Return what the run left in `folder`; ConfigError if it ended before its first epoch."""
        if self.before is None or self.best is None or self.last is None:
            raise ConfigError("the run ended before its first epoch; allow it more time")
        return TrainResult(
            run_folder=folder.path,
            best_checkpoint=folder.best,
            last_checkpoint=folder.last,
            before=self.before,
            best=self.best,
            last=self.last,
            best_epoch=self.best_epoch,
            epochs=self.epochs_done,
            steps=self.step,
            seconds=self.time.seconds,
        )

    def checkpoint_info(self, epoch: int, scores: ValidationScores | None) -> CheckpointInfo:
        """Return what a checkpoint of this moment says: scenario, base, data, settings, scores."""
        config, learner, patches = self.config, self.learner, self.learner.examples.patches
        base = learner.model.info
        first, geometry = patches[0], getattr(patches, "geometry", None)
        mpp = getattr(geometry, "mpp", None) or getattr(first, "mpp", None) or base.geometry.mpp
        return describe_network(
            learner.network,
            name=f"{base.name}-{config.scenario}",
            scenario=config.scenario,
            geometry=TrainingGeometry(float(mpp), patch_size_px=int(first.gt_mask.shape[0])),
            licence=base.licence,
            settings={**base.settings, **learner.settings},
            provenance={
                "base": base.name,
                "base_sha256": base.sha256,
                "data": str(getattr(patches, "name", config.patches or "in memory")),
                "n_training_patches": len(patches),
                "epoch": epoch,
                "steps": self.step,
                "settings": config.as_dict(),
                "validation": asdict(scores) if scores else None,
                "software": f"napari-histosam {__version__}, torch {version('torch')}, "
                f"Python {platform.python_version()}",
            },
        )

    def as_dict(self) -> dict[str, Any]:
        """Tensors and plain values from which `restore` goes on."""
        learner = self.learner
        held, device = learner.network.state_dict(), torch.device(learner.model.device)
        scores = {name: getattr(self, name) for name in SCORES}
        return {
            "config": self.config.as_dict(),
            "base_sha256": learner.model.info.sha256,
            "n_patches": len(learner.examples.patches),
            "weights": {name: held[name] for name in [*learner.names, *learner.buffers]},
            "optimiser": self.optimiser.state_dict(),
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "position": {
                **{name: getattr(self, name) for name in POSITION},
                "validation_seconds": self.time.validation_seconds,
                "chunk": self.micro_batches.size,
            },
            # A stop while the last epoch is being validated leaves that to be done again.
            "finished": self.finished and self.steps_in_epoch == 0,
            "seconds": self.time.seconds,
            "scores": {name: asdict(one) if one else None for name, one in scores.items()},
            "rows": self.rows,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what `as_dict` gave; ConfigError for another base model or other patches."""
        learner = self.learner
        if saved["base_sha256"] != learner.model.info.sha256:
            raise ConfigError(
                f"{self.config.model} is not the file this run began with; put it back, or start a "
                f"new run from {self.config.out}/last.safetensors"
            )
        if saved["n_patches"] != len(learner.examples.patches):
            raise ConfigError(
                f"this run began with {saved['n_patches']} training patches, now there are "
                f"{len(learner.examples.patches)}; put the old ones back, or start a new run"
            )
        held, device = learner.network.state_dict(), torch.device(learner.model.device)
        with torch.no_grad():
            for name, value in saved["weights"].items():
                held[name].copy_(value)
        self.optimiser.load_state_dict(saved["optimiser"])
        torch.set_rng_state(saved["torch_random"])
        if saved["cuda_random"] is not None and device.type == "cuda":
            torch.cuda.set_rng_state(saved["cuda_random"], device)
        position = saved["position"]
        for name in POSITION:
            setattr(self, name, position[name])
        self.micro_batches.size = position["chunk"]
        self.time.validation_seconds = position["validation_seconds"]
        self.time.seconds_before = saved["seconds"]
        self.finished, self.rows = saved["finished"], list(saved["rows"])
        for name, values in saved["scores"].items():
            setattr(self, name, ValidationScores.from_dict(values) if values else None)
