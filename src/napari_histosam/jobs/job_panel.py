"""One job: how far it is, its curves, what it said, and what can be done with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from histosam_core.errors import HistoSamError
from napari_histosam.jobs.history import History
from napari_histosam.jobs.job import ALIVE
from napari_histosam.jobs.stop_button import StopButton
from napari_histosam.widgets.chart import Chart, Line
from napari_histosam.widgets.notices import notify
from napari_histosam.widgets.parts import breakable, push_button

if TYPE_CHECKING:
    from napari_histosam.jobs.job import Awaited, Job, JobState

__all__ = ["STATES", "JobPanel", "can_pause", "duration", "state_in_words"]

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
LOG_PX = 84
BLUE, GREEN, ORANGE, VIOLET = "#4c9aff", "#36b37e", "#ff9f1a", "#b07cff"
CHECKPOINTS = {"finetune": "best.safetensors", "improve": "tuning/best.safetensors"}
"""Of the best epoch so far, below the run folder."""


class JobPanel(QWidget):
    """Shows one job and acts on it."""

    used = Signal(object, str)
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._history: History | None = None
        self._state: JobState | None = None
        self._awaited: Awaited = ""
        self._n_notices = -1
        self._status, self._error = QLabel(), QLabel()
        for label in (self._status, self._error):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._error.setStyleSheet("color: #ff5630;")
        self._bar = QProgressBar()
        self._bar.setMaximumHeight(8)
        self._bar.setTextVisible(False)
        self._bar.setMaximum(1000)
        self.loss_chart = Chart("Loss (need not fall)")
        self.iou_chart = Chart("Mean IoU")
        self.clicks_chart = Chart("Clicks needed")
        self.clicks_chart.setToolTip(
            "NoC on the validation patches, over the epochs: lower is better"
        )
        self.pause_button = push_button(
            "Pause", "Rest at the next step; memory is kept", self._pause
        )
        self.stop_button = StopButton("Save the state and end; it can go on later")
        self.stop_button.stop_asked.connect(self._stop)
        self.stop_button.end_asked.connect(self._end)
        self.use_button = push_button(
            "Use in HistoSAM",
            "Add the best checkpoint to your models, and choose it in Outline by clicks",
            self._use,
        )
        self.folder_button = push_button("Open folder", "The run's files", self._open_folder)
        self.report_button = push_button("Open report", "In the web browser", self._open_report)
        self.remove_button = push_button(
            "Remove", "Take it off the list; its run folder stays", self._remove
        )
        self._log = _Log()
        self._log.setReadOnly(True)
        grid = QGridLayout()
        grid.setVerticalSpacing(4)
        grid.addWidget(self.pause_button, 0, 0)
        grid.addWidget(self.stop_button, 0, 1)
        grid.addWidget(self.remove_button, 0, 2)
        grid.addWidget(self.use_button, 1, 0)
        grid.addWidget(self.report_button, 1, 1)
        grid.addWidget(self.folder_button, 1, 2)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for part in (self._status, self._bar, self._error):
            column.addWidget(part)
        column.addLayout(grid)
        for part in (self.clicks_chart, self.iou_chart, self.loss_chart, self._log):
            column.addWidget(part)
        column.addStretch(1)
        self.setVisible(False)

    @property
    def job(self) -> Job | None:
        """The job that is shown."""
        return None if self._history is None else self._history.job

    @property
    def status(self) -> str:
        """How it stands, in words."""
        return _plain(self._status)

    @property
    def error(self) -> str:
        """What went wrong and what to do; empty where nothing did."""
        return _plain(self._error)

    @property
    def log(self) -> str:
        """What the job said, a line each time."""
        return str(self._log.toPlainText())

    def show_job(self, job: Job | None) -> None:
        """Show a job from its first event on; None shows none."""
        self._history = None if job is None else History(job)
        self._state, self._n_notices = None, -1
        self.setVisible(job is not None)
        self.update_job()

    def update_job(self) -> None:
        """Read what is new, and show it."""
        history = self._history
        if history is None:
            return
        is_new = history.update()
        state = history.job.state()
        awaited = history.job.awaited() if state in ALIVE else ""
        is_same = state == self._state and awaited == self._awaited
        if not is_new and is_same and self._n_notices >= 0:
            return
        has_changed, self._state, self._awaited = state != self._state, state, awaited
        self._show_status(history, state)
        self._show_curves(history)
        if len(history.notices) != self._n_notices:
            self._n_notices = len(history.notices)
            self._log.setPlainText("\n".join(history.notices))
            bar = self._log.verticalScrollBar()
            bar.setValue(bar.maximum())
        if has_changed:
            self.changed.emit()

    def checkpoint(self) -> Path | None:
        """Return the best checkpoint that there is."""
        history = self._history
        if history is None:
            return None
        told = (history.result or {}).get("checkpoint")
        out, name = history.job.about.get("out"), CHECKPOINTS.get(history.job.kind)
        path = Path(told) if told else Path(out) / name if out and name else None
        return path if path is not None and path.is_file() else None

    def _show_status(self, history: History, state: JobState) -> None:
        alive, awaited = state in ALIVE, self._awaited
        words = [state_in_words(state, awaited)]
        if alive and history.words:
            words.append(history.words)
        elif alive:
            words.append("starting")
        if history.headline:
            words.append(history.headline)
        text = ": ".join(words)
        if state == "running" and not awaited and history.seconds_left is not None:
            text += f"; about {duration(history.seconds_left)} left"
        self._status.setText(text)
        share = history.share_done
        self._bar.setVisible(state not in ("failed", "finished"))
        self._bar.setMaximum(0 if share is None and state == "running" else 1000)
        self._bar.setValue(round(1000 * (share or 0.0)))
        error = history.job.error_text()
        self._error.setText(breakable(error))
        self._error.setVisible(bool(error))
        self.pause_button.setText("Pause" if can_pause(state, awaited) else "Resume")
        self.pause_button.setEnabled(state != "finished")
        self.stop_button.show_job(history.job.id, is_alive=alive, is_stopping=awaited == "stop")
        self.remove_button.setEnabled(not alive)
        self.use_button.setEnabled(self.checkpoint() is not None)
        self.report_button.setEnabled(self._report() is not None)
        self.folder_button.setEnabled(self._folder() is not None)

    def _show_curves(self, history: History) -> None:
        width, best = history.n_epochs, history.best_epoch
        val = history.validation
        self.loss_chart.show_lines(
            (
                Line("", BLUE, history.loss, is_faint=True),
                Line("training", BLUE, history.loss.smoothed()),
            ),
            width,
        )
        self.iou_chart.show_lines(
            (
                Line("", BLUE, history.iou, is_faint=True),
                Line("training", BLUE, history.iou.smoothed()),
                Line("1 click", ORANGE, val["iou_1_click"], has_dots=True),
                Line("5 clicks", GREEN, val["iou_5_clicks"], has_dots=True),
            ),
            width,
            mark=best,
        )
        self.clicks_chart.show_lines(
            (
                Line("@80", GREEN, val["noc80"], has_dots=True),
                Line("@85", ORANGE, val["noc85"], has_dots=True),
                Line("@90", VIOLET, val["noc90"], has_dots=True),
            ),
            width,
            mark=best,
        )

    # What the buttons do.

    def _pause(self) -> None:
        job = self.job
        if job is not None:
            self._attempt(job.pause if can_pause(self._state, self._awaited) else job.resume)

    def _stop(self) -> None:
        if self.job is not None:
            self._attempt(self.job.stop)

    def _end(self) -> None:
        if self.job is not None:
            self._attempt(self.job.kill)

    def _remove(self) -> None:
        job = self.job
        if job is not None and self._attempt(job.remove):
            self.show_job(None)
            self.changed.emit()

    def _use(self) -> None:
        path = self.checkpoint()
        if path is not None and self.job is not None:
            out = self.job.about.get("out")
            self.used.emit(path, Path(out).name if out else path.parent.name)

    def _open_folder(self) -> None:
        _open(self._folder())

    def _open_report(self) -> None:
        _open(self._report())

    def _folder(self) -> Path | None:
        out = None if self.job is None else self.job.about.get("out")
        return Path(out) if out and Path(out).is_dir() else None

    def _report(self) -> Path | None:
        """The report; of a fine-tuning, its curves."""
        folder = self._folder()
        names = ("report.html", "curves.png")
        found = [] if folder is None else [folder / n for n in names if (folder / n).is_file()]
        return found[0] if found else None

    def _attempt(self, action: Any) -> bool:
        try:
            action()
        except HistoSamError as error:
            notify(str(error))
            return False
        finally:
            self.update_job()
        return True


class _Log(QPlainTextEdit):
    """A few lines high."""

    def sizeHint(self) -> QSize:  # Qt's name
        return QSize(super().sizeHint().width(), LOG_PX)

    def minimumSizeHint(self) -> QSize:  # Qt's name
        return QSize(super().minimumSizeHint().width(), LOG_PX)


def can_pause(state: JobState | None, awaited: Awaited) -> bool:
    """Else the same button lets it go on; a stop that is not done yet is taken back so."""
    return state == "running" and awaited != "stop"


def state_in_words(state: JobState, awaited: Awaited) -> str:
    """Return how a job stands, or what it was told and comes to when its step is done."""
    return WAITS[awaited] if awaited else STATES[state][1]


def duration(seconds: float) -> str:
    """Return a span of time in words."""
    if seconds < 90:
        return f"{round(seconds)} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def _open(path: Path | None) -> None:
    if path is not None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))


def _plain(label: QLabel) -> str:
    return str(label.text()).replace("\N{ZERO WIDTH SPACE}", "")
