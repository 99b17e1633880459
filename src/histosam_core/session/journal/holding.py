"""What a user must know of an earlier session, without reading all of its journal where it ended.

A session that ends says in its last line what the journal then holds; of one that crashed every
line is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from histosam_core.session.as_json import object_without_outline
from histosam_core.session.journal.file import JOURNAL_FORMAT, Journal, read_journal
from histosam_core.session.journal.fold import fold

_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class JournalSummary:
    """What a user must know of an earlier session to choose it.

    Parameters
    ----------
    path
        The journal.
    changed
        When its last operation was done; its zone is UTC.
    n_objects
        Accepted objects, the one that was being corrected among them.
    n_open_prompts
        Clicks and boxes of the object that was not accepted yet.
    n_clicks
        Clicks and boxes made in all.
    model
        The model's name.
    is_locked
        Whether another window works on it.
    note
        What is doubtful: the slide's file has changed since, lines were damaged; usually empty.
    """

    path: Path
    changed: datetime
    n_objects: int
    n_open_prompts: int
    n_clicks: int
    model: str
    is_locked: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a journal holds: its last session's slide, and what `JournalSummary` says.

    `slide` has ``path``, ``fingerprint`` and ``content``; `changed` is the last line's time.
    """

    slide: Mapping[str, Any]
    model: str
    n_objects: int
    n_open_prompts: int
    n_clicks: int
    changed: str
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was done."""
        return not (self.n_objects or self.n_open_prompts or self.n_clicks)

    def changed_at(self, path: Path) -> datetime:
        """Return when the journal at `path` was last written to; its zone is UTC."""
        try:
            changed = datetime.fromisoformat(self.changed)
        except ValueError:
            changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return changed if changed.tzinfo else changed.replace(tzinfo=UTC)


def holding_of(journal: Journal) -> Holding:
    """Follow a journal to its end; see `fold` for the errors."""
    there = fold(journal, read_object=object_without_outline)
    return Holding(
        slide={key: there.header.slide.get(key, "") for key in _OF_SLIDE},
        model=there.model,
        n_objects=len(there.objects) + (there.reopened is not None),
        n_open_prompts=len(there.prompts),
        n_clicks=there.n_clicks,
        changed=journal.events[-1].t,
        notes=journal.notes,
    )


def holding_to_json(holding: Holding) -> dict[str, Any]:
    """Return the facts of the line that ends a session."""
    return {
        "format": JOURNAL_FORMAT,
        "slide": dict(holding.slide),
        "model": holding.model,
        "objects": holding.n_objects,
        "open_prompts": holding.n_open_prompts,
        "clicks": holding.n_clicks,
        "notes": list(holding.notes),
    }


def read_holding(path: Path) -> Holding:
    """Return what a journal holds: from its last line where that says so, else from all of them.

    Raises
    ------
    JournalError
        The file cannot be read, is no journal, or a newer program wrote it.
    OSError
        The file is gone.
    """
    return _at_the_end(path) or holding_of(read_journal(path))


_OF_SLIDE = ("path", "fingerprint", "content")


def _at_the_end(path: Path) -> Holding | None:
    """Read the line that ends a session; None where the journal does not end with one."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        *_, line, rest = (b"", b"", *file.read().split(b"\n"))
    try:
        entry = json.loads(line) if not rest else {}
        held = entry["holds"] if entry["op"] == "end" else None
        if held is None or held["format"] != JOURNAL_FORMAT:
            return None
        return Holding(
            slide={key: str(held["slide"][key]) for key in _OF_SLIDE},
            model=str(held["model"]),
            n_objects=int(held["objects"]),
            n_open_prompts=int(held["open_prompts"]),
            n_clicks=int(held["clicks"]),
            changed=str(entry["t"]),
            notes=tuple(map(str, held["notes"])),
        )
    except (LookupError, TypeError, ValueError, RecursionError):
        return None
