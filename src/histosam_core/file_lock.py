"""A lock on a file, kept by the operating system and gone with the process.

The file itself is locked, so that nothing else has to lie beside it. Reading stays free.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from errno import EACCES, EAGAIN, EDEADLK
from pathlib import Path
from typing import BinaryIO

_HELD = frozenset((EACCES, EAGAIN, EDEADLK))

if sys.platform == "win32":
    import msvcrt

    _FAR = 2**62  # Windows keeps others from a locked byte: lock one that is never used

    def _lock(file: BinaryIO) -> None:
        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(file: BinaryIO) -> None:
        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


class FileLock:
    """A lock that is held; from `lock_file`.

    Parameters
    ----------
    file
        Open, and locked.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def release(self) -> None:
        """Let others lock the file."""
        if not self._file.closed:
            with suppress(OSError):
                _unlock(self._file)
            self._file.close()


def lock_file(path: str | os.PathLike[str]) -> FileLock | None:
    """Lock a file that is there, or say that somebody has.

    Returns
    -------
    FileLock or None
        None where the file's folder knows no locks, as some network folders do.

    Raises
    ------
    BlockingIOError
        Another window or process holds it.
    OSError
        The file cannot be opened for writing.
    """
    file = Path(path).open("r+b", buffering=0)
    try:
        _lock(file)
    except OSError as error:
        file.close()
        if error.errno in _HELD:
            raise BlockingIOError(error.errno, error.strerror) from error
        return None
    except BaseException:
        file.close()
        raise
    return FileLock(file)


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Whether somebody holds a file's lock; False where that cannot be found out."""
    try:
        lock = lock_file(path)
    except BlockingIOError:
        return True
    except OSError:
        return False
    if lock is not None:
        lock.release()
    return False
