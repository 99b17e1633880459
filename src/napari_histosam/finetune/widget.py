"""The dock widget "Fine-tune a model": settings, jobs, and what becomes of their results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from histosam_core.errors import HistoSamError
from histosam_core.model.registry.own_models import add_own_model, free_name, list_own_models
from napari_histosam.finetune.settings_panel import SettingsPanel
from napari_histosam.jobs.job import start_job
from napari_histosam.jobs.jobs_panel import JobsPanel
from napari_histosam.widgets.notices import inform, notify
from napari_histosam.widgets.parts import Scrolled

if TYPE_CHECKING:
    from qtpy.QtGui import QHideEvent, QShowEvent

    from napari_histosam.finetune.choices import Choices

__all__ = ["FinetuneWidget"]

BEAT_MS = 500
PLUGIN, OUTLINE = "napari-histosam", "Outline by clicks"


class FinetuneWidget(QWidget):
    """Fine-tune a model in a process of its own, and watch it.

    Jobs go on when the widget, the viewer or napari is closed; whatever widget is opened later, in
    this viewer or another, finds them.

    Parameters
    ----------
    napari_viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.settings_panel = SettingsPanel(napari_viewer)
        self.jobs_panel = JobsPanel()
        self.job_panel = self.jobs_panel.job_panel
        self._tabs = QTabWidget()
        self._tabs.addTab(Scrolled(self.settings_panel), "New")
        self._tabs.addTab(Scrolled(self.jobs_panel), "Jobs")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._tabs)
        self._timer = QTimer(self)
        self._timer.setObjectName("histosam: jobs are watched")
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self._beat)
        self.settings_panel.started.connect(self.start)
        self.settings_panel.failed.connect(notify)
        self.jobs_panel.counted.connect(self._show_count)
        self.job_panel.used.connect(self.use)
        self.jobs_panel.look()
        if self.jobs_panel.n_alive:
            self._tabs.setCurrentIndex(1)

    def start(self, choices: Choices) -> None:
        """Start a job, and show it."""
        try:
            job = start_job(
                choices.kind,
                choices.title,
                choices.arguments(),
                about={"out": str(choices.out), "model": choices.model},
            )
        except HistoSamError as error:
            notify(str(error))
            return
        self.jobs_panel.choose(job.id)
        self._tabs.setCurrentIndex(1)
        self.settings_panel.refresh()

    def use(self, checkpoint: Path, name: str) -> None:
        """Add a checkpoint to the user's models, and choose it where outlines are made.

        Parameters
        ----------
        checkpoint
            Its file.
        name
            What it is called, with a number where that is taken; one that was added before keeps
            its name.
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
        self.settings_panel.refresh()
        inform(f"{own.name} is among your models, and chosen in {OUTLINE}: press its button there")

    def showEvent(self, event: QShowEvent) -> None:  # Qt's name
        """Watch the jobs while somebody can see them."""
        super().showEvent(event)
        self.settings_panel.refresh()
        self.jobs_panel.look()
        self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:  # Qt's name
        """Watch no longer; the jobs go on."""
        self._timer.stop()
        super().hideEvent(event)

    def _beat(self) -> None:
        self.jobs_panel.beat()
        self.settings_panel.data_panel.refresh()

    def _show_count(self, n_alive: int) -> None:
        self._tabs.setTabText(1, f"Jobs ({n_alive} running)" if n_alive else "Jobs")
