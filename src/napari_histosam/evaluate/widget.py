"""The dock widget "Evaluate models": puts the panels together; what to do is the controller's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog

from histosam_core.errors import HistoSamError, UnknownModelError
from histosam_core.evaluation.report.plots import colour_of
from napari_histosam.evaluate.controller import Controller, runs_to_compare
from napari_histosam.evaluate.result_tables import PatchesTable, RunsTable
from napari_histosam.evaluate.results import EXPORTS, Results, export_path, rank_patches
from napari_histosam.evaluate.scene import Scene
from napari_histosam.evaluate.setup_panel import SetupPanel
from napari_histosam.evaluate.step_panel import StepPanel
from napari_histosam.jobs.dock import JobDock
from napari_histosam.viewer.interface_thread import InterfaceThread
from napari_histosam.viewer.layers import remove_in_own_context
from napari_histosam.widgets.chart import Chart, Line
from napari_histosam.widgets.dock_life import DockLife
from napari_histosam.widgets.notices import inform, notify, report
from napari_histosam.widgets.parts import beside, push_button, wrapped

if TYPE_CHECKING:
    from napari_histosam.evaluate.choices import Choices
    from napari_histosam.evaluate.engine import Opened
    from napari_histosam.evaluate.results import PatchRow, Run

KIND = "evaluate"
NONE = "No run yet: choose models and data, and press Run; or open results."
HINT = "Choose a row of the table: its patches come here, worst first"
MOST_DOTS = 30


class EvaluateWidget(JobDock):
    """Evaluate models by simulated clicks, and look at what they made of each patch."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__((KIND,), NONE, "Results")
        self._thread = InterfaceThread()
        self.controller = Controller(self._thread.post)
        remove_in_own_context(napari_viewer)
        self.scene = Scene(napari_viewer, self.controller)
        self.setup_panel = SetupPanel()
        self.runs_table = RunsTable()
        self.chart = Chart("Mean IoU after each click")
        self.patches_table = PatchesTable()
        self.step_panel = StepPanel()
        self._patches_title = wrapped(text=HINT)
        self.export_button = push_button(
            "Export\N{HORIZONTAL ELLIPSIS}", "The table as CSV or LaTeX, or the report", self._ask
        )
        self.open_button = push_button(
            "Open patch",
            "Show it in the viewer with its clicks (double click)",
            self.patches_table.open_chosen,
        )
        self.job_panel.add_button(
            push_button(
                "Open results\N{HORIZONTAL ELLIPSIS}",
                "A folder that an evaluation wrote, finished or not",
                self._ask_folder,
            )
        )
        self._lost_model = False
        self._shown_run: Run | None = None
        patches_row = beside(self._patches_title, self.open_button, self.export_button)
        patches_row.setStretch(0, 1)
        self._connect()
        self.add_pages(
            self.setup_panel,
            self.runs_table,
            self.chart,
            patches_row,
            self.patches_table,
            self.step_panel,
            stretched=self.patches_table,
        )
        self._life = DockLife(self, self._end)
        self._enable()

    def start(self, choices: Choices) -> None:
        """Start a job, and show what it finds."""
        self.start_job(KIND, choices.title, choices.settings(), choices.about)

    def open_results(self, folder: Path) -> None:
        """Show the results in a folder, finished or not."""
        self.job_panel.open_folder(folder)
        self.show_jobs()

    def refresh(self) -> None:
        """Look again at the models that there are."""
        self.setup_panel.refresh()

    def shut_down(self) -> None:
        """End the threads; jobs go on."""
        self._life.finish(True)

    def _connect(self) -> None:
        controller = self.controller
        self.setup_panel.started.connect(self.start)
        self.setup_panel.failed.connect(notify)
        self.job_panel.chosen.connect(self._on_job)
        self.job_panel.updated.connect(controller.look)
        self.job_panel.counted.connect(lambda _: controller.look())
        self.runs_table.chosen.connect(self._show_patches)
        self.patches_table.opened.connect(self._open_patch)
        self.step_panel.stepped.connect(self._on_step)
        self.step_panel.compared.connect(self._compare)
        self.step_panel.source_chosen.connect(self._set_source)
        self.step_panel.left.connect(controller.close_patch)
        controller.results_changed.connect(self._on_results)
        controller.opened_changed.connect(self._on_opened)
        controller.busy_changed.connect(self.step_panel.show_busy)
        controller.failed.connect(self._on_failed)
        controller.informed.connect(inform)

    # What the user does.

    def _on_job(self) -> None:
        panel = self.job_panel
        sources = None if panel.job is None else panel.job.about.get("models")
        self.controller.show_results(panel.out, sources, is_growing=panel.job is not None)

    def _show_patches(self, run: Run | None) -> None:
        self._shown_run = run
        self.patches_table.show_rows([] if run is None else rank_patches(run.result))
        self._patches_title.setText(
            HINT if run is None else f"{run.result.name} on {run.result.dataset}, worst first"
        )
        results = self.controller.results
        others = runs_to_compare(results.runs, run) if results and run else []
        self.step_panel.show_others(others)
        self._enable()

    def _open_patch(self, row: PatchRow) -> None:
        if self._shown_run is not None:
            self._lost_model = False
            self.controller.open_patch(self._shown_run, row.record, self.step_panel.other)

    def _compare(self, run: Run | None) -> None:
        self._lost_model = False
        self.controller.compare_with(run)

    def _set_source(self, name: str, source: str) -> None:
        self._lost_model = False
        self.controller.set_source(name, source)

    def _on_step(self, click: int) -> None:
        opened = self.controller.opened
        if opened is not None:
            self.scene.show(opened, click, self.step_panel.mode)

    def _ask(self) -> None:
        filters = ";;".join(EXPORTS.values())
        path, kind = QFileDialog.getSaveFileName(self, "Export results", "results.csv", filters)
        if path:
            self.controller.export(export_path(path, kind))

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open results", "")
        if folder:
            self.open_results(Path(folder))

    # What the controller answers.

    def _on_results(self, results: Results | None) -> None:
        runs = results.runs if results else ()
        self.runs_table.show_rows(runs)
        self._show_curves(runs)
        self._enable()

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
            text = error.args[0] if error.args and isinstance(error, HistoSamError) else error
            notify(" ".join(str(text).split()))
        else:
            report(error)

    def _show_curves(self, runs: Sequence[Run]) -> None:
        colours = colour_of([run.result for run in runs])
        lines = [
            Line(
                "",
                colours[run.result.name],
                range(1, len(run.summary.miou) + 1),
                tuple(run.summary.miou),
                has_dots=run.summary.max_clicks <= MOST_DOTS,
            )
            for run in runs
            if run.n_done
        ]
        most = max((run.summary.max_clicks for run in runs), default=1)
        self.chart.show_lines(lines, float(max(most, 2)))

    def _enable(self) -> None:
        results = self.controller.results
        self.export_button.setEnabled(any(run.n_done for run in results.runs) if results else False)
        self.open_button.setEnabled(bool(self.patches_table.rows))

    def _end(self, is_window_gone: bool) -> None:
        self._thread.close()
        self.controller.close()
        if not is_window_gone:
            self.job_panel.watch(False)
            self.scene.remove()
        self.scene.close()
