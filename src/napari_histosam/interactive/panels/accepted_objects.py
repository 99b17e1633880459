"""The widget's third part: the accepted objects, and files in and out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QGridLayout,
    QGroupBox,
    QHeaderView,
    QLabel,
    QMessageBox,
    QTableWidget,
    QTableWidgetItem,
)

from histosam_core.session.operations import Delete, Operation, Reopen, SetClass
from napari_histosam.widgets.parts import color_icon, narrow_box, push_button

if TYPE_CHECKING:
    from histosam_core.session import AcceptedObject
    from napari_histosam.interactive.controller import Controller
    from napari_histosam.interactive.view import View

__all__ = ["AcceptedObjectsPanel", "export_path"]

COLUMNS = ("Class", "mm\N{SUPERSCRIPT TWO}", "Clicks", "Quality")
OVERLAPS = {
    "allow": "Objects may overlap",
    "keep_earlier": "A new object ends where others are",
    "keep_later": "A new object cuts into others",
}
TABLE_PX = 96
NO_COLOR = (160, 160, 160)
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
EXPORTS = "QuPath GeoJSON (*.geojson);;OME-Zarr labels (*.ome.zarr)"
IMPORTS = "Annotations (*.geojson *.json *.xml *.tif *.tiff);;All files (*)"


class AcceptedObjectsPanel(QGroupBox):
    """A table of what has been accepted; `shown` is emitted with the object to bring into view."""

    shown = Signal(str)

    def __init__(self, controller: Controller) -> None:
        super().__init__("Accepted objects")
        self._controller = controller
        self._objects: tuple[AcceptedObject, ...] = ()
        self._table = _Table(0, len(COLUMNS))
        self._table.setHorizontalHeaderLabels(COLUMNS)
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._table.verticalHeader().setVisible(False)
        self._table.verticalHeader().setDefaultSectionSize(22)
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._table.itemSelectionChanged.connect(self._enable)
        self._table.itemDoubleClicked.connect(lambda _: self.go_to())
        self._go = push_button("Go to", "Bring the object into view (double click)", self.go_to)
        self._reopen = push_button(
            "Correct", "Reopen it with its clicks (R over it)", self._on_reopen
        )
        self._relabel = push_button("Set class", "Give it the class chosen above", self._on_relabel)
        self._delete = push_button("Delete", "Remove it", lambda: self._submit(Delete))
        self._overlap = narrow_box(OVERLAPS)
        self._overlap.setToolTip("What becomes of places that an accepted object covers already")
        self._overlap.currentIndexChanged.connect(self._on_overlap)
        self._export = push_button(
            "Export\N{HORIZONTAL ELLIPSIS}",
            "Write the accepted objects as GeoJSON for QuPath, or as OME-Zarr labels",
            self._on_export,
        )
        self._import = push_button(
            "Import\N{HORIZONTAL ELLIPSIS}",
            "Read objects: GeoJSON, ASAP or ImageScope XML, mask TIFF",
            self._on_import,
        )
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

    def choose(self, row: int) -> None:
        """Choose a row from a script."""
        self._table.selectRow(row)

    def show_view(self, view: View | None) -> None:
        """Show the accepted objects of a view."""
        self._import.setEnabled(view is not None)
        self._export.setEnabled(view is not None and bool(view.objects))
        objects = () if view is None else view.objects
        if objects == self._objects and objects:
            return  # most clicks change none
        chosen = self.chosen
        self._objects = objects
        total = sum(one.area_mm2 for one in objects)
        count = f" ({len(objects)}, {total:.4g} mm\N{SUPERSCRIPT TWO})" if objects else ""
        self.setTitle(f"Accepted objects{count}")
        self._table.clearSelection()  # a row's number says nothing of the object in it now
        self._table.setRowCount(len(objects))
        for row, one in enumerate(objects):
            quality = "-" if one.quality is None else f"{one.quality:.2f}"
            texts = one.label, f"{one.area_mm2:.4g}", str(len(one.clicks)), quality
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(RIGHT)
                self._table.setItem(row, column, item)
            self._table.item(row, 0).setIcon(color_icon(one.region.color or NO_COLOR))
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
        self.go_to()
        self._submit(Reopen)

    def _on_relabel(self) -> None:
        classes = self._controller.classes
        self._submit(lambda key: SetClass(key, classes.label, classes.colors[classes.label]))

    def _submit(self, operation_on: Callable[[str], Operation]) -> None:
        """Submit an operation on the chosen object."""
        if self.chosen is not None:
            self._controller.submit(operation_on(self.chosen))

    def _on_overlap(self) -> None:
        self._controller.overlap = self._overlap.currentData()

    def _on_export(self) -> None:
        view = self._controller.view
        if view is None:
            return
        name = self._folder() / f"{Path(view.slide_name).stem}.geojson"
        path, kind = QFileDialog.getSaveFileName(self, "Export objects", str(name), EXPORTS)
        if path:
            chosen = export_path(path, kind)
            is_asked = chosen == Path(path) or chosen.suffix == ".zarr" or not chosen.exists()
            if is_asked or self._may_replace(chosen):
                self._controller.export_file(chosen)

    def _folder(self) -> Path:
        """Where the slide lies, if it is a file."""
        scene = self._controller.scene
        path = None if scene is None else scene.image.source.path
        return Path() if path is None else Path(path).absolute().parent

    def _may_replace(self, path: Path) -> bool:
        """Ask, where the file dialog has asked about another name."""
        answer = QMessageBox.question(
            self, "Export objects", f"{path.name} is there already. Replace it?"
        )
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _on_import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import objects", str(self._folder()), IMPORTS)
        if path:
            self._controller.import_file(Path(path))


class _Table(QTableWidget):
    """Asks for a few rows only, and takes what height there is."""

    def sizeHint(self) -> QSize:  # Qt's name
        return QSize(super().minimumSizeHint().width(), TABLE_PX)

    def minimumSizeHint(self) -> QSize:  # Qt's name
        return self.sizeHint()


def export_path(path: str, kind: str) -> Path:
    """Return where objects are written: the path that was typed, with an ending.

    Parameters
    ----------
    path
        From the file dialog.
    kind
        The kind of file chosen in it; counts where the path has no ending that says one.
    """
    chosen = Path(path)
    if chosen.suffix.lower() in (".geojson", ".json", ".zarr"):
        return chosen
    return chosen.with_name(chosen.name + (".ome.zarr" if "zarr" in kind else ".geojson"))
