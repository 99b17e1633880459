"""Settings of an evaluation that few need, folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

from napari_histosam.widgets.parts import DEVICES

if TYPE_CHECKING:
    from histosam_core.clicks.users import UserKind

__all__ = ["AdvancedPanel"]

USERS: dict[UserKind, tuple[str, str]] = {
    "ideal": ("Ideal: the middle of the deepest error", "The protocol that is compared by"),
    "jitter": ("Aims there and misses", "By a normal distance in x and in y, within the error"),
    "region": ("Clicks anywhere in that error", "The deeper a place, the likelier"),
}
TOOLTIP = Qt.ItemDataRole.ToolTipRole


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
        self._user = QComboBox()
        for number, (kind, (title, tip)) in enumerate(USERS.items()):
            self._user.addItem(title, kind)
            self._user.setItemData(number, tip, TOOLTIP)
        self._user.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._user.setMinimumContentsLength(12)
        self._sigma = QDoubleSpinBox()
        self._sigma.setRange(0.5, 200.0)
        self._sigma.setDecimals(1)
        self._sigma.setValue(8.0)
        self._sigma.setSuffix(" px")
        self._sigma.setToolTip(
            "Standard deviation in x and in y, pixels of the patch; on slides, pixels at the "
            "model's resolution"
        )
        self._repeats = _spin(1, 100, 5, "On each patch or region, with other draws each time")
        self._body = QWidget()
        form = QFormLayout(self._body)
        form.setContentsMargins(12, 0, 0, 0)
        form.setVerticalSpacing(3)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Target IoU", self._target)
        form.addRow("Clicks at most", self._clicks)
        form.addRow("Patches", self._limit)
        form.addRow("User", self._user)
        form.addRow("Misses by", self._sigma)
        form.addRow("Repeats", self._repeats)
        form.addRow("Batch", self._batch)
        form.addRow("Device", self._device)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._fold)
        column.addWidget(self._body)
        self._body.setVisible(False)
        spins = (self._target, self._clicks, self._limit, self._batch, self._sigma, self._repeats)
        for spin in spins:
            spin.valueChanged.connect(lambda _: self.changed.emit())
        self._device.currentIndexChanged.connect(lambda _: self.changed.emit())
        self._user.currentIndexChanged.connect(lambda _: self._on_user())
        self._on_user()

    @property
    def settings(self) -> dict[str, Any]:
        """What is set, by the names of `Choices`."""
        return {
            "target_iou": round(self._target.value(), 2),
            "max_clicks": self._clicks.value(),
            "limit": self._limit.value() or None,
            "batch_size": self._batch.value(),
            "device": self._device.currentData(),
            "user": self._user.currentData(),
            "sigma_px": self._sigma.value(),
            "repeats": self._repeats.value(),
        }

    def choose(
        self,
        *,
        target_iou: float | None = None,
        max_clicks: int | None = None,
        limit: int | None = None,
        device: str | None = None,
        user: UserKind | None = None,
        repeats: int | None = None,
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
        if user is not None:
            self._user.setCurrentIndex(self._user.findData(user))
        if repeats is not None:
            self._repeats.setValue(repeats)

    def unfold(self, is_open: bool) -> None:
        """Show the settings, or put them away; what was chosen stays."""
        self._body.setVisible(is_open)
        self._fold.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        if self._fold.isChecked() != is_open:
            self._fold.setChecked(is_open)

    def _on_user(self) -> None:
        kind = self._user.currentData()
        self._sigma.setEnabled(kind == "jitter")
        self._repeats.setEnabled(kind != "ideal")
        self.changed.emit()


def _spin(least: int, most: int, value: int, tip: str) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(least, most)
    spin.setValue(value)
    spin.setToolTip(tip)
    return spin
