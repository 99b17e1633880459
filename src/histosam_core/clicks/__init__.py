"""Clicks: what a user gives, and how users are simulated in evaluation and training."""

from histosam_core.clicks.click import Click, ClickSequence
from histosam_core.clicks.simulate import next_click

__all__ = ["Click", "ClickSequence", "next_click"]
