"""The button that stops a job; and, when the job does not hear, ends its process."""

from __future__ import annotations

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QPushButton, QWidget

__all__ = ["StopButton"]

PATIENCE_MS = 8000
"""How long a job that was told to stop is left alone."""
END, END_TIP = "End now", "End the process at once; what it did since it last saved is lost"


class StopButton(QPushButton):
    """Asks for a stop; after some seconds without one it offers to end the process.

    Parameters
    ----------
    tooltip
        What a stop does.
    parent
        Qt's.
    """

    stop_asked = Signal()
    end_asked = Signal()

    def __init__(self, tooltip: str, parent: QWidget | None = None) -> None:
        super().__init__("Stop", parent)
        self._tooltip = tooltip
        self.setToolTip(tooltip)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.timeout.connect(self._offer_end)
        self._awaited = ""
        self.clicked.connect(self._on_click)

    def show_job(self, job_id: str, *, is_alive: bool, is_stopping: bool) -> None:
        """Follow a job.

        Parameters
        ----------
        job_id
            Which one; each has its own patience.
        is_alive
            Whether it runs or rests.
        is_stopping
            Whether it was told to stop and has not done it yet.
        """
        awaited = job_id if is_alive and is_stopping else ""
        if awaited and awaited == self._awaited:
            return  # the time runs, or is over
        self._awaited = awaited
        self.setText("Stop")
        self.setToolTip(self._tooltip)
        self.setEnabled(is_alive and not is_stopping)
        if awaited:
            self._patience.start()
        else:
            self._patience.stop()

    def _offer_end(self) -> None:
        self.setText(END)
        self.setToolTip(END_TIP)
        self.setEnabled(True)

    def _on_click(self) -> None:
        if self._awaited:
            self.end_asked.emit()
        else:
            self.stop_asked.emit()
