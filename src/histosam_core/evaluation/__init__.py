"""Evaluation: simulated clicks on any interactive model, records on disk, and reports from them."""

from histosam_core.evaluation.protocol import ClickRun, ProtocolSettings, run_clicks

__all__ = ["ClickRun", "ProtocolSettings", "run_clicks"]
