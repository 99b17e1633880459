"""A small chart of curves, drawn by matplotlib; it looks right on dark and light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget
from superqt.utils import qthrottled

if TYPE_CHECKING:
    from qtpy.QtGui import QHideEvent, QShowEvent

HEIGHT_PX, LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 104, 38, 8, 18, 16
FONT_PT = 7.0
MOST_POINTS = 600
"""Of a line that are drawn; there are not more pixels."""
GREY = "#8a8f98"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart."""

    name: str
    """In the legend; empty for none."""
    color: str
    """As ``#rrggbb``."""
    xs: Sequence[float]
    ys: Sequence[float]
    """Its points."""
    is_faint: bool = False
    """Drawn thin and pale, behind the others."""
    has_dots: bool = False
    """Points are marked, as is right where they are few."""


class Chart(QWidget):
    """Curves over an axis that begins at 0; matplotlib is imported when it is first shown.

    Between two drawings, which take some 20 ms each, lie at least `redraw_ms`.
    """

    def __init__(self, title: str, redraw_ms: int = 100) -> None:
        super().__init__()
        self._title = title
        self._shown: tuple[tuple[Line, ...], float, float | None] = ((), 1.0, None)
        self._figure: Any = None
        self._draw_soon = qthrottled(self._draw, timeout=redraw_ms, parent=self)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(HEIGHT_PX)

    @property
    def n_points(self) -> int:
        """Points of all lines."""
        return sum(len(line.xs) for line in self._shown[0])

    def sizeHint(self) -> QSize:  # Qt's name
        """A narrow dock's width."""
        return QSize(260, HEIGHT_PX)

    def show_lines(self, lines: Sequence[Line], x_max: float, mark: float | None = None) -> None:
        """Draw these lines, the later above the earlier, up to `x_max`; dashed where `mark` is."""
        shown = (tuple(lines), x_max, mark)
        if shown != self._shown:
            self._shown = shown
            if self.isVisible():
                self._draw_soon()

    def showEvent(self, event: QShowEvent) -> None:  # Qt's name
        """Draw what was given while the chart was hidden."""
        super().showEvent(event)
        if self._figure is None:
            from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
            from matplotlib.figure import Figure

            self._figure = Figure(facecolor="none")
            canvas = FigureCanvasQTAgg(self._figure)
            canvas.setStyleSheet("background: transparent;")
            self._layout.addWidget(canvas)
        self._draw()

    def hideEvent(self, event: QHideEvent) -> None:  # Qt's name
        """Draw no more."""
        self._draw_soon.cancel()
        self._draw_soon.flush(restart_timer=False)  # stops its timer
        super().hideEvent(event)

    def resizeEvent(self, event: Any) -> None:  # Qt's name
        """Keep the margins in pixels."""
        super().resizeEvent(event)
        self._set_margins()

    def _set_margins(self) -> None:
        if self._figure is not None:
            width, height = max(self.width(), 100), HEIGHT_PX
            self._figure.subplots_adjust(
                LEFT_PX / width, BOTTOM_PX / height, 1 - RIGHT_PX / width, 1 - TOP_PX / height
            )

    def _draw(self) -> None:
        from matplotlib.ticker import MaxNLocator

        lines, x_max, mark = self._shown
        self._figure.clear()
        axes = self._figure.add_subplot(facecolor="none")
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
        axes.tick_params(colors=GREY, labelsize=FONT_PT, length=0, pad=2)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        for line in lines:
            step = max(1, -(-len(line.xs) // MOST_POINTS))
            axes.plot(
                [*line.xs[:-1:step], *line.xs[-1:]],
                [*line.ys[:-1:step], *line.ys[-1:]],
                color=line.color,
                alpha=0.35 if line.is_faint else 1.0,
                linewidth=0.7 if line.is_faint else 1.2,
                marker="o" if line.has_dots or len(line.xs) == 1 else None,
                markersize=2.5,
                label=line.name or "_",
            )
        axes.set_xlim(0, max(x_max, 1e-9))
        if mark is not None and self.n_points:
            axes.axvline(mark, color=GREY, linestyle="--", linewidth=0.8)
        if not self.n_points:
            axes.yaxis.set_major_locator(MaxNLocator(1))
            axes.tick_params(labelleft=False)
        axes.annotate(
            self._title,
            (0, 1),
            (4 - LEFT_PX, 5),
            xycoords="axes fraction",
            textcoords="offset pixels",
            color=GREY,
            fontsize=FONT_PT + 0.5,
            annotation_clip=False,
        )
        if any(line.name for line in lines):
            axes.legend(
                markerscale=0, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False,
                fontsize=FONT_PT, labelcolor="linecolor", handlelength=0, handletextpad=0,
                columnspacing=0.9, borderaxespad=0, borderpad=0.1,
            )  # fmt: skip
        self._set_margins()
        self._figure.canvas.draw_idle()
