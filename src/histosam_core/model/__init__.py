"""Models that answer clicks: SAM's family, RITM, FocalClick, SimpleClick, `histosam-tiny`.

Names load lazily: the interface and the list of models need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "BatchedInteractiveModel": "interface",
    "CheckpointInfo": "checkpoint.checkpoint",
    "FocalClickModel": "focalclick.model",
    "ImageEmbedding": "sam.embedding",
    "InteractiveModel": "interface",
    "ModelInfo": "interface",
    "ModelSpec": "registry.model_spec",
    "OwnModel": "registry.own_models",
    "Prediction": "interface",
    "RitmModel": "ritm.model",
    "SamModel": "sam.interactive",
    "SamNetwork": "sam.network",
    "SimpleClickModel": "simpleclick.model",
    "TrainingGeometry": "interface",
    "ZoomIn": "ritm.zoom_in",
    "accept_licence": "registry.licence",
    "add_own_model": "registry.own_models",
    "build_network": "sam.network",
    "describe_network": "checkpoint.checkpoint",
    "fetch_weights": "registry.registry",
    "licence_to_confirm": "registry.licence",
    "list_models": "registry.registry",
    "list_own_models": "registry.own_models",
    "load_checkpoint": "checkpoint.checkpoint",
    "load_model": "load",
    "network": "baselines",
    "pick_device": "device",
    "remove_own_model": "registry.own_models",
    "save_checkpoint": "checkpoint.checkpoint",
}

__all__ = [
    "BatchedInteractiveModel",
    "CheckpointInfo",
    "FocalClickModel",
    "ImageEmbedding",
    "InteractiveModel",
    "ModelInfo",
    "ModelSpec",
    "OwnModel",
    "Prediction",
    "RitmModel",
    "SamModel",
    "SamNetwork",
    "SimpleClickModel",
    "TrainingGeometry",
    "ZoomIn",
    "accept_licence",
    "add_own_model",
    "build_network",
    "describe_network",
    "fetch_weights",
    "licence_to_confirm",
    "list_models",
    "list_own_models",
    "load_checkpoint",
    "load_model",
    "network",
    "pick_device",
    "remove_own_model",
    "save_checkpoint",
]

if TYPE_CHECKING:
    from histosam_core.model.baselines import network
    from histosam_core.model.checkpoint.checkpoint import (
        CheckpointInfo,
        describe_network,
        load_checkpoint,
        save_checkpoint,
    )
    from histosam_core.model.device import pick_device
    from histosam_core.model.focalclick.model import FocalClickModel
    from histosam_core.model.interface import (
        BatchedInteractiveModel,
        InteractiveModel,
        ModelInfo,
        Prediction,
        TrainingGeometry,
    )
    from histosam_core.model.load import load_model
    from histosam_core.model.registry.licence import accept_licence, licence_to_confirm
    from histosam_core.model.registry.model_spec import ModelSpec
    from histosam_core.model.registry.own_models import (
        OwnModel,
        add_own_model,
        list_own_models,
        remove_own_model,
    )
    from histosam_core.model.registry.registry import fetch_weights, list_models
    from histosam_core.model.ritm.model import RitmModel
    from histosam_core.model.ritm.zoom_in import ZoomIn
    from histosam_core.model.sam.embedding import ImageEmbedding
    from histosam_core.model.sam.interactive import SamModel
    from histosam_core.model.sam.network import SamNetwork, build_network
    from histosam_core.model.simpleclick.model import SimpleClickModel


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
