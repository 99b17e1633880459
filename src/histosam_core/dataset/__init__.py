"""Patches: cut from annotated slides, stored by split, opened lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from histosam_core.dataset.deal import Deal, deal_patches
from histosam_core.dataset.extract import ExtractionSummary, extract_patches
from histosam_core.dataset.patches import Patch, PatchStore, open_patches
from histosam_core.dataset.splits import assign_splits, read_split_file

if TYPE_CHECKING:
    from histosam_core.dataset.cohort import make_cohort

__all__ = [
    "Deal",
    "ExtractionSummary",
    "Patch",
    "PatchStore",
    "assign_splits",
    "deal_patches",
    "extract_patches",
    "make_cohort",
    "open_patches",
    "read_split_file",
]


def __getattr__(name: str) -> Any:
    # Rendering synthetic slides is a subject of its own; loaded when it is asked for.
    if name == "make_cohort":
        from histosam_core.dataset.cohort import make_cohort

        return make_cohort
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
