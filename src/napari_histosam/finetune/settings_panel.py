"""The widget's first page: what to learn from, with which model, and the button that starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGroupBox,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from histosam_core.errors import HistoSamError
from histosam_core.training.recipes import Recipe, recipe_of
from histosam_core.training.scenarios import SCENARIOS
from napari_histosam.finetune.advanced_panel import AdvancedPanel
from napari_histosam.finetune.annotations import write_accepted
from napari_histosam.finetune.choices import Choices, free_run_folder
from napari_histosam.finetune.data_panel import DataPanel
from napari_histosam.finetune.estimate import estimate
from napari_histosam.widgets.licence_question import licences_accepted
from napari_histosam.widgets.model_box import ModelBox
from napari_histosam.widgets.parts import DEVICES
from napari_histosam.widgets.path_row import PathRow

__all__ = ["SettingsPanel"]

DEFAULT_SCENARIO = "refining"
AUTOMATIC_MINUTES = {"viewer": 20.0, "slides": 20.0, "patches": 0.0}
CHECK_MS = 150
"""After the last change, until settings are checked."""
GREY, WRONG = "#8a8f98", "#ff9f1a"


class SettingsPanel(QWidget):
    """Chooses what a fine-tuning is started with, and says beforehand what stands against it.

    Parameters
    ----------
    viewer
        napari's; its accepted objects are offered.
    """

    started = Signal(object)
    failed = Signal(str)

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.data_panel = DataPanel(viewer)
        self._model = ModelBox()
        self._scenario, self._device = QComboBox(), QComboBox()
        for box in (self._scenario, self._device):
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.setMinimumContentsLength(12)
            box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for scenario in SCENARIOS.values():
            self._scenario.addItem(scenario.name, scenario.name)
        self._scenario.setCurrentIndex(self._scenario.findData(DEFAULT_SCENARIO))
        self._explained = QLabel()
        self._explained.setWordWrap(True)
        self._explained.setStyleSheet(f"color: {GREY};")
        for key, text in DEVICES.items():
            self._device.addItem(text, key)
        self._epochs, self._batch = QSpinBox(), QSpinBox()
        self._epochs.setRange(0, 10_000)
        self._epochs.setSpecialValueText("automatic")
        self._epochs.setToolTip("Passes over the patches: 30, and more where patches are few")
        self._minutes = QDoubleSpinBox()
        self._minutes.setRange(0, 100_000)
        self._minutes.setDecimals(1)
        self._minutes.setSpecialValueText("none")
        self._minutes.setSuffix(" min")
        self._minutes.setToolTip(
            "Training ends within it, and the learning rate falls with it; counting clicks on a "
            "held-out part comes on top"
        )
        self._batch.setRange(1, 1024)
        self._batch.setValue(8)
        self._batch.setToolTip("Patches a step; halve it where memory runs out")
        self._out = PathRow("Choose a folder for the run", "run folder")
        self.advanced_panel = AdvancedPanel()
        self._verdict = QLabel()
        self._verdict.setWordWrap(True)
        self.start_button = QPushButton("Start")
        self.start_button.setToolTip("Runs in a process of its own: napari may be closed meanwhile")
        self.start_button.clicked.connect(self.start)

        model_group = QGroupBox("Model")
        form = QFormLayout(model_group)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.setVerticalSpacing(4)
        form.addRow("Start from", self._model)
        form.addRow("Train", self._scenario)
        self._train_label = form.labelForField(self._scenario)
        form.addRow(self._explained)
        form.addRow("Epochs", self._epochs)
        form.addRow("Time limit", self._minutes)
        form.addRow("Batch", self._batch)
        form.addRow("Device", self._device)
        form.addRow("Run folder", self._out)
        form.addRow(self.advanced_panel)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(6)
        for part in (self.data_panel, model_group, self._verdict, self.start_button):
            column.addWidget(part)
        column.addStretch(1)

        self._soon = QTimer(self)
        self._soon.setObjectName("histosam: settings are checked soon")
        self._soon.setSingleShot(True)
        self._soon.setInterval(CHECK_MS)
        self._soon.timeout.connect(self.check)
        self._named = Path()
        self._minutes.setValue(AUTOMATIC_MINUTES[self.data_panel.source])
        self._source = self.data_panel.source
        self._scenario.currentIndexChanged.connect(lambda _: self._on_choice())
        self._model.chosen.connect(lambda _: self._on_choice())
        self.data_panel.changed.connect(self._on_data)
        for part in (self.data_panel, self.advanced_panel, self._out):
            part.changed.connect(self._soon.start)
        for spin in (self._epochs, self._batch, self._minutes):
            spin.valueChanged.connect(lambda _: self._soon.start())
        self._device.currentIndexChanged.connect(lambda _: self._soon.start())
        self._on_choice()

    @property
    def choices(self) -> Choices:
        """What is chosen."""
        data = self.data_panel
        accepted = data.accepted if data.source == "viewer" else []
        return Choices(
            source=data.source,
            out=self._out.path or free_run_folder(self._model.value, self.scenario),
            patches=data.patches,
            slides=data.slides if data.source == "slides" else (),
            annotations=data.annotations if data.source == "slides" else (),
            n_objects=sum(one.n_objects for one in accepted),
            label=data.label,
            is_all_outlined=data.is_all_outlined,
            slide_mpp=next((one.source.slide_mpp for one in accepted), None),
            model=self._model.value,
            scenario=self.scenario,
            epochs=self._epochs.value() or None,
            minutes=self._minutes.value() or None,
            batch_size=self._batch.value(),
            device=self._device.currentData(),
            settings=self.advanced_panel.settings,
        )

    @property
    def scenario(self) -> str | None:
        """The scenario that is chosen; None where the model trains as a whole."""
        if recipe_of(self._model.value).is_specialist:
            return None
        chosen: str = self._scenario.currentData()
        return chosen

    @property
    def verdict(self) -> str:
        """What stands against a start; else about how long it will take."""
        return str(self._verdict.text())

    def choose(
        self,
        *,
        model: str | Path | None = None,
        scenario: str | None = None,
        epochs: int | None = None,
        minutes: float | None = None,
        batch_size: int | None = None,
        device: str | None = None,
        out: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Choose from a script."""
        if model is not None:
            self._model.choose(model)
        if scenario is not None:
            self._scenario.setCurrentIndex(self._scenario.findData(scenario))
        if epochs is not None:
            self._epochs.setValue(epochs)
        if minutes is not None:
            self._minutes.setValue(minutes)
        if batch_size is not None:
            self._batch.setValue(batch_size)
        if device is not None:
            self._device.setCurrentIndex(self._device.findData(device))
        if out is not None:
            self._out.path = out
        if settings:
            self.advanced_panel.choose(**settings)

    def check(self) -> bool:
        """Check what is chosen, and show what stands against it or about what it takes."""
        self._soon.stop()
        choices = self.choices
        problem = choices.problem()
        self._verdict.setText(problem or estimate(choices))
        self._verdict.setStyleSheet(f"color: {WRONG if problem else GREY};")
        self.start_button.setEnabled(not problem)
        return not problem

    def start(self) -> None:
        """Ask for a job with what is chosen; accepted objects are written down before."""
        choices = self.choices
        if not (self.check() and licences_accepted([choices.model], self)):
            return
        if choices.source == "viewer":
            beside = choices.out.with_name(f"{choices.out.name}-annotations")
            try:
                written = write_accepted(self.data_panel.accepted, beside)
            except HistoSamError as error:
                self.failed.emit(str(error))
                return
            slides, annotations = zip(*written, strict=True)
            choices = replace(choices, slides=slides, annotations=annotations)
        self.started.emit(choices)

    def refresh(self) -> None:
        """Look again at what the viewer holds, which models there are, which folder is free."""
        self.data_panel.refresh()
        self._model.refresh()
        self._on_choice()

    def _on_data(self) -> None:
        """Another source has another time limit, unless the user has set one."""
        before, self._source = self._source, self.data_panel.source
        if self._minutes.value() == AUTOMATIC_MINUTES[before]:
            self._minutes.setValue(AUTOMATIC_MINUTES[self._source])

    def _on_choice(self) -> None:
        recipe, scenario = recipe_of(self._model.value), self.scenario
        self._explained.setText(
            _explanation(recipe) if scenario is None else SCENARIOS[scenario].explanation
        )
        for part in (self._train_label, self._scenario):
            part.setVisible(scenario is not None)
        self.advanced_panel.fit(self._model.value)
        if self._out.path in (None, self._named):  # no folder that the user named
            self._named = free_run_folder(self._model.value, scenario)
            self._out.path = self._named
        self._soon.start()


def _explanation(recipe: Recipe) -> str:
    """What a specialist's training is, in a line."""
    height, width = recipe.crop_size or (0, 0)
    return (
        f"Trains all of it on crops of {height} x {width} px, with {recipe.title}'s own losses, "
        "clicks and rates; it has no scenarios."
    )
