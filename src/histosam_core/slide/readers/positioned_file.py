"""A file read at stated offsets from several threads at once."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from threading import Lock

from histosam_core.errors import SlideError, SlideFormatError

__all__ = ["PositionedFile"]


class PositionedFile:
    """Reads of (offset, length); no shared file position, so no lock where the system has pread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise SlideFormatError(
                f"{path} cannot be opened: {error.strerror}; check its permissions"
            ) from error
        self.size = os.fstat(self._fd).st_size
        self._lock = Lock()
        self._close = weakref.finalize(self, os.close, self._fd)

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes; SlideFormatError where the file ends earlier."""
        if not self._close.alive:
            raise SlideError(f"{self.path} has been closed; open the slide again")
        data = self._pread(length, offset)
        while data and len(data) < length:
            more = self._pread(length - len(data), offset + len(data))
            if not more:
                break
            data += more
        if len(data) < length:
            raise SlideFormatError(
                f"{self.path} is truncated: it ends inside the image data; copy or export it again"
            )
        return data

    def _pread(self, length: int, offset: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._fd, length, offset)
        with self._lock:  # Windows has no pread
            os.lseek(self._fd, offset, os.SEEK_SET)
            return os.read(self._fd, length)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._close()
