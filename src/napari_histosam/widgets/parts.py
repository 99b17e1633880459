"""Small parts that the panels share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QObject, QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

DEVICES = {
    "auto": "Automatic (a CUDA GPU where there is one)",
    "cpu": "CPU",
    "cuda": "CUDA GPU",
    "mps": "Apple GPU (untested)",
}
FROM_FILE = "from the slide"
"""Shown where micrometres per pixel are left to the slide's file."""
GREY, WARNING, WRONG = "#8a8f98", "#ff9f1a", "#ff5630"
BREAK = "\N{ZERO WIDTH SPACE}"
RIM = 138, 143, 152
TOOLTIP, VALUE = Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.UserRole
CHECKED, UNCHECKED = Qt.CheckState.Checked, Qt.CheckState.Unchecked


def narrow_box(
    captions: Mapping[Any, str] | None = None, kind: type[QComboBox] = QComboBox
) -> QComboBox:
    """Return a drop-down list, value to caption, that long captions do not widen."""
    box = narrow(kind())
    for value, caption in (captions or {}).items():
        box.addItem(caption, value)
    return box


def narrow(box: QComboBox) -> QComboBox:
    """Let a drop-down list be narrower than its longest caption; return it."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(12)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def stacked(
    widget: QWidget, *parts: QWidget | QLayout, margin: int = 0, spacing: int = 4
) -> QVBoxLayout:
    """Put parts below each other in a widget; return the layout."""
    column = QVBoxLayout(widget)
    column.setContentsMargins(margin, margin, margin, margin)
    column.setSpacing(spacing)
    for part in parts:
        if isinstance(part, QLayout):
            column.addLayout(part)
        else:
            column.addWidget(part)
    return column


def beside(*parts: QWidget) -> QHBoxLayout:
    """Return a row of parts."""
    row = QHBoxLayout()
    for part in parts:
        row.addWidget(part)
    return row


def wrapped(color: str = "", text: str = "") -> QLabel:
    """Return a label of plain text that wraps."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setStyleSheet(f"color: {color};" if color else "")
    return label


def thin_bar() -> QProgressBar:
    """Return a progress bar without a text."""
    bar = QProgressBar()
    bar.setMaximumHeight(8)
    bar.setTextVisible(False)
    return bar


def breakable(text: str) -> str:
    """Return a text whose long paths may be broken, which would else widen the widget."""
    return re.sub(r"([/\\_.-])", rf"\1{BREAK}", text)


def last_parts(path: str | Path) -> str:
    """Return a path's last two parts."""
    return Path(*Path(path).parts[-2:]).as_posix()


def push_button(text: str, tooltip: str, action: Callable[[], None]) -> QPushButton:
    """Return a button that does something when it is pressed."""
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.clicked.connect(lambda: action())
    return button


def color_icon(rgb: tuple[int, int, int]) -> QIcon:
    """Return a small square of one colour, with a rim that shows on a dark ground."""
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(*RIM))
    painter = QPainter(pixmap)
    painter.fillRect(1, 1, 12, 12, QColor(*rgb))
    painter.end()
    return QIcon(pixmap)


class Scrolled(QScrollArea):
    """Scrolls a widget up and down, and is always as wide as it needs to be."""

    def __init__(self, inner: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(inner)

    def minimumSizeHint(self) -> QSize:  # Qt's name
        """The inner widget's width and the scroll bar's; any height."""
        bar = self.verticalScrollBar()
        beside = self.width() - self.viewport().width() if bar.isVisible() else 0
        width = self.widget().minimumSizeHint().width()
        width += max(beside, bar.sizeHint().width() + 2 * self.frameWidth())
        return QSize(width, super().minimumSizeHint().height())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # Qt's name
        """Ask for another width when the inner widget needs one: fonts and styles come late."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))


@dataclass(frozen=True, slots=True)
class ListLine:
    """A line of a list: what it stands for, what it says, and what is shown under the mouse."""

    value: str
    title: str
    tip: str = ""


class TickedList(QListWidget):
    """A short list whose lines are ticked: several models, several data sets."""

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
        with QSignalBlocker(self):
            self.clear()
            for line in lines:
                item = QListWidgetItem(line.title, self)
                item.setData(VALUE, line.value)
                item.setData(TOOLTIP, line.tip or line.value)
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
                item.setCheckState(CHECKED if line.value in ticked else UNCHECKED)
        if set(self.ticked) != ticked:
            self.changed.emit()

    def tick(self, values: Sequence[str], is_ticked: bool = True) -> None:
        """Tick the lines of these values, or untick them."""
        for row in range(self.count()):
            if self.item(row).data(VALUE) in values:
                self.item(row).setCheckState(CHECKED if is_ticked else UNCHECKED)
