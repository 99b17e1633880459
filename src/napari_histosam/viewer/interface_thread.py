"""Bring a call from any thread to Qt's interface thread."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, Qt, Signal, Slot


class InterfaceThread(QObject):
    """Runs callables on the thread that it was made on, in the order in which they came.

    Once it is closed, what comes late is dropped: the widgets it would touch may be gone.
    """

    _called = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._is_open = True
        self._called.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def post(self, work: Callable[[], None]) -> None:
        """Run `work` soon on the interface thread; may be called from any thread."""
        if self._is_open:
            self._called.emit(work)

    def close(self) -> None:
        """Drop what has not been run, and all that comes later."""
        self._is_open = False

    @Slot(object)
    def _run(self, work: Callable[[], None]) -> None:
        if self._is_open:
            work()
