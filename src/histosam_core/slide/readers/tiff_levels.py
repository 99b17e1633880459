"""The levels of a TIFF file's slide: which of its images they are, and how tiles are stored."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import SlideFormatError
from histosam_core.slide.colour import WHITE, to_rgb
from histosam_core.slide.readers import LevelLayout, UnsupportedSlideError

_MAX_DIRECTORIES = 4096
_MASK, _REDUCED = 4, 1  # NewSubfileType: a bit of it, and the whole
_JPEG = {6, 7, 34892, 33007}
_APERIO_YCBC_JPEG2000 = 33003
_RAW_STRIP_BYTES = 1 << 20
_ALPHA = (1, 2)  # values of ExtraSamples: associated, unassociated
_MIN_IS_BLACK, _MIN_IS_WHITE, _RGB, _PALETTE, _YCBCR = 1, 0, 2, 3, 6

Ints = NDArray[np.int64]
Colour = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""Makes stored samples (h, w, S) of a tile the pixels (h, w, channels) that a reader returns."""
Pages = tuple[Any, ...]
"""TIFF directories that hold one level: one of S samples, or S of one sample each."""


@dataclass(frozen=True, slots=True)
class StoredLevel:
    """Where a level's tiles lie and how they become pixels."""

    layout: LevelLayout
    across: int  # tiles in a row of them
    # Of each separately stored colour: offsets and lengths in the file, number of its first tile.
    planes: tuple[tuple[Ints, Ints, int], ...]
    decode: Callable[[bytes, int], NDArray[Any]]  # bytes, number of the tile -> (h, w, S)
    colour: Colour
    is_jpeg: bool


def is_tiff(head: bytes) -> bool:
    """Whether a file that starts with `head` is a TIFF or BigTIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def check_directories(path: Path) -> None:
    """Follow the chain of directories through the file.

    A TIFF library that meets a chain leading past the end just stops, so a truncated slide would
    look like one with fewer levels; here that is a SlideFormatError, as is a circle.
    """
    broken = SlideFormatError(
        f"{path} is truncated or damaged: its list of images ends early; copy or export it again"
    )
    size = path.stat().st_size
    seen: set[int] = set()
    with path.open("rb") as file:

        def number(offset: int, code: str) -> int:
            file.seek(offset)
            data = file.read(struct.calcsize(code))
            if len(data) < struct.calcsize(code):
                raise broken
            return int(struct.unpack(code, data)[0])

        order = "<" if file.read(2) == b"II" else ">"
        big = number(2, f"{order}H") == 43
        count_code, entry, next_code = ("Q", 20, "Q") if big else ("H", 12, "I")
        offset = number(8 if big else 4, order + next_code)
        while offset:
            if offset in seen or offset >= size or len(seen) >= _MAX_DIRECTORIES:
                raise broken
            seen.add(offset)
            entries = number(offset, order + count_code)
            end = offset + struct.calcsize(count_code) + entries * entry
            offset = number(end, order + next_code)
    if not seen:
        raise SlideFormatError(f"{path} is a TIFF without any image; export it again")


def stored_levels(
    tiff: Any, path: Path, colour_of: Callable[[Any, int, Path], Colour]
) -> tuple[StoredLevel, ...]:
    """Return the levels of an open `tifffile.TiffFile`, finest first.

    OME-TIFF: the largest series and its SubIFDs. Otherwise the largest image, and every image of
    the same proportions stored the same way (tiled) or marked as reduced, also in its SubIFDs;
    Aperio's strip thumbnail, label and macro image are thereby left out.

    ``colour_of(page, n_pages, path)`` chooses how samples become pixels, as `rgb_of` does.

    Raises
    ------
    SlideFormatError
        Several z-planes, time points or more channels than colours; or a damaged directory.
    UnsupportedSlideError
        A codec that is not there.
    """
    found = _ome_levels(tiff, path) if tiff.is_ome else _generic_levels(tiff)
    found.sort(key=lambda level: -int(level[0].imagewidth))
    return tuple(_stored(page, pages, path, colour_of) for page, pages in found)


def _ome_levels(tiff: Any, path: Path) -> list[tuple[Any, Pages]]:
    """The page that knows how to decode, and those that hold the bytes, of each level."""
    series = max(tiff.series, key=lambda s: _axis(s, "Y") * _axis(s, "X"))
    for stored in series.levels:
        extra = {a: n for a, n in zip(stored.axes, stored.shape, strict=True) if a not in "YXSC"}
        if any(n > 1 for n in extra.values()) or _axis(stored, "C") not in (1, 3):
            raise SlideFormatError(
                f"{path} has the axes {stored.axes} {stored.shape}; export one RGB plane of it"
            )
    return [(stored.keyframe, tuple(stored.pages)) for stored in series.levels]


def _axis(series: Any, axis: str) -> int:
    return int(series.shape[series.axes.index(axis)]) if axis in series.axes else 1


def _generic_levels(tiff: Any) -> list[tuple[Any, Pages]]:
    pages = [p for p in _pages_and_subimages(tiff) if not int(p.subfiletype) & _MASK]
    base = max(pages, key=lambda p: p.imagewidth * p.imagelength)
    levels = {base.imagewidth: base}
    for page in pages:
        stored_alike = page.is_tiled if base.is_tiled else page.subfiletype == _REDUCED
        if stored_alike and _is_reduced_copy(page, base):
            levels.setdefault(page.imagewidth, page)
    return [(page, (page,)) for page in levels.values()]


def _pages_and_subimages(tiff: Any) -> Iterator[Any]:
    for page in tiff.pages:
        yield page
        if page.subifds:
            yield from page.pages


def _is_reduced_copy(page: Any, base: Any) -> bool:
    same_samples = page.samplesperpixel == base.samplesperpixel and page.dtype == base.dtype
    ratio = base.imagewidth / page.imagewidth
    off = abs(page.imagelength - base.imagelength / ratio)
    # Both sides may be rounded, and some writers round up at every halving.
    return bool(same_samples and ratio > 1 and off <= max(2.0, 0.01 * page.imagelength))


def _stored(
    page: Any, pages: Pages, path: Path, colour_of: Callable[[Any, int, Path], Colour]
) -> StoredLevel:
    colour = colour_of(page, len(pages), path)
    compression = int(page.compression)
    if compression == _APERIO_YCBC_JPEG2000:
        raise UnsupportedSlideError(f"{path} is JPEG 2000 in YCbCr, which needs OpenSlide")
    width, height, samples = (
        int(n) for n in (page.imagewidth, page.imagelength, page.samplesperpixel)
    )
    planes = [
        (np.asarray(p.dataoffsets, np.int64), np.asarray(p.databytecounts, np.int64), 0)
        for p in pages
    ]
    offsets, counts, _ = planes[0]
    raw_rows = _raw_rows(page, offsets, counts) if len(pages) == 1 else 0
    if raw_rows:
        tile_wh = width, raw_rows
    elif page.is_tiled:
        tile_wh = int(page.tilewidth), int(page.tilelength)
    else:
        tile_wh = width, min(int(page.rowsperstrip), height)
    across, down = -(-width // tile_wh[0]), -(-height // tile_wh[1])
    n_tiles = across * down
    if raw_rows:
        row_bytes = _row_bytes(page)
        starts = np.arange(0, height, raw_rows, dtype=np.int64)
        lengths = np.minimum(raw_rows, height - starts) * row_bytes
        planes = [(offsets[0] + starts * row_bytes, lengths, 0)]
        decode = _raw_decoder(page, width, samples)
    else:
        if int(page.planarconfig) == 2 and samples > 1:
            firsts = range(0, n_tiles * samples, n_tiles)
            planes = [(offsets[i : i + n_tiles], counts[i : i + n_tiles], i) for i in firsts]
        if any(len(array) < n_tiles for plane in planes for array in plane[:2]):
            raise SlideFormatError(f"{path} is damaged: it lists too few tiles; export it again")
        decode = _decoder(page, path)
    layout = LevelLayout((width, height), tile_wh, _compression_name(page))
    return StoredLevel(layout, across, tuple(planes), decode, colour, compression in _JPEG)


def _decoder(page: Any, path: Path) -> Callable[[bytes, int], NDArray[Any]]:
    decode_segment = page.decode  # built now: the file's tags are out of reach later
    tables = page.jpegtables if int(page.compression) in _JPEG else None
    if page.compression != 1:
        try:
            decode_segment(None, 0)  # raises where tifffile has no codec
        except (ValueError, NotImplementedError, KeyError) as error:
            raise UnsupportedSlideError(
                f"{path} is compressed in a way that cannot be read ({error}); "
                "export it as JPEG or deflate"
            ) from error

    def decode(data: bytes, index: int) -> NDArray[Any]:
        tile: NDArray[Any] = np.asarray(decode_segment(data, index, jpegtables=tables)[0])[0]
        return tile

    return decode


def _row_bytes(page: Any) -> int:
    return int(page.imagewidth) * int(page.samplesperpixel) * int(page.bitspersample) // 8


def _raw_rows(page: Any, offsets: Ints, counts: Ints) -> int:
    """Rows to read at a time from an uncompressed raster without gaps; 0 for other files.

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
        and counts.sum() >= _row_bytes(page) * int(page.imagelength)
    )
    if not is_raster:
        return 0
    return max(1, min(int(page.imagelength), _RAW_STRIP_BYTES // _row_bytes(page)))


def _raw_decoder(page: Any, width: int, samples: int) -> Callable[[bytes, int], NDArray[Any]]:
    dtype = np.dtype(page.parent.byteorder + page.dtype.char)

    def decode(data: bytes, index: int) -> NDArray[Any]:
        array = np.frombuffer(data, dtype).reshape(-1, width, samples)
        native: NDArray[Any] = array.astype(dtype.newbyteorder("="))
        return native

    return decode


def rgb_of(page: Any, n_pages: int, path: Path) -> Colour:
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


def _compression_name(page: Any) -> str:
    name = getattr(page.compression, "name", str(page.compression)).lower()
    return {"adobe_deflate": "deflate", "aperio_jp2000_rgb": "jpeg2000"}.get(name, name)
