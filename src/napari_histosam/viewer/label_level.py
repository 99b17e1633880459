"""One level of labels: sparse tiles that napari reads like an array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.slide.levels import span_of, split_key

TILE_PX = 256
_SHAPE = (TILE_PX, TILE_PX)

Labels = NDArray[np.uint16]
TileIndex = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class LabelTile:
    """Labels of `TILE_PX` x `TILE_PX` pixels in little memory; its arrays never change.

    A tile of 256 px has 128 KiB as it stands, two bytes when one object fills it, 8 KiB when it
    holds one object and its surroundings, 64 KiB otherwise.
    """

    # (N,) uint16: what occurs. One entry: it fills the tile. Otherwise in rising order.
    labels: Labels
    # Which entry of `labels` each pixel has: None for one entry, packed bits for two, (256, 256)
    # uint8 for up to 256. With more, the (256, 256) uint16 labels themselves.
    pixels: NDArray[np.uint8] | Labels | None

    @classmethod
    def pack(cls, tile: Labels) -> LabelTile:
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

    def unpack(self) -> Labels:
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


class LabelLevel:
    """As much of an array as napari needs: a new (h, w) uint16 array for every read.

    Parameters
    ----------
    size_wh
        Width and height in its own pixels.

    Attributes
    ----------
    tiles
        By (column, row); missing ones hold no object.
    """

    ndim = 2
    dtype = np.dtype(np.uint16)

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self.shape = size_wh[1], size_wh[0]
        self.size = size_wh[0] * size_wh[1]
        self.tiles: dict[TileIndex, LabelTile] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Index like a NumPy array, by whole numbers, slices and an ellipsis."""
        row_key, column_key, _ = split_key(key, self.ndim)
        y, h, rows = span_of(row_key, self.shape[0])
        x, w, columns = span_of(column_key, self.shape[1])
        block = np.zeros((h, w), np.uint16)
        for ty in range(y // TILE_PX, -(-(y + h) // TILE_PX)):
            for tx in range(x // TILE_PX, -(-(x + w) // TILE_PX)):
                tile = self.tiles.get((tx, ty))
                if tile is not None:
                    top, left = ty * TILE_PX - y, tx * TILE_PX - x
                    part = tile.unpack()[max(-top, 0) : h - top, max(-left, 0) : w - left]
                    below, right = max(top, 0), max(left, 0)
                    block[below : below + part.shape[0], right : right + part.shape[1]] = part
        return block[rows, columns]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole level; only for small ones."""
        whole: NDArray[Any] = self[:, :]
        return whole if dtype is None else whole.astype(dtype)
