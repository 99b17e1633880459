"""The dock widget "Fine-tune a model": settings, jobs, and what becomes of their results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QPlainTextEdit, QWidget

from histosam_core.errors import HistoSamError
from histosam_core.model.registry.own_models import add_own_model, free_name, list_own_models
from napari_histosam.finetune.settings_panel import SettingsPanel
from napari_histosam.jobs.dock import JobDock
from napari_histosam.widgets.chart import Chart, Line
from napari_histosam.widgets.notices import inform, notify
from napari_histosam.widgets.parts import push_button, stacked

if TYPE_CHECKING:
    from napari_histosam.finetune.choices import Choices
    from napari_histosam.jobs.history import Curve, History

KINDS = ("finetune", "improve")
NONE = "No job yet: choose settings, and press Start."
PLUGIN, OUTLINE = "napari-histosam", "Outline by clicks"
LOG_PX = 84
REDRAW_MS = 2000
BLUE, GREEN, ORANGE, VIOLET = "#4c9aff", "#36b37e", "#ff9f1a", "#b07cff"
CHECKPOINTS = {"finetune": "best.safetensors", "improve": "tuning/best.safetensors"}
"""Of the best epoch so far, below the run folder."""


class FinetuneWidget(JobDock):
    """Fine-tune a model in a process of its own, and watch it."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(KINDS, NONE, "Jobs")
        self._viewer = napari_viewer
        self.settings_panel = SettingsPanel(napari_viewer)
        self.training_panel = TrainingPanel()
        self.use_button = push_button(
            "Use in HistoSAM",
            "Add the best checkpoint to your models, and choose it in Outline by clicks",
            self._use_best,
        )
        self.job_panel.add_button(self.use_button)
        self.settings_panel.started.connect(self.start)
        self.settings_panel.failed.connect(notify)
        for signal in (self.job_panel.chosen, self.job_panel.updated):
            signal.connect(self._show_job)
        self.job_panel.counted.connect(lambda _: self.settings_panel.data_panel.refresh())
        self.add_pages(self.settings_panel, self.training_panel)
        self._show_job()

    def start(self, choices: Choices) -> None:
        """Start a job, and show it."""
        about = {"out": str(choices.out), "model": choices.model}
        self.start_job(choices.kind, choices.title, choices.settings(), about)
        self.refresh()

    def use(self, checkpoint: Path, name: str) -> None:
        """Add a checkpoint to the user's models, and choose it where outlines are made.

        Its name gets a number where it is taken; one that was added before keeps its own.
        """
        try:
            known = [own for own in list_own_models() if own.path == checkpoint.absolute()]
            own = known[0] if known else add_own_model(checkpoint, name=free_name(name))
        except HistoSamError as error:
            notify(str(error))
            return
        # Opens the dock, or returns the one that is open.
        _, outline = self._viewer.window.add_plugin_dock_widget(PLUGIN, OUTLINE, tabify=True)
        outline.setup_panel.choose(model=own.name)
        self.refresh()
        inform(f"{own.name} is among your models, and chosen in {OUTLINE}: press its button there")

    def refresh(self) -> None:
        """Look again at what the settings offer."""
        self.settings_panel.refresh()

    def _show_job(self) -> None:
        history = self.job_panel.history
        self.training_panel.show_history(history)
        self.use_button.setEnabled(checkpoint_of(history) is not None)

    def _use_best(self) -> None:
        path, out = checkpoint_of(self.job_panel.history), self.job_panel.out
        if path is not None:
            self.use(path, out.name if out else path.parent.name)


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
