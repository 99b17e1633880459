"""The dock's first page: what to learn from, with which settings, and the button that starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QGroupBox, QWidget

from histosam_core.errors import HistoSamError
from histosam_core.improve.settings import ImproveSettings
from histosam_core.training.config import TrainConfig
from histosam_core.training.recipes import SCENARIOS, Recipe, recipe_of
from napari_histosam.finetune.annotations import Accepted, accepted_in, write_accepted
from napari_histosam.finetune.choices import Choices, default_settings, free_run_folder
from napari_histosam.finetune.estimate import estimate
from napari_histosam.widgets.form import SettingsForm, StartPanel
from napari_histosam.widgets.notices import licences_accepted
from napari_histosam.widgets.parts import (
    DEVICES,
    FROM_FILE,
    GREY,
    TOOLTIP,
    narrow_box,
    stacked,
    wrapped,
)

if TYPE_CHECKING:
    from napari_histosam.finetune.choices import Source

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


SOURCES: dict[Source, tuple[str, str]] = {
    "viewer": (
        "My annotations in this viewer",
        "The objects accepted in Outline by clicks. What they surround, and the tissue round "
        "them, is cut into patches; a part is held out to prove the new model on.",
    ),
    "slides": (
        "Annotated slides",
        "A slide or a folder of slides, with GeoJSON, ASAP or ImageScope XML, or mask TIFF by the "
        "same name. Slides are held out to prove the new model on.",
    ),
    "patches": (
        "Patches",
        "A folder that `histosam prepare` wrote, with train.zarr and validation.zarr.",
    ),
}
OF_SLIDES = ("slides", "annotations")
ELSEWHERE = ("out", "model", "scenario", "minutes", "device", "seed", "tuning", "known_within_um")
"""Settings of an improvement that have no row here."""
DATA_CAPTIONS = {
    "slide_mpp": {None: FROM_FILE},
    "labels": {None: "by its name: tumour, carcinoma, metastasis"},
    "test_limit": {None: "all"},
}


class DataPanel(QGroupBox):
    """Chooses what a model learns from; the objects accepted in the viewer are offered."""

    changed = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__("Learn from")
        self._viewer = viewer
        self._source = narrow_box({key: title for key, (title, _) in SOURCES.items()})
        for row, (_, tip) in enumerate(SOURCES.values()):
            self._source.setItemData(row, tip, TOOLTIP)
        self._about, self._objects = wrapped(GREY), wrapped()
        self.slides_form = SettingsForm(
            ImproveSettings,
            (*OF_SLIDES, "labels", "slide_mpp"),
            skip=ELSEWHERE,
            captions=DATA_CAPTIONS,
            others="Cutting and proof",
        )
        self.patches_form = SettingsForm(TrainConfig, ("patches",), others="")
        self._all = QCheckBox("All tumour is outlined")
        self._all.setToolTip(
            "Everything outside the outlines is known to be no tumour; else only what lies near an "
            "outline is"
        )
        texts = self._source, self._about, self._objects
        stacked(self, *texts, self.slides_form, self.patches_form, self._all, margin=9)
        self._source.currentIndexChanged.connect(lambda _: self._on_source())
        for form in (self.slides_form, self.patches_form):
            form.changed.connect(self.changed)
        self._all.toggled.connect(lambda _: self.changed.emit())
        self._on_source()
        self.refresh()

    @property
    def source(self) -> Source:
        """Which kind of data is chosen."""
        source: Source = self._source.currentData()
        return source

    @property
    def accepted(self) -> list[Accepted]:
        """What is accepted in the viewer, of slides that are files."""
        return [one for one in accepted_in(self._viewer) if one.slide is not None]

    @property
    def data(self) -> dict[str, Any]:
        """The settings that say what is learnt from."""
        if self.source == "patches":
            return self.patches_form.given
        found = self.slides_form.given
        if self.source == "viewer":
            mpp = next((one.source.slide_mpp for one in self.accepted), None)
            found |= {} if mpp is None else {"slide_mpp": mpp}
        return found | ({"known_within_um": None} if self._all.isChecked() else {})

    def choose(
        self,
        source: Source,
        *,
        patches: Path | None = None,
        is_all_outlined: bool | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Choose from a script; `settings` are those of `ImproveSettings`."""
        self._source.setCurrentIndex(self._source.findData(source))
        if patches is not None:
            self.patches_form.choose({"patches": patches})
        if is_all_outlined is not None:
            self._all.setChecked(is_all_outlined)
        self.slides_form.choose(settings or {})

    def mark(self, problem: str) -> None:
        """Mark the rows that a message names."""
        for form in (self.slides_form, self.patches_form):
            form.mark(problem)

    def refresh(self) -> None:
        """Show what is accepted in the viewer now."""
        lines = []
        for one in accepted_in(self._viewer):
            count = f"{one.n_objects} object{'s' * (one.n_objects != 1)}"
            reason = "" if one.slide is not None else " (left out: the image is no file)"
            lines.append(f"{one.source.slide_name}: {count}{reason}")
        text = "\n".join(lines) or "Nothing is accepted yet: open Outline by clicks first."
        if text != self._objects.text():
            self._objects.setText(text)
            self.changed.emit()

    def _on_source(self) -> None:
        source = self.source
        self._about.setText(SOURCES[source][1])
        self._objects.setVisible(source == "viewer")
        self.patches_form.setVisible(source == "patches")
        for part in (self.slides_form, self._all):
            part.setVisible(source != "patches")
        self.slides_form.hide_rows((*OF_SLIDES, "slide_mpp") if source == "viewer" else ())
        self.changed.emit()


class SettingsPanel(QWidget):
    """Chooses what a fine-tuning is started with, and checks it before the start."""

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
