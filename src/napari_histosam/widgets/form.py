"""A form made from settings, a row a setting, by magicgui; see `histosam_core.settings`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLabel,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from histosam_core.settings import faces
from napari_histosam.widgets.model_box import ModelBox
from napari_histosam.widgets.parts import GREY, WARNING

if TYPE_CHECKING:
    from histosam_core.settings import Face, JobSettings

__all__ = ["ADVANCED", "SettingsForm"]

ADVANCED = "Advanced settings"
LEFT_OUT = "left out"
SWITCH = {None: LEFT_OUT, True: "on", False: "off"}
USUAL_DECIMALS, FINE_DECIMALS = 2, 6
"""Of numbers; the finer where a model's family decides the default."""
MOST, LEAST_WIDTH_PX = 1e9, 90
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
        self._rows: dict[str, _Row] = {}
        self._defaults: Mapping[str, Any] = {}
        self._model_kind, self._hidden = "", frozenset[str]()
        self._waiting: dict[str, Any] = {}
        without = {*front, *skip}
        rest = [f for f in self._faces.values() if f.name.split(".")[0] not in without]
        self._others = rest if others else []
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        layout = _form_layout()
        column.addLayout(layout)
        self._fold: QCollapsible | None = None
        if self._others:
            self._fold = _collapsible(others)
            self._fold.toggled.connect(self._fill)
            column.addWidget(self._fold)
        for name in front:
            self._add(layout, self._faces[name])

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
            is_named = re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", problem)
            row.label.setStyleSheet(f"color: {WARNING};" if is_named else "")

    def _row(self, name: str) -> _Row:
        if name not in self._rows:
            self._fill()
        return self._rows[name]

    def _fill(self) -> None:
        """Make the rows that are folded away, the first time that they are wanted."""
        if self._fold is None or not self._others:
            return
        others, self._others = self._others, []
        body = QWidget()
        layout, heading = _form_layout(), ""
        layout.setContentsMargins(0, 0, 0, 0)
        body.setLayout(layout)
        for face in sorted(others, key=lambda face: _first(others, face.group)):
            if face.group != heading:
                heading = face.group
                title = QLabel(heading)
                title.setStyleSheet("font-weight: bold;")
                layout.addRow(title)
            with QSignalBlocker(self):
                self._add(layout, face)
        self._fold.addWidget(body)
        self._show_rows()

    def _add(self, layout: QFormLayout, face: Face) -> None:
        row = _Row(face, self._captions.get(face.name, {}), self.changed.emit)
        row.set_default(self._default(face))
        if face.type is bool and not face.is_optional:
            layout.addRow(row.native)
        else:
            layout.addRow(row.label, row.native)
        layout.addRow(row.note)
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


class _Row:
    """A setting's widget, its label, and the way from a value to what the widget holds."""

    def __init__(self, face: Face, captions: Mapping[Any, str], on_change: Callable[[], None]):
        self.face = face
        self.label, self.note = QLabel(face.caption), QLabel()
        self.note.setWordWrap(True)
        self.note.setStyleSheet(f"color: {GREY};")
        self.note.setVisible(False)
        self._to_raw: Callable[[Any], Any] = lambda value: value
        self._to_value: Callable[[Any], Any] = lambda raw: raw
        self._default: Any = None
        self._raw_default: Any = None
        self._is_new = True
        self.widget: Any = self._make(captions)
        self.native: QWidget = getattr(self.widget, "native", self.widget)
        self.label.setToolTip(face.help)
        self.native.setToolTip(face.help)
        self.native.setMinimumWidth(LEAST_WIDTH_PX)
        self.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.widget.changed.connect(lambda _: on_change())

    @property
    def value(self) -> Any:
        """What the row says; the default itself where its text was not touched."""
        return self._default if self.is_default else self._to_value(self.widget.value)

    @property
    def is_default(self) -> bool:
        return bool(self._to_value(self.widget.value) == self._to_value(self._raw_default))

    def show(self, value: Any) -> None:
        self.widget.value = self._to_raw(value)

    def set_default(self, default: Any) -> None:
        """Take another default, and show it unless another value is chosen."""
        is_shown = self._is_new or self.is_default
        self._default, self._is_new = default, False
        self._raw_default = self._to_raw(default)
        if is_shown:
            self.widget.value = self._raw_default

    def _make(self, captions: Mapping[Any, str]) -> Any:
        from magicgui.widgets import create_widget

        face = self.face
        words = {**(SWITCH if face.is_optional and face.type is bool else {}), **captions}
        if face.default_text and None not in captions:
            words[None] = face.default_text
        if face.path == "model":
            return ModelBox()
        if face.type is bool and not face.is_optional:
            return create_widget(False, annotation=bool, options={"text": face.caption})
        values: list[Any] = [*([None] if face.is_optional else [])]
        values += [True, False] if face.type is bool else [*face.choices, *face.suggestions]
        if len(values) > 1:
            return self._choice({value: words.get(value, str(value)) for value in values})
        if face.type in (int, float):
            return self._number(words.get(None, LEFT_OUT), None in captions)
        if face.path:
            return self._path()
        line = create_widget("", annotation=str)
        line.native.setPlaceholderText(words.get(None, ""))
        if get_origin(face.type) is tuple:
            self._to_raw, self._to_value = _text_of, lambda text: _tuple_of(face, text)
        else:
            self._to_raw = lambda value: value or ""
            self._to_value = lambda text: text.strip() or None
        return line

    def _choice(self, captions: Mapping[Any, str]) -> Any:
        from magicgui.widgets import create_widget

        values = dict(captions)  # one that a script chooses joins them
        box = create_widget(
            widget_type="ComboBox", options={"choices": lambda _: list(values.values())}
        )

        def to_raw(value: Any) -> str:
            if value is None and not self.face.is_optional:
                value = next(iter(values))
            if value not in values:
                values[value] = str(value)
                box.reset_choices()
            return str(values[value])

        self._to_raw = to_raw
        self._to_value = lambda raw: next(v for v, caption in values.items() if caption == raw)
        box.native.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        box.native.setMinimumContentsLength(10)
        return box

    def _number(self, none: str, has_none: bool) -> Any:
        from magicgui.widgets import create_widget

        face, is_whole = self.face, self.face.type is int
        has_none = has_none or face.is_optional or face.is_by_others
        decimals = 0 if is_whole else FINE_DECIMALS if face.is_by_others else USUAL_DECIMALS
        if not is_whole and face.default is not None:
            decimals = max(decimals, len(f"{face.default:.6f}".rstrip("0").partition(".")[2]))
        step = 10.0**-decimals
        low = -MOST if face.lower is None else face.lower + step * face.lower_is_open
        high = MOST if face.upper is None else face.upper - step * face.upper_is_open
        none_at = low - step
        spin = create_widget(
            low,
            annotation=float,
            options={"min": none_at if has_none else low, "max": high, "step": step},
        )
        spin.native.setDecimals(decimals)
        if not is_whole:
            spin.native.setStepType(spin.native.StepType.AdaptiveDecimalStepType)
        if face.unit:
            spin.native.setSuffix(f" {face.unit}")
        if has_none:
            spin.native.setSpecialValueText(none)
        self._to_raw = lambda value: none_at if value is None else float(value)

        def to_value(raw: float) -> float | int | None:
            if has_none and raw < low - step / 2:
                return None
            return round(raw) if is_whole else round(raw, decimals)

        self._to_value = to_value
        return spin

    def _path(self) -> Any:
        from magicgui.widgets import FileEdit

        several = get_origin(self.face.type) is tuple
        edit = FileEdit(mode="r" if self.face.path == "file" else "d", nullable=True)
        edit.choose_btn.text = "\N{HORIZONTAL ELLIPSIS}"
        edit.choose_btn.max_width = 28
        edit.line_edit.native.setPlaceholderText(self.face.default_text)
        if self.face.path == "slides":
            _add_files_button(edit)

        def to_value(raw: Path | None) -> Any:
            path = None if raw is None else raw.expanduser().absolute()
            return path if not several else () if path is None else (path,)

        def to_raw(value: Any) -> Path | None:
            one = value[0] if several and value else value
            return Path(one) if one else None

        self._to_raw, self._to_value = to_raw, to_value
        return edit


def _add_files_button(edit: Any) -> None:
    """Let a field for a folder take a file as well."""
    from qtpy.QtWidgets import QFileDialog

    button = QToolButton()
    button.setText("file")
    button.setToolTip("Choose a file instead of a folder")

    def ask() -> None:
        path, _ = QFileDialog.getOpenFileName(button, "Choose a file", "")
        if path:
            edit.value = path

    button.clicked.connect(ask)
    edit.native.layout().addWidget(button)


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


def _first(faces_of: list[Face], group: str) -> int:
    return next(i for i, face in enumerate(faces_of) if face.group == group)


def _text_of(value: Any) -> str:
    return "" if value is None else ", ".join(str(one) for one in value)


def _tuple_of(face: Face, text: str) -> Any:
    """A list from a text, "320x480" too; a text that is none is left for the check to refuse."""
    words = [
        word.strip() for word in re.split(r"[,x]" if int in get_args(face.type) else ",", text)
    ]
    words = [word for word in words if word]
    if not words:
        return None if face.is_optional or face.default is None else ()
    if str in get_args(face.type):
        return tuple(words)
    try:
        numbers = tuple(json.loads(word) for word in words)
    except ValueError:
        return text
    is_pair = len(get_args(face.type)) == 2 and ... not in get_args(face.type)
    return numbers * 2 if is_pair and len(numbers) == 1 else numbers
