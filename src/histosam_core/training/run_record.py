"""What a run writes of itself: a row of the log, and what a checkpoint says of how it was made."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from histosam_core.model.checkpoint.checkpoint import CheckpointInfo, describe_network
from histosam_core.training.click_learner import input_settings
from histosam_core.version import __version__

if TYPE_CHECKING:
    from histosam_core.training.trainer import Trainer
    from histosam_core.training.validation import ValidationScores

__all__ = ["Row", "checkpoint_info", "log_row"]

Row = dict[str, float | int | None]


def log_row(trainer: Trainer, epoch: int, scores: ValidationScores | None) -> Row:
    """Return a row of log.csv; `scores` None where the epoch was not validated."""
    steps = trainer.steps_in_epoch
    row: Row = {
        "epoch": epoch,
        "step": trainer.step,
        "seconds": round(trainer.seconds, 1),
        "learning_rate": trainer.optimiser.rate if steps else None,
        "loss": trainer.loss_sum / steps if steps else None,
        "train_iou": trainer.iou_sum / steps if steps else None,
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
    return row


def checkpoint_info(
    trainer: Trainer, epoch: int, scores: ValidationScores | None
) -> CheckpointInfo:
    """Return what a checkpoint of this moment says: scenario, base, data, settings, scores."""
    start, own = trainer.model.info, {}
    if trainer.config.recipe.is_specialist:
        own = input_settings(trainer.config)
    return describe_network(
        trainer.network,
        name=f"{start.name}-{trainer.config.scenario}",
        scenario=trainer.config.scenario,
        geometry=trainer.geometry,
        licence=start.licence,
        settings={**getattr(start, "settings", {}), **own},
        provenance={
            "base": start.name,
            "base_sha256": start.sha256,
            "data": trainer.data_name,
            "n_training_patches": len(trainer.examples.patches),
            "epoch": epoch,
            "steps": trainer.step,
            "settings": trainer.config.as_dict(),
            "validation": scores.as_dict() if scores else None,
            "software": f"napari-histosam {__version__}, torch {version('torch')}, "
            f"Python {platform.python_version()}",
        },
    )
