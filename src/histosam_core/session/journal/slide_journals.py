"""Where journals are: beside their slide, or in the user's data folder; a file a session, locked.

The lock goes with the process: a journal whose process died can be continued at once, one that
another window writes cannot. Where a folder knows no locks, journals are written without.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.errors import JournalError
from histosam_core.file_lock import FileLock, is_locked, lock_file
from histosam_core.paths import data_folder
from histosam_core.session.journal.file import JournalWriter, sync_folder
from histosam_core.session.journal.holding import JournalSummary, read_holding

if TYPE_CHECKING:
    from histosam_core.slide import Slide

JOURNALS = "journals"
SUFFIX = ".jsonl"
ROOM_BYTES = 64 * 1024
"""What a disk must have room for, else journals go elsewhere."""
_TRIES, _PAUSE_S = 5, 0.02  # whoever lists journals holds each one's lock for a moment


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
            sync_folder(folder.parent)
            _make_file(folder / name)
            sync_folder(folder)
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
    lock = _lock(path)
    try:
        return JournalWriter(path, lock=lock)
    except BaseException:
        if lock is not None:
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
        except (JournalError, LookupError, TypeError, AttributeError, OSError):
            continue  # nothing of ours, or not whole
        if summary is not None:
            found.append(summary)
    return sorted(found, key=lambda one: (one.changed, one.path.name), reverse=True)


def _candidates(slide: Slide) -> Iterator[Path]:
    folders = [_beside(slide.path)] if slide.path.is_file() else []
    stem = _in_data_folder(slide.path.name, "").name
    data = data_folder() / JOURNALS
    if data.is_dir():
        folders += [f for f in sorted(data.iterdir()) if f.name.startswith(stem)]
    for folder in folders:
        if folder.is_dir():
            yield from sorted(folder.glob(f"*{SUFFIX}"))


def _summary(path: Path, slide: Slide) -> JournalSummary | None:
    held = read_holding(path)
    is_file = slide.path.is_file()
    lies_beside = is_file and path.parent == _beside(slide.path)
    was_there = is_file and held.slide["path"] == str(slide.path.absolute())
    is_same = held.slide["fingerprint"] == slide.fingerprint
    is_copy = not is_same and held.slide["content"] == slide.content_fingerprint
    if held.is_empty or not (is_same or is_copy or lies_beside or was_there):
        return None  # another slide of that name
    doubts = list(held.notes)
    if is_copy:
        doubts.insert(0, "the slide's file was copied since; its content is the same")
    elif not is_same:
        doubts.insert(0, "the slide's file has changed since")
    return JournalSummary(
        path=path,
        changed=held.changed_at(path),
        n_objects=held.n_objects,
        n_open_prompts=held.n_open_prompts,
        n_clicks=held.n_clicks,
        model=held.model,
        is_locked=is_locked(path),
        note="; ".join(doubts),
    )


def _beside(slide_path: Path) -> Path:
    return slide_path.with_name(f"{slide_path.name}.histosam")


def _in_data_folder(slide_name: str, key: str) -> Path:
    return data_folder() / JOURNALS / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', slide_name)}-{key[:16]}"


def _is_writable(folder: Path) -> bool:
    if folder.exists():
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return os.access(folder.parent, os.W_OK | os.X_OK)


def _make_file(path: Path) -> None:
    """Make an empty file, on a disk that has room for the first lines; OSError where it has not."""
    file = path.open("xb")
    try:
        with file:
            file.write(bytes(ROOM_BYTES))
            file.flush()
            os.fsync(file.fileno())
            file.truncate(0)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _lock(path: Path) -> FileLock | None:
    for tries_left in range(_TRIES - 1, -1, -1):
        try:
            return lock_file(path)
        except BlockingIOError as error:
            if not tries_left:
                raise JournalError(
                    f"another window works on {path.name}; close it there, or begin a new session"
                ) from error
            time.sleep(_PAUSE_S)
        except OSError as error:
            raise JournalError(
                f"cannot write the journal {path}: {error.strerror}; it and its folder must be "
                "writable"
            ) from error
    raise AssertionError("the last try returns or raises")
