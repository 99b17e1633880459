"""The dock's first page: what to learn from, with which settings, and the button that starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGroupBox, QWidget

from histosam_core.errors import HistoSamError
from histosam_core.training.config import TrainConfig
from histosam_core.training.recipes import Recipe, recipe_of
from histosam_core.training.scenarios import SCENARIOS
from napari_histosam.finetune.annotations import write_accepted
from napari_histosam.finetune.choices import Choices, default_settings, free_run_folder
from napari_histosam.finetune.data_panel import DataPanel
from napari_histosam.finetune.estimate import estimate
from napari_histosam.widgets.form import SettingsForm, StartPanel
from napari_histosam.widgets.notices import licences_accepted
from napari_histosam.widgets.parts import DEVICES, stacked

FRONT = ("model", "scenario", "epochs", "max_minutes", "batch_size", "device", "out")
CAPTIONS: Mapping[str, Mapping[Any, str]] = {
    "device": DEVICES,
    "epochs": {None: "automatic"},
    "max_minutes": {None: "none"},
    "max_steps_per_epoch": {None: "all"},
    "validation_limit": {None: "all"},
    "layer_decay": {None: "all alike"},
    "patience": {None: "never"},
    "precision": {
        "fp32": "32 bits: exact",
        "bf16": "bf16: faster on a recent GPU",
        "fp16": "fp16: faster on an older CUDA GPU",
    },
}


class SettingsPanel(QWidget):
    """Chooses what a fine-tuning is started with, and checks it before the start.

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
        self.form = SettingsForm(TrainConfig, FRONT, skip=("patches",), captions=CAPTIONS)
        self.start_panel = StartPanel("Start", self._check, self.start)
        group = QGroupBox("Model")
        stacked(group, self.form, margin=9)
        column = stacked(self, self.data_panel, group, self.start_panel, margin=4, spacing=6)
        column.addStretch(1)
        self._named = Path()
        self._fitted: tuple[str, str] | None = None
        self.data_panel.changed.connect(self._on_change)
        self.form.changed.connect(self._on_change)
        self._on_change()

    @property
    def choices(self) -> Choices:
        """What is chosen."""
        data = self.data_panel
        accepted = data.accepted if data.source == "viewer" else []
        model, out = self.form.value("model"), self.form.value("out")
        fixed = {"model": model, "out": out or free_run_folder(model, self.scenario)}
        return Choices(
            source=data.source,
            tuning=self.form.given | fixed,
            data=data.data,
            n_objects=sum(one.n_objects for one in accepted),
        )

    @property
    def scenario(self) -> str | None:
        """The scenario that is chosen; None where the model trains as a whole."""
        is_specialist = recipe_of(self.form.value("model")).is_specialist
        return None if is_specialist else str(self.form.value("scenario"))

    @property
    def verdict(self) -> str:
        """What is wrong; else about how long it will take."""
        return self.start_panel.verdict

    def choose(self, **settings: Any) -> None:
        """Choose from a script: settings of `TrainConfig`, a group's as a mapping."""
        for name, value in settings.items():
            is_group = isinstance(value, Mapping)
            members = {f"{name}.{member}": one for member, one in value.items()} if is_group else {}
            self.form.choose(members or {name: value})

    def check(self) -> bool:
        """Check what is chosen, and show what is wrong or about what it takes."""
        return self.start_panel.check()

    def start(self) -> None:
        """Ask for a job with what is chosen; accepted objects are written down before."""
        choices = self.choices
        if not (self.check() and licences_accepted([choices.model], self)):
            return
        if choices.source == "viewer":
            folder = choices.out.with_name(f"{choices.out.name}-annotations")
            try:
                written = write_accepted(self.data_panel.accepted, folder)
            except HistoSamError as error:
                self.failed.emit(str(error))
                return
            slides, annotations = zip(*written, strict=True)
            pairs = {"slides": slides, "annotations": annotations}
            choices = replace(choices, data={**choices.data, **pairs})
        self.started.emit(choices)

    def refresh(self) -> None:
        """Look again at what the viewer holds, which models there are, which folder is free."""
        self.data_panel.refresh()
        self.form.widget("model").refresh()
        self._on_change()

    def _check(self) -> tuple[str, str]:
        choices = self.choices
        problem = choices.problem()
        for part in (self.form, self.data_panel):
            part.mark(problem)
        return problem, "" if problem else estimate(choices)

    def _on_change(self) -> None:
        model, source = self.form.value("model"), self.data_panel.source
        recipe = recipe_of(model)
        if (model, source) != self._fitted:
            self._fitted = model, source
            kind = "specialist" if recipe.is_specialist else "sam"
            self.form.fit(default_settings(source, model), kind)
        scenario = self.scenario
        known = SCENARIOS.get(scenario or "")
        self.form.note("scenario", known.explanation if known else "")
        self.form.note("model", "" if scenario else _explanation(recipe))
        if self.form.value("out") in (None, self._named):  # no folder that the user named
            self._named = free_run_folder(model, scenario)
            self.form.choose({"out": self._named})
        self.start_panel.check_soon()


def _explanation(recipe: Recipe) -> str:
    """A specialist's training, in a line."""
    height, width = recipe.crop_size or (0, 0)
    return (
        f"Trains all of it on crops of {height} x {width} px, with {recipe.title}'s own losses, "
        "clicks and rates; it has no scenarios."
    )
