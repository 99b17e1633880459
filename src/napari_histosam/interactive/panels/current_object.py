"""The widget's second part: the current object, its class, how it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt
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
    QSlider,
    QToolButton,
)

from histosam_core.session.operations import Drop, Redo, Undo
from napari_histosam.viewer.layers import NEGATIVE, POSITIVE
from napari_histosam.widgets.parts import GREY, color_icon, push_button

if TYPE_CHECKING:
    from napari_histosam.interactive.controller import Controller
    from napari_histosam.interactive.keys import KeyBindings
    from napari_histosam.interactive.view import View

TITLE = "Current object"
HINT = (
    "Left click: belongs. Right click or Alt: does not. Drag a click to move it, "
    "drag elsewhere to pan."
)


class CurrentObjectPanel(QGroupBox):
    """Buttons for the current object; those that take up a drawing tool do as the keys do."""

    def __init__(self, controller: Controller, keys: KeyBindings) -> None:
        super().__init__(TITLE)
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
        menu.addAction("Remove", lambda: controller.attempt(controller.classes.remove))
        self._color.setMenu(menu)
        self._sign = push_button(
            "", "Whether a left click belongs to the object (T)", controller.toggle_sign
        )
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
            "Drop",
            "Forget the object; undo brings it back (Esc)",
            lambda: controller.submit(Drop()),
        )
        self._undo = push_button(
            "Undo",
            "Take back the last click, box or edit (Z or Ctrl-Z)",
            lambda: controller.submit(Undo()),
        )
        self._redo = push_button(
            "Redo", "Put back what was undone (Y or Ctrl-Y)", lambda: controller.submit(Redo())
        )
        self._outline, self._heat = QCheckBox("Outline"), QCheckBox("Probability")
        self._grow = QCheckBox("Grow")
        self._grow.setToolTip(
            "Let the object go on beyond the window that is clicked in (G); Esc stops it there"
        )
        self._grow.setChecked(controller.grows)
        self._grow.toggled.connect(lambda on: setattr(controller, "grows", on))
        controller.grows_changed.connect(lambda on: self._grow.setChecked(on))
        self._outline.setToolTip("Show the mask's outline instead of a fill (O)")
        self._heat.setToolTip("Show how sure the model is of each pixel (H)")
        self._opacity = QSlider(Qt.Orientation.Horizontal)
        self._opacity.setRange(5, 100)
        self._opacity.setToolTip("Opacity of the mask")
        display = controller.display
        self._outline.toggled.connect(lambda on: setattr(display, "as_outline", on))
        self._heat.toggled.connect(lambda on: setattr(display, "heat_map", on))
        self._opacity.valueChanged.connect(lambda value: setattr(display, "opacity", value / 100))
        display.events.as_outline.connect(lambda on: self._outline.setChecked(on))
        display.events.heat_map.connect(lambda on: self._heat.setChecked(on))
        display.events.opacity.connect(lambda opacity: self._opacity.setValue(round(100 * opacity)))
        self._opacity.setValue(round(100 * display.opacity))
        self._lay_out()
        controller.sign_changed.connect(self._show_sign)
        controller.classes.changed.connect(self._show_classes)
        controller.view_changed.connect(self.show_view)
        self._show_sign(controller.is_positive)
        self._show_classes(controller.classes.label)
        self.show_view(None)

    def _lay_out(self) -> None:
        hint = QLabel(HINT)
        hint.setWordWrap(True)
        hint.setStyleSheet(f"color: {GREY};")
        label_row, show_row = QHBoxLayout(), QHBoxLayout()
        label_row.addWidget(QLabel("Class"))
        label_row.addWidget(self._label, 1)
        label_row.addWidget(self._color)
        show_row.addWidget(self._grow)
        show_row.addWidget(self._outline)
        show_row.addWidget(self._heat)
        show_row.addWidget(self._opacity, 1)
        grid = QGridLayout(self)
        grid.setVerticalSpacing(4)
        grid.addLayout(label_row, 0, 0, 1, 3)
        grid.addWidget(self._sign, 1, 0, 1, 2)
        grid.addWidget(self._box, 1, 2)
        grid.addWidget(self._accept, 2, 0, 1, 2)
        grid.addWidget(self._drop, 2, 2)
        for column, button in enumerate((self._undo, self._redo, self._lasso)):
            grid.addWidget(button, 3, column)
        grid.addLayout(show_row, 4, 0, 1, 3)
        grid.addWidget(hint, 5, 0, 1, 3)

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
        self.setTitle(f"{TITLE} (being corrected)" if is_again else TITLE)

    def _show_sign(self, is_positive: bool) -> None:
        text = "+  Left click: belongs"
        if not is_positive:
            text = "\N{MINUS SIGN}  Left click: does not belong"
        self._sign.setText(text)
        color = POSITIVE if is_positive else NEGATIVE
        self._sign.setStyleSheet(f"border: 2px solid {color}; padding: 3px;")

    def _show_classes(self, label: str) -> None:
        colors = self._controller.classes.colors
        with QSignalBlocker(self._label):
            self._label.clear()
            for name, color in colors.items():
                self._label.addItem(color_icon(color), name)
            self._label.setCurrentText(label)
        self._color.setIcon(color_icon(colors[label]))

    def _choose_label(self) -> None:
        text = self._label.currentText().strip()
        if text and text != self._controller.classes.label:
            self._controller.classes.choose(text)

    def _choose_color(self) -> None:
        classes = self._controller.classes
        before = QColor(*classes.colors[classes.label])
        color = QColorDialog.getColor(before, self, f"Colour of {classes.label}")
        if color.isValid():
            classes.choose(classes.label, (color.red(), color.green(), color.blue()))

    def _rename(self) -> None:
        label = self._controller.classes.label
        text, is_meant = QInputDialog.getText(self, "Rename class", "New name", text=label)
        if is_meant:
            self._controller.attempt(lambda: self._controller.rename_class(text))
