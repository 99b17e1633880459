"""Clicks: what a user gives, how users are simulated, and the journal of what they did."""

from histosam_core.clicks.click import Box, Click, ClickSequence, Lasso, Prompt
from histosam_core.clicks.journal import Event, Journal, JournalWriter, read_journal
from histosam_core.clicks.journal_folder import (
    JournalSummary,
    find_journals,
    journal_folder,
    new_journal,
    resume_journal,
)
from histosam_core.clicks.simulate import next_click
from histosam_core.clicks.users import User

__all__ = [
    "Box",
    "Click",
    "ClickSequence",
    "Event",
    "Journal",
    "JournalSummary",
    "JournalWriter",
    "Lasso",
    "Prompt",
    "User",
    "find_journals",
    "journal_folder",
    "new_journal",
    "next_click",
    "read_journal",
    "resume_journal",
]
