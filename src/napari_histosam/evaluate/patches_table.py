"""The patches of a run, worst first; thousands of rows cost nothing until they are seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

if TYPE_CHECKING:
    from histosam_core.evaluation.records import PatchRecord
    from napari_histosam.evaluate.results import PatchRow

__all__ = ["PatchesTable"]

HEADINGS = ("Patch", "Clicks", "Last IoU", "Tumour", "Slide")
TIPS = (
    "Double click or Enter opens it",
    "To the run's target, 0.90 at most",
    "After the last click",
    "Share of it that is tumour",
    "",
)
KEYS: Sequence[Callable[[Any], Any]] = (
    lambda row: row.record.patch_id,
    lambda row: (row.clicks_needed, -row.last_iou),
    lambda row: row.last_iou,
    lambda row: row.record.tumor_fraction or 0.0,
    lambda row: row.record.slide,
)
TABLE_PX, LEAST_PX = 116, 96
DISPLAY, ALIGN = Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.TextAlignmentRole
TOOLTIP = Qt.ItemDataRole.ToolTipRole
ASCENDING, DESCENDING = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder


class PatchesTable(QTableView):
    """Shows patches; opening one tells its record."""

    opened = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._model = _Model()
        self.setModel(self._model)
        self.setSortingEnabled(True)
        self.sortByColumn(1, DESCENDING)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(20)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column, width in ((1, 52), (2, 64), (3, 60), (4, 80)):
            header.resizeSection(column, width)
        self.activated.connect(lambda _: self.open_chosen())  # double click, Enter

    @property
    def rows(self) -> list[PatchRow]:
        """What is listed, from above."""
        return list(self._model.rows)

    @property
    def record(self) -> PatchRecord | None:
        """The patch that is chosen."""
        chosen = self.selectionModel().selectedRows()
        return self._model.rows[chosen[0].row()].record if chosen else None

    def show_rows(self, rows: Sequence[PatchRow]) -> None:
        """List these patches in the order that is set; the one that is chosen stays so."""
        chosen = self.record
        self._model.show_rows(rows)
        for number, row in enumerate(self._model.rows):
            at = (row.record.index, row.record.repeat)
            if chosen is not None and at == (chosen.index, chosen.repeat):
                self.selectRow(number)
                break

    def open_chosen(self) -> None:
        """Open the patch that is chosen; the first where none is."""
        if self.record is None and self._model.rows:
            self.selectRow(0)
        if self.record is not None:
            self.opened.emit(self.record)

    def sizeHint(self) -> QSize:  # Qt's name
        """Some rows."""
        return QSize(super().sizeHint().width(), TABLE_PX)

    def minimumSizeHint(self) -> QSize:  # Qt's name
        """Not less, and narrow enough for a dock."""
        return QSize(240, LEAST_PX)


class _Model(QAbstractTableModel):
    """Rows and their order."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[PatchRow] = []
        self._order: tuple[int, Any] = (1, DESCENDING)

    def show_rows(self, rows: Sequence[PatchRow]) -> None:
        """Take other rows."""
        self.beginResetModel()
        self.rows = self._sorted(rows)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # Qt's name
        """Rows; a cell has none below it."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # Qt's name
        """Columns."""
        return len(HEADINGS)

    def data(self, index: QModelIndex, role: int = DISPLAY) -> Any:
        """What a cell says."""
        if role in (DISPLAY, TOOLTIP):
            return _text(self.rows[index.row()], index.column())
        if role == ALIGN and index.column() in (1, 2, 3):
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def headerData(  # Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = DISPLAY
    ) -> Any:
        """What a column is called."""
        if orientation != Qt.Orientation.Horizontal or role not in (DISPLAY, TOOLTIP):
            return None
        return HEADINGS[section] if role == DISPLAY else TIPS[section]

    def sort(self, column: int, order: Any = ASCENDING) -> None:
        """Sort by a column."""
        self._order = column, order
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        places = {id(row): number for number, row in enumerate(self.rows)}
        self.rows = self._sorted(self.rows)
        moved = {places[id(row)]: number for number, row in enumerate(self.rows)}
        after = [self.index(moved[index.row()], index.column()) for index in before]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _sorted(self, rows: Sequence[PatchRow]) -> list[PatchRow]:
        column, order = self._order
        return sorted(rows, key=KEYS[column], reverse=order == DESCENDING)


def _text(row: PatchRow, column: int) -> str:
    record = row.record
    if column == 1:
        return f"{row.clicks_needed:.0f}" if math.isfinite(row.clicks_needed) else "never"
    if column == 2:
        return f"{row.last_iou:.3f}"
    if column == 3:
        return "" if record.tumor_fraction is None else f"{100 * record.tumor_fraction:.0f} %"
    if column == 4:
        return record.slide
    return record.patch_id + (f" ({record.repeat + 1})" if record.repeat else "")
