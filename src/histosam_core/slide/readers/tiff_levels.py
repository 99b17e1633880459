"""Which images of a TIFF file are the levels of its slide."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histosam_core.errors import SlideFormatError

_MAX_DIRECTORIES = 4096
_MASK = 4  # bit of NewSubfileType
_REDUCED = 1


@dataclass(frozen=True, slots=True)
class LevelPages:
    """The TIFF directories of one level: one of S samples, or S of one sample each."""

    keyframe: Any  # the tifffile page that knows how to decode
    pages: tuple[Any, ...]  # those that hold the bytes, one per separately stored colour

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.keyframe.imagewidth), int(self.keyframe.imagelength)


def is_tiff(head: bytes) -> bool:
    """Whether a file that starts with `head` is a TIFF or BigTIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def count_directories(path: Path) -> int:
    """Follow the chain of directories through the file.

    A TIFF library that meets a chain leading past the end just stops, so a truncated slide would
    look like one with fewer levels; here that is a SlideFormatError, as is a circle.
    """
    size = path.stat().st_size
    seen: set[int] = set()
    with path.open("rb") as file:

        def number(offset: int, code: str) -> int:
            file.seek(offset)
            data = file.read(struct.calcsize(code))
            if len(data) < struct.calcsize(code):
                raise _broken_chain(path)
            return int(struct.unpack(code, data)[0])

        order = "<" if file.read(2) == b"II" else ">"
        big = number(2, f"{order}H") == 43
        count_code, entry, next_code = ("Q", 20, "Q") if big else ("H", 12, "I")
        offset = number(8 if big else 4, order + next_code)
        while offset:
            if offset in seen or offset >= size or len(seen) >= _MAX_DIRECTORIES:
                raise _broken_chain(path)
            seen.add(offset)
            entries = number(offset, order + count_code)
            offset = number(
                offset + struct.calcsize(count_code) + entries * entry, order + next_code
            )
    if not seen:
        raise SlideFormatError(f"{path} is a TIFF without any image; export it again")
    return len(seen)


def find_levels(tiff: Any, path: Path) -> list[LevelPages]:
    """Return the levels of an open `tifffile.TiffFile`, finest first.

    OME-TIFF: the largest series and its SubIFDs. Otherwise the largest image, and every image of
    the same proportions stored the same way (tiled) or marked as reduced, also in its SubIFDs;
    Aperio's strip thumbnail, label and macro image are thereby left out.

    Raises
    ------
    SlideFormatError
        Several z-planes, time points or more channels than colours.
    """
    levels = _ome_levels(tiff, path) if tiff.is_ome else _generic_levels(tiff)
    return sorted(levels, key=lambda level: -level.size_wh[0])


def _ome_levels(tiff: Any, path: Path) -> list[LevelPages]:
    series = max(tiff.series, key=lambda s: _axis(s, "Y") * _axis(s, "X"))
    levels = []
    for stored in series.levels:
        extra = {a: n for a, n in zip(stored.axes, stored.shape, strict=True) if a not in "YXSC"}
        if any(n > 1 for n in extra.values()) or _axis(stored, "C") not in (1, 3):
            raise SlideFormatError(
                f"{path} has the axes {stored.axes} {stored.shape}; export one RGB plane of it"
            )
        levels.append(LevelPages(stored.keyframe, tuple(stored.pages)))
    return levels


def _axis(series: Any, axis: str) -> int:
    return int(series.shape[series.axes.index(axis)]) if axis in series.axes else 1


def _generic_levels(tiff: Any) -> list[LevelPages]:
    pages = [p for p in _pages_and_subimages(tiff) if not int(p.subfiletype) & _MASK]
    base = max(pages, key=lambda p: p.imagewidth * p.imagelength)
    levels, widths = [base], {base.imagewidth}
    for page in pages:
        stored_alike = (page.is_tiled == base.is_tiled and page.is_tiled) or (
            page.subfiletype == _REDUCED and not base.is_tiled
        )
        if page.imagewidth not in widths and stored_alike and _is_reduced_copy(page, base):
            levels.append(page)
            widths.add(page.imagewidth)
    return [LevelPages(page, (page,)) for page in levels]


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


def _broken_chain(path: Path) -> SlideFormatError:
    return SlideFormatError(
        f"{path} is truncated or damaged: its list of images ends early; copy or export it again"
    )
