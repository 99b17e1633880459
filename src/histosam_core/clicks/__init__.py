"""Clicks: what a user gives, and how users are simulated."""

from histosam_core.clicks.click import Box, Click, ClickSequence, Lasso, Prompt
from histosam_core.clicks.mask import MASK_THRESHOLD, logits_to_mask
from histosam_core.clicks.simulate import next_click
from histosam_core.clicks.users import User

__all__ = [
    "MASK_THRESHOLD",
    "Box",
    "Click",
    "ClickSequence",
    "Lasso",
    "Prompt",
    "User",
    "logits_to_mask",
    "next_click",
]
