"""Models that answer clicks: SAM in three sizes, `histosam-tiny`, and their checkpoints.

Names load lazily: the interface and the list of models need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "BatchedInteractiveModel": "interface",
    "CheckpointInfo": "checkpoint",
    "ImageEmbedding": "embedding",
    "InteractiveModel": "interface",
    "ModelSpec": "registry",
    "SamModel": "interactive",
    "SamNetwork": "network",
    "TrainingGeometry": "interface",
    "build_network": "network",
    "describe_network": "checkpoint",
    "list_models": "registry",
    "load_checkpoint": "checkpoint",
    "load_model": "registry",
    "pick_device": "interactive",
    "save_checkpoint": "checkpoint",
}

__all__ = [
    "BatchedInteractiveModel",
    "CheckpointInfo",
    "ImageEmbedding",
    "InteractiveModel",
    "ModelSpec",
    "SamModel",
    "SamNetwork",
    "TrainingGeometry",
    "build_network",
    "describe_network",
    "list_models",
    "load_checkpoint",
    "load_model",
    "pick_device",
    "save_checkpoint",
]

if TYPE_CHECKING:
    from histosam_core.model.checkpoint import (
        CheckpointInfo,
        describe_network,
        load_checkpoint,
        save_checkpoint,
    )
    from histosam_core.model.embedding import ImageEmbedding
    from histosam_core.model.interactive import SamModel, pick_device
    from histosam_core.model.interface import (
        BatchedInteractiveModel,
        InteractiveModel,
        TrainingGeometry,
    )
    from histosam_core.model.network import SamNetwork, build_network
    from histosam_core.model.registry import ModelSpec, list_models, load_model


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
