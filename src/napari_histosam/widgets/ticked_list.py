"""A short list whose lines are ticked: several models, several data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem

if TYPE_CHECKING:
    from napari_histosam.widgets.model_lines import ListLine

TOOLTIP, VALUE = Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.UserRole
CHECKED, UNCHECKED = Qt.CheckState.Checked, Qt.CheckState.Unchecked


class TickedList(QListWidget):
    """Lines to tick; some lines high.

    Parameters
    ----------
    height_px
        Of the list.
    """

    changed = Signal()

    def __init__(self, height_px: int) -> None:
        super().__init__()
        self.setFixedHeight(height_px)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.itemChanged.connect(lambda _: self.changed.emit())

    @property
    def values(self) -> list[str]:
        """What there is to tick."""
        return [str(self.item(row).data(VALUE)) for row in range(self.count())]

    @property
    def titles(self) -> list[str]:
        """What the lines say."""
        return [str(self.item(row).text()) for row in range(self.count())]

    @property
    def ticked(self) -> list[str]:
        """The values of the lines that are ticked, from above."""
        items = [self.item(row) for row in range(self.count())]
        return [str(item.data(VALUE)) for item in items if item.checkState() == CHECKED]

    def show_lines(self, lines: Sequence[ListLine]) -> None:
        """Show these lines; those that were ticked stay so."""
        ticked = set(self.ticked)
        self.blockSignals(True)
        self.clear()
        for line in lines:
            item = QListWidgetItem(line.title, self)
            item.setData(VALUE, line.value)
            item.setData(TOOLTIP, line.tip or line.value)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(CHECKED if line.value in ticked else UNCHECKED)
        self.blockSignals(False)
        if set(self.ticked) != ticked:
            self.changed.emit()

    def tick(self, values: Sequence[str], is_ticked: bool = True) -> None:
        """Tick the lines of these values, or untick them."""
        for row in range(self.count()):
            if self.item(row).data(VALUE) in values:
                self.item(row).setCheckState(CHECKED if is_ticked else UNCHECKED)
