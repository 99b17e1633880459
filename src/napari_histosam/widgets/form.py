"""A form made from settings, a row a setting, by magicgui, and the button that starts with them.

See `histosam_core.settings`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QSignalBlocker, Qt, QTimer, Signal
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QFormLayout, QLabel, QWidget
from superqt import QCollapsible

from histosam_core.settings import faces
from napari_histosam.widgets.form_row import SettingRow
from napari_histosam.widgets.parts import (
    GREY,
    WARNING,
    breakable,
    push_button,
    stacked,
    wrapped,
)

if TYPE_CHECKING:
    from histosam_core.settings import Face, JobSettings

ADVANCED = "Advanced settings"
CHECK_MS = 150
"""After the last change, until settings are checked."""
Captions = Mapping[str, Mapping[Any, str]]


class SettingsForm(QWidget):
    """Rows for the settings of a class, the usual ones first and the others folded away.

    Whatever setting the class declares has a row; nothing here names one.

    Parameters
    ----------
    settings
        Their class.
    front
        Names of the settings that are not folded away, in the order of their rows.
    skip
        Names of settings without a row.
    captions
        Words for values of a setting, by its name; a number that has words for None may be left
        out.
    others
        Title of the fold for the settings that are neither in `front` nor in `skip`; empty: they
        have no rows.

    Attributes
    ----------
    changed : Signal
        The user has changed a value, or a script has.
    """

    changed = Signal()

    def __init__(
        self,
        settings: type[JobSettings],
        front: Iterable[str],
        *,
        skip: Iterable[str] = (),
        captions: Captions | None = None,
        others: str = ADVANCED,
    ) -> None:
        super().__init__()
        front, captions = tuple(front), captions or {}
        self._faces = {face.name: face for face in faces(settings)}
        self._captions: Captions = captions
        self._rows: dict[str, SettingRow] = {}
        self._defaults: Mapping[str, Any] = {}
        self._model_kind, self._hidden = "", frozenset[str]()
        self._waiting: dict[str, Any] = {}
        without = {*front, *skip}
        rest = [f for f in self._faces.values() if f.name.split(".")[0] not in without]
        self._others = rest if others else []
        self._front = _form_layout()
        column = stacked(self, self._front)
        self._fold: QCollapsible | None = None
        if self._others:
            self._fold = _collapsible(others)
            self._fold.toggled.connect(self._fill)
            column.addWidget(self._fold)
        for name in front:
            self._add(self._front, self._faces[name])

    @property
    def given(self) -> dict[str, Any]:
        """The values that are not the defaults, by name; a group's are a mapping of their own."""
        found: dict[str, Any] = {}
        for name, row in self._rows.items():
            if not row.is_default and self._applies(row.face):
                if row.value is not None or row.face.is_optional:
                    group, _, member = name.rpartition(".")
                    (found.setdefault(group, {}) if group else found)[member] = row.value
        return found

    def insert_row(self, caption: str, field: QWidget) -> None:
        """Put a row that is no setting before all others."""
        self._front.insertRow(0, caption, field)

    def value(self, name: str) -> Any:
        """Return what a row holds, whether it was changed or not."""
        row = self._rows.get(name)
        return self._default(self._faces[name]) if row is None else row.value

    def widget(self, name: str) -> Any:
        """Return a row's magicgui widget, or its model list."""
        return self._row(name).widget

    def choose(self, values: Mapping[str, Any]) -> None:
        """Set rows from a script; a member of a group by "GROUP.NAME"."""
        for name, value in values.items():
            self._row(name).show(value)

    def fit(self, defaults: Mapping[str, Any], model_kind: str = "") -> None:
        """Show other defaults, where the user has changed nothing.

        Parameters
        ----------
        defaults
            By name, a group as a mapping; those of the class where a name is missing.
        model_kind
            Settings that are for another kind of model are hidden.
        """
        self._defaults, self._model_kind = defaults, model_kind
        with QSignalBlocker(self):
            for row in self._rows.values():
                row.set_default(self._default(row.face))
        self._show_rows()

    def note(self, name: str, text: str) -> None:
        """Say something below a row of `front`; empty: nothing."""
        note = self._row(name).note
        note.setText(text)
        note.setVisible(bool(text))

    def note_of(self, name: str) -> str:
        """Return what is said below a row."""
        return str(self._row(name).note.text())

    def hide_rows(self, names: Iterable[str]) -> None:
        """Hide these rows and no others; they give no values."""
        self._hidden = frozenset(names)
        self._show_rows()

    def unfold(self) -> None:
        """Show the settings that are folded away."""
        if self._fold is not None:
            self._fold.expand(animate=False)
            self._fill()

    def mark(self, problem: str) -> None:
        """Mark the rows whose settings a message of `ConfigError` names."""
        for name, row in self._rows.items():
            is_named = re.search(rf"(^|; |: ){re.escape(name)} (is|has|must)\b", problem)
            row.label.setStyleSheet(f"color: {WARNING};" if is_named else "")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # Qt's name
        """Let the wheel scroll the page, and not change a value that is under the mouse."""
        if event.type() == QEvent.Type.Wheel and not watched.hasFocus():
            event.ignore()
            return True
        return bool(super().eventFilter(watched, event))

    def _row(self, name: str) -> SettingRow:
        if name not in self._rows:
            self._fill()
        return self._rows[name]

    def _fill(self) -> None:
        """Make the rows that are folded away, the first time that they are wanted."""
        if self._fold is None or not self._others:
            return
        others, self._others = self._others, []
        body = QWidget()
        layout = _form_layout()
        layout.setContentsMargins(0, 0, 0, 0)
        body.setLayout(layout)
        groups: dict[str, list[Face]] = {}
        for face in others:
            groups.setdefault(face.group, []).append(face)
        for heading, members in groups.items():
            if heading:
                title = QLabel(heading)
                title.setStyleSheet("font-weight: bold;")
                layout.addRow(title)
            with QSignalBlocker(self):
                for face in members:
                    self._add(layout, face)
        self._fold.addWidget(body)
        self._show_rows()

    def _add(self, layout: QFormLayout, face: Face) -> None:
        row = SettingRow(face, self._captions.get(face.name, {}), self.changed.emit)
        row.set_default(self._default(face))
        if face.type is bool and not face.is_optional:
            layout.addRow(row.native)
        else:
            layout.addRow(row.label, row.native)
        layout.addRow(row.note)
        for part in (row.native, *row.native.findChildren(QWidget)):
            if isinstance(part, QAbstractSpinBox | QComboBox):
                part.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                part.installEventFilter(self)
        self._rows[face.name] = row

    def _default(self, face: Face) -> Any:
        group, _, member = face.name.rpartition(".")
        known = self._defaults.get(group, {}) if group else self._defaults
        return known.get(member, face.default)

    def _applies(self, face: Face) -> bool:
        is_other = face.only and self._model_kind and face.only != self._model_kind
        return not is_other and face.name not in self._hidden

    def _show_rows(self) -> None:
        for row in self._rows.values():
            row.label.setVisible(self._applies(row.face))
            row.native.setVisible(self._applies(row.face))


class StartPanel(QWidget):
    """Checks settings a moment after they change, and starts what can be started.

    `check` returns what is wrong, and else what will be done.
    """

    def __init__(
        self, caption: str, check: Callable[[], tuple[str, str]], start: Callable[[], None]
    ) -> None:
        super().__init__()
        self._check = check
        self.verdict = ""
        self._label = wrapped()
        self.button = push_button(
            caption, "Runs in a process of its own: napari may be closed meanwhile", start
        )
        stacked(self, self._label, self.button)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(CHECK_MS)
        self._soon.timeout.connect(self.check)

    def check_soon(self) -> None:
        """Check when nothing has changed for a moment."""
        self._soon.start()

    def check(self) -> bool:
        """Check now; return whether it can be started."""
        self._soon.stop()
        problem, plan = self._check()
        self.verdict = problem or plan
        self._label.setText(breakable(self.verdict))
        self._label.setStyleSheet(f"color: {WARNING if problem else GREY};")
        self.button.setEnabled(not problem)
        return not problem


def _collapsible(title: str) -> QCollapsible:
    fold = QCollapsible(title, expandedIcon="\N{BLACK DOWN-POINTING TRIANGLE}")
    fold.setCollapsedIcon("\N{BLACK RIGHT-POINTING TRIANGLE}")
    fold.setDuration(0)
    fold.layout().setContentsMargins(0, 0, 0, 0)
    return fold


def _form_layout() -> QFormLayout:
    layout = QFormLayout()
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    layout.setVerticalSpacing(4)
    return layout
