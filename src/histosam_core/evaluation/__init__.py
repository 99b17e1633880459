"""Evaluation: simulated clicks on any interactive model, records on disk, and reports from them."""

from histosam_core.evaluation.protocol import ClickRun, ProtocolSettings, run_clicks
from histosam_core.evaluation.records import EvaluationResult, PatchRecord, read_records
from histosam_core.evaluation.run import evaluate

__all__ = [
    "ClickRun",
    "EvaluationResult",
    "PatchRecord",
    "ProtocolSettings",
    "evaluate",
    "read_records",
    "run_clicks",
]
