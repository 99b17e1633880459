"""The results' first lines: which run is shown, how far it is, and what can be done with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from napari_histosam.jobs.job_panel import STATES, can_pause, state_in_words
from napari_histosam.jobs.stop_button import StopButton
from napari_histosam.widgets.parts import breakable, push_button

if TYPE_CHECKING:
    from napari_histosam.evaluate.watch import News
    from napari_histosam.jobs.job import Job, JobState

__all__ = ["JobRow"]

NONE = "no run yet"
FOLDER = "results: {}"
WRONG = "#ff5630"


class JobRow(QWidget):
    """Chooses a job or a folder of results, shows how it stands, and gives it orders."""

    job_chosen = Signal(object)
    folder_chosen = Signal(object)
    ordered = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._jobs: list[Job] = []
        self._box = QComboBox()
        self._box.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._box.setMinimumContentsLength(12)
        self._box.activated.connect(self._on_box)
        self._open = push_button(
            "Open results\N{HORIZONTAL ELLIPSIS}",
            "A folder that an evaluation wrote, finished or not",
            self._ask_folder,
        )
        self._status, self._error = QLabel(NONE), QLabel()
        for label in (self._status, self._error):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
        self._error.setStyleSheet(f"color: {WRONG};")
        self._error.setVisible(False)
        self._bar = QProgressBar()
        self._bar.setMaximumHeight(8)
        self._bar.setTextVisible(False)
        self._bar.setVisible(False)
        self.pause_button = push_button("Pause", "Rest after the step at hand", self._pause)
        self.stop_button = StopButton("End after the step at hand; it can go on later")
        self.stop_button.stop_asked.connect(lambda: self._order("stop"))
        self.stop_button.end_asked.connect(lambda: self._order("kill"))
        self.remove_button = push_button(
            "Remove", "Take the run off the list; its results stay", lambda: self._order("remove")
        )
        top, buttons = QHBoxLayout(), QHBoxLayout()
        top.addWidget(self._box, 1)
        top.addWidget(self._open)
        for button in (self.pause_button, self.stop_button, self.remove_button):
            button.setEnabled(False)
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(top)
        for part in (self._status, self._bar, self._error):
            column.addWidget(part)
        column.addLayout(buttons)

    @property
    def status(self) -> str:
        """How the run stands, in words."""
        return str(self._status.text()).replace("\N{ZERO WIDTH SPACE}", "")

    @property
    def error(self) -> str:
        """What went wrong and what to do; empty where nothing did."""
        return str(self._error.text()).replace("\N{ZERO WIDTH SPACE}", "")

    def show_jobs(self, jobs: Sequence[tuple[Job, JobState]]) -> None:
        """List these jobs, newest first."""
        chosen = self._box.currentText()
        self._jobs = [job for job, _ in jobs]
        self._box.clear()
        for job, state in jobs:
            self._box.addItem(f"{job.title} ({STATES[state][1].casefold()})", job.id)
        if not jobs:
            self._box.addItem(NONE)
        row = self._box.findText(chosen)
        self._box.setCurrentIndex(max(0, row))

    def show_news(self, news: News) -> None:
        """Show how the run at hand stands."""
        job, state = news.job, news.state
        self._choose(job, news)
        if state is None:
            words = NONE if news.results is None else f"Results in {news.results.folder}"
        else:
            words = state_in_words(state, news.awaited)
            if news.is_alive:
                words += f": {news.message or 'starting'}"
        self._status.setText(breakable(words))
        self._error.setText(breakable(news.error))
        self._error.setVisible(bool(news.error))
        self._bar.setVisible(news.is_alive)
        self._bar.setMaximum(news.total)
        self._bar.setValue(news.done)
        self.pause_button.setText("Pause" if can_pause(state, news.awaited) else "Resume")
        self.pause_button.setEnabled(state not in (None, "finished"))
        self.stop_button.show_job(
            "" if job is None else job.id,
            is_alive=news.is_alive,
            is_stopping=news.awaited == "stop",
        )
        self.remove_button.setEnabled(job is not None and not news.is_alive)

    def _choose(self, job: Job | None, news: News) -> None:
        if job is not None:
            row = self._box.findData(job.id)
            if row >= 0:
                self._box.setCurrentIndex(row)
                words = STATES[news.state][1].casefold() if news.state else ""
                self._box.setItemText(row, f"{job.title} ({words})")
        elif news.results is not None:
            text = FOLDER.format(news.results.folder.name)
            if self._box.findText(text) < 0:
                self._box.addItem(text, str(news.results.folder))
            self._box.setCurrentIndex(self._box.findText(text))

    def _on_box(self, row: int) -> None:
        known = {job.id: job for job in self._jobs}
        value = self._box.itemData(row)
        if value in known:
            self.job_chosen.emit(known[value])
        elif value:
            self.folder_chosen.emit(Path(value))

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open results", "")
        if folder:
            self.folder_chosen.emit(Path(folder))

    def _pause(self) -> None:
        self._order("pause" if self.pause_button.text() == "Pause" else "resume")

    def _order(self, word: str) -> None:
        self.ordered.emit(word)
