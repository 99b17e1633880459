"""Settings of an evaluation that few need, folded away."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_histosam.interactive.setup_panel import DEVICES

__all__ = ["AdvancedPanel"]


class AdvancedPanel(QWidget):
    """A line that unfolds into settings, by the names that `Choices` has for them."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._fold = QToolButton()
        self._fold.setText("Advanced settings")
        self._fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._fold.setArrowType(Qt.ArrowType.RightArrow)
        self._fold.setCheckable(True)
        self._fold.setAutoRaise(True)
        self._fold.toggled.connect(self.unfold)
        self._target = QDoubleSpinBox()
        self._target.setRange(0.05, 1.01)
        self._target.setSingleStep(0.05)
        self._target.setValue(0.90)
        self._target.setToolTip("Clicking ends at this IoU; NoC@90 needs 0.90; above 1: never")
        self._clicks = _spin(1, 200, 20, "Budget of each patch or region")
        self._limit = _spin(0, 1_000_000, 0, "Of each data set, spread evenly over it")
        self._limit.setSpecialValueText("all")
        self._batch = _spin(
            1, 256, 8, "Patches that advance together; halve it where memory runs out"
        )
        self._device = QComboBox()
        for key, text in DEVICES.items():
            self._device.addItem(text, key)
        self._device.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._device.setMinimumContentsLength(12)
        self._body = QWidget()
        form = QFormLayout(self._body)
        form.setContentsMargins(12, 0, 0, 0)
        form.setVerticalSpacing(3)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Target IoU", self._target)
        form.addRow("Clicks at most", self._clicks)
        form.addRow("Patches", self._limit)
        form.addRow("Batch", self._batch)
        form.addRow("Device", self._device)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._fold)
        column.addWidget(self._body)
        self._body.setVisible(False)
        for spin in (self._target, self._clicks, self._limit, self._batch):
            spin.valueChanged.connect(lambda _: self.changed.emit())
        self._device.currentIndexChanged.connect(lambda _: self.changed.emit())

    @property
    def settings(self) -> dict[str, Any]:
        """What is set, by the names of `Choices`."""
        return {
            "target_iou": round(self._target.value(), 2),
            "max_clicks": self._clicks.value(),
            "limit": self._limit.value() or None,
            "batch_size": self._batch.value(),
            "device": self._device.currentData(),
        }

    def choose(
        self,
        *,
        target_iou: float | None = None,
        max_clicks: int | None = None,
        limit: int | None = None,
        device: str | None = None,
    ) -> None:
        """Choose from a script."""
        if target_iou is not None:
            self._target.setValue(target_iou)
        if max_clicks is not None:
            self._clicks.setValue(max_clicks)
        if limit is not None:
            self._limit.setValue(limit)
        if device is not None:
            self._device.setCurrentIndex(self._device.findData(device))

    def unfold(self, is_open: bool) -> None:
        """Show the settings, or put them away; what was chosen stays."""
        self._body.setVisible(is_open)
        self._fold.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        if self._fold.isChecked() != is_open:
            self._fold.setChecked(is_open)


def _spin(least: int, most: int, value: int, tip: str) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(least, most)
    spin.setValue(value)
    spin.setToolTip(tip)
    return spin
