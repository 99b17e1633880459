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
    "OwnModel": "own_models",
    "SamModel": "interactive",
    "SamNetwork": "network",
    "TrainingGeometry": "interface",
    "add_own_model": "own_models",
    "build_network": "network",
    "describe_network": "checkpoint",
    "list_models": "registry",
    "list_own_models": "own_models",
    "load_checkpoint": "checkpoint",
    "load_model": "registry",
    "pick_device": "interactive",
    "remove_own_model": "own_models",
    "save_checkpoint": "checkpoint",
}

__all__ = [
    "BatchedInteractiveModel",
    "CheckpointInfo",
    "ImageEmbedding",
    "InteractiveModel",
    "ModelSpec",
    "OwnModel",
    "SamModel",
    "SamNetwork",
    "TrainingGeometry",
    "add_own_model",
    "build_network",
    "describe_network",
    "list_models",
    "list_own_models",
    "load_checkpoint",
    "load_model",
    "pick_device",
    "remove_own_model",
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
    from histosam_core.model.own_models import (
        OwnModel,
        add_own_model,
        list_own_models,
        remove_own_model,
    )
    from histosam_core.model.registry import ModelSpec, list_models, load_model


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
