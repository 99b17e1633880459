"""Evaluation: simulated clicks on any interactive model, records on disk, and reports from them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from histosam_core.evaluation.comparison import compare
from histosam_core.evaluation.exports import csv_table, latex_table
from histosam_core.evaluation.protocol import ClickRun, ProtocolSettings, run_clicks
from histosam_core.evaluation.records import EvaluationResult, PatchRecord, read_records
from histosam_core.evaluation.report import write_outputs, write_report
from histosam_core.evaluation.run import evaluate
from histosam_core.evaluation.summary import summarise
from histosam_core.evaluation.summary_json import summary_json
from histosam_core.evaluation.tables import plain_table, rich_table

if TYPE_CHECKING:
    from histosam_core.evaluation.distributed import RemoteModel
    from histosam_core.evaluation.whole_slide import evaluate_slides

# What reads slides takes as long to import as all the rest.
_HOME = {
    "RemoteModel": "distributed",
    "evaluate_slides": "whole_slide",
}

__all__ = [
    "ClickRun",
    "EvaluationResult",
    "PatchRecord",
    "ProtocolSettings",
    "RemoteModel",
    "compare",
    "csv_table",
    "evaluate",
    "evaluate_slides",
    "latex_table",
    "plain_table",
    "read_records",
    "rich_table",
    "run_clicks",
    "summarise",
    "summary_json",
    "write_outputs",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
