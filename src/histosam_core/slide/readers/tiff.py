"""TIFF-like slides (SVS, tiled, strip and OME-TIFF) through a thread-safe tile reader.

A tile is read with one positioned read, decoded by tifffile, and kept in a cache that all levels
share. No lock is held while reading or decoding, so threads scale.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import HistoSamError, SlideError, SlideFormatError
from histosam_core.slide.colour import WHITE
from histosam_core.slide.metadata import (
    aperio_metadata,
    merge_metadata,
    ome_metadata,
    resolution_metadata,
)
from histosam_core.slide.readers import SlideMetadata, UnsupportedSlideError
from histosam_core.slide.readers.tiff_levels import (
    StoredLevel,
    check_directories,
    rgb_of,
    stored_levels,
)

_OTHER_READER = ("is_ndpi", "is_bif", "is_scn", "is_philips")
_JPEG_END = b"\xd9"


class TiffReader:
    """Reads the levels of one TIFF file, keeping up to `cache_bytes` of decoded tiles.

    Raises
    ------
    SlideFormatError
        The file is truncated or damaged.
    UnsupportedSlideError
        A kind of TIFF that OpenSlide may read and this reader does not.
    """

    channels: ClassVar[int] = 3
    empty: ClassVar[int] = WHITE  # what a tile without bytes shows: it was not scanned
    colour_of = staticmethod(rgb_of)

    def __init__(self, path: Path, cache_bytes: int) -> None:
        import tifffile

        self.path = path
        self.cache = TileCache(cache_bytes)
        check_directories(path)
        self._file = PositionedFile(path)
        try:
            with tifffile.TiffFile(path, _multifile=False) as tiff:
                if any(getattr(tiff, flag) for flag in _OTHER_READER):
                    raise UnsupportedSlideError(f"{path} is a TIFF that needs OpenSlide")
                self.levels = stored_levels(tiff, path, self.colour_of)
                self.metadata = _metadata(tiff, tiff.pages[0])
                self.name = "OME-TIFF" if tiff.is_ome else "Aperio SVS" if tiff.is_svs else "TIFF"
            self._check_not_truncated()
        except (HistoSamError, MemoryError):
            self._file.close()
            raise
        except Exception as error:  # tifffile lets many kinds out of a damaged header
            self._file.close()
            raise SlideFormatError(
                f"{path} is damaged: its TIFF header cannot be read ({error}); copy it again"
            ) from error
        self.layouts = tuple(level.layout for level in self.levels)

    def __reduce__(self) -> tuple[type[TiffReader], tuple[Path, int]]:
        return type(self), (self.path, self.cache.max_bytes)

    def _check_not_truncated(self) -> None:
        planes = [plane for level in self.levels for plane in level.planes]
        needed = max(int((offsets + counts).max()) for offsets, counts, _ in planes)
        if needed > self._file.size:
            raise SlideFormatError(
                f"{self.path} is truncated: {self._file.size:,} of at least {needed:,} bytes are "
                "there; copy or export it again"
            )

    def read(self, level: int, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, channels) of a rectangle inside the level, in the level's pixels."""
        (tile_w, tile_h) = self.levels[level].layout.tile_wh
        image = np.empty((h, w, self.channels), np.uint8)
        for row in range(y // tile_h, (y + h - 1) // tile_h + 1):
            top = row * tile_h - y
            for column in range(x // tile_w, (x + w - 1) // tile_w + 1):
                left = column * tile_w - x
                into = image[max(top, 0) : top + tile_h, max(left, 0) : left + tile_w]
                part = self.tile(level, column, row)[max(-top, 0) :, max(-left, 0) :]
                into[:] = part[: into.shape[0], : into.shape[1]]
        return image

    def tile(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Return one tile (h, w, channels), from the cache where it is there. Do not write to it.

        At the level's edge it may be cut there, or as large as any other.
        """
        key = (level, column, row)
        tile = self.cache.get(key)
        if tile is None:
            tile = self._decoded(self.levels[level], column, row)
            tile.flags.writeable = False
            self.cache.put(key, tile)
        return tile

    def _decoded(self, level: StoredLevel, column: int, row: int) -> NDArray[np.uint8]:
        index = row * level.across + column
        planes = []
        for offsets, counts, first in level.planes:
            length = int(counts[index])
            if length == 0:
                tile_w, tile_h = level.layout.tile_wh
                return np.full((tile_h, tile_w, self.channels), self.empty, np.uint8)
            data = self._file.read(int(offsets[index]), length)
            try:
                # A JPEG decoder fills what is missing with grey, silently; the end mark shows it.
                if level.is_jpeg and data.rstrip(b"\0\xff")[-1:] != _JPEG_END:
                    raise ValueError("its data ends early")
                planes.append(level.decode(data, first + index))
            except MemoryError:
                raise
            except Exception as error:  # codecs have no common error class
                raise SlideFormatError(
                    f"{self.path}: the tile in column {column}, row {row} is damaged ({error}); "
                    "copy or export it again"
                ) from error
        return level.colour(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2))

    def close(self) -> None:
        """Release the file and the tiles."""
        self._file.close()
        self.cache.clear()


def _metadata(tiff: Any, page: Any) -> SlideMetadata:
    description = str(page.description or "")
    if tiff.is_ome:
        stated = ome_metadata(tiff.ome_metadata or description)
    elif description.startswith("Aperio"):
        stated = aperio_metadata(description)
    else:
        stated = SlideMetadata()
    tags = {
        "tiff.ImageDescription": description[:4096],
        "tiff.Make": page.tags.valueof(271),
        "tiff.Model": page.tags.valueof(272),
        "tiff.Software": page.tags.valueof(305),
        "tiff.DateTime": page.tags.valueof(306),
    }
    names = [str(tags[k]) for k in ("tiff.Make", "tiff.Model") if tags[k]]
    resolution_xy = tuple(page.resolution) if page.tags.get(282) else (0.0, 0.0)
    by_tags = replace(
        resolution_metadata(resolution_xy, int(page.resolutionunit)),
        scanner=" ".join(names) or str(tags["tiff.Software"] or ""),
        properties={k: str(v) for k, v in tags.items() if v},
    )
    return merge_metadata(stated, by_tags)


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
