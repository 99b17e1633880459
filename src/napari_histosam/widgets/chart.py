"""A small chart of curves over epochs, painted by Qt alone; it looks right on dark and light."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from napari_histosam.jobs.history import Curve

__all__ = ["Chart", "Line", "ticks"]

HEIGHT_PX = 104
LEFT, RIGHT, TOP, BOTTOM = 38, 8, 18, 16
MOST_POINTS = 600
"""Of a line that are painted; there are not more pixels."""
GREY, GRID = QColor("#8a8f98"), QColor(138, 143, 152, 60)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Parameters
    ----------
    name
        In the legend; empty for none.
    color
        As Qt reads it.
    curve
        Its points.
    is_faint
        Painted thin and pale, behind the others.
    has_dots
        Points are marked, as is right where they are few.
    """

    name: str
    color: str
    curve: Curve
    is_faint: bool = False
    has_dots: bool = False


class Chart(QWidget):
    """Curves over epochs.

    Parameters
    ----------
    title
        Above them.
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._lines: tuple[Line, ...] = ()
        self._width = 1.0
        self._mark: float | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(HEIGHT_PX)

    @property
    def n_points(self) -> int:
        """Points of all lines."""
        return sum(len(line.curve.xs) for line in self._lines)

    def sizeHint(self) -> QSize:  # Qt's name
        """A narrow dock's width."""
        return QSize(260, HEIGHT_PX)

    def show_lines(
        self, lines: Sequence[Line], n_epochs: float, *, mark: float | None = None
    ) -> None:
        """Paint these lines.

        Parameters
        ----------
        lines
            The later ones above the earlier.
        n_epochs
            Right end of the axis.
        mark
            The epoch of the best checkpoint.
        """
        self._lines, self._width, self._mark = tuple(lines), max(n_epochs, 1e-9), mark
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # Qt's name
        """Paint."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = painter.font()
        font.setPointSizeF(max(6.5, font.pointSizeF() * 0.8))
        painter.setFont(font)
        plot = QRectF(
            LEFT, TOP, max(self.width() - LEFT - RIGHT, 1), max(self.height() - TOP - BOTTOM, 1)
        )
        values = [y for line in self._lines for y in line.curve.ys]
        marks = ticks(min(values), max(values)) if values else []
        self._paint_legend(painter, QFontMetricsF(font))
        low, high = (marks[0], marks[-1]) if marks else (0.0, 1.0)
        painter.setPen(GREY)
        for value in marks:
            y = plot.bottom() - (value - low) / (high - low) * plot.height()
            painter.setPen(GRID)
            painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
            painter.setPen(GREY)
            box = QRectF(0, y - 8, LEFT - 4, 16)
            painter.drawText(
                box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{value:g}"
            )
        self._paint_epochs(painter, plot)
        if self._mark is not None and values:
            x = plot.left() + self._mark / self._width * plot.width()
            painter.setPen(QPen(GREY, 1, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()))
        painter.setClipRect(plot.adjusted(-3, -3, 3, 3))
        for line in self._lines:
            self._paint_line(painter, plot, line, low, high)
        painter.end()

    def _paint_line(
        self, painter: QPainter, plot: QRectF, line: Line, low: float, high: float
    ) -> None:
        curve = line.curve
        step = max(1, math.ceil(len(curve.xs) / MOST_POINTS))
        chosen = [*range(0, len(curve.xs), step)]
        if chosen and chosen[-1] != len(curve.xs) - 1:
            chosen.append(len(curve.xs) - 1)
        points = [
            QPointF(
                plot.left() + curve.xs[i] / self._width * plot.width(),
                plot.bottom() - (curve.ys[i] - low) / (high - low) * plot.height(),
            )
            for i in chosen
        ]
        color = QColor(line.color)
        color.setAlpha(90 if line.is_faint else 255)
        painter.setPen(QPen(color, 1.0 if line.is_faint else 1.6))
        painter.drawPolyline(QPolygonF(points))
        if line.has_dots or len(points) == 1:
            painter.setBrush(color)
            for point in points:
                painter.drawEllipse(point, 2.2, 2.2)
            painter.setBrush(Qt.BrushStyle.NoBrush)

    def _paint_legend(self, painter: QPainter, metrics: QFontMetricsF) -> None:
        painter.setPen(GREY)
        painter.drawText(QPointF(4, metrics.ascent() + 1), self._title)
        x = float(self.width() - RIGHT)
        for line in reversed([line for line in self._lines if line.name]):
            x -= metrics.horizontalAdvance(line.name)
            painter.setPen(QColor(line.color))
            painter.drawText(QPointF(x, metrics.ascent() + 1), line.name)
            x -= 10

    def _paint_epochs(self, painter: QPainter, plot: QRectF) -> None:
        painter.setPen(GREY)
        for value in ticks(0, self._width, most=6):
            if value > self._width * 1.001:
                continue
            x = plot.left() + value / self._width * plot.width()
            painter.drawText(
                QRectF(x - 20, plot.bottom() + 2, 40, BOTTOM - 2),
                Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop,
                f"{value:g}",
            )


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return round numbers from below `low` to above `high`, at most `most` steps apart.

    Raises
    ------
    ValueError
        A bound is no number.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"no ticks from {low} to {high}")
    span = high - low
    if span < 1e-9 * max(1.0, abs(low), abs(high)):
        margin = max(abs(low) * 0.1, 1e-3)
        low, high = low - margin, high + margin
        span = high - low
    raw = span / most
    base = 10.0 ** math.floor(math.log10(raw))
    for factor in (1, 2, 5, 10, 20):
        step = base * factor
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most:
            break
    return [round(i * step, 12) for i in range(first, last + 1)]
