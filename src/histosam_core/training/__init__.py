"""Fine-tuning: configuration, scenarios, losses, simulated training clicks, the training loop.

Names load on first use, so that settings and scenarios can be shown without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.loop import TrainResult, finetune
    from histosam_core.training.losses import normalized_focal_loss
    from histosam_core.training.scenarios import SCENARIOS, Scenario
    from histosam_core.training.validation import ValidationScores

__all__ = [
    "SCENARIOS",
    "Scenario",
    "TrainConfig",
    "TrainResult",
    "ValidationScores",
    "finetune",
    "normalized_focal_loss",
]

_HOME = {
    "SCENARIOS": "scenarios",
    "Scenario": "scenarios",
    "TrainConfig": "config",
    "TrainResult": "loop",
    "ValidationScores": "validation",
    "finetune": "loop",
    "normalized_focal_loss": "losses",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
