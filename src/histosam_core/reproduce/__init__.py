"""Reproducing a paper's tables by one command: Kim et al. (2023), on PAIP2019 and CAMELYON16.

Names load on first use, so that the set-up can be shown without importing torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from histosam_core.reproduce.camelyon16 import find_camelyon16
    from histosam_core.reproduce.cells import Selection
    from histosam_core.reproduce.kim2023 import paper_figures
    from histosam_core.reproduce.outputs import write_tables
    from histosam_core.reproduce.paip2019 import find_paip2019
    from histosam_core.reproduce.run import look, reproduce
    from histosam_core.reproduce.settings import ReproduceSettings
    from histosam_core.reproduce.survey import Survey

__all__ = [
    "ReproduceSettings",
    "Selection",
    "Survey",
    "find_camelyon16",
    "find_paip2019",
    "look",
    "paper_figures",
    "reproduce",
    "write_tables",
]

_HOME = {
    "ReproduceSettings": "settings",
    "Selection": "cells",
    "Survey": "survey",
    "find_camelyon16": "camelyon16",
    "find_paip2019": "paip2019",
    "look": "run",
    "paper_figures": "kim2023",
    "reproduce": "run",
    "write_tables": "outputs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
