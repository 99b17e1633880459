"""The widget's third part: the accepted objects, and files in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QGroupBox,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
)

from napari_histosam.interactive.object_panel import color_icon

if TYPE_CHECKING:
    from histosam_core.inference import AcceptedObject
    from napari_histosam.interactive.controller import Controller
    from napari_histosam.interactive.view import View

__all__ = ["ObjectsPanel"]

COLUMNS = ("Class", "mm\N{SUPERSCRIPT TWO}", "Clicks", "Quality")
OVERLAPS = {
    "allow": "Objects may overlap",
    "keep_earlier": "A new object ends where others are",
    "keep_later": "A new object cuts into others",
}
EXPORTS = "QuPath GeoJSON (*.geojson);;OME-Zarr labels (*.ome.zarr)"
IMPORTS = "Annotations (*.geojson *.json *.xml *.tif *.tiff);;All files (*)"


class ObjectsPanel(QGroupBox):
    """A table of what has been accepted.

    Parameters
    ----------
    controller
        What it works on.
    """

    shown = Signal(str)

    def __init__(self, controller: Controller) -> None:
        super().__init__("Accepted objects")
        self._controller = controller
        self._objects: tuple[AcceptedObject, ...] = ()
        self._table = QTableWidget(0, len(COLUMNS))
        self._table.setHorizontalHeaderLabels(COLUMNS)
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._table.verticalHeader().setVisible(False)
        self._table.verticalHeader().setDefaultSectionSize(22)
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._table.setMinimumHeight(110)
        self._table.itemSelectionChanged.connect(self._enable)
        self._table.itemDoubleClicked.connect(lambda _: self.go_to())
        self._go = _button("Go to", "Bring the object into view (double click)", self.go_to)
        self._reopen = _button("Correct", "Reopen it with its clicks (R over it)", self._on_reopen)
        self._relabel = _button("Set class", "Give it the class chosen above", self._on_relabel)
        self._delete = _button("Delete", "Remove it", self._on_delete)
        self._overlap = QComboBox()
        for key, text in OVERLAPS.items():
            self._overlap.addItem(text, key)
        self._overlap.currentIndexChanged.connect(self._on_overlap)
        self._export = _button("Export\N{HORIZONTAL ELLIPSIS}", EXPORTS, self._on_export)
        self._import = _button("Import\N{HORIZONTAL ELLIPSIS}", IMPORTS, self._on_import)
        grid = QGridLayout(self)
        grid.setVerticalSpacing(4)
        grid.addWidget(self._table, 0, 0, 1, 4)
        for column, button in enumerate((self._go, self._reopen, self._relabel, self._delete)):
            grid.addWidget(button, 1, column)
        grid.addWidget(QLabel("Overlap"), 2, 0)
        grid.addWidget(self._overlap, 2, 1, 1, 3)
        grid.addWidget(self._import, 3, 0, 1, 2)
        grid.addWidget(self._export, 3, 2, 1, 2)
        controller.view_changed.connect(self.show_view)
        self.show_view(None)

    @property
    def chosen(self) -> str | None:
        """Id of the chosen object."""
        rows = self._table.selectionModel().selectedRows()
        return self._objects[rows[0].row()].id if rows else None

    @property
    def n_rows(self) -> int:
        """Rows of the table."""
        return int(self._table.rowCount())

    def choose(self, row: int) -> None:
        """Choose a row from a script."""
        self._table.selectRow(row)

    def show_view(self, view: View | None) -> None:
        """Show the accepted objects of a view."""
        self._import.setEnabled(view is not None)
        self._export.setEnabled(view is not None and bool(view.objects))
        objects = () if view is None else view.objects
        if objects == self._objects and objects:
            return
        chosen = self.chosen
        self._objects = objects
        total = sum(one.area_mm2 for one in objects)
        count = f" ({len(objects)}, {total:.4g} mm\N{SUPERSCRIPT TWO})" if objects else ""
        self.setTitle(f"Accepted objects{count}")
        self._table.setRowCount(len(objects))
        for row, one in enumerate(objects):
            quality = "-" if one.quality is None else f"{one.quality:.2f}"
            for column, text in enumerate(
                (one.label, f"{one.area_mm2:.4g}", str(len(one.clicks)), quality)
            ):
                item = QTableWidgetItem(text)
                if column == 0:
                    item.setIcon(color_icon(one.region.color or (160, 160, 160)))
                else:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self._table.setItem(row, column, item)
            if one.id == chosen:
                self._table.selectRow(row)
        self._enable()

    def go_to(self) -> None:
        """Bring the chosen object into view."""
        if self.chosen is not None:
            self.shown.emit(self.chosen)

    def _enable(self) -> None:
        for button in (self._go, self._reopen, self._relabel, self._delete):
            button.setEnabled(self.chosen is not None)

    def _on_reopen(self) -> None:
        if self.chosen is not None:
            self.go_to()
            self._controller.reopen(self.chosen)

    def _on_relabel(self) -> None:
        if self.chosen is not None:
            self._controller.relabel(self.chosen, self._controller.label)

    def _on_delete(self) -> None:
        if self.chosen is not None:
            self._controller.delete(self.chosen)

    def _on_overlap(self) -> None:
        self._controller.overlap = self._overlap.currentData()

    def _on_export(self) -> None:
        view = self._controller.view
        if view is None:
            return
        name = f"{Path(view.slide_name).stem}.geojson"
        path, kind = QFileDialog.getSaveFileName(self, "Export objects", name, EXPORTS)
        if path:
            wanted = ".ome.zarr" if "zarr" in kind else ".geojson"
            chosen = Path(path)
            if chosen.suffix.lower() not in (".geojson", ".json", ".zarr"):
                chosen = chosen.with_name(chosen.name + wanted)
            self._controller.export_file(chosen)

    def _on_import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import objects", "", IMPORTS)
        if path:
            self._controller.import_file(Path(path))


def _button(text: str, tooltip: str, action: Any) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.clicked.connect(lambda: action())
    return button
