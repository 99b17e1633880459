"""HistoSAM: clicks on a whole slide become tumour masks; models are tuned and compared by clicks.

Public names load lazily: importing this package imports neither torch nor napari.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from histosam_core.version import __version__

_HOME = {
    "Click": "histosam_core.clicks",
    "ClickSequence": "histosam_core.clicks",
    "HistoSamError": "histosam_core.errors",
    "Region": "histosam_core.geometry",
    "Session": "histosam_core.session",
    "TrainConfig": "histosam_core.training",
    "evaluate": "histosam_core.evaluation",
    "extract_patches": "histosam_core.dataset",
    "failure_rate": "histosam_core.metrics",
    "finetune": "histosam_core.training",
    "iou": "histosam_core.metrics",
    "load_model": "histosam_core.model",
    "next_click": "histosam_core.clicks",
    "noc": "histosam_core.metrics",
    "open_array": "histosam_core.slide",
    "open_patches": "histosam_core.dataset",
    "open_slide": "histosam_core.slide",
    "run_clicks": "histosam_core.evaluation",
}

__all__ = [
    "Click",
    "ClickSequence",
    "HistoSamError",
    "Region",
    "Session",
    "TrainConfig",
    "__version__",
    "evaluate",
    "extract_patches",
    "failure_rate",
    "finetune",
    "iou",
    "load_model",
    "next_click",
    "noc",
    "open_array",
    "open_patches",
    "open_slide",
    "run_clicks",
]

if TYPE_CHECKING:
    from histosam_core.clicks import Click, ClickSequence, next_click
    from histosam_core.dataset import extract_patches, open_patches
    from histosam_core.errors import HistoSamError
    from histosam_core.evaluation import evaluate, run_clicks
    from histosam_core.geometry import Region
    from histosam_core.metrics import failure_rate, iou, noc
    from histosam_core.model import load_model
    from histosam_core.session import Session
    from histosam_core.slide import open_array, open_slide
    from histosam_core.training import TrainConfig, finetune


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
