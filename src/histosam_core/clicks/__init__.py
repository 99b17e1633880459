"""Clicks: what a user gives, and how users are simulated in evaluation and training."""

from histosam_core.clicks.click import Click, ClickSequence

__all__ = ["Click", "ClickSequence"]
