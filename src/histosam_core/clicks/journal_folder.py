"""Where journals are: beside their slide, or in the user's data folder; a file a session, locked.

The lock is the operating system's and goes with the process: a journal whose process died can be
continued at once, one that another window writes cannot.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.clicks.journal import Journal, JournalWriter, read_journal
from histosam_core.clicks.journal_state import follow
from histosam_core.errors import JournalError

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from histosam_core.slide import Slide

__all__ = ["JournalSummary", "find_journals", "journal_folder", "new_journal", "resume_journal"]

SUFFIX = ".jsonl"


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


def journal_folder(slide_path: str | os.PathLike[str], *, fingerprint: str = "") -> Path:
    """Return the folder for a slide's journals; it need not be there yet.

    ``<slide file name>.histosam`` beside the slide. Where that cannot be written, or there is no
    file, a folder of the slide's own below $HISTOSAM_DATA or else the platform's data folder.

    Parameters
    ----------
    slide_path
        The slide's file.
    fingerprint
        `Slide.fingerprint`, which names the slide in the user's data folder. Default: made from
        the path.
    """
    path = Path(slide_path)
    beside = _beside(path)
    if path.is_file() and _is_writable(beside):
        return beside
    key = fingerprint or hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    return _in_data_folder(path.name, key)


def new_journal(slide: Slide) -> JournalWriter:
    """Begin a journal for a slide, in a new file that only this process writes.

    Raises
    ------
    JournalError
        It can be made neither beside the slide nor in the user's data folder.
    """
    folders = dict.fromkeys(
        (
            journal_folder(slide.path, fingerprint=slide.fingerprint),
            _in_data_folder(slide.path.name, slide.fingerprint),
        )
    )
    problem = ""
    for folder in folders:
        name = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-{secrets.token_hex(3)}{SUFFIX}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).open("xb").close()
        except OSError as error:
            problem = f"{folder}: {error.strerror}"
            continue
        return resume_journal(folder / name)
    raise JournalError(
        f"no journal can be made ({problem}); free space, or let HISTOSAM_DATA name a folder that "
        "can be written"
    )


def resume_journal(path: str | os.PathLike[str]) -> JournalWriter:
    """Open a journal to append to it.

    Raises
    ------
    JournalError
        Another window works on it, or it is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise JournalError(f"there is no journal at {path}; choose one that find_journals lists")
    from filelock import Timeout

    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise JournalError(
            f"another window works on {path.name}; close it there, or begin a new session"
        ) from error
    except OSError as error:
        raise JournalError(
            f"cannot lock {path}: {error.strerror}; its folder must be writable"
        ) from error
    try:
        return JournalWriter(path, lock=lock)
    except BaseException:
        lock.release()
        raise


def find_journals(slide: Slide) -> list[JournalSummary]:
    """List earlier sessions on a slide, the latest first; those in which nothing was done not.

    Looked for beside the slide and in the user's data folder. Files that cannot be read are left
    out.
    """
    found = []
    for path in _candidates(slide):
        try:
            summary = _summary(path, slide)
        except (JournalError, KeyError, TypeError, OSError):  # nothing of ours, or not whole
            continue
        if summary is not None:
            found.append(summary)
    return sorted(found, key=lambda one: (one.changed, one.path.name), reverse=True)


def _candidates(slide: Slide) -> Iterator[Path]:
    folders = [_beside(slide.path)] if slide.path.is_file() else []
    stem = _in_data_folder(slide.path.name, "").name
    data = _data_folder()
    if data.is_dir():
        folders += [f for f in sorted(data.iterdir()) if f.name.startswith(stem)]
    for folder in folders:
        if folder.is_dir():
            yield from sorted(folder.glob(f"*{SUFFIX}"))


def _summary(path: Path, slide: Slide) -> JournalSummary | None:
    journal = read_journal(path)
    if not journal.events:
        return None
    state = follow(journal)
    of_slide = state.begin["slide"]
    is_same = of_slide["fingerprint"] == slide.fingerprint
    is_of_file = slide.path.is_file() and (
        path.parent == _beside(slide.path) or of_slide["path"] == str(slide.path.absolute())
    )
    if not (is_same or is_of_file):
        return None  # another slide of that name
    n_objects = len(state.objects) + (state.open.reopened is not None)
    n_open = len(state.open.prompts)
    if not (n_objects or n_open or state.n_clicks):
        return None
    notes = [] if is_same else ["the slide's file has changed since"]
    return JournalSummary(
        path=path,
        changed=_changed(journal),
        n_objects=n_objects,
        n_open_prompts=n_open,
        n_clicks=state.n_clicks,
        model=str(state.begin["model"]["name"]),
        is_locked=_is_locked(path),
        note="; ".join([*notes, *journal.notes]),
    )


def _changed(journal: Journal) -> datetime:
    try:
        changed = datetime.fromisoformat(journal.events[-1].t)
    except ValueError:
        changed = datetime.fromtimestamp(journal.path.stat().st_mtime, UTC)
    return changed if changed.tzinfo else changed.replace(tzinfo=UTC)


def _beside(slide_path: Path) -> Path:
    return slide_path.with_name(f"{slide_path.name}.histosam")


def _data_folder() -> Path:
    stated = os.environ.get("HISTOSAM_DATA")
    if stated:
        return Path(stated).expanduser() / "journals"
    import platformdirs

    return Path(platformdirs.user_data_dir("histosam", appauthor=False)) / "journals"


def _in_data_folder(slide_name: str, key: str) -> Path:
    return _data_folder() / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', slide_name)}-{key[:16]}"


def _is_writable(folder: Path) -> bool:
    if folder.exists():
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return os.access(folder.parent, os.W_OK | os.X_OK)


def _lock(path: Path) -> BaseFileLock:
    from filelock import FileLock

    # Not bound to a thread: a session may be closed by another one than began it.
    return FileLock(path.with_name(f".{path.name}.lock"), thread_local=False)


def _is_locked(path: Path) -> bool:
    from filelock import Timeout

    if not path.with_name(f".{path.name}.lock").exists():
        return False
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False
