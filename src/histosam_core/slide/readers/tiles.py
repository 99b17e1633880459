"""What readers of tiles share: a file read at stated offsets, and decoded tiles kept in memory."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import SlideError, SlideFormatError


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


class TileCache:
    """A thread-safe store of tiles, shared by all levels of a slide.

    The newest tile is always kept, even when it alone is larger than `max_bytes`: a file of one
    strip would otherwise be decoded anew for every read.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._tiles: OrderedDict[Hashable, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: Hashable) -> NDArray[np.uint8] | None:
        """Return the tile and mark it as used; None when it is not held."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: Hashable, tile: NDArray[np.uint8]) -> None:
        """Hold `tile` and let the least recently used ones go."""
        with self._lock:
            old = self._tiles.pop(key, None)
            self._bytes += tile.nbytes - (0 if old is None else old.nbytes)
            self._tiles[key] = tile
            while self._bytes > self.max_bytes and len(self._tiles) > 1:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Let every tile go."""
        with self._lock:
            self._tiles.clear()
            self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._tiles)
