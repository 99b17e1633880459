"""A table of rows that come and go; thousands cost nothing until they are seen."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_histosam.widgets.parts import color_icon

ROLE = Qt.ItemDataRole
DESCENDING = Qt.SortOrder.DescendingOrder
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


@dataclass(frozen=True, slots=True)
class Column:
    """A column: what its cells say of a row."""

    heading: str
    tip: str
    """Its title, and what is shown under the mouse there."""
    text: Callable[[Any], str]
    """Of a cell."""
    key: Callable[[Any], Any] | None = None
    """What rows are sorted by; None: the text."""
    more: Callable[[Any], str] | None = None
    """Shown under the mouse in a cell; None: the text."""
    color: Callable[[Any], str] | None = None
    """Of a square before the text, as ``#rrggbb``; None: no square."""
    width_px: int | None = None
    """None: as wide as its cells."""
    is_number: bool = True
    """Whether cells are aligned on the right."""


class RowsTable(QTableView):
    """Shows rows, of which one can be chosen.

    Parameters
    ----------
    columns
        The first takes the width that is left.
    identity
        By which a row is known again when others are shown.
    row_px
        Height of a row.
    least, most
        Rows that are seen at least and at most without scrolling.
    width_px
        Least width.
    sort_column
        What rows are sorted by, descending, until a heading is clicked; None: they come as given.

    Attributes
    ----------
    chosen, opened : Signal
        With the row, or None where no row is chosen any more; by a double click or Enter.
    """

    chosen = Signal(object)
    opened = Signal(object)

    def __init__(
        self,
        columns: Sequence[Column],
        identity: Callable[[Any], Hashable],
        *,
        row_px: int,
        least: int,
        most: int,
        width_px: int = 240,
        sort_column: int | None = None,
    ) -> None:
        super().__init__()
        self._identity, self._width_px = identity, width_px
        self._least, self._most = least, most
        self._model = _Model(columns)
        self.setModel(self._model)
        if sort_column is not None:
            self.setSortingEnabled(True)
            self.sortByColumn(sort_column, DESCENDING)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(row_px)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(34)
        for number, column in enumerate(columns):
            mode = QHeaderView.ResizeMode.ResizeToContents
            if column.width_px is not None:
                mode = QHeaderView.ResizeMode.Interactive
                header.resizeSection(number, column.width_px)
            header.setSectionResizeMode(number, mode)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.selectionModel().selectionChanged.connect(lambda *_: self.chosen.emit(self.row))
        self.activated.connect(lambda _: self.open_chosen())

    @property
    def rows(self) -> list[Any]:
        """The rows, from above."""
        return list(self._model.rows)

    @property
    def row(self) -> Any | None:
        """The row that is chosen."""
        chosen = self.selectionModel().selectedRows()
        return self._model.rows[chosen[0].row()] if chosen else None

    @property
    def texts(self) -> list[list[str]]:
        """What the cells say."""
        return [[column.text(row) for column in self._model.columns] for row in self.rows]

    def show_rows(self, rows: Sequence[Any]) -> None:
        """Show these rows; the one that is chosen stays so."""
        chosen = self.row
        selection = self.selectionModel()
        selection.blockSignals(True)
        self._model.show_rows(rows)
        for number, row in enumerate(self._model.rows):
            if chosen is not None and self._identity(row) == self._identity(chosen):
                self.selectRow(number)
        selection.blockSignals(False)
        self.updateGeometry()
        self.viewport().update()
        if self.row is not chosen:
            self.chosen.emit(self.row)

    def open_chosen(self) -> None:
        """Open the row that is chosen; the first where none is."""
        if self.row is None and self._model.rows:
            self.selectRow(0)
        if self.row is not None:
            self.opened.emit(self.row)

    def sizeHint(self) -> QSize:  # Qt's name
        """As many rows as there are, within the bounds."""
        return self._size(min(max(len(self._model.rows), self._least), self._most))

    def minimumSizeHint(self) -> QSize:  # Qt's name
        """The least rows."""
        return self._size(self._least)

    def _size(self, rows: int) -> QSize:
        height = self.horizontalHeader().sizeHint().height() + 2 * self.frameWidth() + 4
        return QSize(self._width_px, height + rows * self.verticalHeader().defaultSectionSize())


class _Model(QAbstractTableModel):
    """Rows and their order."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.rows: list[Any] = []
        self._order: tuple[int, Any] | None = None

    def show_rows(self, rows: Sequence[Any]) -> None:
        self.beginResetModel()
        self.rows = self._sorted(rows)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # Qt's name
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # Qt's name
        return len(self.columns)

    def data(self, index: QModelIndex, role: int = ROLE.DisplayRole) -> Any:
        row, column = self.rows[index.row()], self.columns[index.column()]
        if role == ROLE.DisplayRole:
            return column.text(row)
        if role == ROLE.ToolTipRole:
            return (column.more or column.text)(row)
        if role == ROLE.DecorationRole and column.color is not None:
            return color_icon(QColor(column.color(row)).getRgb()[:3])
        if role == ROLE.TextAlignmentRole and column.is_number:
            return RIGHT
        return None

    def headerData(  # Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = ROLE.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == ROLE.DisplayRole:
            return self.columns[section].heading
        if orientation == Qt.Orientation.Horizontal and role == ROLE.ToolTipRole:
            return self.columns[section].tip
        return None

    def sort(self, column: int, order: Any = DESCENDING) -> None:
        self._order = column, order
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        known = [self.rows[index.row()] for index in before]
        self.rows = self._sorted(self.rows)
        places = {id(row): number for number, row in enumerate(self.rows)}
        after = [
            self.index(places[id(row)], index.column())
            for row, index in zip(known, before, strict=True)
        ]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _sorted(self, rows: Sequence[Any]) -> list[Any]:
        if self._order is None:
            return list(rows)
        number, order = self._order
        column = self.columns[number]
        return sorted(rows, key=column.key or column.text, reverse=order == DESCENDING)
