"""The first part of the settings: what to learn from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QGroupBox

from histosam_core.improve.settings import ImproveSettings
from histosam_core.training.config import TrainConfig
from napari_histosam.finetune.annotations import Accepted, accepted_in
from napari_histosam.widgets.form import SettingsForm
from napari_histosam.widgets.parts import FROM_FILE, GREY, narrow_box, stacked, wrapped

if TYPE_CHECKING:
    from napari_histosam.finetune.choices import Source

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
CAPTIONS = {
    "slide_mpp": {None: FROM_FILE},
    "labels": {None: "by its name: tumour, carcinoma, metastasis"},
    "test_limit": {None: "all"},
}
TOOLTIP = Qt.ItemDataRole.ToolTipRole


class DataPanel(QGroupBox):
    """Chooses what a model learns from.

    Parameters
    ----------
    viewer
        napari's; its accepted objects are offered.
    """

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
            captions=CAPTIONS,
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
