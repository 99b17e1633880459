"""Label masks as tiled TIFF: 0 not tumour, 1 tumour, 255 ignore; read tile by tile.

The mask covers the slide, pixel for pixel at level 0 or coarser by one factor. Reduced levels
of a pyramid serve overviews only (16 times coarser than the mask, and more), since programs
differ in how they average labels.
"""

from __future__ import annotations

import math
import os
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from histosam_core.annotation.outlines import mask_to_geometry
from histosam_core.annotation.rasterise import TIE_PX
from histosam_core.annotation.regions import (
    IGNORE,
    IGNORE_VALUE,
    TUMOR,
    AnnotatedRegion,
    Annotation,
)
from histosam_core.atomic import new_file
from histosam_core.errors import AnnotationError
from histosam_core.geometry import Frame, Region

Labels = npt.NDArray[np.uint8]
SizeWH = tuple[int, int]
_DESCRIPTION = "HistoSAM label mask: 0 not tumour, 1 tumour, 255 ignore"
_OVERVIEW_DOWNSAMPLE = 16.0
_SAMPLED_CHUNKS = 24
_STRIP_PX = 1 << 24


def write_mask_tiff(
    path: str | os.PathLike[str],
    mask: npt.NDArray[Any],
    *,
    mpp: float | None = None,
    tile_px: int = 512,
) -> Path:
    """Write a label mask as tiled, compressed TIFF; return the path.

    Parameters
    ----------
    path
        Where to; replaced when it exists.
    mask
        (H, W) bool, or integers 0, 1 and 255.
    mpp
        Micrometres per mask pixel, kept in the resolution tags.
    tile_px
        Edge of a tile, a multiple of 16.

    Raises
    ------
    AnnotationError
        The mask has other values, or other axes.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.size == 0:
        raise AnnotationError(f"a mask has two axes (H, W) and pixels, not shape {mask.shape}")
    labels = mask.astype(np.uint8)
    values = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    if (labels != mask).any() or not set(values.tolist()) <= {0, 1, IGNORE_VALUE}:
        raise AnnotationError("a mask holds 0 (not tumour), 1 (tumour) and 255 (ignore) only")
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp)}
    with new_file(path) as temporary:
        tifffile.imwrite(
            temporary,
            labels,
            tile=(tile_px, tile_px),
            photometric="minisblack",
            compression="zlib",
            description=_DESCRIPTION,
            resolutionunit="CENTIMETER",
            metadata=None,
            **resolution,
        )
    return Path(path)


def read_mask_tiff(path: str | os.PathLike[str]) -> MaskAnnotation:
    """Open a mask TIFF; its pixels are read when they are asked for.

    In files of other programs that hold 0 and 255 only, 255 is tumour (noted).

    Raises
    ------
    AnnotationError
        The file cannot be read, has more than one channel, or holds other values.
    """
    return MaskAnnotation(_MaskFile(Path(path)))


class _MaskFile:
    """A TIFF's label pages, read chunk by chunk from any thread; pickles by path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._tiff = tifffile.TiffFile(path)
            self.pages = _label_pages(self._tiff, path)
        except AnnotationError:
            raise
        except OSError as error:
            raise AnnotationError(f"cannot read {path}: {error.strerror or error}") from error
        except (tifffile.TiffFileError, IndexError, ValueError) as error:
            raise AnnotationError(
                f"{path} is not a TIFF that can be read ({error}); export the mask again"
            ) from error
        self.size_wh = _size_wh(self.pages[0])
        self.is_own = (self.pages[0].description or "").startswith("HistoSAM label mask")
        self.mpp = _mpp(self.pages[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return _MaskFile, (self.path,)

    def __del__(self) -> None:
        if hasattr(self, "_tiff"):
            self._tiff.close()

    def chunk(self, page: Any, index: int) -> tuple[Labels | None, int, int]:
        """Decode one tile or strip; return its labels (None: all 0) and its first row, column."""
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        data: bytes | None = None
        if count:
            with self._lock:
                self._tiff.filehandle.seek(offset)
                data = self._tiff.filehandle.read(count)
        try:
            segment, position, shape = page.decode(data, index, jpegtables=page.jpegtables)
        except Exception as error:  # codecs raise errors of many classes
            raise AnnotationError(
                f"{self.path} is damaged at tile {index} ({error}); export the mask again"
            ) from error
        block = None if segment is None else segment[0, : shape[1], : shape[2], 0].astype(np.uint8)
        return block, position[2], position[3]

    def read(self, page: Any, x0: int, y0: int, x1: int, y1: int) -> Labels:
        """Read columns x0 to x1 and rows y0 to y1 (ends left out), all inside the page."""
        chunk_h, chunk_w = page.chunks[0], page.chunks[1]
        across = math.ceil(page.imagewidth / chunk_w)
        out = np.zeros((y1 - y0, x1 - x0), dtype=np.uint8)
        for row in range(y0 // chunk_h, (y1 - 1) // chunk_h + 1):
            for column in range(x0 // chunk_w, (x1 - 1) // chunk_w + 1):
                block, top, left = self.chunk(page, row * across + column)
                if block is not None:
                    ys, xs = max(y0, top), max(x0, left)
                    part = block[ys - top : y1 - top, xs - left : x1 - left]
                    height, width = part.shape
                    out[ys - y0 : ys - y0 + height, xs - x0 : xs - x0 + width] = part
        return out

    def sampled_values(self) -> set[int]:
        """Values in the chunks that compress least: where a mask has labels, it has them there."""
        page = self.pages[0]
        largest = np.argsort(page.databytecounts)[::-1][:_SAMPLED_CHUNKS]
        blocks = (self.chunk(page, index)[0] for index in largest.tolist())
        return {v for block in blocks if block is not None for v in np.unique(block).tolist()}


class MaskAnnotation(Annotation):
    """A label mask in a TIFF file, read lazily; made by `read_mask_tiff`.

    Until it is fitted to a slide, its downsample comes from its own mpp, and is 1 where it
    states none.
    """

    def __init__(self, file: _MaskFile, slide_size_wh: SizeWH | None = None) -> None:
        self.path = file.path
        self._file = file
        self._slide_size_wh = slide_size_wh
        self._tumor_value = 1
        self.notes = ()
        if not file.is_own:
            values = file.sampled_values()
            if not values <= {0, 1, IGNORE_VALUE}:
                raise AnnotationError(
                    f"{file.path} holds the values {sorted(values)[:8]}; a mask has 0 (not "
                    "tumour), 1 (tumour) and 255 (ignore): rewrite it with write_mask_tiff"
                )
            if IGNORE_VALUE in values and 1 not in values:
                self._tumor_value = IGNORE_VALUE
                self.notes = ("its value 255 is taken for tumour, since 1 does not occur",)

    @property
    def size_wh(self) -> SizeWH:
        """Width and height of the mask in its own pixels."""
        return self._file.size_wh

    @property
    def mpp(self) -> float | None:
        """Micrometres per mask pixel; None where the file states none."""
        return self._file.mpp

    def downsample_xy(self, slide_mpp: float | None = None) -> tuple[float, float]:
        """Level-0 pixels per mask pixel, along x and y."""
        if self._slide_size_wh is not None:
            return _downsample(self._slide_size_wh, self.size_wh) or (1.0, 1.0)
        if self.mpp is not None and slide_mpp is not None:
            return (self.mpp / slide_mpp,) * 2
        return 1.0, 1.0

    def mask(self, region: Region, slide_mpp: float | None = None) -> Labels:
        """Draw the labels of a part of the slide; see `Annotation.mask`. Outside the mask: 0."""
        frame = region.frame(slide_mpp)
        downsample = self.downsample_xy(slide_mpp)
        page = self._page_for(frame.downsample[0] / downsample[0])
        x, y = (
            _pixels_at(frame, axis, count, d * whole / stored, stored)
            for axis, (count, d, whole, stored) in enumerate(
                zip(region.size_wh, downsample, self.size_wh, _size_wh(page), strict=True)
            )
        )
        out = np.zeros((y.size, x.size), dtype=np.uint8)
        columns, rows = x[x >= 0], y[y >= 0]
        if not (columns.size and rows.size):
            return out
        x0, x1 = int(columns[0]), int(columns[-1]) + 1
        picked = np.empty((rows.size, columns.size), dtype=np.uint8)
        # An overview of a mask without a pyramid would hold all of it: go by strips of rows.
        strip = max(1, _STRIP_PX // (x1 - x0))
        done = 0
        while done < rows.size:
            y0 = int(rows[done])
            upto = max(done + 1, int(np.searchsorted(rows, y0 + strip)))
            block = self._file.read(page, x0, y0, x1, int(rows[upto - 1]) + 1)
            picked[done:upto] = block[np.ix_(rows[done:upto] - y0, columns - x0)]
            done = upto
        out[np.ix_(y >= 0, x >= 0)] = self._labels(picked)
        return out

    @cached_property
    def regions(self) -> tuple[AnnotatedRegion, ...]:
        """The mask's components as polygons along its pixels' edges (reads the whole mask)."""
        labels = self._labels(self._file.read(self._file.pages[0], 0, 0, *self.size_wh))
        frame = Frame((0.0, 0.0), self.downsample_xy())
        return tuple(
            AnnotatedRegion(polygon, label)
            for value, label in ((1, TUMOR), (IGNORE_VALUE, IGNORE))
            for polygon in mask_to_geometry(labels == value, frame).geoms
        )

    def fitted(self, slide_size_wh: SizeWH, slide: object = "the slide") -> MaskAnnotation:
        """Return this mask laid over a slide of that size; see `Annotation.fitted`."""
        if _downsample(slide_size_wh, self.size_wh) is None:
            (mask_w, mask_h), (width, height) = self.size_wh, slide_size_wh
            raise AnnotationError(
                f"{self.path} ({mask_w} x {mask_h} px) does not cover {slide} ({width} x {height} "
                "px) by one factor; give the mask made on this slide"
            )
        return MaskAnnotation(self._file, slide_size_wh)

    def _labels(self, values: Labels) -> Labels:
        if self._tumor_value == 1:
            return values
        is_tumor: Labels = (values == self._tumor_value).astype(np.uint8)
        return is_tumor

    def _page_for(self, coarsening: float) -> Any:
        """The coarsest page that serves pixels so many times coarser than the mask's own."""
        first, *reduced = self._file.pages
        if coarsening >= _OVERVIEW_DOWNSAMPLE:
            for page in reversed(reduced):
                if 4 * first.imagewidth / page.imagewidth <= coarsening:
                    return page
        return first


def _pixels_at(
    frame: Frame, axis: int, count: int, downsample: float, length: int
) -> npt.NDArray[np.int64]:
    """Mask column (axis 0) or row (1) at each of `count` grid pixels' centres; -1 outside."""
    edges = frame.origin_xy[axis] + (np.arange(count) + 0.5) * frame.downsample[axis]
    # Rounding noise must not move a centre that lies on a border to the wrong side.
    pixels: npt.NDArray[np.int64] = np.floor(edges / downsample + TIE_PX).astype(np.int64)
    pixels[(pixels < 0) | (pixels >= length)] = -1
    return pixels


def _size_wh(page: Any) -> SizeWH:
    return page.imagewidth, page.imagelength


def _label_pages(tiff: tifffile.TiffFile, path: Path) -> list[Any]:
    """Return the first page and its reduced copies, be they sub-IFDs or pages that follow."""
    pages = tiff.pages
    pages.useframes = False
    first = pages[0]
    if first.ndim != 2 or first.samplesperpixel != 1 or first.dtype.kind not in "ub":
        raise AnnotationError(
            f"{path} has shape {first.shape} and type {first.dtype}; a mask is one channel of "
            "unsigned whole numbers (0, 1, 255): rewrite it with write_mask_tiff"
        )
    reduced = [
        page
        for page in (*(first.pages or ()), *(pages[i] for i in range(1, len(pages))))
        if page.ndim == 2
        and page.samplesperpixel == 1
        and page.dtype == first.dtype
        and page.imagewidth < first.imagewidth
        and _downsample(_size_wh(first), _size_wh(page)) is not None
    ]
    return [first, *sorted(reduced, key=lambda page: -page.imagewidth)]


def _mpp(page: Any) -> float | None:
    """Micrometres per pixel by the resolution tags; None where they make no sense."""
    unit = page.tags.valueof("ResolutionUnit", default=1)
    ratio = page.tags.valueof("XResolution", default=None)
    um = {2: 25400.0, 3: 10000.0}.get(int(unit))
    if um is None or not ratio or not ratio[0] or not ratio[1]:
        return None
    mpp = um * float(ratio[1]) / float(ratio[0])
    return mpp if 0.05 <= mpp <= 500 else None


def _downsample(slide_size_wh: SizeWH, mask_size_wh: SizeWH) -> tuple[float, float] | None:
    """Level-0 pixels per mask pixel, when one factor explains both axes; None otherwise.

    A mask made at a whole factor may lack or exceed the slide by part of a pixel (rounded down
    or up); its factor is then that whole number, so that its pixels stay in step with level 0.
    """
    ratios = [s / m for s, m in zip(slide_size_wh, mask_size_wh, strict=True)]
    whole = round(max(ratios)), round(min(ratios))
    for factor in whole:
        if factor >= 1 and all(
            abs(s / factor - m) < 1 for s, m in zip(slide_size_wh, mask_size_wh, strict=True)
        ):
            return float(factor), float(factor)
    # Elsewhere each axis may be off by the rounding of one mask pixel.
    slack = max(1 / m for m in mask_size_wh)
    if abs(ratios[0] / ratios[1] - 1) <= slack + 1e-3 and max(ratios) >= 1 - slack:
        return ratios[0], ratios[1]
    return None
