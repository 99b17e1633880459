"""Patches: cut from annotated slides, stored by split, opened lazily."""

from __future__ import annotations

from histosam_core.dataset.extract import ExtractionSummary, extract_patches
from histosam_core.dataset.patches import Patch, PatchStore, open_patches
from histosam_core.dataset.place_split import PatchSplit, split_patches
from histosam_core.dataset.splits import assign_splits, read_split_file

__all__ = [
    "ExtractionSummary",
    "Patch",
    "PatchSplit",
    "PatchStore",
    "assign_splits",
    "extract_patches",
    "open_patches",
    "read_split_file",
    "split_patches",
]
