"""The widget's first page: which models, on which data, and the button that starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from histosam_core.errors import ConfigError
from histosam_core.model.registry.model_choice import (
    DECODERS,
    ModelChoice,
    held_decoders,
    parse_model,
)
from histosam_core.model.registry.own_models import list_own_models
from histosam_core.model.registry.registry import BUNDLED, list_models
from napari_histosam.evaluate.advanced_panel import AdvancedPanel
from napari_histosam.evaluate.choices import Choices, data_in, free_results_folder
from napari_histosam.widgets.licence_question import licences_accepted
from napari_histosam.widgets.model_lines import model_state, model_tip
from napari_histosam.widgets.parts import FROM_FILE, push_button
from napari_histosam.widgets.path_row import PathRow
from napari_histosam.widgets.ticked_list import TickedList, TickLine

if TYPE_CHECKING:
    from histosam_core.model.sam.network import Decoder

__all__ = ["SetupPanel"]

CHECKPOINTS = "Checkpoints (*.safetensors *.pth *.pt)"
MODELS_PX, DATA_PX = 108, 76
CHECK_MS = 150
"""After the last change, until settings are checked."""
GREY, WRONG = "#8a8f98", "#ff9f1a"
DOTS = "\N{HORIZONTAL ELLIPSIS}"


class SetupPanel(QWidget):
    """Chooses what is evaluated, and says beforehand what stands against it."""

    started = Signal(object)
    failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._model_files: list[ModelChoice] = []
        self._data: dict[str, str] = {}
        self.models = TickedList(MODELS_PX)
        self.data = TickedList(DATA_PX)
        self._annotations = PathRow("Choose the annotations' folder", "beside the slides")
        self._slide_mpp, self._labels = QDoubleSpinBox(), QLineEdit()
        self._out = PathRow("Choose a folder for the results", "results folder")
        self.advanced_panel = AdvancedPanel()
        self._verdict = QLabel()
        self._verdict.setWordWrap(True)
        self.start_button = push_button(
            "Run", "Runs in a process of its own: napari may be closed meanwhile", self.start
        )

        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(6)
        column.addWidget(self._model_group())
        column.addWidget(self._data_group())
        column.addWidget(self._more_group())
        for part in (self._verdict, self.start_button):
            column.addWidget(part)
        column.addStretch(1)

        self._soon = QTimer(self)
        self._soon.setObjectName("histosam: choices are checked soon")
        self._soon.setSingleShot(True)
        self._soon.setInterval(CHECK_MS)
        self._soon.timeout.connect(self.check)
        self._named: Path | None = None
        parts = (self.models, self.data, self._annotations, self._out, self.advanced_panel)
        for part in parts:
            part.changed.connect(self._soon.start)
        self._labels.textChanged.connect(lambda _: self._soon.start())
        self._slide_mpp.valueChanged.connect(lambda _: self._soon.start())
        self.refresh()
        self.models.tick([BUNDLED])

    @property
    def choices(self) -> Choices:
        """What is chosen."""
        ticked = self.data.ticked
        slides = [Path(path) for path in ticked if self._data[path] == "slides"]
        return Choices(
            models=tuple(self.models.ticked),
            out=self._out.path or free_results_folder(),
            patches=tuple(Path(path) for path in ticked if self._data[path] == "patches"),
            slides=slides[0] if slides else None,
            annotations=self._annotations.path if slides else None,
            slide_mpp=(self._slide_mpp.value() or None) if slides else None,
            labels=_words(self._labels.text()) if slides else (),
            **self.advanced_panel.settings,
        )

    @property
    def verdict(self) -> str:
        """What stands against a start; else what it will do."""
        return str(self._verdict.text())

    def choose(
        self,
        *,
        models: Sequence[str | Path] | None = None,
        data: Sequence[Path] = (),
        annotations: Path | None = None,
        out: Path | None = None,
        **settings: Any,
    ) -> None:
        """Choose from a script; models may be names or checkpoints' paths, see `parse_model`.

        `settings` are those of `AdvancedPanel.choose`.

        Raises
        ------
        HistoSamError
            A model has no such decoder, or there is no folder of `data`.
        """
        if models is not None:
            for model in map(str, models):
                if model not in self.models.values:
                    self._model_files.append(parse_model(model))
            self.refresh()
            self.models.tick(self.models.ticked, False)
            self.models.tick([str(model) for model in models])
        for folder in data:
            self.add_data(folder)
        if annotations is not None:
            self._annotations.path = annotations
        if out is not None:
            self._out.path = out
        self.advanced_panel.choose(**settings)

    def add_data(self, folder: Path) -> None:
        """Add patches, or a folder of slides; of several splits the test split is ticked.

        A folder of slides replaces the one before, and unticks patches; patches untick slides.

        Raises
        ------
        ConfigError
            There is no such folder.
        """
        kind, found = data_in(folder)
        if kind == "slides":
            self._data = {path: k for path, k in self._data.items() if k != "slides"}
        self._data |= {str(path): kind for path in found}
        self._show_data()
        self.data.tick([path for path, k in self._data.items() if k != kind], False)
        self.data.tick([str(path) for path, is_meant in found.items() if is_meant])
        self._of_slides.setVisible("slides" in self._data.values())

    def refresh(self) -> None:
        """Look again at which models there are and which folder is free."""
        lines: list[TickLine] = []
        own_models = {own.name: own for own in list_own_models()}
        for own in own_models.values():
            lines += _by_decoder(ModelChoice(own.name), own.name, "your own", str(own.path))
        for spec in list_models():
            if spec.name not in own_models:
                choice = ModelChoice(spec.name)
                lines += _by_decoder(choice, spec.name, model_state(spec), model_tip(spec))
        for choice in self._model_files:
            lines += _by_decoder(choice, _short(Path(choice.source)), "", choice.source)
        # What is here comes before what is still to be downloaded.
        away = {spec.name for spec in list_models() if not spec.is_here}
        lines.sort(key=lambda line: parse_model(line.value).source in away)
        self.models.show_lines(lines)
        if self._out.path in (None, self._named):  # no folder that the user named
            self._named = free_results_folder()
            self._out.path = self._named
        self._soon.start()

    def check(self) -> bool:
        """Check what is chosen, and show what stands against it or what will be done."""
        self._soon.stop()
        choices = self.choices
        problem = choices.problem()
        self._verdict.setText(problem or _plan(choices))
        self._verdict.setStyleSheet(f"color: {WRONG if problem else GREY};")
        self.start_button.setEnabled(not problem)
        return not problem

    def start(self) -> None:
        """Ask for a job with what is chosen."""
        if self.check() and licences_accepted(self.choices.models, self):
            self.started.emit(self.choices)

    def _model_group(self) -> QGroupBox:
        group = QGroupBox("Models")
        column = QVBoxLayout(group)
        column.setSpacing(4)
        column.addWidget(self.models)
        column.addWidget(
            push_button(
                f"Add a checkpoint{DOTS}",
                "One fine-tuned here, SAM's, RITM's, FocalClick's or SimpleClick's",
                self._ask_models,
            )
        )
        return group

    def _data_group(self) -> QGroupBox:
        group = QGroupBox("Data")
        column = QVBoxLayout(group)
        column.setSpacing(4)
        column.addWidget(self.data)
        row = QHBoxLayout()
        row.addWidget(
            push_button(
                f"Add patches{DOTS}",
                "A folder that `histosam prepare` wrote, or one split of it",
                lambda: self._ask_data("Choose patches"),
            )
        )
        row.addWidget(
            push_button(
                f"Add slides{DOTS}",
                "A folder of slides with annotations: every outlined tumour region is clicked on "
                "as a whole",
                lambda: self._ask_data("Choose a folder of annotated slides"),
            )
        )
        column.addLayout(row)
        column.addWidget(self._slides_body())
        return group

    def _slides_body(self) -> QWidget:
        """What is asked of slides alone; hidden until there are some."""
        self._slide_mpp.setRange(0.0, 20.0)
        self._slide_mpp.setDecimals(4)
        self._slide_mpp.setSingleStep(0.05)
        self._slide_mpp.setSpecialValueText(FROM_FILE)
        self._slide_mpp.setSuffix(" um per pixel")
        self._slide_mpp.setToolTip("Of the slides at full resolution, where their files state none")
        self._labels.setPlaceholderText("by its name: tumour, carcinoma, metastasis")
        self._labels.setToolTip("The classes to click on, with commas between them")
        body = QWidget()
        form = QFormLayout(body)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(3)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Annotations", self._annotations)
        form.addRow("Class", self._labels)
        form.addRow("Scale", self._slide_mpp)
        body.setVisible(False)
        self._of_slides = body
        return body

    def _more_group(self) -> QGroupBox:
        group = QGroupBox("Results")
        column = QVBoxLayout(group)
        column.setSpacing(4)
        column.addWidget(self._out)
        column.addWidget(self.advanced_panel)
        return group

    def _show_data(self) -> None:
        self.data.show_lines(
            [
                TickLine(path, f"{_short(Path(path))} ({kind})", path)
                for path, kind in self._data.items()
            ]
        )

    def _ask_models(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Choose checkpoints", "", CHECKPOINTS)
        if paths:
            self.choose(models=[*self.models.ticked, *paths])

    def _ask_data(self, caption: str) -> None:
        folder = QFileDialog.getExistingDirectory(self, caption, "")
        if folder:
            try:
                self.add_data(Path(folder))
            except ConfigError as error:
                self.failed.emit(str(error))


def _by_decoder(choice: ModelChoice, title: str, where: str, tip: str) -> list[TickLine]:
    """Return a line for a model, or one for each of its decoders where it has several."""

    def line(choice: ModelChoice, decoder: Decoder | None, more: str = "") -> TickLine:
        words = title if decoder is None else f"{title}, {DECODERS[decoder]}"
        return TickLine(str(choice), f"{words} ({where})" if where else words, tip + more)

    if choice.decoder is not None:
        return [line(choice, choice.decoder)]
    usual, *others = held_decoders(choice.source) or (None,)
    if not others:
        return [line(choice, None)]
    return [
        line(choice, usual, "\nThe decoder that it uses unless another one is asked for"),
        *(line(replace(choice, decoder=one), one, "\nIts other decoder") for one in others),
    ]


def _words(text: str) -> tuple[str, ...]:
    """Return the words between commas."""
    return tuple(word for part in text.split(",") if (word := part.strip()))


def _short(path: Path) -> str:
    """Return a path's last two parts."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def _plan(choices: Choices) -> str:
    """Say what a run will do."""

    def count(n: int, what: str) -> str:
        return f"{n} {what}{'s' if n != 1 else ''}"

    n_models = len(choices.models)
    data: Any = count(len(choices.patches), "data set") if choices.patches else "whole slides"
    limit = f", at most {choices.limit} of each" if choices.limit else ""
    return f"{count(n_models, 'model')} on {data}{limit}, up to {choices.max_clicks} clicks each"
