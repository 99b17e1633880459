"""Decoded tiles kept in memory up to a number of bytes, least recently used first out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock

import numpy as np
from numpy.typing import NDArray

__all__ = ["TileCache"]


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
