"""When a docked widget has ended: its dock was closed, its window was closed, or it was deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMainWindow

from napari_histosam.viewer.interface_thread import InterfaceThread

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


class DockLife(QObject):
    """Calls back once, when a docked widget's life is over; hiding it, or moving it, ends nothing.

    `end` is called with whether the window is gone too; the widget must be kept as long as this is.
    """

    def __init__(self, widget: QWidget, end: Callable[[bool], None]) -> None:
        super().__init__(widget)
        self._widget = widget
        self._end = end
        self._thread = InterfaceThread()
        self._window: QWidget | None = None
        self._was_docked = False
        self._is_over = False
        # napari may delete the window at once, with the widget in it and no event before.
        widget.destroyed.connect(lambda: self.finish(True))
        widget.installEventFilter(self)

    def finish(self, is_window_gone: bool) -> None:
        """End now, if that has not been done."""
        if not self._is_over:
            self._is_over = True
            self._thread.close()
            self._end(is_window_gone)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # Qt's name
        """Watch the widget and its window; nothing is kept from them."""
        if self._is_over:
            return False
        kind = event.type()
        if watched is self._widget:
            if kind == QEvent.Type.Show:
                self._watch_window()
            elif kind == QEvent.Type.ParentChange:
                self._on_parent()
        elif watched is self._window:
            if kind == QEvent.Type.DeferredDelete:
                self.finish(True)
            elif kind == QEvent.Type.Close:
                # napari may ask before it closes, and stay.
                self._thread.post(self._finish_if_hidden)
        return False

    def _watch_window(self) -> None:
        window = self._widget.window()  # a floating dock is one too; closing that ends nothing
        if self._window is None and isinstance(window, QMainWindow):
            self._window = window
            window.installEventFilter(self)

    def _on_parent(self) -> None:
        if self._widget.parent() is not None:
            self._was_docked = True
        elif self._was_docked:
            self._thread.post(self._finish_if_undocked)

    def _finish_if_undocked(self) -> None:
        """Docked again at once, it has only been moved."""
        if self._widget.parent() is None:
            self.finish(False)

    def _finish_if_hidden(self) -> None:
        try:
            is_visible = self._window is not None and self._window.isVisible()
        except RuntimeError:  # Qt has deleted it
            is_visible = False
        if not is_visible:
            self.finish(True)
