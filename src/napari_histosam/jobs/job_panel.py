"""The user's jobs: which one is shown, how far it is, and the orders that it can be given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer, QUrl, Signal
from qtpy.QtGui import QColor, QDesktopServices
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from histosam_core.errors import HistoSamError
from napari_histosam.jobs.history import History
from napari_histosam.jobs.job import ALIVE, find_jobs
from napari_histosam.widgets.notices import notify
from napari_histosam.widgets.parts import (
    BREAK,
    TOOLTIP,
    WRONG,
    breakable,
    color_icon,
    narrow_box,
    push_button,
    stacked,
    thin_bar,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_histosam.jobs.job import Awaited, Job, JobState

STATES: dict[JobState, tuple[str, str]] = {
    "running": ("#ff9f1a", "Running"),
    "paused": ("#4c9aff", "Paused"),
    "stopped": ("#8a8f98", "Stopped"),
    "finished": ("#36b37e", "Finished"),
    "failed": ("#ff5630", "Failed"),
    "lost": ("#ff5630", "Lost"),
}
WAITS: dict[Awaited, str] = {
    "pause": "Pausing after the current step",
    "stop": "Stopping after the current step",
}
STOP, STOP_TIP = "Stop", "Save the state and end after the current step; it can go on later"
END, END_TIP = "End now", "End the process at once; what it did since it last saved is lost"
REPORTS = ("report.html", "curves.png")
TICK_MS = 500
LOOK_EVERY = 6
"""Ticks between two searches for jobs that others have started or ended."""
PATIENCE_MS = 8000
"""How long a job may take to stop before its process can be ended."""


class JobPanel(QWidget):
    """Shows one of the user's jobs of some kinds, whoever started it, and acts on it.

    `none` is shown while there is none.

    Attributes
    ----------
    chosen, updated : Signal
        Another job or folder is shown; something is new of the one that is shown.
    counted : Signal
        Jobs that run or are paused.
    history : History or None
        The events of the job that is shown.
    """

    chosen = Signal()
    updated = Signal()
    counted = Signal(int)

    def __init__(self, kinds: Sequence[str], none: str) -> None:
        super().__init__()
        self._kinds, self._none = tuple(kinds), none
        self._jobs: list[Job] = []
        self._finished: set[str] = set()
        self._opened: Path | None = None
        self._ticks = 0
        self.history: History | None = None
        self.state: JobState | None = None
        self.awaited: Awaited = ""
        self.n_alive = 0
        self._box = narrow_box()
        self._box.activated.connect(lambda row: self._show_id(self._box.itemData(row)))
        self._status, self._error, self._bar = wrapped(), wrapped(WRONG), thin_bar()
        for label in (self._status, self._error):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.pause_button = push_button("Pause", "Pause after the current step", self._pause)
        self.stop_button = push_button(STOP, STOP_TIP, self._stop)
        self.remove_button = push_button("Remove", "Forget the job; its files stay", self._remove)
        self.report_button = push_button(
            "Open report", "In the web browser", lambda: _open(self._report())
        )
        self.folder_button = push_button(
            "Open folder", "The files of the job", lambda: _open(self.folder)
        )
        self._grid = QGridLayout()
        self._grid.setVerticalSpacing(4)
        for column, button in enumerate((self.pause_button, self.stop_button, self.remove_button)):
            self._grid.addWidget(button, 0, column)
        self._grid.addWidget(self.report_button, 1, 1)
        self._grid.addWidget(self.folder_button, 1, 2)
        stacked(self, self._box, self._status, self._bar, self._error, self._grid)
        self._timer, self._patience = QTimer(self), QTimer(self)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.timeout.connect(lambda: self._show_stop(END, END_TIP, True))
        self._show()

    @property
    def job(self) -> Job | None:
        """The job that is shown."""
        return None if self.history is None else self.history.job

    @property
    def out(self) -> Path | None:
        """Where the results of the job are, or will be; the folder that is open."""
        return self._opened if self.job is None else self.job.out

    @property
    def folder(self) -> Path | None:
        """The same where it is there."""
        return self.out if self.out is not None and self.out.is_dir() else None

    @property
    def is_alive(self) -> bool:
        """Whether the job that is shown runs or is paused."""
        return self.state in ALIVE

    @property
    def status(self) -> str:
        """The state of the job in words."""
        return str(self._status.text()).replace(BREAK, "")

    @property
    def error(self) -> str:
        """What went wrong and what to do; empty where nothing did."""
        return str(self._error.text()).replace(BREAK, "")

    def add_button(self, button: QPushButton) -> None:
        """Put a dock's own button first in the second row."""
        self._grid.addWidget(button, 1, 0)
        QWidget.setTabOrder(self.remove_button, button)

    def choose(self, job_id: str) -> None:
        """Show a job, its events from the first on."""
        self.look()
        self._show_id(job_id)

    def open_folder(self, folder: Path) -> None:
        """Show the results in a folder, and the job that makes them where there is one."""
        self._opened, self.history = folder, None
        self.look()
        job = next((job for job in self._jobs if job.out == folder), None)
        if job is not None:
            self._opened = None
            self.look()
        self._show_job(job)

    def watch(self, is_on: bool) -> None:
        """Look at the jobs again and again, or no longer."""
        if is_on:
            self.look()
            self._timer.start()
        else:
            self._timer.stop()

    def refresh(self) -> None:
        """Read what is new of the job that is shown."""
        if self.history is None:
            return
        job = self.history.job
        # The state first: the last events that a job writes are read after it.
        state = job.state()
        awaited = job.awaited() if state in ALIVE else ""
        is_new = self.history.update()
        if not is_new and (state, awaited) == (self.state, self.awaited):
            return
        has_changed, self.state, self.awaited = state != self.state, state, awaited
        self._show()
        self.updated.emit()
        if has_changed:
            self.look()

    def look(self) -> None:
        """List the jobs that there are now; the newest is shown where nothing else is."""
        self._jobs = [job for job in find_jobs() if job.kind in self._kinds]
        states = {job.id: self._state_of(job) for job in self._jobs}
        self.n_alive = sum(state in ALIVE for state in states.values())
        entries = []
        for job in self._jobs:
            color, word = STATES[states[job.id]]
            when = datetime.fromtimestamp(job.created).strftime("%d %b, %H:%M")
            entries.append((job.id, f"{word} {when}: {job.title}", color, str(job.out or "")))
        if self._opened is not None:
            name = f"Results: {self._opened.name}"
            entries.append((str(self._opened), name, STATES["finished"][0], str(self._opened)))
        self._list(entries)
        self.counted.emit(self.n_alive)
        is_gone = self.job is not None and self.job.id not in states
        if is_gone or (self.job is None and self._opened is None):
            self._show_job(self._jobs[0] if self._jobs else None)

    def _list(self, entries: Sequence[tuple[str, str, str, str]]) -> None:
        """Update the box in place: it may be open."""
        while self._box.count() > len(entries):
            self._box.removeItem(self._box.count() - 1)
        for row, (key, text, color, tip) in enumerate(entries):
            if row == self._box.count():
                self._box.addItem("")
            if self._box.itemText(row) != text or self._box.itemData(row) != key:
                self._box.setItemText(row, text)
                self._box.setItemData(row, key)
                self._box.setItemData(row, f"{text}\n{tip}", TOOLTIP)
                self._box.setItemIcon(row, color_icon(QColor(color).getRgb()[:3]))
        self._box.setVisible(bool(entries))
        self._point()

    def _point(self) -> None:
        shown = str(self._opened) if self.job is None else self.job.id
        self._box.setCurrentIndex(self._box.findData(shown))

    def _state_of(self, job: Job) -> JobState:
        """A job's state; a finished one stays so, and is not asked again."""
        if job.id in self._finished:
            return "finished"
        state = job.state()
        if state == "finished":
            self._finished.add(job.id)
        return state

    def _show_id(self, job_id: str) -> None:
        self._show_job(next((job for job in self._jobs if job.id == job_id), None))

    def _show_job(self, job: Job | None) -> None:
        is_same = job is None and self.job is None and self._opened is None
        self.history = None if job is None else History(job)
        self.state, self.awaited = None, ""
        self._point()
        self._show()
        if not is_same:
            self.chosen.emit()
        self.refresh()

    def _show(self) -> None:
        """Show the state of the job, and what can be done with it now."""
        history, state, awaited = self.history, self.state, self.awaited
        words = self._none if self._opened is None else f"Results in {self._opened}"
        if history is not None and state is not None:
            parts = [WAITS[awaited] if awaited else STATES[state][1]]
            if self.is_alive:
                parts.append(history.words or "starting")
            parts += [history.headline] if history.headline else []
            words = ": ".join(parts)
            if state == "running" and not awaited and history.seconds_left is not None:
                words += f"; about {_duration(history.seconds_left)} left"
        self._status.setText(breakable(words))
        share = None if history is None else history.share_done
        self._bar.setVisible(state not in (None, "failed", "finished"))
        self._bar.setMaximum(0 if share is None and state == "running" else 1000)
        self._bar.setValue(round(1000 * (share or 0.0)))
        error = "" if history is None else history.job.error_text()
        self._error.setText(breakable(error))
        self._error.setVisible(bool(error))
        self.pause_button.setText("Pause" if self._can_pause or state is None else "Resume")
        self.pause_button.setEnabled(state not in (None, "finished"))
        self.remove_button.setEnabled(state is not None and not self.is_alive)
        self.report_button.setEnabled(self._report() is not None)
        self.folder_button.setEnabled(self.folder is not None)
        is_stopping = self.is_alive and awaited == "stop"
        if is_stopping and (self._patience.isActive() or self.stop_button.text() == END):
            return
        self._show_stop(STOP, STOP_TIP, self.is_alive and not is_stopping)
        if is_stopping:
            self._patience.start()
        else:
            self._patience.stop()

    @property
    def _can_pause(self) -> bool:
        """Else the same button resumes; a stop that is not done yet is taken back so."""
        return self.state == "running" and self.awaited != "stop"

    def _report(self) -> Path | None:
        """The report; of a fine-tuning, its curves."""
        found = [] if self.folder is None else [self.folder / name for name in REPORTS]
        return next((path for path in found if path.is_file()), None)

    def _show_stop(self, text: str, tip: str, is_enabled: bool) -> None:
        self.stop_button.setText(text)
        self.stop_button.setToolTip(tip)
        self.stop_button.setEnabled(is_enabled)

    # What the user does.

    def _pause(self) -> None:
        if self.job is not None:
            self._attempt(self.job.pause if self._can_pause else self.job.resume)

    def _stop(self) -> None:
        if self.job is not None:
            self._attempt(self.job.kill if self.stop_button.text() == END else self.job.stop)

    def _remove(self) -> None:
        if self.job is not None:
            self._attempt(self.job.remove)
        self.look()

    def _attempt(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except HistoSamError as error:
            notify(str(error))
        self.refresh()

    def _tick(self) -> None:
        self.refresh()
        self._ticks += 1
        if self._ticks % LOOK_EVERY == 0:
            self.look()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{round(seconds)} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def _open(path: Path | None) -> None:
    if path is not None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
