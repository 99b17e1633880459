"""The widget's third part: the accepted objects, and files in and out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QGroupBox,
    QLabel,
    QMessageBox,
)

from histosam_core.session.operations import Delete, Operation, Reopen, SetClass
from napari_histosam.widgets.parts import narrow_box, push_button
from napari_histosam.widgets.rows_table import Column, RowsTable

if TYPE_CHECKING:
    from napari_histosam.interactive.controller import Controller
    from napari_histosam.interactive.view import View

NO_COLOR = (160, 160, 160)
COLUMNS = (
    Column(
        "Class",
        "",
        lambda one: one.label,
        color=lambda one: "#{:02x}{:02x}{:02x}".format(*(one.region.color or NO_COLOR)),
        is_number=False,
    ),
    Column("mm\N{SUPERSCRIPT TWO}", "Area", lambda one: f"{one.area_mm2:.4g}"),
    Column("Clicks", "Clicks made for the object", lambda one: str(len(one.clicks))),
    Column(
        "Quality",
        "The model's own estimate of the overlap (IoU) with the true object",
        lambda one: "-" if one.quality is None else f"{one.quality:.2f}",
    ),
)
OVERLAPS = {
    "allow": "Objects may overlap",
    "keep_earlier": "A new object ends where others are",
    "keep_later": "A new object cuts into others",
}
EXPORTS = "QuPath GeoJSON (*.geojson);;OME-Zarr labels (*.ome.zarr)"
IMPORTS = "Annotations (*.geojson *.json *.xml *.tif *.tiff);;All files (*)"


class AcceptedObjectsPanel(QGroupBox):
    """A table of what has been accepted; `shown` is emitted with the object to bring into view."""

    shown = Signal(str)

    def __init__(self, controller: Controller) -> None:
        super().__init__("Accepted objects")
        self._controller = controller
        self.table = RowsTable(COLUMNS, lambda one: one.id, row_px=22, least=3, most=3)
        self.table.chosen.connect(self._enable)
        self.table.opened.connect(lambda _: self.go_to())
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
        grid.addWidget(self.table, 0, 0, 1, 4)
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
        return None if self.table.row is None else str(self.table.row.id)

    def show_view(self, view: View | None) -> None:
        """Show the accepted objects of a view."""
        self._import.setEnabled(view is not None)
        self._export.setEnabled(view is not None and bool(view.objects))
        objects = () if view is None else view.objects
        if objects == tuple(self.table.rows) and objects:
            return  # most clicks change none
        total = sum(one.area_mm2 for one in objects)
        count = f" ({len(objects)}, {total:.4g} mm\N{SUPERSCRIPT TWO})" if objects else ""
        self.setTitle(f"Accepted objects{count}")
        self.table.show_rows(objects)
        self._enable()

    def go_to(self) -> None:
        """Bring the chosen object into view."""
        if self.chosen is not None:
            self.shown.emit(self.chosen)

    def _enable(self, chosen: object = None) -> None:
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
            self, "Export objects", f"{path.name} already exists. Replace it?"
        )
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _on_import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import objects", str(self._folder()), IMPORTS)
        if path:
            self._controller.import_file(Path(path))


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
