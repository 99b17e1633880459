"""The patch that is open: a slider over its clicks, the IoU, and another model to compare with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QGroupBox, QHBoxLayout, QSlider

from histosam_core.evaluation.walkthrough import (
    BOTH_RIGHT,
    BOTH_WRONG,
    ONLY_A_RIGHT,
    ONLY_B_RIGHT,
)
from napari_histosam.evaluate.engine import ADDED, REMOVED
from napari_histosam.evaluate.scene import (
    CHANGE_COLORS,
    DISAGREEMENT_COLORS,
    IGNORED_RGB,
    OTHER_RGB,
    TRUTH_RGB,
)
from napari_histosam.viewer.layers import MASK_RGB
from napari_histosam.widgets.chart import Chart, Line
from napari_histosam.widgets.model_box import CHECKPOINTS
from napari_histosam.widgets.parts import (
    GREY,
    WARNING,
    narrow_box,
    push_button,
    stacked,
    thin_bar,
    wrapped,
)

if TYPE_CHECKING:
    from napari_histosam.evaluate.engine import Opened
    from napari_histosam.evaluate.results import Run
    from napari_histosam.evaluate.scene import Mode

MODES: Mapping[Mode, str] = {
    "mask": "Mask",
    "change": "Change since the click before",
    "disagreement": "Disagreement of two models",
}
NONE = "no other model"
SQUARE = "\N{BLACK SQUARE}"


class StepPanel(QGroupBox):
    """Steps through the clicks of a patch."""

    stepped = Signal(int)
    compared = Signal(object)
    source_chosen = Signal(str, str)
    left = Signal()

    def __init__(self) -> None:
        super().__init__("Patch")
        self._opened: Opened | None = None
        self._others: list[Run] = []
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setMinimum(1)
        self.slider.setPageStep(1)
        self.slider.setTickPosition(QSlider.TickPosition.TicksBelow)
        self.slider.setTickInterval(1)
        self.slider.valueChanged.connect(self._show_click)
        self._iou, self._other_iou, self._legend = wrapped(), wrapped(), wrapped()
        for label in (self._iou, self._other_iou, self._legend):
            label.setTextFormat(Qt.TextFormat.RichText)
        self._note, self._busy, self._bar = wrapped(WARNING), wrapped(GREY), thin_bar()
        self.chart = Chart("IoU after each click")
        self._other, self._mode = narrow_box(), narrow_box(MODES)
        self._other.setToolTip("Its model gets the same clicks, and its mask is shown too")
        self._other.activated.connect(lambda _: self.compared.emit(self.other))
        self._mode.currentIndexChanged.connect(lambda _: self._show_click())
        self._checkpoint = push_button(
            "Where is the model?\N{HORIZONTAL ELLIPSIS}",
            "Choose the checkpoint that these results were made with",
            self._ask_checkpoint,
        )
        self.close_button = push_button(
            "Close", "Hide the patch's layers until another is opened", self.left.emit
        )
        form, buttons = QFormLayout(), QHBoxLayout()
        form.setVerticalSpacing(4)
        form.addRow("Compare", self._other)
        form.addRow("Show", self._mode)
        buttons.addWidget(self._checkpoint, 1)
        buttons.addStretch(1)
        buttons.addWidget(self.close_button)
        texts = self._iou, self._other_iou, self._note
        below = self._legend, self._busy, self._bar
        stacked(self, self.slider, *texts, self.chart, form, *below, buttons, margin=9)
        self.show_busy("", 0, 0)
        self.show_opened(None)

    @property
    def click(self) -> int:
        """The click that is shown, 1 the first."""
        return int(self.slider.value())

    @property
    def mode(self) -> Mode:
        """What is shown of the masks."""
        chosen: Mode = self._mode.currentData()
        return chosen

    @property
    def text(self) -> str:
        """The line on the click."""
        return _plain(self._iou.text())

    @property
    def other_text(self) -> str:
        """The line on the other model."""
        return _plain(self._other_iou.text())

    @property
    def legend(self) -> str:
        """The meaning of the colours."""
        return _plain(self._legend.text())

    @property
    def others(self) -> list[str]:
        """The models that there are to compare with."""
        return [run.result.name for run in self._others]

    @property
    def other(self) -> Run | None:
        """The run to compare with."""
        row = self._other.currentIndex()
        return self._others[row - 1] if row > 0 else None

    def choose_mode(self, mode: Mode) -> None:
        """Choose what is shown of the masks."""
        self._mode.setCurrentIndex(self._mode.findData(mode))

    def choose_other(self, name: str | None) -> None:
        """Compare with a model, from a script; None ends that."""
        self._other.setCurrentIndex(0 if name is None else 1 + self.others.index(name))
        self.compared.emit(self.other)

    def show_others(self, others: Sequence[Run]) -> None:
        """Offer these runs to compare with; the model that is chosen stays so."""
        chosen = self._other.currentText()
        self._others = list(others)
        with QSignalBlocker(self._other):
            self._other.clear()
            self._other.addItems([NONE, *self.others])
            self._other.setCurrentIndex(max(0, self._other.findText(chosen)))

    def show_busy(self, words: str, done: int, total: int) -> None:
        """Show what goes on; empty words: nothing."""
        for part in (self._busy, self._bar):
            part.setVisible(bool(words))
        self._busy.setText(words)
        self._bar.setMaximum(total)  # 0: moves without saying how far
        self._bar.setValue(done)

    def show_opened(self, opened: Opened | None, *, lost_model: bool = False) -> None:
        """Show a patch, at its last click where it is another one; None hides the panel.

        `lost_model`: nobody knows where a model is, so ask for it.
        """
        before, self._opened = self._opened, opened
        self.setVisible(opened is not None)
        if opened is None:
            return
        if before is None or before.picture is not opened.picture:
            record = opened.picture.record
            self.setTitle(f"{record.patch_id}: {opened.picture.result.name}")
            with QSignalBlocker(self.slider):
                self.slider.setMaximum(opened.n_clicks)
                self.slider.setValue(opened.n_clicks)
        self._checkpoint.setVisible(lost_model)
        self._note.setText(opened.mismatch)
        self._note.setVisible(bool(opened.mismatch))
        self._show_click()

    def _show_click(self) -> None:
        opened = self._opened
        if opened is None:
            return
        self.slider.setEnabled(opened.n_clicks > 1)
        record, k = opened.picture.record, self.click
        sign = "object" if record.clicks[k - 1].is_positive else "background"
        what = f"Click {k} of {opened.n_clicks} ({sign})"
        self._iou.setText(f"{_square(MASK_RGB)}{what}: {_iou(record.ious, k)}")
        lines = [_line(MASK_RGB, record.ious)]
        self._other_iou.setVisible(opened.other is not None)
        if opened.other is not None:
            words = f"{opened.other.name}: not there yet"
            if opened.other_walk is not None:
                ious = opened.other_walk.ious
                lines.insert(0, _line(OTHER_RGB, ious))
                words = f"{opened.other.name}, same clicks: {_iou(ious, k)}"
            self._other_iou.setText(f"{_square(OTHER_RGB)}{words}")
        self.chart.show_lines(lines, float(max(opened.n_clicks, 2)), mark=float(k))
        self._legend.setText(_legend(opened, k, self.mode))
        self.stepped.emit(k)

    def _ask_checkpoint(self) -> None:
        opened = self._opened
        if opened is None:
            return
        lost = opened.picture.result if opened.walk is None else opened.other
        path, _ = QFileDialog.getOpenFileName(self, "Choose the checkpoint", "", CHECKPOINTS)
        if path and lost is not None:
            self.source_chosen.emit(lost.name, path)


def _legend(opened: Opened, click: int, mode: Mode) -> str:
    """The meaning of the colours, and the share of the patch that each covers."""
    parts = [f"{_square(TRUTH_RGB)}truth"]
    if (opened.picture.truth == -1).any():
        parts.append(f"{_square(IGNORED_RGB)}not counted")
    if mode == "mask":
        return " &nbsp; ".join(parts)
    if mode == "change":
        classes, colors = opened.change(click), CHANGE_COLORS
        words = {ADDED: "added", REMOVED: "removed"}
        missing = "the change is known when the masks are there"
    else:
        classes, colors = opened.disagreement(click), DISAGREEMENT_COLORS
        words = {
            BOTH_RIGHT: "both right",
            ONLY_A_RIGHT: f"only {opened.picture.result.name} right",
            ONLY_B_RIGHT: f"only {opened.other.name if opened.other else 'the other'} right",
            BOTH_WRONG: "both wrong",
        }
        missing = "choose a model to compare with" if opened.other is None else "not there yet"
    if classes is None:
        return missing
    for value, text in words.items():
        share = 100 * np.count_nonzero(classes == value) / classes.size
        unbroken = f"{text} {share:.1f} %".replace(" ", "&nbsp;")
        parts.append(f"{_square(colors[value])}{unbroken}")
    return " &nbsp; ".join(parts)


def _iou(ious: Any, click: int) -> str:
    """The IoU after a click, and the change since the click before."""
    step = f" ({float(ious[click - 1] - ious[click - 2]):+.3f})" if click > 1 else ""
    return f"<b>IoU {ious[click - 1]:.3f}</b>{step}"


def _line(rgb: tuple[int, int, int], ious: Any) -> Line:
    return Line("", _hex(rgb), range(1, len(ious) + 1), tuple(map(float, ious)), has_dots=True)


def _hex(rgb: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _square(rgb: tuple[int, int, int]) -> str:
    return f'<span style="color: {_hex(rgb)};">{SQUARE}</span>&nbsp;'


def _plain(text: str) -> str:
    bare = re.sub(r"<[^>]*>", "", text).replace("&nbsp;", " ").replace(SQUARE, "")
    return " ".join(bare.split())
