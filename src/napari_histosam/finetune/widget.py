"""The dock widget "Fine-tune a model": settings, jobs, and what becomes of their results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.errors import HistoSamError
from histosam_core.model.registry.own_models import add_own_model, free_name, list_own_models
from napari_histosam.finetune.settings_panel import SettingsPanel
from napari_histosam.finetune.training_panel import TrainingPanel, checkpoint_of
from napari_histosam.jobs.dock import JobDock
from napari_histosam.widgets.notices import inform, notify
from napari_histosam.widgets.parts import push_button

if TYPE_CHECKING:
    from napari_histosam.finetune.choices import Choices

KINDS = ("finetune", "improve")
NONE = "No job yet: choose settings, and press Start."
PLUGIN, OUTLINE = "napari-histosam", "Outline by clicks"


class FinetuneWidget(JobDock):
    """Fine-tune a model in a process of its own, and watch it.

    Parameters
    ----------
    napari_viewer
        The viewer that the widget is docked in.
    """

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
