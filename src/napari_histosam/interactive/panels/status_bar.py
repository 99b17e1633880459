"""The widget's lower rim: what is going on, and the figures of the current object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QProgressBar, QVBoxLayout

from napari_histosam.interactive.status import Phase, Status
from napari_histosam.widgets.parts import BREAK, GREY, WARNING, breakable

if TYPE_CHECKING:
    from napari_histosam.interactive.view import View

WORDS: dict[Phase, tuple[str, str]] = {
    "idle": (GREY, "No session"),
    "loading": ("#4c9aff", "Loading"),
    "embedding": (WARNING, "Embedding"),
    "predicting": (WARNING, "Predicting"),
    "working": (WARNING, "Working"),
    "growing": (WARNING, "Growing"),
    "ready": ("#36b37e", "Ready"),
    "failed": ("#ff5630", "Not done"),
}
FIGURES = {
    "Clicks": "Clicks of the current object; in brackets: not answered yet",
    "Area": "Of its mask",
    "Quality": "The model's own estimate of the overlap (IoU) with the true object",
    "Last click": "From the click to the painted mask",
    "Ahead": "Windows in view that are encoded already: a click there is answered at once",
    "Window": "The square that the model looked at: its side, and its corner in level-0 pixels",
}
"""What is shown, in its order, and what it means."""


class StatusBar(QFrame):
    """Shows a `Status` and the figures of the current object."""

    def __init__(self) -> None:
        super().__init__()
        self._dot, self._phase, self._message = QLabel("\N{BLACK CIRCLE}"), QLabel(), QLabel()
        self._hint = QLabel()
        for label in (self._message, self._hint):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
        self._message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._progress = QProgressBar()
        self._progress.setMaximumHeight(8)
        self._progress.setTextVisible(False)
        top = QHBoxLayout()
        for part in (self._dot, self._phase):
            top.addWidget(part)
        top.addStretch(1)
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        self._figures: dict[str, QLabel] = {}
        for number, (name, meaning) in enumerate(FIGURES.items()):
            caption, value = QLabel(name), QLabel("-")
            caption.setStyleSheet(f"color: {GREY};")
            row, column = divmod(number, 2)
            for label, place in ((caption, 2 * column), (value, 2 * column + 1)):
                label.setToolTip(meaning)
                grid.addWidget(label, row, place)
            self._figures[name] = value
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.setSpacing(3)
        layout.addLayout(top)
        layout.addWidget(self._message)
        layout.addWidget(self._hint)
        layout.addWidget(self._progress)
        layout.addLayout(grid)
        self.show_status(Status())
        self.show_hint("")

    @property
    def text(self) -> str:
        """What is going on, in words."""
        return f"{self._phase.text()} {self._message.text()}".replace(BREAK, "").strip()

    def figure(self, name: str) -> str:
        """Return one of the figures as it is shown."""
        return str(self._figures[name].text())

    @property
    def hint(self) -> str:
        """What to do next, or why clicks do not count."""
        return str(self._hint.text()).replace(BREAK, "")

    def show_hint(self, hint: str, *, is_obstacle: bool = False) -> None:
        """Say what to do next; an obstacle stands out."""
        self._hint.setText(breakable(hint))
        self._hint.setVisible(bool(hint))
        self._hint.setStyleSheet(f"color: {WARNING if is_obstacle else GREY};")

    def show_status(self, status: Status, view: View | None = None) -> None:
        """Show a status, and the figures of a view's object."""
        color, word = WORDS[status.phase]
        self._dot.setStyleSheet(f"color: {color};")
        self._phase.setText(word)
        self._message.setText(breakable(status.message))
        self._message.setVisible(bool(status.message))
        is_long = status.phase in ("loading", "working", "growing") and status.total > 0
        self._progress.setVisible(is_long or status.phase == "loading")
        self._progress.setMaximum(1000 if is_long else 0)  # 0: moves without saying how far
        self._progress.setValue(1000 * status.done // status.total if is_long else 0)
        for name, text in _figures(status, view).items():
            self._figures[name].setText(text)


def _figures(status: Status, view: View | None) -> dict[str, str]:
    waiting = f" (+{status.n_waiting})" if status.n_waiting else ""
    speed = "-"
    if status.click_ms is not None:
        speed = f"{status.click_ms:,.0f} ms" + ("" if status.was_ready else ", first here")
    area = None if view is None else view.area_mm2
    quality = None if view is None else view.quality
    return {
        "Clicks": f"{0 if view is None else len(view.clicks)}{waiting}",
        "Area": "-" if area is None else f"{area:.4g} mm\N{SUPERSCRIPT TWO}",
        "Quality": "-" if quality is None else f"{quality:.2f}",
        "Last click": speed,
        "Window": status.window or "-",
        "Ahead": f"{status.ahead_done} of {status.ahead_total}" if status.ahead_total else "-",
    }
