"""A dock with two pages: settings of a new job, and the jobs that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLayout, QTabWidget, QWidget

from histosam_core.errors import HistoSamError
from napari_histosam.jobs.job import start_job
from napari_histosam.jobs.job_panel import JobPanel
from napari_histosam.widgets.notices import notify
from napari_histosam.widgets.parts import Scrolled, stacked

if TYPE_CHECKING:
    from qtpy.QtGui import QHideEvent, QShowEvent

    from histosam_core.settings import JobSettings


class JobDock(QWidget):
    """Starts jobs and follows them, as long as somebody can see it.

    Jobs go on when the dock, the viewer or napari is closed; whatever dock is opened later, in this
    viewer or another, finds them. Jobs of `kinds` are listed on the page of that title; `none` is
    shown while there is none.
    """

    def __init__(self, kinds: Sequence[str], none: str, page: str) -> None:
        super().__init__()
        self.job_panel = JobPanel(kinds, none)
        self._page = page
        self._tabs = QTabWidget()
        stacked(self, self._tabs)

    def add_pages(
        self, new: QWidget, *jobs: QWidget | QLayout, stretched: QWidget | None = None
    ) -> None:
        """Show the page of settings, and that of jobs: parts below each other, one stretched."""
        page = QWidget()
        column = stacked(page, self.job_panel, *jobs, margin=4, spacing=6)
        if stretched is None:
            column.addStretch(1)
        else:
            column.setStretchFactor(stretched, 1)
        self._tabs.addTab(Scrolled(new), "New")
        self._tabs.addTab(Scrolled(page), self._page)
        self._tabs.currentChanged.connect(lambda _: self.refresh())
        self.job_panel.counted.connect(self._show_count)
        self.job_panel.look()
        if self.job_panel.n_alive:
            self.show_jobs()

    def refresh(self) -> None:
        """Look again at what the page of settings offers."""

    def show_jobs(self) -> None:
        """Turn to the page of jobs."""
        self._tabs.setCurrentIndex(1)

    def start_job(
        self, kind: str, title: str, settings: JobSettings, about: Mapping[str, object]
    ) -> None:
        """Start a job as `start_job` does, and show it; an error becomes a notification."""
        values = settings.as_dict()
        given = {name: values[name] for name in values if name in settings.model_fields_set}
        try:
            job = start_job(kind, title, settings=given, about=about)
        except HistoSamError as error:
            notify(str(error))
            return
        self.job_panel.choose(job.id)
        self.show_jobs()

    def showEvent(self, event: QShowEvent) -> None:  # Qt's name
        """Watch the jobs."""
        super().showEvent(event)
        self.refresh()
        self.job_panel.watch(True)

    def hideEvent(self, event: QHideEvent) -> None:  # Qt's name
        """Watch no longer."""
        self.job_panel.watch(False)
        super().hideEvent(event)

    def _show_count(self, n_alive: int) -> None:
        count = f" ({n_alive} running)" if n_alive else ""
        self._tabs.setTabText(1, f"{self._page}{count}")
