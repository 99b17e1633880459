"""Slide: any readable image as a pyramid, addressed in level-0 pixels or micrometres per pixel."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import (
    ConfigError,
    MissingMppError,
    RegionError,
    SlideFormatError,
    SlideNotFoundError,
)
from histosam_core.geometry import Frame, Region
from histosam_core.slide.levels import Level, best_level, make_levels
from histosam_core.slide.readers import Reader, UnsupportedSlideError
from histosam_core.slide.readers.openslide import OpenSlideReader, openslide_format
from histosam_core.slide.readers.raster import RasterReader
from histosam_core.slide.readers.tiff import TiffReader
from histosam_core.slide.readers.tiff_levels import is_tiff
from histosam_core.slide.resample import AxisGrid, resample

if TYPE_CHECKING:
    import dask.array as da

CACHE_BYTES = 32 * 2**20
"""Decoded tiles a slide keeps by default: a band 512 px high of a 20,000 px wide slide."""

_CHUNK_PX = 1024
_CHUNK_BYTES = 32 * 2**20
_HASHED_BYTES = 64 * 1024
_PLAIN_IMAGE = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
_UM_AT_1X = 10.0


class Slide:
    """An open slide. Use `open_slide` to make one.

    Reading is safe from several threads. Pickling keeps the path and reopens it on the other side.

    Parameters
    ----------
    path
        The file.
    reader
        The open file.
    mpp
        The user's micrometres per level-0 pixel; None takes the file's.

    Attributes
    ----------
    path, name
        The file, and its name without folder and suffix.
    levels
        The resolutions, finest first; each an array that reads where it is indexed.
    """

    def __init__(self, path: Path, reader: Reader, mpp: float | None = None) -> None:
        self.path = path
        self.name = path.stem
        self.reader = reader
        self.levels: tuple[Level, ...] = make_levels(reader)
        self._stated_mpp = mpp

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height of level 0 in pixels."""
        return self.levels[0].size_wh

    @property
    def mpp_xy(self) -> tuple[float, float] | None:
        """Micrometres per level-0 pixel along x and y; None when not known."""
        if self._stated_mpp is not None:
            return self._stated_mpp, self._stated_mpp
        return self.reader.metadata.mpp_xy

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel, the mean of x and y; None when not known."""
        return None if self.mpp_xy is None else sum(self.mpp_xy) / 2

    @property
    def mpp_source(self) -> str:
        """Where the mpp comes from, or why there is none."""
        return "stated by the user" if self._stated_mpp else self.reader.metadata.mpp_source

    @property
    def magnification(self) -> float | None:
        """The objective's power as the file states it, e.g. 20.0; None when it does not."""
        return self.reader.metadata.magnification

    @property
    def assumable_mpp(self) -> float | None:
        """10 / magnification: what a user might state where mpp is missing. Never used unasked."""
        return _UM_AT_1X / self.magnification if self.magnification else None

    @property
    def properties(self) -> Mapping[str, str]:
        """Everything that the file states, as text."""
        return MappingProxyType(dict(self.reader.metadata.properties))

    @property
    def fingerprint(self) -> str:
        """A short text that changes when the file does: its size, time and first and last bytes.

        Cheap (128 KiB are read), and stable over processes; not a hash of the whole file.
        """
        return self._digest(with_time=True)

    @property
    def content_fingerprint(self) -> str:
        """As `fingerprint` without the file's time: a copy has the same."""
        return self._digest(with_time=False)

    @property
    def pyramid(self) -> list[da.Array]:
        """The levels as dask arrays (H, W, 3) uint8, for batch work.

        Chunks are whole tiles, about 1024 px a side; of a strip file, bands of whole strips.
        """
        import dask.array as da

        fingerprint = self.fingerprint
        return [
            da.from_array(
                level,
                chunks=_chunks(level),
                name=f"slide-{fingerprint}-{level.index}",
                asarray=False,
                fancy=False,
            )
            for level in self.levels
        ]

    def read_region(self, region: Region) -> NDArray[np.uint8]:
        """Read a rectangle at any resolution.

        The coarsest level that holds the detail is read, and averaged by area when it must be
        scaled down. Where the region's grid is a level's own, its pixels are returned untouched.

        Parameters
        ----------
        region
            Level-0 corner, size in its own pixels, and mpp (None: level-0 pixels).

        Returns
        -------
        (h, w, 3) uint8 RGB, white outside the slide; pixel (row, col) shows the tissue at
        ``region.frame(slide.mpp).to_level0((col, row))``.

        Raises
        ------
        RegionError
            The region lies wholly outside the slide.
        MissingMppError
            The region states an mpp and the slide has none.
        SlideFormatError
            The stored bytes are damaged.
        """
        if region.mpp is not None and self.mpp is None:
            raise MissingMppError(self._missing_mpp())
        return self.read_frame(region.frame(self.mpp), region.size_wh)

    def read_frame(self, frame: Frame, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
        """Read `size_wh` pixels of any grid over level 0; see `read_region`."""
        (ox, oy), (dx, dy) = frame.origin_xy, frame.downsample
        (w, h), (width, height) = size_wh, self.size_wh
        if ox >= width or oy >= height or ox + w * dx <= 0 or oy + h * dy <= 0:
            raise RegionError(
                f"the region at ({ox:g}, {oy:g}) of {w * dx:g} x {h * dy:g} level-0 pixels lies "
                f"outside {self.path.name}, which is {width} x {height}; choose a place inside it"
            )
        level = best_level(self.levels, min(dx, dy))
        lx, ly = level.downsample_xy
        x = AxisGrid(ox / lx, dx / lx, int(w))
        y = AxisGrid(oy / ly, dy / ly, int(h))
        return resample(lambda *rectangle: self._read_padded(level, *rectangle), x, y)

    def _read_padded(self, level: Level, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Read level pixels; white outside the slide.

        A level may lack the last, incomplete pixel of the slide (see `level_downsample`); there
        its last whole pixel is repeated, so that no white seam shows at the edge.
        """
        image = level.read((x, y), (w, h))
        for axis, first, count in ((0, x, w), (1, y, h)):
            stored = level.size_wh[axis]
            slide_end = math.ceil(self.size_wh[axis] / level.downsample_xy[axis] - 1e-6)
            if first < stored < min(slide_end, first + count):
                pixels = np.arange(first, first + count)
                pixels[(pixels >= stored) & (pixels < slide_end)] = stored - 1
                image = np.take(image, pixels - first, axis=1 - axis)
        return image

    def read_level(
        self, level: int, location_xy: tuple[int, int], size_wh: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read a rectangle in a level's own pixels: exact, with no shift at any downsample.

        Parameters
        ----------
        level
            Index into `levels`.
        location_xy
            Upper-left pixel (x, y) of the level.
        size_wh
            Width and height in the level's pixels.

        Returns
        -------
        (h, w, 3) uint8 RGB, white outside the level.

        Raises
        ------
        RegionError
            There is no such level, or no pixels are asked for.
        """
        if not 0 <= level < len(self.levels):
            raise RegionError(
                f"{self.path.name} has the levels 0 to {len(self.levels) - 1}, not {level}"
            )
        if min(size_wh) < 1:
            raise RegionError(f"size {size_wh} has no pixels; give whole numbers >= 1")
        x, y = location_xy
        return self.levels[level].read((int(x), int(y)), (int(size_wh[0]), int(size_wh[1])))

    def thumbnail(self, max_px: int = 1024) -> NDArray[np.uint8]:
        """Return the whole slide, (h, w, 3) uint8, its longer side at most `max_px` pixels."""
        width, height = self.size_wh
        factor = max(1.0, max(width, height) / max_px)
        w, h = max(1, round(width / factor)), max(1, round(height / factor))
        return self.read_frame(Frame((0.0, 0.0), (width / w, height / h)), (w, h))

    def close(self) -> None:
        """Release the file; later reads raise SlideError."""
        self.reader.close()

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reader, self._stated_mpp)

    def __repr__(self) -> str:
        scale = "mpp unknown" if self.mpp is None else f"{self.mpp:.4g} um/px"
        width, height = self.size_wh
        return f"<Slide {self.path.name}: {width} x {height}, {scale}, {len(self.levels)} levels>"

    def _digest(self, *, with_time: bool) -> str:
        stat = self.path.stat()
        facts = f"{stat.st_size}:{stat.st_mtime_ns}" if with_time else f"{stat.st_size}"
        digest = hashlib.sha256(facts.encode())
        with self.path.open("rb") as file:
            digest.update(file.read(_HASHED_BYTES))
            file.seek(max(0, stat.st_size - _HASHED_BYTES))
            digest.update(file.read(_HASHED_BYTES))
        return digest.hexdigest()[:32]

    def _missing_mpp(self) -> str:
        example, known = 0.5, ""
        if self.assumable_mpp is not None:
            example = self.assumable_mpp
            known = f" (its magnification, {self.magnification:g}x, suggests {example:g})"
        return (
            f"{self.path.name} states no mpp (um per pixel){known}, so a resolution cannot be "
            f"asked for; pass it: open_slide(path, mpp={example:g}), or --mpp {example:g}"
        )


def open_slide(
    path: str | os.PathLike[str], *, mpp: float | None = None, cache_bytes: int = CACHE_BYTES
) -> Slide:
    """Open a slide or a plain image.

    TIFF-like files (SVS, tiled, strip and OME-TIFF) are read tile by tile; MRXS, NDPI, DICOM,
    BIF, VMS and the like through OpenSlide; PNG, JPEG and other images as one level.

    Parameters
    ----------
    path
        The file; for MRXS the .mrxs file, for DICOM one file of the series.
    mpp
        Micrometres per level-0 pixel, where the file has none or a wrong one. It overrides the
        file.
    cache_bytes
        Bound on the decoded tiles kept in memory, shared by all levels.

    Raises
    ------
    SlideNotFoundError
        No file at `path`.
    SlideFormatError
        A folder, or a file that is empty, truncated, damaged or no image.
    ConfigError
        `mpp` is not a positive number.
    """
    if mpp is not None and not (math.isfinite(mpp) and mpp > 0):
        raise ConfigError(f"mpp {mpp} must be a positive number of um per pixel, e.g. 0.5")
    file = Path(path)
    return Slide(file, _open_reader(file, cache_bytes), None if mpp is None else float(mpp))


def _open_reader(path: Path, cache_bytes: int) -> Reader:
    if is_tiff(_head(path)):
        try:
            return TiffReader(path, cache_bytes)
        except UnsupportedSlideError:
            if openslide_format(path) is None:
                raise
            return OpenSlideReader(path, cache_bytes)
    if path.suffix.lower() not in _PLAIN_IMAGE and openslide_format(path) is not None:
        return OpenSlideReader(path, cache_bytes)
    return RasterReader(path)


def _head(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise SlideFormatError(
                f"{path} is a folder; give one slide file (for MRXS the .mrxs file beside the "
                "folder, for DICOM one .dcm file in it)"
            )
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError as error:
        raise SlideNotFoundError(f"no file at {path}; check the name and the folder") from error
    except OSError as error:
        raise SlideFormatError(
            f"{path} cannot be opened: {error.strerror}; check its permissions"
        ) from error
    if not head:
        raise SlideFormatError(f"{path} is empty (0 bytes); copy or export it again")
    return head


def _chunks(level: Level) -> tuple[int, int, int]:
    (tile_w, tile_h), (width, height) = level.layout.tile_wh, level.size_wh
    if tile_w >= width:  # strips: a band is decoded whole, so a chunk is as wide as the level
        rows = max(1, min(_CHUNK_PX, _CHUNK_BYTES // (3 * width)))
        return max(tile_h, rows // tile_h * tile_h) if tile_h <= rows else rows, width, 3
    across, down = max(1, _CHUNK_PX // tile_w), max(1, _CHUNK_PX // tile_h)
    return min(down * tile_h, height), min(across * tile_w, width), 3
