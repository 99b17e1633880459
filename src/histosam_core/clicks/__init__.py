"""Clicks: what a user gives, and how users are simulated in evaluation and training."""

from histosam_core.clicks.click import Box, Click, ClickSequence, Prompt
from histosam_core.clicks.simulate import next_click

__all__ = ["Box", "Click", "ClickSequence", "Prompt", "next_click"]
