"""A session on disk: its journal, what it amounts to, and a session brought back from it."""

from histosam_core.session.journal.file import Event, Journal, JournalWriter, read_journal
from histosam_core.session.journal.holding import JournalSummary
from histosam_core.session.journal.slide_journals import (
    find_journals,
    journal_folder,
    new_journal,
    resume_journal,
)

__all__ = [
    "Event",
    "Journal",
    "JournalSummary",
    "JournalWriter",
    "find_journals",
    "journal_folder",
    "new_journal",
    "read_journal",
    "resume_journal",
]
