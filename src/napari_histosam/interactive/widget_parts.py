"""Small parts that the panels share: a button, a square of colour, what scrolls up and down."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QFrame, QPushButton, QScrollArea, QWidget

__all__ = ["Scrolled", "color_icon", "push_button"]

RIM = 138, 143, 152


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
    """Scrolls a widget up and down, and is always as wide as it needs to be.

    Parameters
    ----------
    inner
        What is shown.
    """

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
