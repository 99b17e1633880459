"""Metrics: overlap of masks, clicks to a target, failures, and how sure the means are."""

from histosam_core.metrics.bootstrap import bootstrap_interval
from histosam_core.metrics.locality import far_change
from histosam_core.metrics.noc import clicks_to_reach, failure_rate, miou_per_click, noc
from histosam_core.metrics.overlap import dice, iou
from histosam_core.metrics.paired import PairedTest, holm, sign_flip_test, wilcoxon_test

__all__ = [
    "PairedTest",
    "bootstrap_interval",
    "clicks_to_reach",
    "dice",
    "failure_rate",
    "far_change",
    "holm",
    "iou",
    "miou_per_click",
    "noc",
    "sign_flip_test",
    "wilcoxon_test",
]
