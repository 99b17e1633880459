"""Lists of models: those known by name, the user's own, any checkpoint; what to know of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QToolButton, QWidget

from histosam_core.model.registry.model_choice import DECODERS, ModelChoice, held_decoders
from histosam_core.model.registry.own_models import list_own_models
from histosam_core.model.registry.registry import BUNDLED, list_models, weights_path
from napari_histosam.widgets.parts import TOOLTIP, ListLine, last_parts, narrow_box

if TYPE_CHECKING:
    from histosam_core.model.registry.registry import ModelSpec
    from histosam_core.model.sam.network import Decoder

CHECKPOINTS = "Checkpoints (*.safetensors *.pth *.pt)"


class ModelBox(QWidget):
    """A list of models and a button for a file; own models that were added since are listed too.

    Its values are what `load_model` takes: a name or a checkpoint's path.
    """

    changed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._files: list[str] = []
        self._box = narrow_box(kind=_Box)
        self._box.opened.connect(self.refresh)
        self._box.currentIndexChanged.connect(lambda _: self.changed.emit(self.value))
        browse = QToolButton()
        browse.setText("\N{HORIZONTAL ELLIPSIS}")
        browse.setToolTip("Choose a checkpoint file, one fine-tuned here, SAM's, RITM's, ...")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box, 1)
        row.addWidget(browse)
        self.refresh()
        self.value = BUNDLED

    @property
    def value(self) -> str:
        """What is chosen: a name or a path."""
        return str(self._box.currentData() or BUNDLED)

    @value.setter
    def value(self, model: str | Path) -> None:
        """Choose a name or a path, which is listed if it was not."""
        if self._box.findData(str(model)) < 0:
            self.refresh()  # it may be an own model that was added just now
        if self._box.findData(str(model)) < 0:
            self._files.append(str(model))
            self.refresh()
        self._box.setCurrentIndex(self._box.findData(str(model)))

    @property
    def values(self) -> list[str]:
        """What there is to choose from."""
        return [str(self._box.itemData(i)) for i in range(self._box.count())]

    def refresh(self) -> None:
        """List the models that there are now; what is chosen stays so, as long as it is there."""
        before = self._box.currentData()
        with QSignalBlocker(self._box):
            self._box.clear()
            for number, line in enumerate(model_lines([ModelChoice(path) for path in self._files])):
                self._box.addItem(line.title, line.value)
                self._box.setItemData(number, line.tip, TOOLTIP)
            kept = self._box.findData(before)
            self._box.setCurrentIndex(kept if kept >= 0 else self._box.findData(BUNDLED))
        if before is not None and kept < 0:
            self.changed.emit(self.value)

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose a checkpoint", "", CHECKPOINTS)
        if path:
            self.value = path


class _Box(QComboBox):
    """Refreshes before its list is shown."""

    opened = Signal()

    def showPopup(self) -> None:  # Qt's name
        self.opened.emit()
        super().showPopup()


def model_lines(files: Sequence[ModelChoice], *, by_decoder: bool = False) -> list[ListLine]:
    """Return the models that there are: what is here comes before what is to be downloaded.

    Parameters
    ----------
    files
        Checkpoints that were chosen before.
    by_decoder
        Whether a model that holds several decoders has a line for each, the usual one first.
    """
    own_models = {own.name: own for own in list_own_models()}
    specs = [spec for spec in list_models() if spec.name not in own_models]
    here, away = (
        [
            (ModelChoice(spec.name), spec.name, model_state(spec), model_tip(spec))
            for spec in specs
            if spec.is_here == is_here
        ]
        for is_here in (True, False)
    )
    own = [(ModelChoice(n), n, "your own", str(one.path)) for n, one in own_models.items()]
    chosen = [(choice, last_parts(choice.source), "", choice.source) for choice in files]
    return [line for one in (*own, *here, *chosen, *away) for line in _lines(*one, by_decoder)]


def _lines(
    choice: ModelChoice, title: str, where: str, tip: str, by_decoder: bool
) -> list[ListLine]:
    """A line for a model, or one for each of its decoders where it has several."""

    def line(choice: ModelChoice, decoder: Decoder | None, more: str = "") -> ListLine:
        words = title if decoder is None else f"{title}, {DECODERS[decoder]}"
        return ListLine(str(choice), f"{words} ({where})" if where else words, tip + more)

    decoders = held_decoders(choice.source) if by_decoder and choice.decoder is None else ()
    if len(decoders) < 2:
        return [line(choice, choice.decoder)]
    usual, *others = decoders
    return [
        line(choice, usual, "\nThe decoder that it uses unless another one is asked for"),
        *(line(replace(choice, decoder=one), one, "\nIts other decoder") for one in others),
    ]


def model_state(spec: ModelSpec) -> str:
    """Return in a few words where a model's weights are, and the size of what is to be fetched."""
    size = f", {spec.size_bytes / 1e6:,.0f} MB" if spec.size_bytes else ""
    words = {"not downloaded": "to download", "by hand": "get it by hand"}
    return f"{words[spec.where]}{size}" if spec.where in words else spec.where


def model_tip(spec: ModelSpec) -> str:
    """Return several lines: training data, size, source, licence, and what it cannot do."""
    lines = [f"Trained on {spec.about}" if not spec.is_bundled else spec.about.capitalize()]
    if spec.size_bytes:
        lines.append(f"{spec.size_bytes / 1e6:,.0f} MB on disk")
    if spec.where == "by hand":
        lines.append(f"Get {spec.page_item} from {spec.page} and put it at {weights_path(spec)}")
    lines.append(f"Licence: {spec.licence}")
    if spec.terms:
        lines.append(f"Mind: {spec.terms}")
    if not spec.takes_boxes:
        lines.append("Takes no boxes: a box is turned into clicks")
    if not spec.encodes_ahead:
        lines.append("No embeddings ahead: every click runs the whole network")
    return "\n".join(lines)
