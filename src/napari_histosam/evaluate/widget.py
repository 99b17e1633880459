"""The dock widget "Evaluate models": puts the panels together; what to do is the controller's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from histosam_core.errors import HistoSamError, UnknownModelError
from histosam_core.evaluation.report.plots import colour_of
from napari_histosam.evaluate.controller import Controller, runs_to_compare
from napari_histosam.evaluate.export import EXPORTS, export_path
from napari_histosam.evaluate.patches_table import PatchesTable
from napari_histosam.evaluate.results import rank_patches
from napari_histosam.evaluate.runs_table import RunsTable
from napari_histosam.evaluate.scene import Scene
from napari_histosam.evaluate.setup_panel import SetupPanel
from napari_histosam.evaluate.step_panel import StepPanel
from napari_histosam.jobs.history import Curve
from napari_histosam.jobs.job import ALIVE
from napari_histosam.jobs.job_row import JobRow
from napari_histosam.viewer.interface_thread import InterfaceThread
from napari_histosam.viewer.layers import remove_in_own_context
from napari_histosam.widgets.chart import Chart, Line
from napari_histosam.widgets.dock_life import DockLife
from napari_histosam.widgets.notices import inform, notify, report
from napari_histosam.widgets.parts import Scrolled, push_button

if TYPE_CHECKING:
    from histosam_core.evaluation.records import PatchRecord
    from napari_histosam.evaluate.choices import Choices
    from napari_histosam.evaluate.results import Run
    from napari_histosam.evaluate.scene import Opened
    from napari_histosam.evaluate.watch import News

__all__ = ["EvaluateWidget"]

BEAT_MS = 700
HINT = "Choose a row of the table: its patches come here, worst first"


class EvaluateWidget(QWidget):
    """Evaluate models by simulated clicks, and look at what they made of each patch.

    Parameters
    ----------
    napari_viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._thread = InterfaceThread()
        self.controller = Controller(self._thread.post)
        remove_in_own_context(napari_viewer)
        self.scene = Scene(napari_viewer, self.controller)
        self.setup_panel = SetupPanel()
        self.job_row = JobRow()
        self.runs_table = RunsTable()
        self.chart = Chart("Mean IoU after each click")
        self.patches_table = PatchesTable()
        self.step_panel = StepPanel()
        self._patches_title = QLabel(HINT)
        self._patches_title.setWordWrap(True)
        self.export_button = push_button(
            "Export\N{HORIZONTAL ELLIPSIS}", "The table as CSV or LaTeX, or the report", self._ask
        )
        self.report_button = push_button("Open report", "In the web browser", self._open_report)
        self.open_button = push_button(
            "Open patch",
            "Show it in the viewer with its clicks (double click)",
            self.patches_table.open_chosen,
        )
        self._tabs = QTabWidget()
        self._tabs.addTab(Scrolled(self.setup_panel), "New")
        self._tabs.addTab(Scrolled(self._results_page()), "Results")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._tabs)
        self._timer = QTimer(self)
        self._timer.setObjectName("histosam: results are watched")
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self.controller.look)
        self._lost_model = False
        self._shown_run: Run | None = None
        self._connect()
        self._life = DockLife(self, self._end)
        self._enable()
        self.controller.list_jobs()

    def start(self, choices: Choices) -> None:
        """Start a job, and show what it finds."""
        self.controller.start(choices)
        self._tabs.setCurrentIndex(1)
        self._timer.start()

    def open_results(self, folder: Path) -> None:
        """Show the results in a folder, finished or not."""
        self.controller.open_results(folder)
        self._tabs.setCurrentIndex(1)

    def shut_down(self) -> None:
        """End the threads; jobs go on."""
        self._life.finish(True)

    def _connect(self) -> None:
        controller = self.controller
        self._tabs.currentChanged.connect(lambda _: self.setup_panel.refresh())
        self.setup_panel.started.connect(self.start)
        self.setup_panel.failed.connect(notify)
        self.job_row.job_chosen.connect(controller.watch_job)
        self.job_row.folder_chosen.connect(self.open_results)
        self.job_row.ordered.connect(self._order)
        self.runs_table.chosen.connect(self._show_patches)
        self.patches_table.opened.connect(self._open_patch)
        self.step_panel.stepped.connect(self._on_step)
        self.step_panel.compared.connect(self._compare)
        self.step_panel.source_said.connect(self._say_source)
        self.step_panel.left.connect(controller.close_patch)
        controller.news_changed.connect(self._on_news)
        controller.jobs_listed.connect(self._on_jobs)
        controller.opened_changed.connect(self._on_opened)
        controller.busy_changed.connect(self.step_panel.show_busy)
        controller.failed.connect(self._on_failed)
        controller.informed.connect(inform)

    def _results_page(self) -> QWidget:
        page = QWidget()
        buttons, patches = QHBoxLayout(), QHBoxLayout()
        for button in (self.export_button, self.report_button):
            buttons.addWidget(button)
        patches.addWidget(self._patches_title, 1)
        patches.addWidget(self.open_button)
        column = QVBoxLayout(page)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(6)
        for part in (self.job_row, self.runs_table, self.chart):
            column.addWidget(part)
        column.addLayout(buttons)
        column.addLayout(patches)
        column.addWidget(self.patches_table, 1)
        column.addWidget(self.step_panel)
        return page

    # What the user does.

    def _order(self, word: str) -> None:
        self.controller.order(word)
        self._timer.start()

    def _show_patches(self, run: Run | None) -> None:
        self._shown_run = run
        rows = [] if run is None else rank_patches(run.result)
        self.patches_table.show_rows(rows)
        self._patches_title.setText(
            HINT if run is None else f"{run.result.name} on {run.result.dataset}, worst first"
        )
        self._show_others()
        self._enable()

    def _open_patch(self, record: PatchRecord) -> None:
        if self._shown_run is not None:
            self._lost_model = False
            self.controller.open_patch(self._shown_run, record, self.step_panel.other)

    def _compare(self, run: Run | None) -> None:
        self._lost_model = False
        self.controller.compare_with(run)

    def _say_source(self, name: str, source: str) -> None:
        self._lost_model = False
        self.controller.say_source(name, source)

    def _on_step(self, click: int) -> None:
        opened = self.controller.opened
        if opened is not None:
            self.scene.show(opened, click, self.step_panel.mode)

    def _ask(self) -> None:
        filters = ";;".join(EXPORTS.values())
        path, kind = QFileDialog.getSaveFileName(self, "Export results", "results.csv", filters)
        if path:
            self.controller.export(export_path(path, kind))

    def _open_report(self) -> None:
        path = self.controller.news.report
        if path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))

    # What the controller tells.

    def _on_jobs(self, jobs: Any) -> None:
        self.job_row.show_jobs(jobs)
        if self.controller.news.results is not None:
            self.job_row.show_news(self.controller.news)
        elif jobs and jobs[0][1] in ALIVE:
            self.controller.watch_job(jobs[0][0])  # it went on while no widget was there
            self._tabs.setCurrentIndex(1)
            self._timer.start()

    def _on_news(self, news: News) -> None:
        runs = news.results.runs if news.results else ()
        self.job_row.show_news(news)
        self.runs_table.show_runs(runs)
        self._show_curves(runs)
        self._enable()
        if news.is_alive:
            self._timer.start()
        else:
            self._timer.stop()

    def _on_opened(self, opened: Opened | None) -> None:
        if opened is None:
            self.scene.hide()
        elif not self.scene.shows(opened.picture):
            self.scene.open(opened.picture)
        self.step_panel.show_opened(opened, lost_model=self._lost_model)

    def _on_failed(self, error: BaseException) -> None:
        if isinstance(error, UnknownModelError):
            self._lost_model = True
            self.step_panel.show_opened(self.controller.opened, lost_model=True)
        if isinstance(error, HistoSamError | OSError):
            notify(_message(error))
        else:
            report(error)

    def _show_curves(self, runs: Any) -> None:
        colours = colour_of([run.result for run in runs])
        shown = [run for run in runs if run.n_done]
        lines = [
            Line(
                "",
                colours[run.result.name],
                Curve([float(i + 1) for i in range(len(run.summary.miou))], [*run.summary.miou]),
                has_dots=run.summary.max_clicks <= 30,
            )
            for run in shown
        ]
        most = max((run.summary.max_clicks for run in runs), default=1)
        self.chart.show_lines(lines, float(max(most, 2)))

    def _show_others(self) -> None:
        results, run = self.controller.news.results, self._shown_run
        others = runs_to_compare(results.runs, run) if results and run else []
        self.step_panel.show_others(others)

    def _enable(self) -> None:
        news = self.controller.news
        runs = news.results.runs if news.results else ()
        self.export_button.setEnabled(any(run.n_done for run in runs))
        self.report_button.setEnabled(news.report is not None)
        self.open_button.setEnabled(bool(self.patches_table.rows))

    def _end(self, is_window_gone: bool) -> None:
        self._thread.close()
        self.controller.close()
        if not is_window_gone:
            self._timer.stop()
            self.scene.remove()
        self.scene.close()


def _message(error: BaseException) -> str:
    text = error.args[0] if error.args and isinstance(error, HistoSamError) else error
    return " ".join(str(text).split())
