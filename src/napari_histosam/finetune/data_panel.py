"""The widget's first part: what to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGroupBox,
    QLabel,
    QLineEdit,
    QWidget,
)

from napari_histosam.finetune.annotations import Accepted, accepted_in
from napari_histosam.widgets.path_row import PathRow

if TYPE_CHECKING:
    from napari_histosam.finetune.choices import Source

__all__ = ["DataPanel"]

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
SLIDES = "Slides (*.svs *.tif *.tiff *.ndpi *.mrxs *.scn *.bif *.svslide *.png *.jpg);;All (*)"
OUTLINES = "Annotations (*.geojson *.json *.xml *.tif *.tiff);;All (*)"
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
        self._source = QComboBox()
        for key, (title, tip) in SOURCES.items():
            self._source.addItem(title, key)
            self._source.setItemData(self._source.count() - 1, tip, TOOLTIP)
        self._about = QLabel()
        self._about.setWordWrap(True)
        self._about.setStyleSheet("color: #8a8f98;")
        self._objects = QLabel()
        self._objects.setWordWrap(True)
        self._patches = PathRow("Choose a folder of patches", "folder that prepare wrote")
        self._slides = PathRow("Choose slides", "a folder of slides, or a slide", SLIDES)
        self._annotations = PathRow("Choose annotations", "beside the slides", OUTLINES)
        self._label = QLineEdit()
        self._label.setPlaceholderText("by its name: tumour, carcinoma, metastasis")
        self._label.setToolTip("The class that is learnt; empty: those whose name means tumour")
        self._all = QCheckBox("All tumour is outlined")
        self._all.setToolTip(
            "Ticked: whatever is not outlined is none. Else only what lies within 100 um of an "
            "outline is taken for known, and the rest of the slide is ignored."
        )
        self._pages: dict[Source, QWidget] = {}
        for key in SOURCES:
            page = QWidget()
            form = QFormLayout(page)
            form.setContentsMargins(0, 0, 0, 0)
            form.setVerticalSpacing(4)
            form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
            if key == "viewer":
                form.addRow(self._objects)
            elif key == "slides":
                form.addRow("Slides", self._slides)
                form.addRow("Annotations", self._annotations)
            else:
                form.addRow("Folder", self._patches)
            self._pages[key] = page
        layout = QFormLayout(self)
        layout.setVerticalSpacing(4)
        layout.addRow(self._source)
        layout.addRow(self._about)
        for page in self._pages.values():
            layout.addRow(page)
        self._of_annotations = QWidget()
        below = QFormLayout(self._of_annotations)
        below.setContentsMargins(0, 0, 0, 0)
        below.setVerticalSpacing(4)
        below.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        below.addRow("Class", self._label)
        below.addRow(self._all)
        layout.addRow(self._of_annotations)
        self._source.currentIndexChanged.connect(self._on_source)
        for row in (self._patches, self._slides, self._annotations):
            row.changed.connect(self.changed.emit)
        self._label.textChanged.connect(lambda _: self.changed.emit())
        self._all.toggled.connect(lambda _: self.changed.emit())
        self._on_source(0)
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
    def patches(self) -> Path | None:
        """The folder of patches."""
        return self._patches.path

    @property
    def slides(self) -> tuple[Path, ...]:
        """The slide, or the folder of slides."""
        return () if self._slides.path is None else (self._slides.path,)

    @property
    def annotations(self) -> tuple[Path, ...]:
        """The annotation, or the folder of them; empty: they lie beside the slides."""
        return () if self._annotations.path is None else (self._annotations.path,)

    @property
    def label(self) -> str:
        """The class that is learnt; empty: by its name."""
        return str(self._label.text()).strip()

    @property
    def is_all_outlined(self) -> bool:
        """Whether all tumour of the slides is outlined."""
        return bool(self._all.isChecked())

    def choose(
        self,
        source: Source,
        *,
        patches: Path | None = None,
        slides: Path | None = None,
        annotations: Path | None = None,
        label: str | None = None,
        is_all_outlined: bool | None = None,
    ) -> None:
        """Choose from a script."""
        self._source.setCurrentIndex(self._source.findData(source))
        if patches is not None:
            self._patches.path = patches
        if slides is not None:
            self._slides.path = slides
        if annotations is not None:
            self._annotations.path = annotations
        if label is not None:
            self._label.setText(label)
        if is_all_outlined is not None:
            self._all.setChecked(is_all_outlined)

    def refresh(self) -> None:
        """Show what is accepted in the viewer now."""
        told = []
        for one in accepted_in(self._viewer):
            count = f"{one.n_objects} object{'s' * (one.n_objects != 1)}"
            reason = "" if one.slide is not None else " (left out: the image is no file)"
            told.append(f"{one.source.slide_name}: {count}{reason}")
        text = "\n".join(told) or "Nothing is accepted yet: open Outline by clicks first."
        if text != self._objects.text():
            self._objects.setText(text)
            self.changed.emit()

    def _on_source(self, index: int) -> None:
        self._about.setText(SOURCES[self.source][1])
        for key, page in self._pages.items():
            page.setVisible(key == self.source)
        self._of_annotations.setVisible(self.source != "patches")
        self.changed.emit()
