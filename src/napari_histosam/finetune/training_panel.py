"""A training in curves: below the job that is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPlainTextEdit, QWidget

from napari_histosam.widgets.chart import Chart, Line
from napari_histosam.widgets.parts import stacked

if TYPE_CHECKING:
    from napari_histosam.jobs.history import Curve, History

LOG_PX = 84
REDRAW_MS = 2000
BLUE, GREEN, ORANGE, VIOLET = "#4c9aff", "#36b37e", "#ff9f1a", "#b07cff"
CHECKPOINTS = {"finetune": "best.safetensors", "improve": "tuning/best.safetensors"}
"""Of the best epoch so far, below the run folder."""


class TrainingPanel(QWidget):
    """Shows the curves and the log of a job."""

    def __init__(self) -> None:
        super().__init__()
        self.loss_chart = Chart("Loss (need not fall)", REDRAW_MS)
        self.iou_chart = Chart("Mean IoU", REDRAW_MS)
        self.clicks_chart = Chart("Clicks needed", REDRAW_MS)
        self.clicks_chart.setToolTip(
            "NoC on the validation patches, over the epochs: lower is better"
        )
        self._log = QPlainTextEdit()
        self._log.setReadOnly(True)
        self._log.setFixedHeight(LOG_PX)
        stacked(self, self.clicks_chart, self.iou_chart, self.loss_chart, self._log)

    @property
    def log(self) -> str:
        """The job's log, a line each time."""
        return str(self._log.toPlainText())

    def show_history(self, history: History | None) -> None:
        """Show a job's events so far; None shows none."""
        self.setVisible(history is not None)
        if history is None:
            return
        width, best = history.n_epochs, history.best_epoch
        scores = history.validation
        self.loss_chart.show_lines(_training(history.loss), width)
        self.iou_chart.show_lines(
            (
                *_training(history.iou),
                _validation("1 click", ORANGE, scores["iou_1_click"]),
                _validation("5 clicks", GREEN, scores["iou_5_clicks"]),
            ),
            width,
            best,
        )
        self.clicks_chart.show_lines(
            (
                _validation("@80", GREEN, scores["noc80"]),
                _validation("@85", ORANGE, scores["noc85"]),
                _validation("@90", VIOLET, scores["noc90"]),
            ),
            width,
            best,
        )
        text = "\n".join(history.notices)
        if text != self.log:
            self._log.setPlainText(text)
            bar = self._log.verticalScrollBar()
            bar.setValue(bar.maximum())


def checkpoint_of(history: History | None) -> Path | None:
    """Return a job's best checkpoint so far."""
    if history is None:
        return None
    stated = (history.result or {}).get("checkpoint")
    out, name = history.job.out, CHECKPOINTS.get(history.job.kind)
    path = Path(stated) if stated else out / name if out and name else None
    return path if path is not None and path.is_file() else None


def _training(curve: Curve) -> tuple[Line, Line]:
    smooth = curve.smoothed()
    return (
        Line("", BLUE, tuple(curve.xs), tuple(curve.ys), is_faint=True),
        Line("training", BLUE, tuple(smooth.xs), tuple(smooth.ys)),
    )


def _validation(name: str, color: str, curve: Curve) -> Line:
    return Line(name, color, tuple(curve.xs), tuple(curve.ys), has_dots=True)
