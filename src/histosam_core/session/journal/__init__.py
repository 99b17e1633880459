"""A session on disk: its journal, what it amounts to, and a session brought back from it."""

from histosam_core.session.journal.file import Event, Journal, JournalWriter, read_journal
from histosam_core.session.journal.folder import (
    find_journals,
    journal_folder,
    new_journal,
    resume_journal,
)
from histosam_core.session.journal.holding import JournalSummary

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
