"""The widget's second part: the object at hand, its class, how it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QCheckBox,
    QColorDialog,
    QComboBox,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QMenu,
    QPushButton,
    QSlider,
    QToolButton,
)

from napari_histosam.viewer.layers import NEGATIVE, POSITIVE
from napari_histosam.widgets.parts import color_icon, push_button

if TYPE_CHECKING:
    from napari_histosam.interactive.controller import Controller
    from napari_histosam.interactive.keys import KeyBindings
    from napari_histosam.interactive.scene import Display
    from napari_histosam.interactive.view import View

__all__ = ["ObjectPanel"]

HINT = (
    "Left click: belongs. Right click or Alt: does not. Drag a click to move it, "
    "drag elsewhere to pan."
)


class ObjectPanel(QGroupBox):
    """Buttons for the object at hand.

    Parameters
    ----------
    controller
        What they work on.
    keys
        For what keys do beyond the controller.
    """

    def __init__(self, controller: Controller, keys: KeyBindings) -> None:
        super().__init__("Object at hand")
        self._controller = controller
        self._label = QComboBox()
        self._label.setEditable(True)
        self._label.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self._label.setToolTip("Class of the next accepted object; type a name for a new one")
        self._label.activated.connect(lambda _: self._choose_label())
        self._label.lineEdit().editingFinished.connect(self._choose_label)
        self._color = QToolButton()
        self._color.setToolTip("Colour and name of this class")
        self._color.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self._color)
        menu.addAction("Colour\N{HORIZONTAL ELLIPSIS}", self._choose_color)
        menu.addAction("Rename\N{HORIZONTAL ELLIPSIS}", self._rename)
        menu.addAction("Remove", self._remove)
        self._color.setMenu(menu)
        self._sign = QPushButton()
        self._sign.setToolTip("What a left click says (T)")
        self._sign.clicked.connect(controller.toggle_sign)
        self._undo = push_button(
            "Undo", "Take back the last click, box or edit (Z or Ctrl-Z)", controller.undo
        )
        self._redo = push_button("Redo", "Put back what was undone (Y or Ctrl-Y)", controller.redo)
        self._box = push_button("Box", "Draw a box round the object (B)", keys.draw_box)
        self._lasso = push_button(
            "Lasso",
            "Draw an area by hand: it belongs, or does not, as left clicks say (L)",
            keys.draw_lasso,
        )
        self._accept = push_button(
            "Accept",
            "Keep the object as this class and begin the next (C or Enter)",
            controller.accept,
        )
        self._drop = push_button(
            "Drop", "Forget the object; undo brings it back (Esc)", controller.drop
        )
        self._outline = QCheckBox("Outline")
        self._outline.setToolTip("Show the mask's outline instead of a fill (O)")
        self._heat = QCheckBox("Probability")
        self._heat.setToolTip("Show how sure the model is of each pixel (H)")
        self._opacity = QSlider(Qt.Orientation.Horizontal)
        self._opacity.setRange(5, 100)
        self._opacity.setToolTip("Opacity of the mask")
        self._outline.toggled.connect(lambda on: self._show(as_outline=on))
        self._heat.toggled.connect(lambda on: self._show(heat_map=on))
        self._opacity.valueChanged.connect(lambda value: self._show(opacity=value / 100))
        hint = QLabel(HINT)
        hint.setWordWrap(True)
        hint.setStyleSheet("color: #8a8f98;")

        grid = QGridLayout(self)
        grid.setVerticalSpacing(4)
        label_row = QHBoxLayout()
        label_row.addWidget(QLabel("Class"))
        label_row.addWidget(self._label, 1)
        label_row.addWidget(self._color)
        grid.addLayout(label_row, 0, 0, 1, 3)
        grid.addWidget(self._sign, 1, 0, 1, 2)
        grid.addWidget(self._box, 1, 2)
        grid.addWidget(self._accept, 2, 0, 1, 2)
        grid.addWidget(self._drop, 2, 2)
        grid.addWidget(self._undo, 3, 0)
        grid.addWidget(self._redo, 3, 1)
        grid.addWidget(self._lasso, 3, 2)
        show_row = QHBoxLayout()
        for part in (self._outline, self._heat):
            show_row.addWidget(part)
        show_row.addWidget(self._opacity, 1)
        grid.addLayout(show_row, 4, 0, 1, 3)
        grid.addWidget(hint, 5, 0, 1, 3)
        controller.sign_changed.connect(self._show_sign)
        controller.label_changed.connect(self._show_labels)
        controller.display_changed.connect(self._show_display)
        controller.view_changed.connect(self.show_view)
        self._show_sign(controller.is_positive)
        self._show_labels(controller.label)
        self._show_display(controller.display)
        self.show_view(None)

    def show_view(self, view: View | None) -> None:
        """Enable what can be done now."""
        has_object = view is not None and bool(view.prompts or view.canvas)
        for button, can in (
            (self._undo, view is not None and view.can_undo),
            (self._redo, view is not None and view.can_redo),
            (self._accept, has_object),
            (self._drop, has_object),
            (self._box, view is not None),
            (self._lasso, view is not None),
        ):
            button.setEnabled(can)
        is_again = view is not None and view.reopened is not None
        self.setTitle("Object at hand (being corrected)" if is_again else "Object at hand")

    def _show_sign(self, is_positive: bool) -> None:
        text = "+  Left click: belongs"
        if not is_positive:
            text = "\N{MINUS SIGN}  Left click: does not belong"
        self._sign.setText(text)
        color = POSITIVE if is_positive else NEGATIVE
        self._sign.setStyleSheet(f"border: 2px solid {color}; padding: 3px;")

    def _show_labels(self, label: str) -> None:
        self._label.blockSignals(True)
        self._label.clear()
        for name, color in self._controller.classes.items():
            self._label.addItem(color_icon(color), name)
        self._label.setCurrentText(label)
        self._label.blockSignals(False)
        self._color.setIcon(color_icon(self._controller.classes[label]))

    def _show_display(self, display: Display) -> None:
        for part in (self._outline, self._heat, self._opacity):
            part.blockSignals(True)
        self._outline.setChecked(display.as_outline)
        self._heat.setChecked(display.heat_map)
        self._opacity.setValue(round(100 * display.opacity))
        for part in (self._outline, self._heat, self._opacity):
            part.blockSignals(False)

    def _show(self, **settings: Any) -> None:
        self._controller.set_display(self._controller.display.changed(**settings))

    def _choose_label(self) -> None:
        text = self._label.currentText().strip()
        if text and text != self._controller.label:
            self._controller.set_label(text)

    def _choose_color(self) -> None:
        label = self._controller.label
        color = QColorDialog.getColor(
            QColor(*self._controller.classes[label]), self, f"Colour of {label}"
        )
        if color.isValid():
            self._controller.set_label(label, (color.red(), color.green(), color.blue()))

    def _rename(self) -> None:
        label = self._controller.label
        text, is_meant = QInputDialog.getText(self, "Rename class", "New name", text=label)
        if is_meant:
            self._controller.attempt("class", lambda: self._controller.rename_label(text))

    def _remove(self) -> None:
        self._controller.attempt("class", self._controller.remove_label)
