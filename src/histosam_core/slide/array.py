"""Slides from arrays: an image in memory, a dask or a zarr array, or a pyramid of them."""

from __future__ import annotations

import hashlib
import itertools
import math
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from histosam_core.errors import ConfigError, ImageError, SlideError
from histosam_core.slide.colour import WHITE, over_white, to_rgb, to_uint8
from histosam_core.slide.readers import LevelLayout, SlideMetadata
from histosam_core.slide.slide import Slide

_TILE = 1024
_HASHED_WHOLE_BYTES = 512 * 2**20
_SAMPLE_BLOCKS, _SAMPLE_PX = 8, 32
_SAMPLE_LEVEL_PX = 1024
_ENOUGH_TEXTURED = 8


class ArraySlide(Slide):
    """A slide without a file. Use `open_array` to make one.

    Its `path` is the name alone. Pickling takes arrays in memory along.
    """

    reader: ArrayReader

    def __init__(self, path: Path, reader: ArrayReader, mpp: float | None = None) -> None:
        super().__init__(path, reader, mpp)
        self.name = str(path)

    @property
    def fingerprint(self) -> str:
        """A short text that differs between images, the same in every process.

        Made with the slide: later changes to the array do not show. Up to 512 MiB in memory are
        hashed whole; of larger and lazy arrays the shape, the coarsest level where it is small,
        and 64 blocks of 32 x 32 px of the finest. Where these are nearly all bare, as on a slide
        of one needle biopsy, the array's own name or file counts too, else this object.
        """
        return self.reader.fingerprint

    content_fingerprint = fingerprint

    def _missing_mpp(self) -> str:
        return (
            f"{self.name} states no mpp (um per pixel), so a resolution cannot be asked for; pass "
            "it: open_array(..., mpp=0.5), or set the layer's scale and units"
        )


class ArrayReader:
    """Reads the levels of a pyramid of arrays as RGB; see `open_array`."""

    def __init__(
        self, levels: Sequence[Any], name: str, value_range: tuple[float, float] | None
    ) -> None:
        self.name = "array"
        self.metadata = SlideMetadata(mpp_source="not stated with the array")
        self._title = name
        self._arrays: tuple[Any, ...] = tuple(levels)
        self._range = value_range
        self.layouts = tuple(
            LevelLayout((int(a.shape[1]), int(a.shape[0])), _tile_wh(a), "none") for a in levels
        )
        self.fingerprint = _fingerprint(self._arrays, value_range)

    def read(self, level: int, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB of a rectangle inside the level; a copy."""
        if not self._arrays:
            raise SlideError(f"{self._title} has been closed; open the array again")
        samples = np.asarray(self._arrays[level][y : y + h, x : x + w])
        samples = samples[..., None] if samples.ndim == 2 else samples
        rgb = self._rgb(samples)
        return rgb.copy() if np.shares_memory(rgb, samples) else rgb

    def close(self) -> None:
        """Let the arrays go."""
        self._arrays = ()

    def _rgb(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        if self._range is None or samples.dtype == np.bool_:
            return to_rgb(samples, has_alpha=samples.shape[2] == 4)
        low, high = self._range
        scaled = (samples[..., :3].astype(np.float32) - low) * (WHITE / (high - low))
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=WHITE, neginf=0.0)
        eight = np.asarray(np.rint(np.clip(scaled, 0, WHITE)), np.uint8)
        rgb = to_rgb(eight)
        return over_white(rgb, _alpha(samples[..., 3])) if samples.shape[2] == 4 else rgb


def open_array(
    levels: Any,
    *,
    name: str,
    mpp: float | None = None,
    value_range: tuple[float, float] | None = None,
) -> Slide:
    """Make a slide of an image that is an array: NumPy, dask, zarr or the like.

    Parameters
    ----------
    levels
        One array, or a list of them, finest first: (H, W) or (H, W, 1) grey, (H, W, 3) RGB or
        (H, W, 4) RGBA (straight alpha, laid over white); unsigned integers or bool, with
        `value_range` also signed or floating-point. Read where it is needed, not copied.
    name
        What messages and files call it.
    mpp
        Micrometres per level-0 pixel, when known.
    value_range
        The samples (low, high) that show as 0 and 255; None: 0 and the largest that the type
        holds. NaN shows as 0.

    Raises
    ------
    ImageError
        No pixels, more than two spatial axes, another number of channels, levels that do not fit
        each other, or samples of unknown range.
    ConfigError
        `mpp` is not a positive number, or `value_range` not two rising numbers.
    """
    if mpp is not None and not (math.isfinite(mpp) and mpp > 0):
        raise ConfigError(f"mpp {mpp} must be a positive number of um per pixel, e.g. 0.5")
    if value_range is not None:
        low, high = map(float, value_range)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(f"value_range {value_range} must be two rising numbers, e.g. (0, 1)")
        value_range = low, high
    arrays = list(levels) if isinstance(levels, list | tuple) else [levels]
    if not arrays:
        raise ImageError(f"{name} has no levels; give an array (H, W) or (H, W, 3), or a list")
    for array in arrays:
        _check(array, name, value_range)
    _check_pyramid(arrays, name)
    return ArraySlide(Path(name), ArrayReader(arrays, name, value_range), mpp)


def _check(array: Any, name: str, value_range: tuple[float, float] | None) -> None:
    shape = tuple(int(n) for n in getattr(array, "shape", ()))
    if not shape or not hasattr(array, "dtype"):
        raise ImageError(
            f"{name} is a {type(array).__name__}, not an array; give an array (H, W, 3)"
        )
    if 0 in shape:
        raise ImageError(f"{name} has no pixels (shape {shape}); give an image")
    if len(shape) not in (2, 3):
        raise ImageError(
            f"{name} has {len(shape)} axes {shape}; give one plane (H, W), or RGB (H, W, 3)"
        )
    if len(shape) == 3 and shape[2] not in (1, 3, 4):
        if shape[0] in (1, 3, 4):
            problem = "its channels first; move them last: np.moveaxis(a, 0, -1)"
        else:
            problem = f"a stack, or {shape[2]} channels; give one plane (H, W), or RGB (H, W, 3)"
        raise ImageError(f"{name} has shape {shape}, {problem}")
    kind = np.dtype(array.dtype).kind
    if kind not in "ubif":
        raise ImageError(f"{name} holds {array.dtype} samples; convert them to uint8")
    if kind in "if" and value_range is None:
        raise ImageError(
            f"{name} holds {array.dtype} samples, whose black and white are not known; pass "
            "value_range=(low, high)"
        )


def _check_pyramid(arrays: Sequence[Any], name: str) -> None:
    first = arrays[0]
    for finer, coarser in itertools.pairwise(arrays):
        if coarser.shape[2:] != first.shape[2:] or coarser.dtype != first.dtype:
            raise ImageError(f"the levels of {name} differ in channels or type; make them alike")
        if not all(a > b for a, b in zip(finer.shape[:2], coarser.shape[:2], strict=True)):
            raise ImageError(f"the levels of {name} do not shrink; give them finest first")


def _alpha(samples: NDArray[Any]) -> NDArray[np.uint8]:
    if samples.dtype.kind in "ub":
        return to_uint8(samples)
    if samples.dtype.kind == "i":
        samples = samples / np.iinfo(samples.dtype).max
    opaque = np.nan_to_num(np.clip(samples, 0, 1), nan=0.0)
    return np.asarray(np.rint(opaque * WHITE), np.uint8)


def _tile_wh(array: Any) -> tuple[int, int]:
    """Return the first chunk's width and height where there are chunks."""
    height, width = (int(n) for n in array.shape[:2])
    chunks = getattr(array, "chunks", None) or (_TILE, _TILE)
    chunk_h, chunk_w = (int(c[0] if isinstance(c, tuple | list) else c) for c in chunks[:2])
    return min(width, max(1, chunk_w)), min(height, max(1, chunk_h))


def _fingerprint(arrays: Sequence[Any], value_range: tuple[float, float] | None) -> str:
    finest, coarsest = arrays[0], arrays[-1]
    shapes = [tuple(int(n) for n in array.shape) for array in arrays]
    digest = hashlib.sha256(repr((shapes, np.dtype(finest.dtype).str, value_range)).encode())
    in_memory = isinstance(finest, np.ndarray) and not isinstance(finest, np.memmap)
    if in_memory and finest.nbytes <= _HASHED_WHOLE_BYTES:
        digest.update(xxhash.xxh3_128_digest(_bytes_of(finest)))
        return digest.hexdigest()[:32]
    is_telling = max(coarsest.shape[:2]) <= _SAMPLE_LEVEL_PX
    if is_telling:
        digest.update(_bytes_of(np.asarray(coarsest[:, :])))
    n_textured = 0
    for y in _spread(int(finest.shape[0])):
        for x in _spread(int(finest.shape[1])):
            block = np.asarray(finest[y : y + _SAMPLE_PX, x : x + _SAMPLE_PX])
            digest.update(_bytes_of(block))
            n_textured += bool((block != block[0, 0]).any())
    if not is_telling and n_textured < _ENOUGH_TEXTURED:
        digest.update(_identity(finest).encode())
    return digest.hexdigest()[:32]


def _identity(array: Any) -> str:
    """Name an array by where it comes from: a dask graph, a zarr store, a file; else at random."""
    for attribute in ("store_path", "filename", "name"):  # a zarr array's name is only its path
        found = getattr(array, attribute, None)
        if found:
            return str(found)
    return uuid.uuid4().hex


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _spread(length: int) -> list[int]:
    last = max(0, length - _SAMPLE_PX)
    return sorted({round(last * (i + 0.5) / _SAMPLE_BLOCKS) for i in range(_SAMPLE_BLOCKS)})
