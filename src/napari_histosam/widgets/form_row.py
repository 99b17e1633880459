"""A row of a form: one setting, its label and its widget."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from magicgui.widgets import FileEdit, create_widget
from qtpy.QtWidgets import QFileDialog, QLabel, QSizePolicy, QToolButton, QWidget

from napari_histosam.widgets.model_box import ModelBox
from napari_histosam.widgets.parts import GREY, narrow, wrapped

if TYPE_CHECKING:
    from histosam_core.settings import Face

LEFT_OUT = "left out"
SWITCH = {None: LEFT_OUT, True: "on", False: "off"}
DECIMALS, FINE_DECIMALS = 2, 4
RATE_DECIMALS = 6
"""Of numbers: usually, where there is no default, and where a model's family decides it."""
MOST, LEAST_WIDTH_PX = 1e9, 90


class SettingRow:
    """A setting's widget by magicgui, its label, and the way from a value to what the widget holds.

    `captions` are words for its values; a number that has words for None may be left out.
    """

    def __init__(self, face: Face, captions: Mapping[Any, str], on_change: Callable[[], None]):
        self.face = face
        self.label, self.note = QLabel(face.caption), wrapped(GREY)
        self.note.setVisible(False)
        self._to_raw: Callable[[Any], Any] = lambda value: value
        self._to_value: Callable[[Any], Any] = lambda raw: raw
        self._default: Any = None
        self._raw_default: Any = None
        self._is_new = True
        self._holder: Any = None
        self.widget: Any = self._make(captions)
        self._holder = self._holder or self.widget  # of a path, the text beside the button
        self.native: QWidget = getattr(self.widget, "native", self.widget)
        self.label.setToolTip(face.help)
        self.native.setToolTip(face.help)
        self.native.setMinimumWidth(LEAST_WIDTH_PX)
        self.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.widget.changed.connect(lambda _: on_change())

    @property
    def value(self) -> Any:
        """What the row says; the default itself where its text was not touched."""
        return self._default if self.is_default else self._to_value(self._holder.value)

    @property
    def is_default(self) -> bool:
        return bool(self._to_value(self._holder.value) == self._to_value(self._raw_default))

    def show(self, value: Any) -> None:
        self._holder.value = self._to_raw(value)

    def set_default(self, default: Any) -> None:
        """Take another default, and show it unless another value is chosen."""
        is_shown = self._is_new or self.is_default
        self._default, self._is_new = default, False
        self._raw_default = self._to_raw(default)
        if is_shown:
            self._holder.value = self._raw_default

    def _make(self, captions: Mapping[Any, str]) -> Any:
        face = self.face
        words = {**(SWITCH if face.is_optional and face.type is bool else {}), **captions}
        if face.default_text and None not in captions:
            words[None] = face.default_text
        if face.path == "model":
            return ModelBox()
        if face.type is bool and not face.is_optional:
            self._to_raw = bool
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
        narrow(box.native)
        return box

    def _number(self, none: str, has_none: bool) -> Any:
        face, is_whole = self.face, self.face.type is int
        has_none = has_none or face.is_optional or face.is_by_others
        decimals = 0 if is_whole else _decimals(face)
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
        several = get_origin(self.face.type) is tuple
        edit = FileEdit(mode="r" if self.face.path == "file" else "d", nullable=True)
        edit.choose_btn.text = "\N{HORIZONTAL ELLIPSIS}"
        edit.choose_btn.max_width = 28
        edit.line_edit.native.setPlaceholderText(self.face.default_text)
        if self.face.path == "slides":
            _add_files_button(edit)

        def to_value(raw: str) -> Any:
            path = Path(raw).expanduser().absolute() if raw.strip() else None
            return path if not several else () if path is None else (path,)

        def to_raw(value: Any) -> str:
            one = value[0] if several and value else value
            return _short(Path(one)) if one else ""

        self._to_raw, self._to_value, self._holder = to_raw, to_value, edit.line_edit
        return edit


def _add_files_button(edit: Any) -> None:
    """Let a field for a folder take a file as well."""
    button = QToolButton()
    button.setText("file")
    button.setToolTip("Choose a file instead of a folder")

    def ask() -> None:
        path, _ = QFileDialog.getOpenFileName(button, "Choose a file", "")
        if path:
            edit.value = path

    button.clicked.connect(ask)
    edit.native.layout().addWidget(button)


def _short(path: Path) -> str:
    """A path as people write it: fields are narrow."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def _decimals(face: Face) -> int:
    if face.unit == "min":
        return 1
    if face.default is None:
        return RATE_DECIMALS if face.is_by_others else FINE_DECIMALS
    return max(DECIMALS, len(f"{face.default:.6f}".rstrip("0").partition(".")[2]))


def _text_of(value: Any) -> str:
    texts = (f"{one:.4g}" if isinstance(one, float) else str(one) for one in value or ())
    return ", ".join(texts)


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
