"""What a run is at a moment: taken out of a `Trainer`, and put back.

Draws of patches, augmentation and clicks depend on the seed and the position alone (examples.py),
so of the random states only torch's is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from histosam_core.errors import ConfigError
from histosam_core.training.validation import ValidationScores

if TYPE_CHECKING:
    from histosam_core.training.trainer import Trainer

__all__ = ["capture", "restore"]

SCORES = ("before", "best", "last")
POSITION = (
    "epochs_done",
    "steps_in_epoch",
    "step",
    "loss_sum",
    "iou_sum",
    "validation_seconds",
    "best_epoch",
    "chunk",
)


def capture(trainer: Trainer) -> dict[str, Any]:
    """Tensors and plain values from which `restore` goes on."""
    device = trainer.device
    held = trainer.network.state_dict()
    scores = {name: getattr(trainer, name) for name in SCORES}
    return {
        "config": trainer.config.as_dict(),
        "base_sha256": trainer.model.info.sha256,
        "n_patches": len(trainer.examples.patches),
        "weights": {name: held[name] for name in trainer.changing_names},
        "optimiser": trainer.optimiser.state_dict(),
        "torch_random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "position": {name: getattr(trainer, name) for name in POSITION},
        # A stop while the last epoch is being validated leaves that to be done again.
        "finished": trainer.finished and trainer.steps_in_epoch == 0,
        "seconds": trainer.seconds,
        "scores": {name: one.as_dict() if one else None for name, one in scores.items()},
        "rows": trainer.rows,
    }


def restore(trainer: Trainer, state: dict[str, Any]) -> None:
    """Put `trainer` where `capture` was taken.

    Raises
    ------
    ConfigError
        The base model or the patches are not those that the run began with.
    """
    if state["base_sha256"] != trainer.model.info.sha256:
        raise ConfigError(
            f"{trainer.config.model} is not the file this run began with; put it back, or start a "
            f"new run from {trainer.folder.last}"
        )
    if state["n_patches"] != len(trainer.examples.patches):
        raise ConfigError(
            f"this run began with {state['n_patches']} training patches, now there are "
            f"{len(trainer.examples.patches)}; put the old ones back, or start a new run"
        )
    held = trainer.network.state_dict()
    with torch.no_grad():
        for name, value in state["weights"].items():
            held[name].copy_(value)
    trainer.optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["torch_random"])
    device = trainer.device
    if state["cuda_random"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_random"], device)
    for name, value in state["position"].items():
        setattr(trainer, name, value)
    trainer.finished = state["finished"]
    trainer.time.seconds_before = state["seconds"]
    for name, values in state["scores"].items():
        setattr(trainer, name, ValidationScores.from_dict(values) if values else None)
    trainer.rows = list(state["rows"])
