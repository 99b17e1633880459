"""Write an image as a pyramidal slide: SVS as Aperio's scanners lay it out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from histosam_core.atomic import new_file
from histosam_core.errors import SlideFormatError

UInt8 = NDArray[np.uint8]

_THUMBNAIL_PX = 768
_STRIP_ROWS = 16
_CLASSIC_TIFF_BYTES = 2**32  # of raw pixels: the JPEG of anything smaller fits a classic TIFF
_APERIO_LIBRARY = "Aperio Image Library v12.0.15"


def write_svs(
    path: str | Path,
    image: UInt8,
    *,
    mpp: float,
    magnification: float,
    tile_px: int = 256,
    downsamples: Sequence[int] = (1, 4, 16),
    quality: int = 85,
    scanner: str = "HistoSAM synthetic scanner",
) -> Path:
    """Write an SVS file: a pyramidal TIFF with Aperio's page order and ImageDescription.

    Pages are level 0 in JPEG tiles, a thumbnail in JPEG strips, then the lower levels in JPEG
    tiles. As in Aperio's files a level has ``floor(size / downsample)`` pixels; each of them is the
    mean of exactly the ``downsample x downsample`` level-0 pixels that it covers.

    The file appears under its name only when it is complete.

    Parameters
    ----------
    path
        The file to write, or to replace; conventionally ``*.svs``. Its folder is made when missing.
    image
        (H, W, 3) uint8, RGB.
    mpp, magnification
        Micrometres per level-0 pixel; the objective's power, e.g. 20.
    tile_px
        Side of a tile in pixels, a multiple of 16.
    downsamples
        Level-0 pixels per level pixel, rising, the first 1. A level that would have no pixel is
        left out.
    quality
        JPEG quality, 1 to 100. Colour is stored as YCbCr with halved chroma.
    scanner
        Written as ScanScope ID; no ``|`` and no line break.

    Raises
    ------
    SlideFormatError
        The image is not (H, W, 3) uint8 with pixels, or another argument is out of range.
    OutputWriteError
        The operating system refused (disk full, no permission).
    """
    _check(image, mpp, tile_px, downsamples, quality)
    if not (math.isfinite(magnification) and magnification > 0):
        raise SlideFormatError(f"magnification {magnification} must be a positive number, e.g. 20")
    if "|" in scanner or "\n" in scanner or not scanner.isascii():
        raise SlideFormatError(f"scanner {scanner!r} must be plain ASCII without '|' or line break")
    target = Path(path)
    height, width = image.shape[:2]
    facts = f"|AppMag = {magnification:g}|ScanScope ID = {scanner}|MPP = {mpp:.6g}"
    tiled = _jpeg(quality) | {"tile": (tile_px, tile_px)}
    with new_file(target) as temporary:
        with tifffile.TiffWriter(temporary, bigtiff=image.nbytes > _CLASSIC_TIFF_BYTES) as tiff:
            grid = f"{width}x{height} [0,0 {width}x{height}] ({tile_px}x{tile_px})"
            described = f"{_APERIO_LIBRARY}\r\n{grid} JPEG/YCC Q={quality}{facts}"
            tiff.write(image, description=described, **tiled)
            thumbnail = _thumbnail(image)
            shape = f"{width}x{height} -> {thumbnail.shape[1]}x{thumbnail.shape[0]}"
            described = f"{_APERIO_LIBRARY}\r\n{shape} - {facts}"
            strips = _jpeg(quality) | {"rowsperstrip": _STRIP_ROWS}
            tiff.write(thumbnail, description=described, **strips)
            for level in _lower_levels(image, downsamples):
                shape = f"{grid} -> {level.shape[1]}x{level.shape[0]}"
                described = f"{_APERIO_LIBRARY}\r\n{shape} JPEG/YCC Q={quality}{facts}"
                tiff.write(level, description=described, **tiled)
    return target


def _jpeg(quality: int) -> dict[str, object]:
    # One thread: cohorts are written by several processes, each on its own core.
    return {
        "photometric": "rgb",
        "compression": "jpeg",
        "compressionargs": {"level": quality},
        "maxworkers": 1,
        "metadata": None,
        "software": False,
    }


def _check(
    image: UInt8, mpp: float, tile_px: int, downsamples: Sequence[int], quality: int
) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        found = f"{image.shape} {image.dtype}"
        raise SlideFormatError(f"a slide is written from (H, W, 3) uint8, not from {found}")
    if image.size == 0:
        raise SlideFormatError(f"an image of shape {image.shape} has no pixels; give 1 x 1 or more")
    if not (math.isfinite(mpp) and 0.01 <= mpp <= 100):
        raise SlideFormatError(f"mpp {mpp} must be um per pixel between 0.01 and 100, e.g. 0.5")
    if tile_px < 16 or tile_px % 16:
        raise SlideFormatError(f"tile_px {tile_px} must be a multiple of 16, e.g. 256")
    steps = list(downsamples)
    if not steps or steps[0] != 1 or any(b <= a for a, b in pairwise(steps)):
        raise SlideFormatError(f"downsamples {steps} must rise from 1, e.g. (1, 4, 16)")
    if not 1 <= quality <= 100:
        raise SlideFormatError(f"JPEG quality {quality} must be between 1 and 100, e.g. 85")


def _lower_levels(image: UInt8, downsamples: Sequence[int]) -> list[UInt8]:
    levels: list[UInt8] = []
    height, width = image.shape[:2]
    source, done = image, 1
    for downsample in downsamples[1:]:
        size_wh = width // downsample, height // downsample
        if min(size_wh) == 0:
            break
        # A mean of means is exact when the steps divide each other; else start from level 0.
        if downsample % done:
            source, done = image, 1
        step = downsample // done
        cropped = source[: size_wh[1] * step, : size_wh[0] * step]
        source, done = cv2.resize(cropped, size_wh, interpolation=cv2.INTER_AREA), downsample
        levels.append(source)
    return levels


def _thumbnail(image: UInt8) -> UInt8:
    height, width = image.shape[:2]
    scale = min(1.0, _THUMBNAIL_PX / max(height, width))
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    shrunk: UInt8 = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    return shrunk
