"""Annotate, fine-tune, prove: a better model from a user's own outlines, and by how much.

Names load on first use, so that settings can be checked without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histosam_core.improve.proof import Proof, prove
    from histosam_core.improve.result import Improvement
    from histosam_core.improve.run import improve
    from histosam_core.improve.settings import ImproveSettings

__all__ = ["ImproveSettings", "Improvement", "Proof", "improve", "prove"]

_HOME = {
    "ImproveSettings": "settings",
    "Improvement": "result",
    "Proof": "proof",
    "improve": "run",
    "prove": "proof",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
