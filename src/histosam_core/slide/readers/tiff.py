"""TIFF-like slides (SVS, tiled, strip and OME-TIFF) through a thread-safe tile reader.

A tile is read with one positioned read, decoded by tifffile, and kept in a cache that all levels
share. No lock is held while reading or decoding, so threads scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import SlideError, SlideFormatError
from histosam_core.slide.colour import WHITE, to_rgb
from histosam_core.slide.metadata import (
    aperio_metadata,
    merge_metadata,
    ome_metadata,
    resolution_metadata,
)
from histosam_core.slide.readers import LevelLayout, SlideMetadata, UnsupportedSlideError
from histosam_core.slide.readers.tiff_levels import LevelPages, count_directories, find_levels
from histosam_core.slide.readers.tiles import PositionedFile, TileCache

_JPEG = {6, 7, 34892, 33007}
_JPEG_END = b"\xff\xd9"
_RAW_STRIP_BYTES = 1 << 20
_OTHER_READER = ("is_ndpi", "is_bif", "is_scn", "is_philips")
_APERIO_YCBC_JPEG2000 = 33003
_ALPHA = (1, 2)  # values of ExtraSamples: associated, unassociated
_MIN_IS_BLACK, _MIN_IS_WHITE, _RGB, _PALETTE, _YCBCR = 1, 0, 2, 3, 6


@dataclass(frozen=True, slots=True)
class _Level:
    """Where a level's tiles lie and how they become RGB."""

    layout: LevelLayout
    grid_wh: tuple[int, int]
    offsets: tuple[NDArray[np.int64], ...]  # per separately stored colour
    counts: tuple[NDArray[np.int64], ...]
    first_index: tuple[int, ...]
    decode: Callable[[bytes, int], NDArray[Any]]  # bytes, index in file -> (h, w, samples)
    colour: Callable[[NDArray[Any]], NDArray[np.uint8]]
    is_jpeg: bool


class TiffReader:
    """Reads the levels of one TIFF file, keeping up to `cache_bytes` of decoded tiles.

    Raises
    ------
    SlideFormatError
        The file is truncated or damaged.
    UnsupportedSlideError
        A kind of TIFF that OpenSlide may read and this reader does not.
    """

    def __init__(self, path: Path, cache_bytes: int) -> None:
        import tifffile

        self.path = path
        self.cache_bytes = cache_bytes
        self.cache = TileCache(cache_bytes)
        count_directories(path)
        self._file = PositionedFile(path)
        try:
            with tifffile.TiffFile(path, _multifile=False) as tiff:
                first = tiff.pages[0]
                if any(getattr(tiff, flag) for flag in _OTHER_READER):
                    raise UnsupportedSlideError(f"{path} is a TIFF that needs OpenSlide")
                levels = find_levels(tiff, path)
                self._levels = [_make_level(level, path) for level in levels]
                self.metadata = _metadata(tiff, first)
                self.name = _name(tiff)
        except (SlideError, MemoryError):
            self._file.close()
            raise
        except Exception as error:  # tifffile lets many kinds out of a damaged header
            self._file.close()
            raise SlideFormatError(
                f"{path} is damaged: its TIFF header cannot be read ({error}); copy it again"
            ) from error
        self.layouts = tuple(level.layout for level in self._levels)
        self._check_not_truncated()

    def __reduce__(self) -> tuple[type[TiffReader], tuple[Path, int]]:
        return TiffReader, (self.path, self.cache_bytes)

    def _check_not_truncated(self) -> None:
        needed = max(
            int((offsets + counts).max())
            for level in self._levels
            for offsets, counts in zip(level.offsets, level.counts, strict=True)
        )
        if needed > self._file.size:
            self._file.close()
            raise SlideFormatError(
                f"{self.path} is truncated: {self._file.size:,} of at least {needed:,} bytes are "
                "there; copy or export it again"
            )

    def read(self, level: int, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB of a rectangle inside the level, in the level's pixels."""
        (tile_w, tile_h) = self._levels[level].layout.tile_wh
        image = np.empty((h, w, 3), np.uint8)
        for row in range(y // tile_h, (y + h - 1) // tile_h + 1):
            top = row * tile_h - y
            for column in range(x // tile_w, (x + w - 1) // tile_w + 1):
                left = column * tile_w - x
                tile = self.tile(level, column, row)
                into = image[max(top, 0) : top + tile_h, max(left, 0) : left + tile_w]
                into[:] = tile[
                    max(-top, 0) : max(-top, 0) + into.shape[0],
                    max(-left, 0) : max(-left, 0) + into.shape[1],
                ]
        return image

    def tile(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Return one tile (h, w, 3), from the cache where it is there. Do not write to it."""
        key = (level, column, row)
        tile = self.cache.get(key)
        if tile is None:
            tile = self._decode(self._levels[level], column, row)
            tile.flags.writeable = False
            self.cache.put(key, tile)
        return tile

    def _decode(self, level: _Level, column: int, row: int) -> NDArray[np.uint8]:
        index = row * level.grid_wh[0] + column
        planes = []
        for offsets, counts, first in zip(
            level.offsets, level.counts, level.first_index, strict=True
        ):
            length = int(counts[index])
            if length == 0:  # a tile without bytes was not scanned: glass
                tile_w, tile_h = level.layout.tile_wh
                return np.full((tile_h, tile_w, 3), WHITE, np.uint8)
            data = self._file.read(int(offsets[index]), length)
            planes.append(self._decode_plane(level, data, first + index, (column, row)))
        return level.colour(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2))

    def _decode_plane(
        self, level: _Level, data: bytes, index: int, at: tuple[int, int]
    ) -> NDArray[Any]:
        # A JPEG decoder fills what is missing with grey, silently; a missing end mark shows it.
        cut = level.is_jpeg and data.rstrip(b"\0\xff")[-1:] != _JPEG_END[-1:]
        if not cut:
            try:
                return level.decode(data, index)
            except MemoryError:
                raise
            except Exception as error:  # codecs have no common error class
                reason = str(error)
        else:
            reason = "its data ends early"
        raise SlideFormatError(
            f"{self.path}: the tile in column {at[0]}, row {at[1]} is damaged ({reason}); "
            "copy or export the slide again"
        )

    def close(self) -> None:
        """Release the file and the tiles."""
        self._file.close()
        self.cache.clear()


def _make_level(level: LevelPages, path: Path) -> _Level:
    page = level.keyframe
    width, height = level.size_wh
    colour = _colour_of(page, len(level.pages), path)
    compression = int(page.compression)
    if compression == _APERIO_YCBC_JPEG2000:
        raise UnsupportedSlideError(f"{path} is JPEG 2000 in YCbCr, which needs OpenSlide")
    offsets = [np.asarray(p.dataoffsets, np.int64) for p in level.pages]
    counts = [np.asarray(p.databytecounts, np.int64) for p in level.pages]
    raw_rows = None if len(level.pages) > 1 else _raw_strip_rows(page, offsets[0], counts[0])
    if raw_rows is not None:
        return _raw_level(page, offsets[0], raw_rows, colour)
    if page.is_tiled:
        tile_wh = int(page.tilewidth), int(page.tilelength)
    else:
        tile_wh = width, min(int(page.rowsperstrip), height)
    grid_wh = -(-width // tile_wh[0]), -(-height // tile_wh[1])
    per_plane = grid_wh[0] * grid_wh[1]
    first_index = [0] * len(level.pages)
    if int(page.planarconfig) == 2 and page.samplesperpixel > 1:
        n = int(page.samplesperpixel)
        first_index = [per_plane * i for i in range(n)]
        offsets = [offsets[0][i : i + per_plane] for i in first_index]
        counts = [counts[0][i : i + per_plane] for i in first_index]
    if any(len(array) < per_plane for array in (*offsets, *counts)):
        raise SlideFormatError(f"{path} is damaged: it lists too few tiles; export it again")
    tables = page.jpegtables if compression in _JPEG else None
    decode_segment = page.decode  # built now: the file's tags are out of reach later
    failure = _codec_missing(decode_segment, page)
    if failure:
        raise UnsupportedSlideError(
            f"{path} is compressed in a way that cannot be read ({failure}); "
            "export it as JPEG or deflate"
        )

    def decode(data: bytes, index: int) -> NDArray[Any]:
        segment = decode_segment(data, index, jpegtables=tables)[0]
        tile: NDArray[Any] = np.asarray(segment)[0]
        return tile

    return _Level(
        layout=LevelLayout(level.size_wh, tile_wh, _compression_name(page)),
        grid_wh=grid_wh,
        offsets=tuple(offsets),
        counts=tuple(counts),
        first_index=tuple(first_index),
        decode=decode,
        colour=colour,
        is_jpeg=compression in _JPEG,
    )


def _codec_missing(decode_segment: Callable[..., Any], page: Any) -> str:
    """Ask the decoder for an empty segment: tifffile raises there when it has no codec."""
    if page.compression == 1:
        return ""
    try:
        decode_segment(None, 0)
    except (ValueError, NotImplementedError, KeyError) as error:
        return str(error)
    return ""


def _raw_strip_rows(page: Any, offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> int | None:
    """Rows to read at a time from an uncompressed raster without gaps; None for other files.

    Such a file may be one strip of gigabytes; its rows can be addressed directly.
    """
    is_raster = (
        int(page.compression) == 1
        and not page.is_tiled
        and int(page.planarconfig) == 1
        and int(page.predictor) == 1
        and int(page.fillorder) == 1
        and page.bitspersample in (8, 16, 32)
        and bool((offsets[1:] == offsets[:-1] + counts[:-1]).all())
    )
    if not is_raster:
        return None
    row_bytes = int(page.imagewidth) * int(page.samplesperpixel) * int(page.bitspersample) // 8
    if counts.sum() < row_bytes * int(page.imagelength):
        return None
    return max(1, min(int(page.imagelength), _RAW_STRIP_BYTES // row_bytes))


def _raw_level(
    page: Any,
    offsets: NDArray[np.int64],
    rows: int,
    colour: Callable[[NDArray[Any]], NDArray[np.uint8]],
) -> _Level:
    width, height, samples = (
        int(page.imagewidth),
        int(page.imagelength),
        int(page.samplesperpixel),
    )
    dtype = np.dtype(page.parent.byteorder + page.dtype.char)
    row_bytes = width * samples * dtype.itemsize
    starts = np.arange(0, height, rows, dtype=np.int64)

    def decode(data: bytes, index: int) -> NDArray[Any]:
        array = np.frombuffer(data, dtype).reshape(-1, width, samples)
        native: NDArray[Any] = array.astype(dtype.newbyteorder("="))
        return native

    return _Level(
        layout=LevelLayout((width, height), (width, rows), "none"),
        grid_wh=(1, len(starts)),
        offsets=(offsets[0] + starts * row_bytes,),
        counts=(np.minimum(rows, height - starts) * row_bytes,),
        first_index=(0,),
        decode=decode,
        colour=colour,
        is_jpeg=False,
    )


def _colour_of(page: Any, n_pages: int, path: Path) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """Choose how the samples of `page` become RGB.

    Raises
    ------
    SlideFormatError
        Signed or floating-point samples, whose white is not known.
    UnsupportedSlideError
        CMYK, Lab and the like.
    """
    photometric = int(page.photometric)
    samples = int(page.samplesperpixel) * n_pages
    if page.dtype is None or page.dtype.kind not in "ub":
        raise SlideFormatError(
            f"{path} holds {page.dtype} samples, whose white is not known; export it as 8-bit RGB"
        )
    if photometric not in (_MIN_IS_BLACK, _MIN_IS_WHITE, _RGB, _PALETTE, _YCBCR):
        kind = getattr(page.photometric, "name", photometric)
        raise UnsupportedSlideError(f"{path} holds {kind} colours; export it as 8-bit RGB")
    if photometric == _YCBCR and int(page.compression) not in _JPEG:
        raise UnsupportedSlideError(f"{path} holds YCbCr without JPEG; export it as RGB")
    if photometric == _PALETTE and page.colormap is not None:
        palette = np.ascontiguousarray((page.colormap.T // 257).astype(np.uint8))
        return lambda tile: palette[tile[..., 0]]
    bits = int(page.bitspersample)
    max_value = (1 << bits) - 1
    stated = page.tags.valueof(281)  # MaxSampleValue: 12 bits are often stored in 16
    if stated is not None:
        stated_max = max(stated) if isinstance(stated, tuple) else int(stated)
        max_value = stated_max if 0 < stated_max < max_value and bits > 8 else max_value
    has_alpha = any(int(e) in _ALPHA for e in page.extrasamples or ())
    if photometric == _MIN_IS_WHITE:
        return lambda tile: WHITE - to_rgb(tile[..., :1], max_value=max_value)
    if samples >= 3 and page.dtype == np.uint8 and not has_alpha and bits == 8:
        return lambda tile: np.ascontiguousarray(tile[..., :3])
    if page.dtype.kind == "b":
        return lambda tile: to_rgb(tile.astype(np.bool_), has_alpha=False)
    return lambda tile: to_rgb(tile, has_alpha=has_alpha, max_value=max_value)


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
    by_tags = resolution_metadata(
        tuple(page.resolution) if page.tags.get(282) else (0.0, 0.0),
        int(page.resolutionunit),
    )
    by_tags = SlideMetadata(
        mpp_xy=by_tags.mpp_xy,
        mpp_source=by_tags.mpp_source,
        scanner=" ".join(names) or str(tags["tiff.Software"] or ""),
        properties={k: str(v) for k, v in tags.items() if v},
    )
    return merge_metadata(stated, by_tags)


def _name(tiff: Any) -> str:
    if tiff.is_ome:
        return "OME-TIFF"
    if tiff.is_svs:
        return "Aperio SVS"
    return "TIFF"


def _compression_name(page: Any) -> str:
    name = getattr(page.compression, "name", str(page.compression)).lower()
    return {"adobe_deflate": "deflate", "aperio_jp2000_rgb": "jpeg2000"}.get(name, name)
