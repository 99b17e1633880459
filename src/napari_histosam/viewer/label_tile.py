"""One square of labels in little memory: most hold one object, or are filled by it.

A tile of 256 px has 128 KiB as it stands, two bytes when one object fills it, 8 KiB when it holds
one object and its surroundings, 64 KiB otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TILE_PX", "LabelTile"]

TILE_PX = 256
_SHAPE = (TILE_PX, TILE_PX)


@dataclass(frozen=True, slots=True, eq=False)
class LabelTile:
    """Labels of `TILE_PX` x `TILE_PX` pixels; nobody changes its arrays.

    Parameters
    ----------
    labels
        (N,) uint16: what occurs. One entry: it fills the tile. Otherwise in rising order.
    pixels
        Which entry of `labels` each pixel has: None for one entry, packed bits for two, (256, 256)
        uint8 for up to 256. With more, the (256, 256) uint16 labels themselves.
    """

    labels: NDArray[np.uint16]
    pixels: NDArray[np.uint8] | NDArray[np.uint16] | None

    @classmethod
    def pack(cls, tile: NDArray[np.uint16]) -> LabelTile:
        """Pack (256, 256) labels."""
        low, high = tile.min(), tile.max()
        is_high = tile == high
        if low == high:
            return cls(np.array([high]), None)
        if np.count_nonzero(is_high) + np.count_nonzero(tile == low) == tile.size:
            return cls(np.array([low, high]), np.packbits(is_high))
        labels = np.flatnonzero(np.bincount(tile.ravel())).astype(np.uint16)
        if labels.size > 256:
            return cls(labels, tile.copy())
        entries = np.zeros(int(high) + 1, np.uint8)
        entries[labels] = np.arange(labels.size)
        return cls(labels, entries[tile])

    def unpack(self) -> NDArray[np.uint16]:
        """Return a new (256, 256) array of labels."""
        if self.pixels is None:
            return np.full(_SHAPE, self.labels[0])
        if self.labels.size > 256:
            return self.pixels.astype(np.uint16)
        if self.labels.size == 2:
            return self.labels[np.unpackbits(self.pixels.view(np.uint8)).reshape(_SHAPE)]
        return self.labels[self.pixels]

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self.labels.nbytes + (0 if self.pixels is None else self.pixels.nbytes)
