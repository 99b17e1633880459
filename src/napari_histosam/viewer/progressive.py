"""Levels that never block: what is in memory is shown at once, the rest follows.

napari reads levels on the interface thread, so decoding there freezes the window. These levels
paste the tiles they hold, enlarge the nearest coarser ones where a tile is missing, and have it
loaded by threads; then the layer is refreshed.

Which reads are napari's? Only those on the main thread that ask for ranges with a step of 1 said
outright, as its slicing does: ``level[y0:y1:1, x0:x1:1]``. Every other read (``level[y0:y1,
x0:x1]``, a single pixel, ``np.asarray(level)``, any read on another thread) waits for the true
pixels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from histosam_core.errors import HistoSamError
from histosam_core.slide.levels import span_of, split_key
from histosam_core.slide.readers.tiff import TileCache
from napari_histosam.viewer.display_levels import DisplayLevel, Rectangle, plan_levels
from napari_histosam.viewer.tile_loader import TileLoader

if TYPE_CHECKING:
    from histosam_core.slide import Slide
    from napari_histosam.viewer.layer_refresh import LayerRefresher

CACHE_BYTES = 256 * 2**20
"""Bound on the tiles kept for showing."""

_N_THREADS = 2
_OVERVIEW_AT_ONCE_PX = 64 * 2**20  # about a second
_NOT_YET = 235

Pixels = NDArray[np.uint8]
Tile = tuple[int, int, int]  # level, column, row


class ProgressiveLevel:
    """One level, as much of an array (H, W, 3) uint8 as napari needs. See this module."""

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, index: int, shown: DisplayLevel, owner: ProgressiveLevels) -> None:
        self.index = index
        self.shape = (shown.size_wh[1], shown.size_wh[0], 3)
        self.size = shown.size_wh[0] * shown.size_wh[1] * 3
        self._shown = shown
        self._owner = owner

    def __len__(self) -> int:
        return self.shape[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> ProgressiveLevel:
        """Return itself, which nothing can change: a duplicated layer shares its tiles."""
        return self

    def __getitem__(self, key: Any) -> Any:
        """Read; at once what there is for napari's slicing, else the true pixels.

        Raises
        ------
        SlideFormatError
            The true pixels were asked for and their stored bytes are damaged.
        """
        if threading.current_thread() is threading.main_thread():
            rectangle = _shown_rectangle(key, self.shape)
            if rectangle is not None:
                return self._owner.show(self.index, rectangle)
        row_key, column_key, rest = split_key(key, self.ndim)
        y, h, rows = span_of(row_key, self.shape[0])
        x, w, columns = span_of(column_key, self.shape[1])
        block = self._shown.read(x, y, w, h) if h and w else np.empty((h, w, 3), np.uint8)
        return block[(rows, columns, *rest)]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole level; the coarsest as it is in memory, without a copy."""
        whole = self._owner.overview if self.index == len(self._owner.levels) - 1 else self[:]
        return np.array(whole, dtype) if copy else np.asarray(whole, dtype)


class ProgressiveLevels:
    """A slide's levels for showing: see this module, and `plan_levels` for which there are.

    Reads the coarsest level when it is made, except that of a large slide without coarse levels:
    that one comes in by and by.

    Parameters
    ----------
    slide
        Open; stays the caller's.
    max_bytes
        Bound on the tiles kept in memory.

    Attributes
    ----------
    levels
        For napari, finest first.
    """

    def __init__(self, slide: Slide, *, max_bytes: int = CACHE_BYTES) -> None:
        self.slide = slide
        self._shown = plan_levels(slide)
        self._cache = TileCache(max_bytes)
        self._loader = TileLoader("histosam-tiles", self._load, _N_THREADS)
        self._refresher: LayerRefresher | None = None
        self._last_view: frozenset[Tile] = frozenset()
        self._is_noted = False
        self.levels: list[ProgressiveLevel] = [
            ProgressiveLevel(i, shown, self) for i, shown in enumerate(self._shown)
        ]
        self._overview = self._make_overview()

    @property
    def overview(self) -> Pixels:
        """The coarsest level (H, W, 3) uint8; always in memory, not to be written to."""
        view = self._overview.view()
        view.flags.writeable = False
        return view

    def show(self, index: int, rectangle: Rectangle) -> Pixels:
        """Return (h, w, 3) uint8 of what is in memory of a rectangle; have the rest loaded."""
        x, y, w, h = rectangle
        if index == len(self._shown) - 1:
            return self.overview[y : y + h, x : x + w]
        image = np.empty((h, w, 3), np.uint8)
        missing = self._paste(index, rectangle, image)
        for x0, y0, x1, y1 in missing.values():
            at = x0, y0, x1 - x0, y1 - y0
            image[y0 - y : y1 - y, x0 - x : x1 - x] = self._enlarged(index, at)
        self._last_view = frozenset(missing)
        if self._refresher is None:
            self._refresher = _refresher(self)
        self._loader.request(self._middle_first(missing, x + w / 2, y + h / 2))
        return image

    def wait_idle(self, timeout_s: float = 30.0) -> bool:
        """Wait until all that was asked for is loaded and shown; return whether it came in time.

        On the main thread the layers are refreshed, so that a screenshot has the true pixels.
        """
        end = time.monotonic() + timeout_s
        while self._loader.wait_idle(max(0.0, end - time.monotonic())):
            on_main = threading.current_thread() is threading.main_thread()
            if self._refresher is None or not on_main:
                return True
            self._refresher.refresh()
            if not self._loader.is_busy:
                return True
        return False

    def _load(self, key: Any) -> None:
        """Load one tile, on a loader's thread."""
        index, column, row = key
        is_overview = index == len(self._shown) - 1
        shown = self._shown[index]
        x, y, w, h = shown.bounds(column, row)
        damage: list[str] = []
        try:
            pixels = shown.read(x, y, w, h, damage)
        except (HistoSamError, OSError, MemoryError) as error:
            # Not damaged but out of reach: closed, on a drive that went away, too large just now.
            # What is coarser stays on show, and the next view asks again.
            self._note(f"part of the slide cannot be read: {error}")
            return
        if is_overview:
            self._overview[y : y + h, x : x + w] = pixels
        else:
            self._cache.put(key, pixels)
        if damage:
            self._note(f"part of the slide shows grey: {damage[0]}")
        if self._refresher is not None and (is_overview or key in self._last_view):
            self._refresher.ask()

    def _note(self, message: str) -> None:
        """Tell the user, once."""
        if self._is_noted or self._refresher is None:
            return
        self._is_noted = True

        def note() -> None:
            from napari.utils.notifications import show_warning

            show_warning(message)

        self._refresher.post(note)

    def _make_overview(self) -> Pixels:
        shown = self._shown[-1]
        width, height = shown.size_wh
        self._overview = np.full((height, width, 3), _NOT_YET, np.uint8)
        keys = [(len(self._shown) - 1, *at) for at in shown.tiles()]
        if shown.n_source_px > _OVERVIEW_AT_ONCE_PX:
            self._loader.fill(keys)
        else:
            with ThreadPoolExecutor(_N_THREADS, "histosam-overview") as pool:
                list(pool.map(self._load, keys))
        return self._overview

    def _middle_first(self, tiles: Iterable[Tile], x: float, y: float) -> list[Tile]:
        def distance(tile: Tile) -> float:
            left, top, w, h = self._shown[tile[0]].bounds(*tile[1:])
            return (left + w / 2 - x) ** 2 + (top + h / 2 - y) ** 2

        return sorted(tiles, key=distance)

    def _enlarged(self, index: int, rectangle: Rectangle) -> Pixels:
        """Return a level's rectangle from the next coarser level that is in memory there."""
        x, y, w, h = rectangle
        width, height = self._shown[index].size_wh
        for coarser in range(index + 1, len(self._shown)):
            coarse_w, coarse_h = self._shown[coarser].size_wh
            columns = ((np.arange(x, x + w) + 0.5) * (coarse_w / width)).astype(np.intp)
            rows = ((np.arange(y, y + h) + 0.5) * (coarse_h / height)).astype(np.intp)
            x0, y0 = int(columns[0]), int(rows[0])
            block = self._in_memory(
                coarser, (x0, y0, int(columns[-1]) + 1 - x0, int(rows[-1]) + 1 - y0)
            )
            if block is not None:
                return block[rows - y0][:, columns - x0]
        raise AssertionError("the coarsest level is always in memory")

    def _in_memory(self, index: int, rectangle: Rectangle) -> Pixels | None:
        """Return a rectangle if all of it is in memory."""
        x, y, w, h = rectangle
        if index == len(self._shown) - 1:
            return self._overview[y : y + h, x : x + w]
        image = np.empty((h, w, 3), np.uint8)
        return None if self._paste(index, rectangle, image) else image

    def _paste(self, index: int, rectangle: Rectangle, image: Pixels) -> dict[Tile, Rectangle]:
        """Paste the tiles in memory; return those that are missing, and where (x0, y0, x1, y1)."""
        x, y, w, h = rectangle
        shown = self._shown[index]
        missing: dict[Tile, Rectangle] = {}
        for column, row in _tiles_in(shown, rectangle):
            tile = self._cache.get((index, column, row))
            left, top, tile_w, tile_h = shown.bounds(column, row)
            x0, y0 = max(x, left), max(y, top)
            x1, y1 = min(x + w, left + tile_w), min(y + h, top + tile_h)
            if tile is None:
                missing[index, column, row] = x0, y0, x1, y1
            else:
                part = tile[y0 - top : y1 - top, x0 - left : x1 - left]
                image[y0 - y : y1 - y, x0 - x : x1 - x] = part
        return missing


def _refresher(levels: ProgressiveLevels) -> LayerRefresher:
    from napari_histosam.viewer.layer_refresh import LayerRefresher

    return LayerRefresher(levels.levels[0], levels._loader.forget)


def _tiles_in(shown: DisplayLevel, rectangle: Rectangle) -> Sequence[tuple[int, int]]:
    (x, y, w, h), (tile_w, tile_h) = rectangle, shown.tile_wh
    return [
        (column, row)
        for row in range(y // tile_h, (y + h - 1) // tile_h + 1)
        for column in range(x // tile_w, (x + w - 1) // tile_w + 1)
    ]


def _shown_rectangle(key: Any, shape: tuple[int, ...]) -> Rectangle | None:
    """Return x, y, width and height if a key is of the kind that napari's slicing makes."""
    if not (isinstance(key, tuple) and 2 <= len(key) <= 3):
        return None
    if not all(isinstance(k, slice) for k in key) or key[2:] not in ((), (slice(None),)):
        return None
    if any(k.step is None or k.step != 1 for k in key[:2]):
        return None
    (y0, y1, _), (x0, x1, _) = (k.indices(n) for k, n in zip(key[:2], shape[:2], strict=True))
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None
