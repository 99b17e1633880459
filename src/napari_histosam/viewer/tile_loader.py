"""Threads that load the tiles of the view: the newest view first, what it left behind dropped.

Knows neither Qt nor napari. Threads begin when there is work and end by themselves soon after the
last of it, so a layer that is removed leaves none behind.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable

from napari_histosam.viewer.workers import yield_to_interface

_IDLE_S = 0.5
_VIEWS = 3


class TileLoader:
    """Calls `load` for each tile asked for, once, on threads of its own.

    Parameters
    ----------
    name
        Of the threads.
    load
        Loads a tile and keeps it; must not raise.
    n_threads
        At most so many at a time.
    """

    def __init__(self, name: str, load: Callable[[Hashable], None], n_threads: int = 2) -> None:
        self._name = name
        self._load = load
        self._n_threads = n_threads
        self._condition = threading.Condition()
        self._wanted: OrderedDict[Hashable, int] = OrderedDict()  # tile -> the view it is for
        self._background: deque[Hashable] = deque()
        self._running: set[Hashable] = set()
        self._view = 0
        self._threads: set[threading.Thread] = set()

    def request(self, tiles: Iterable[Hashable]) -> None:
        """Ask for a view's missing tiles, the most urgent first.

        They come before those of earlier views. Tiles of views before the last three are dropped
        unless a later one asked again; three, as a slide may be shown more than once.
        """
        with self._condition:
            self._view += 1
            for tile in reversed(list(tiles)):
                if tile not in self._running:
                    self._wanted[tile] = self._view
                    self._wanted.move_to_end(tile)
            while self._wanted:
                tile, view = next(iter(self._wanted.items()))
                if view > self._view - _VIEWS:
                    break
                del self._wanted[tile]
            self._start_threads()

    def fill(self, tiles: Iterable[Hashable]) -> None:
        """Load these when nothing else is asked for; they are never dropped."""
        with self._condition:
            self._background.extend(tiles)
            self._start_threads()

    def forget(self) -> None:
        """Drop what has not begun, but not what `fill` asked for."""
        with self._condition:
            self._wanted.clear()
            self._condition.notify_all()

    @property
    def is_busy(self) -> bool:
        """Whether a tile is being loaded or waits."""
        return bool(self._wanted or self._running or self._background)

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing is loaded and nothing waits; return whether that came in time."""
        with self._condition:
            return self._condition.wait_for(lambda: not self.is_busy, timeout_s)

    def _start_threads(self) -> None:
        """Start threads as far as there is work for them, and wake the idle ones."""
        self._condition.notify_all()
        waiting = len(self._wanted) + len(self._background)
        while len(self._threads) < min(self._n_threads, waiting):
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._threads.add(thread)
            thread.start()

    def _run(self) -> None:
        yield_to_interface(5)
        while True:
            with self._condition:
                tile = self._next()
                if tile is None:
                    self._threads.discard(threading.current_thread())
                    return
            try:
                self._load(tile)
            finally:
                with self._condition:
                    self._running.discard(tile)
                    self._condition.notify_all()

    def _next(self) -> Hashable | None:
        self._condition.wait_for(lambda: bool(self._wanted or self._background), _IDLE_S)
        if self._wanted:
            tile = self._wanted.popitem()[0]
        elif self._background:
            tile = self._background.popleft()
        else:
            return None
        self._running.add(tile)
        return tile
