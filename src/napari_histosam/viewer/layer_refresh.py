"""Have napari read a layer again when more of its pixels are there: together, and not too often."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QTimer

from napari_histosam.viewer.interface_thread import InterfaceThread

_PERIOD_S = 0.05
_SHARE = 0.3
"""Greatest part of the interface thread's time that refreshing may take."""


class LayerRefresher:
    """Refreshes the layers that show some levels, at most 20 times a second.

    Make it on the interface thread. `ask` may be called from any thread.

    Parameters
    ----------
    data
        The levels; a layer shows them if its data begins with the first of them.
    gone
        Called when something is to be refreshed and no layer shows it.
    """

    def __init__(self, data: Any, gone: Callable[[], None]) -> None:
        self._data = weakref.ref(data)
        self._gone = gone
        self._thread = InterfaceThread()
        self._is_asked = False
        self._next = 0.0

    def ask(self) -> None:
        """Refresh soon."""
        if not self._is_asked:
            self._is_asked = True
            self.post(self._wait)

    def post(self, work: Callable[[], None]) -> None:
        """Run something else on the interface thread; nothing happens once the window is gone."""
        with suppress(RuntimeError):  # Qt has deleted its objects: the program ends
            self._thread.post(work)

    def refresh(self) -> None:
        """Refresh now; on the interface thread."""
        self._is_asked = False
        data = self._data()
        layers = [] if data is None else layers_showing(data)
        if not layers:
            self._gone()
            return
        start = time.monotonic()
        for layer in layers:
            layer.refresh(extent=False, thumbnail=False, highlight=False)
        end = time.monotonic()
        # Drawing follows, and takes about as long as reading did.
        self._next = end + max(_PERIOD_S, 2 * (end - start) / _SHARE)

    def _wait(self) -> None:
        left_ms = int(1e3 * (self._next - time.monotonic()))
        if left_ms <= 0:
            self.refresh()
        else:
            QTimer.singleShot(left_ms, self.refresh)


def layers_showing(data: Any) -> list[Any]:
    """Return the image layers of all open viewers whose first level is `data`."""
    import napari

    viewers = list(getattr(napari.Viewer, "_instances", ())) or [napari.current_viewer()]
    return [
        layer
        for viewer in viewers
        if viewer is not None
        for layer in viewer.layers
        if getattr(layer, "multiscale", False) and layer.data[0] is data
    ]
