"""Evaluation: simulated clicks on any interactive model, records on disk, and reports from them."""

from histosam_core.evaluation.distributed import RemoteModel
from histosam_core.evaluation.protocol import ClickRun, ProtocolSettings, run_clicks
from histosam_core.evaluation.records import EvaluationResult, PatchRecord, read_records
from histosam_core.evaluation.report import write_outputs, write_report
from histosam_core.evaluation.run import evaluate
from histosam_core.evaluation.summary import compare, summarise, summary_json
from histosam_core.evaluation.tables import plain_table, rich_table
from histosam_core.evaluation.whole_slide import evaluate_slides

__all__ = [
    "ClickRun",
    "EvaluationResult",
    "PatchRecord",
    "ProtocolSettings",
    "RemoteModel",
    "compare",
    "evaluate",
    "evaluate_slides",
    "plain_table",
    "read_records",
    "rich_table",
    "run_clicks",
    "summarise",
    "summary_json",
    "write_outputs",
    "write_report",
]
