"""The table of results: a row per model and data set, filled while they come in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from histosam_core.evaluation.report.plots import colour_of
from histosam_core.evaluation.report.summary import FAILURE_THRESHOLDS, NOC_THRESHOLDS, Estimate
from histosam_core.evaluation.report.tables import MISSING, number, seconds
from napari_histosam.widgets.parts import color_icon

if TYPE_CHECKING:
    from histosam_core.evaluation.report.summary import RunSummary
    from napari_histosam.evaluate.results import Run

__all__ = ["HEADINGS", "RunsTable"]

HEADINGS = (
    "Model, data",
    *(f"NoC\n@{round(100 * t)}" for t in NOC_THRESHOLDS),
    *(f"NoF\n@{round(100 * t)}" for t in FAILURE_THRESHOLDS),
    "SPC",
    "Done",
)
TIPS = (
    "The colour is the curve's; below the model the data set",
    *(
        f"Mean clicks to IoU {t:.2f}; below it the 95 % bootstrap interval. Fewer is better"
        for t in NOC_THRESHOLDS
    ),
    *(
        f"Share of patches that never reach IoU {t:.2f}, and its interval. Less is better"
        for t in FAILURE_THRESHOLDS
    ),
    "Seconds per click, encoding and the simulated user included",
    "Patches done, of those asked for",
)
ROW_PX, LEAST_ROWS, MOST_ROWS = 34, 2, 6
LEAST_WIDTH_PX = 456
SMALL = 0.88
"""Of the usual letters: eight columns stand in a dock."""
KEY = Qt.ItemDataRole.UserRole
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class RunsTable(QTableWidget):
    """Shows runs; a click on one chooses it."""

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__(0, len(HEADINGS))
        self._runs: tuple[Run, ...] = ()
        font = self.font()
        font.setPointSizeF(SMALL * font.pointSizeF())
        self.setFont(font)
        self.horizontalHeader().setFont(font)
        self.setHorizontalHeaderLabels(HEADINGS)
        for column, tip in enumerate(TIPS):
            self.horizontalHeaderItem(column).setToolTip(tip)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setWordWrap(False)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(34)
        self.itemSelectionChanged.connect(lambda: self.chosen.emit(self.run))

    @property
    def run(self) -> Run | None:
        """The run that is chosen."""
        rows = self.selectionModel().selectedRows()
        folder = self.item(rows[0].row(), 0).data(KEY) if rows else None
        return next((run for run in self._runs if str(run.folder) == folder), None)

    @property
    def texts(self) -> list[list[str]]:
        """What the rows say."""
        return [
            [str(self.item(row, column).text()) for column in range(self.columnCount())]
            for row in range(self.rowCount())
        ]

    def choose(self, folder: Path) -> None:
        """Choose the run of a folder."""
        for row in range(self.rowCount()):
            if self.item(row, 0).data(KEY) == str(folder):
                self.selectRow(row)

    def show_runs(self, runs: Sequence[Run]) -> None:
        """Show these runs; the one that is chosen stays so."""
        chosen = self.run
        colours = colour_of([run.result for run in runs])
        self._runs = tuple(runs)
        self.blockSignals(True)
        self.clearSelection()
        self.setRowCount(len(runs))
        for row, run in enumerate(runs):
            self._fill(row, run, colours[run.result.name])
            if chosen is not None and run.folder == chosen.folder:
                self.selectRow(row)
        self.blockSignals(False)
        self.updateGeometry()
        if chosen is not None and self.run is not chosen:
            self.chosen.emit(self.run)

    def sizeHint(self) -> QSize:  # Qt's name
        """As many rows as there are, within bounds."""
        rows = min(max(self.rowCount(), LEAST_ROWS), MOST_ROWS)
        height = self.horizontalHeader().sizeHint().height() + rows * ROW_PX
        height += 2 * self.frameWidth() + 4
        return QSize(super().sizeHint().width(), height)

    def minimumSizeHint(self) -> QSize:  # Qt's name
        """As `sizeHint`, and narrow enough for a dock."""
        return QSize(LEAST_WIDTH_PX, self.sizeHint().height())

    def _fill(self, row: int, run: Run, colour: str) -> None:
        s = run.summary
        user = "" if run.result.user.kind == "ideal" else f", {s.user}"
        texts = [
            f"{s.name}\n{s.dataset}{user}",
            *(_cell(s.noc, t) for t in NOC_THRESHOLDS),
            *(_cell(s.failures, t, percent=True) for t in FAILURE_THRESHOLDS),
            seconds(s.spc_s),
            f"{run.n_done}\nof {run.n_expected}",
        ]
        for column, text in enumerate(texts):
            item = self.item(row, column)
            if item is None:
                item = QTableWidgetItem()
                self.setItem(row, column, item)
            item.setText(text)
            if column == 0:
                item.setData(KEY, str(run.folder))
                rgb = QColor(colour)
                item.setIcon(color_icon((rgb.red(), rgb.green(), rgb.blue())))
                item.setToolTip(f"{s.name} on {s.dataset}{user}: {run.folder}")
            else:
                item.setTextAlignment(RIGHT)
        for column, threshold in enumerate(NOC_THRESHOLDS, 1):
            self.item(row, column).setToolTip(_more(s, threshold))


def _more(summary: RunSummary, threshold: float) -> str:
    """Return what is known of a NoC besides."""
    lines = [f"Intervals resample {summary.resampled}"]
    if threshold in summary.noc_by_slide:
        by_slide = number(summary.noc_by_slide[threshold])
        lines.append(f"Mean of the {summary.n_slides} slides' means: {by_slide}")
    spread = summary.repeats.get(threshold)
    if spread is not None:
        lines.append(
            f"Over the repeats: {number(spread.low)} to {number(spread.high)}, standard deviation "
            f"{number(spread.std)}; the worst repeat of each patch: {number(spread.worst)}"
        )
    return "\n".join(lines)


def _cell(estimates: Mapping[float, Estimate], threshold: float, *, percent: bool = False) -> str:
    """Return a mean, and its interval in the line below."""
    one = estimates.get(threshold)
    if one is None or not math.isfinite(one.value):
        return MISSING
    scale, digits = (100, 0) if percent else (1, 1)
    mean = f"{100 * one.value:.0f} %" if percent else number(one.value)
    if not math.isfinite(one.low):
        return mean
    low, high = (number(scale * value, digits) for value in (one.low, one.high))
    return f"{mean}\n{low}\N{EN DASH}{high}"
