"""A list of models to choose from: those known by name, the user's own, and any checkpoint."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QToolButton,
    QWidget,
)

from histosam_core.model.registry.model_choice import ModelChoice
from histosam_core.model.registry.registry import BUNDLED
from napari_histosam.widgets.model_lines import model_lines
from napari_histosam.widgets.parts import narrow_box

CHECKPOINTS = "Checkpoints (*.safetensors *.pth *.pt)"
_TOOLTIP = Qt.ItemDataRole.ToolTipRole


class ModelBox(QWidget):
    """A list of models and a button for a file; own models that were added since are listed too.

    Its values are what `load_model` takes: a name or a checkpoint's path.
    """

    changed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._files: list[str] = []
        self._box = narrow_box(kind=_Box)
        self._box.opened.connect(self.refresh)
        self._box.currentIndexChanged.connect(lambda _: self.changed.emit(self.value))
        browse = QToolButton()
        browse.setText("\N{HORIZONTAL ELLIPSIS}")
        browse.setToolTip("Choose a checkpoint file, one fine-tuned here, SAM's, RITM's, ...")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box, 1)
        row.addWidget(browse)
        self.refresh()
        self.choose(BUNDLED)

    @property
    def value(self) -> str:
        """What is chosen: a name or a path."""
        return str(self._box.currentData() or BUNDLED)

    @value.setter
    def value(self, model: str | Path) -> None:
        self.choose(model)

    @property
    def values(self) -> list[str]:
        """What there is to choose from."""
        return [str(self._box.itemData(i)) for i in range(self._box.count())]

    def choose(self, model: str | Path) -> None:
        """Choose a name or a path, which is listed if it was not."""
        if self._box.findData(str(model)) < 0:
            self.refresh()  # it may be an own model that was added just now
        if self._box.findData(str(model)) < 0:
            self._files.append(str(model))
            self.refresh()
        self._box.setCurrentIndex(self._box.findData(str(model)))

    def refresh(self) -> None:
        """List the models that there are now; what is chosen stays so, as long as it is there."""
        before = self._box.currentData()
        self._box.blockSignals(True)
        self._box.clear()
        for number, line in enumerate(model_lines([ModelChoice(path) for path in self._files])):
            self._box.addItem(line.title, line.value)
            self._box.setItemData(number, line.tip, _TOOLTIP)
        kept = self._box.findData(before)
        self._box.setCurrentIndex(kept if kept >= 0 else self._box.findData(BUNDLED))
        self._box.blockSignals(False)
        if before is not None and kept < 0:
            self.changed.emit(self.value)

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose a checkpoint", "", CHECKPOINTS)
        if path:
            self.choose(path)


class _Box(QComboBox):
    """Refreshes before its list is shown."""

    opened = Signal()

    def showPopup(self) -> None:  # Qt's name
        self.opened.emit()
        super().showPopup()
