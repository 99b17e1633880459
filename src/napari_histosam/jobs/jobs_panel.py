"""The widget's second page: the jobs that there are, and the one that is chosen."""

from __future__ import annotations

from datetime import datetime

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_histosam.jobs.job import ALIVE, Job, JobState, find_jobs
from napari_histosam.jobs.job_panel import STATES, JobPanel
from napari_histosam.widgets.parts import color_icon

__all__ = ["JobsPanel"]

KINDS = ("finetune", "improve")
LIST_PX = 92
LOOK_EVERY = 6
"""Beats between two looks for jobs that others have started, or ended."""


class JobsPanel(QWidget):
    """Lists the jobs of this user, whoever started them, and shows one of them.

    Attributes
    ----------
    n_alive : int
        Jobs that run or are paused.
    """

    counted = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._jobs: list[Job] = []
        self._ended: dict[str, JobState] = {}
        self._beats = 0
        self.n_alive = 0
        self._list = _List()
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self._list.currentRowChanged.connect(self._on_row)
        self._none = QLabel("No job yet: choose settings, and press Start.")
        self._none.setWordWrap(True)
        self.job_panel = JobPanel()
        self.job_panel.changed.connect(self.look)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(6)
        for part in (self._none, self._list, self.job_panel):
            column.addWidget(part)
        column.addStretch(1)

    @property
    def jobs(self) -> list[Job]:
        """What is listed, newest first."""
        return list(self._jobs)

    def choose(self, job_id: str) -> None:
        """Show a job."""
        self.look()
        for row, job in enumerate(self._jobs):
            if job.id == job_id:
                self._list.setCurrentRow(row)

    def beat(self) -> None:
        """Look at the job that is shown, and now and then at the others."""
        self.job_panel.update_job()
        self._beats += 1
        if self._beats % LOOK_EVERY == 0:
            self.look()

    def look(self) -> None:
        """List the jobs that there are now."""
        shown = self.job_panel.job
        self._jobs = [job for job in find_jobs() if job.kind in KINDS]
        states = {job.id: self._state(job) for job in self._jobs}
        self._list.blockSignals(True)
        while self._list.count() > len(self._jobs):
            self._list.takeItem(self._list.count() - 1)
        for row, job in enumerate(self._jobs):
            item = self._list.item(row)
            if item is None:
                item = QListWidgetItem()
                self._list.addItem(item)
            color, word = STATES[states[job.id]]
            when = datetime.fromtimestamp(job.created).strftime("%d %b, %H:%M")
            text = f"{word} {when}: {job.title}"
            if item.text() != text:
                rgb = QColor(color)
                item.setText(text)
                item.setToolTip(f"{text}\n{job.about.get('out', '')}")
                item.setIcon(color_icon((rgb.red(), rgb.green(), rgb.blue())))
        ids = [job.id for job in self._jobs]
        is_gone = shown is None or shown.id not in ids
        row = (0 if ids else -1) if is_gone or shown is None else ids.index(shown.id)
        self._list.setCurrentRow(row)
        self._list.blockSignals(False)
        if is_gone:
            self.job_panel.show_job(self._jobs[0] if self._jobs else None)
        self._none.setVisible(not self._jobs)
        self._list.setVisible(bool(self._jobs))
        self.n_alive = sum(state in ALIVE for state in states.values())
        self.counted.emit(self.n_alive)

    def _state(self, job: Job) -> JobState:
        """A job's state; what has finished stays so, and is not asked again."""
        if job.id in self._ended:
            return self._ended[job.id]
        state = job.state()
        if state == "finished":
            self._ended[job.id] = state
        return state

    def _on_row(self, row: int) -> None:
        if 0 <= row < len(self._jobs):
            self.job_panel.show_job(self._jobs[row])


class _List(QListWidget):
    """A few rows high."""

    def sizeHint(self) -> QSize:  # Qt's name
        return QSize(260, LIST_PX)

    def minimumSizeHint(self) -> QSize:  # Qt's name
        return QSize(120, LIST_PX)
