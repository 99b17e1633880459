"""Settings that few need, folded away; made when they are first unfolded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from histosam_core.model.registry.registry import BUNDLED
from histosam_core.training.recipes import recipe_of

__all__ = ["AdvancedPanel"]


@dataclass(frozen=True, slots=True)
class _Number:
    """A setting that is a number; `none` is shown where it is left out, at the least value."""

    name: str
    caption: str
    tip: str
    least: float
    most: float
    decimals: int = 0
    none: str = ""


NUMBERS = (
    _Number("learning_rate", "Learning rate", "Adam's, after the warm-up.", 1e-6, 1.0, 6),
    _Number(
        "patience", "Early stop", "End when so many validations in a row were no better.",
        0, 1000, 0, "never",
    ),
    _Number(
        "validation_limit", "Validation patches", "Clicked on after each epoch, spread evenly.",
        0, 1_000_000, 0, "all",
    ),
    _Number("validation_clicks", "Validation clicks", "Click budget of each of them.", 1, 100),
    _Number(
        "augment_variants", "Variants", "Augmented variants of each patch whose embeddings are "
        "kept while the encoder is frozen; 0 draws afresh each time, which is slow.", 0, 1000,
    ),
    _Number("cache_mb", "Memory for them", "MiB of embeddings kept in memory.", 0, 1_000_000),
    _Number("cache_disk_mb", "Disk for them", "MiB kept beside the patches.", 0, 100_000_000),
    _Number("accumulate_steps", "Batches a step", "Whose gradients are added up.", 1, 1000),
    _Number("seed", "Seed", "Of every draw: the same one, the same run on a CPU.", 0, 2**31 - 1),
    _Number("workers", "Reading threads", "That read and augment patches ahead.", 0, 64),
)  # fmt: skip
PRECISIONS = {
    "fp32": "32 bits: exact",
    "bf16": "bf16: faster on a recent GPU",
    "fp16": "fp16: faster on an older CUDA GPU",
}
EARLY_FEATURES = {
    None: "in histosam, and where the model has them",
    True: "on: finer masks of tissue like your own",
    False: "off",
}
SWITCHES = {
    "half_embeddings": ("Embeddings in half precision", "Twice as many are kept."),
    "tensorboard": ("Log for TensorBoard", "Into the run folder, beside log.csv."),
}
OF_SAM = frozenset(
    {"early_features", "augment_variants", "cache_mb", "cache_disk_mb", "half_embeddings"}
)
"""Settings that a specialist does not have."""
OF_SPECIALISTS = frozenset({"crop_size"})
AUGMENTATIONS = {
    "dihedral": "Flips and quarter turns",
    "resize": "Scale",
    "brightness_contrast": "Brightness and contrast",
    "rgb_shift": "Colour shift",
    "stain": "Stain (haematoxylin and eosin)",
}


class AdvancedPanel(QWidget):
    """A line that unfolds into settings with the defaults of `TrainConfig` for a model."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._model = BUNDLED
        self._defaults: dict[str, Any] = {}
        self._rows: dict[str, tuple[QWidget, ...]] = {}
        self._readers: dict[str, Callable[[], Any]] = {}
        self._writers: dict[str, Callable[[Any], None]] = {}
        self._more: QLineEdit | None = None
        self._fold = QToolButton()
        self._fold.setText("Advanced settings")
        self._fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._fold.setArrowType(Qt.ArrowType.RightArrow)
        self._fold.setCheckable(True)
        self._fold.setAutoRaise(True)
        self._fold.toggled.connect(self.unfold)
        self._body: QWidget | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addWidget(self._fold)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings by `TrainConfig`'s names that are not the model's defaults."""
        found = {
            name: read()
            for name, read in self._readers.items()
            if self._applies(name) and read() != self._defaults[name]
        }
        for word in self._more.text().split() if self._more is not None else ():
            name, _, value = word.partition("=")
            found[name] = _value(value)
        return found

    def choose(self, **settings: Any) -> None:
        """Choose from a script; "augment.NAME" too."""
        self.unfold(True)
        for name, value in settings.items():
            self._writers[name](value)

    def fit(self, model: str) -> None:
        """Show what applies to a model, with its defaults; what the user has changed stays."""
        self._model = model
        if self._body is None:
            return
        before, self._defaults = self._defaults, _defaults(model)
        for name, read in self._readers.items():
            if self._defaults[name] != before[name] and read() == before[name]:
                self._writers[name](self._defaults[name])
        self._show_rows()

    def unfold(self, is_open: bool) -> None:
        """Show the settings, or put them away; what was chosen stays."""
        if is_open and self._body is None:
            self._body = self._make()
            self._column.addWidget(self._body)
        if self._body is not None:
            self._body.setVisible(is_open)
        self._fold.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        if self._fold.isChecked() != is_open:
            self._fold.setChecked(is_open)

    def _make(self) -> QWidget:
        self._defaults = defaults = _defaults(self._model)
        body = QWidget()
        form = QFormLayout(body)
        form.setContentsMargins(12, 0, 0, 0)
        form.setVerticalSpacing(3)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        for number in NUMBERS:
            self._add(form, number.name, self._spin(number, defaults[number.name]), number.caption)
        self._add(form, "crop_size", self._crop_line(), "Crop")
        boxes: dict[str, tuple[str, Mapping[Any, str]]] = {
            "early_features": ("Early features", EARLY_FEATURES),
            "precision": ("Precision", PRECISIONS),
        }
        for name, (caption, captions) in boxes.items():
            self._add(form, name, self._box(name, captions, defaults[name]), caption)
        for name, (caption, tip) in SWITCHES.items():
            self._add(form, name, self._switch(name, caption, tip, bool(defaults[name])))
        form.addRow(QLabel("Augmentation"))
        for name, caption in AUGMENTATIONS.items():
            key = f"augment.{name}"
            form.addRow(self._switch(key, caption, "Drawn for each variant.", defaults[key]))
        self._more = QLineEdit()
        self._more.setPlaceholderText("NAME=VALUE NAME=VALUE")
        self._more.setToolTip("Any other setting; docs/finetuning.md lists them")
        self._more.textChanged.connect(lambda _: self.changed.emit())
        self._writers["more"] = self._more.setText
        form.addRow("Others", self._more)
        self._show_rows()
        return body

    def _add(self, form: QFormLayout, name: str, field: QWidget, caption: str = "") -> None:
        """Add a row that can be put away where it does not apply."""
        if not caption:
            form.addRow(field)
            self._rows[name] = (field,)
            return
        form.addRow(caption, field)
        self._rows[name] = (form.labelForField(field), field)

    def _applies(self, name: str) -> bool:
        is_specialist = recipe_of(self._model).is_specialist
        return name not in (OF_SAM if is_specialist else OF_SPECIALISTS)

    def _show_rows(self) -> None:
        for name, parts in self._rows.items():
            for part in parts:
                part.setVisible(self._applies(name))

    def _crop_line(self) -> QLineEdit:
        line = QLineEdit()
        line.setPlaceholderText("HEIGHTxWIDTH; empty: the model's own")
        line.setToolTip("Pixels of what is cut out of a patch; smaller ones train faster")
        line.textChanged.connect(lambda _: self.changed.emit())

        def read() -> Any:
            text = line.text().lower().replace(" ", "")
            sides = text.split("x")
            if not text:
                return self._defaults["crop_size"]
            if len(sides) > 2 or not all(side.isdecimal() for side in sides):
                return text  # the check says what is wrong with it
            return [int(sides[0]), int(sides[-1])]

        def write(value: Any) -> None:
            own = value == self._defaults["crop_size"]
            line.setText("" if own else "x".join(map(str, value)))

        self._keep("crop_size", read, write)
        return line

    def _spin(self, number: _Number, default: Any) -> QWidget:
        if number.decimals:
            spin = QDoubleSpinBox()
            spin.setDecimals(number.decimals)
            spin.setRange(number.least, number.most)
            spin.setSingleStep(10.0 ** -min(number.decimals, 4))
        else:
            spin = QSpinBox()
            spin.setRange(int(number.least), int(number.most))
        spin.setToolTip(number.tip)
        if number.none:
            spin.setSpecialValueText(number.none)
        spin.setValue(number.least if default is None else default)
        spin.valueChanged.connect(lambda _: self.changed.emit())

        def read() -> Any:
            value = spin.value()
            return None if number.none and value == number.least else value

        self._keep(number.name, read, spin.setValue)
        return spin

    def _box(self, name: str, captions: Mapping[Any, str], default: Any) -> QComboBox:
        box = QComboBox()
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(10)
        for caption in captions.values():
            box.addItem(caption)
        values = list(captions)
        box.setCurrentIndex(values.index(default))
        box.currentIndexChanged.connect(lambda _: self.changed.emit())
        self._keep(
            name,
            lambda: values[box.currentIndex()],
            lambda value: box.setCurrentIndex(values.index(value)),
        )
        return box

    def _switch(self, name: str, caption: str, tip: str, is_on: bool) -> QCheckBox:
        box = QCheckBox(caption)
        box.setToolTip(tip)
        box.setChecked(is_on)
        box.toggled.connect(lambda _: self.changed.emit())
        self._keep(name, box.isChecked, box.setChecked)
        return box

    def _keep(self, name: str, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._readers[name] = read
        self._writers[name] = write


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _defaults(model: str) -> dict[str, Any]:
    """`TrainConfig`'s settings by name where only the model is given."""
    from histosam_core.training.config import TrainConfig

    values = TrainConfig(out=Path("run"), model=model).as_dict()
    augment = values.pop("augment")
    return {**values, **{f"augment.{name}": on for name, on in augment.items()}}
