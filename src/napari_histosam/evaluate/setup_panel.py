"""The dock's first page: which models, on which data, and the button that starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QGroupBox, QWidget

from histosam_core.errors import ConfigError
from histosam_core.evaluation.settings import EvaluateSettings
from histosam_core.model.registry.model_choice import ModelChoice, parse_model
from histosam_core.model.registry.registry import BUNDLED
from napari_histosam.evaluate.choices import Choices, data_in, free_results_folder
from napari_histosam.widgets.form import SettingsForm, StartPanel
from napari_histosam.widgets.model_box import CHECKPOINTS, model_lines
from napari_histosam.widgets.notices import licences_accepted
from napari_histosam.widgets.parts import (
    DEVICES,
    FROM_FILE,
    ListLine,
    TickedList,
    beside,
    last_parts,
    push_button,
    stacked,
)

MODELS_PX, DATA_PX = 108, 76
DOTS = "\N{HORIZONTAL ELLIPSIS}"
OF_SLIDES = ("annotations", "labels", "slide_mpp", "min_area_mm2")
OF_PATCHES = ("batch_size", "embeddings")
OF_DRAWS = ("sigma_px", "repeats", "seed")
REPEATS = 5
CAPTIONS: Mapping[str, Mapping[Any, str]] = {
    "device": DEVICES,
    "limit": {None: "all"},
    "slide_mpp": {None: FROM_FILE},
    "labels": {None: "by its name: tumour, carcinoma, metastasis"},
    "user": {
        "ideal": "Ideal: the middle of the deepest error",
        "jitter": "Aims there and misses",
        "region": "Clicks anywhere in that error",
    },
}


class SetupPanel(QWidget):
    """Chooses what is evaluated, and checks it before the start."""

    started = Signal(object)
    failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._model_files: list[ModelChoice] = []
        self._data: dict[str, str] = {}
        self.models = TickedList(MODELS_PX)
        self.data = TickedList(DATA_PX)
        self.form = SettingsForm(
            EvaluateSettings,
            ("annotations", "labels", "slide_mpp", "out"),
            skip=("models", "patches", "slides"),
            captions=CAPTIONS,
        )
        self.form.fit({"repeats": REPEATS})
        self.start_panel = StartPanel("Run", self._check, self.start)
        add_models = push_button(
            f"Add a checkpoint{DOTS}",
            "One fine-tuned here, SAM's, RITM's, FocalClick's or SimpleClick's",
            self._ask_models,
        )
        add_patches = push_button(
            f"Add patches{DOTS}",
            "A folder that `histosam prepare` wrote, or one split of it",
            lambda: self._ask_data("Choose patches"),
        )
        add_slides = push_button(
            f"Add slides{DOTS}",
            "A folder of slides with annotations: every outlined tumour region is clicked on as a "
            "whole",
            lambda: self._ask_data("Choose a folder of annotated slides"),
        )
        models, data = QGroupBox("Models"), QGroupBox("Data")
        settings = QGroupBox("Settings")
        stacked(models, self.models, add_models, margin=9)
        stacked(data, self.data, beside(add_patches, add_slides), margin=9)
        stacked(settings, self.form, margin=9)
        column = stacked(self, models, data, settings, self.start_panel, margin=4, spacing=6)
        column.addStretch(1)
        self._named: Path | None = None
        for part in (self.models, self.data, self.form):
            part.changed.connect(self._on_change)
        self.refresh()
        self.models.tick([BUNDLED])
        self._on_change()

    @property
    def choices(self) -> Choices:
        """What is chosen."""
        return Choices(
            models=tuple(self.models.ticked),
            out=self.form.value("out") or free_results_folder(),
            patches=tuple(self._ticked("patches")),
            slides=next(iter(self._ticked("slides")), None),
            given={name: one for name, one in self.form.given.items() if name != "out"},
        )

    @property
    def verdict(self) -> str:
        """What is wrong; else what a run will do."""
        return self.start_panel.verdict

    def choose(
        self,
        *,
        models: Sequence[str | Path] | None = None,
        data: Sequence[Path] = (),
        **settings: Any,
    ) -> None:
        """Choose from a script; models may be names or checkpoints' paths, see `parse_model`.

        `settings` are those of `EvaluateSettings`.

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
        self.form.choose(settings)

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
        self.data.show_lines(
            [ListLine(path, f"{last_parts(path)} ({k})", path) for path, k in self._data.items()]
        )
        self.data.tick([path for path, k in self._data.items() if k != kind], False)
        self.data.tick([str(path) for path, is_meant in found.items() if is_meant])

    def refresh(self) -> None:
        """Look again at which models there are and which folder is free."""
        self.models.show_lines(model_lines(self._model_files, by_decoder=True))
        if self.form.value("out") in (None, self._named):  # no folder that the user named
            self._named = free_results_folder()
            self.form.choose({"out": self._named})
        self.start_panel.check_soon()

    def check(self) -> bool:
        """Check what is chosen, and show what is wrong or what will be done."""
        return self.start_panel.check()

    def start(self) -> None:
        """Ask for a job with what is chosen."""
        if self.check() and licences_accepted(self.choices.models, self):
            self.started.emit(self.choices)

    def _check(self) -> tuple[str, str]:
        choices = self.choices
        problem = choices.problem()
        self.form.mark(problem)
        return problem, "" if problem else choices.plan

    def _on_change(self) -> None:
        """Hide what does not apply."""
        user = self.form.value("user")
        of_user = () if user == "jitter" else OF_DRAWS if user == "ideal" else ("sigma_px",)
        self.form.hide_rows((*of_user, *(OF_PATCHES if self._ticked("slides") else OF_SLIDES)))
        self.start_panel.check_soon()

    def _ticked(self, kind: str) -> list[Path]:
        return [Path(path) for path in self.data.ticked if self._data[path] == kind]

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
