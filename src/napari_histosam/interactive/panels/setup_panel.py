"""The widget's first part: what a session is opened with, and the offer to continue one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QFrame, QGroupBox, QHBoxLayout, QLabel, QVBoxLayout

from napari_histosam.interactive.view import Setup
from napari_histosam.widgets.form import SettingsForm
from napari_histosam.widgets.notices import licences_accepted
from napari_histosam.widgets.parts import DEVICES, FROM_FILE, narrow_box, push_button

if TYPE_CHECKING:
    from pathlib import Path

    from histosam_core.session.journal.holding import JournalSummary
    from napari_histosam.interactive.controller import Controller
    from napari_histosam.interactive.view import View

CAPTIONS: Mapping[str, Mapping[Any, str]] = {
    "device": DEVICES,
    "window_mpp": {
        None: "As the model was trained",
        4.0: "2.5x (4 um per pixel)",
        2.0: "5x (2 um per pixel)",
        1.0: "10x (1 um per pixel)",
        0.5: "20x (0.5 um per pixel)",
        0.25: "40x (0.25 um per pixel)",
    },
    "slide_mpp": {None: FROM_FILE},
}
HIGHLIGHT = "border: 2px solid #ff5630;"


class SetupPanel(QGroupBox):
    """Chooses what a session is opened with, an image layer of a viewer among it."""

    started = Signal(object, object)

    def __init__(self, viewer: Any) -> None:
        super().__init__("Slide and model")
        self._viewer = viewer
        self._stated_for: Any = None
        self._open_on: Any = None
        self._image = narrow_box()
        self._image.currentIndexChanged.connect(lambda _: self._on_image())
        self.form = SettingsForm(Setup, ("model", "device"), captions=CAPTIONS, others="Scale")
        self.form.insert_row("Image", self._image)
        self._mpp = self.form.widget("slide_mpp").native
        self.start_button = push_button("Start", "", self.start)
        column = QVBoxLayout(self)
        column.setSpacing(4)
        column.addWidget(self.form)
        column.addWidget(self.start_button)
        events = viewer.layers.events
        self._layer_events = events.inserted, events.removed, events.renamed
        for event in self._layer_events:
            event.connect(self.refresh_images)
        self.refresh_images()

    @property
    def image(self) -> Any | None:
        """The image layer that is chosen."""
        return self._image.currentData()

    @property
    def setup(self) -> Setup:
        """What is chosen."""
        return Setup(**self.form.given)

    def start(self) -> None:
        """Ask for a session with what is chosen."""
        self._mpp.setStyleSheet("")
        if self.image is not None and licences_accepted([self.setup.model], self):
            self.started.emit(self.image, self.setup)

    def choose(self, *, image: Any = None, **settings: Any) -> None:
        """Choose an image layer, or settings of `Setup`, from a script."""
        if image is not None:
            self._image.setCurrentIndex(self._index_of(image))
        self.form.choose(settings)

    def ask_for_mpp(self) -> None:
        """Point at the field for the slide's micrometres per pixel."""
        self.form.unfold()
        self._mpp.setStyleSheet(HIGHLIGHT)
        self._mpp.setFocus()
        self._mpp.selectAll()

    def say_open(self, image: Any | None) -> None:
        """Say which layer a session is open on; the button is named after what it will do."""
        self._open_on = image
        self._name_button()

    def detach(self) -> None:
        """Let go of the viewer."""
        for event in self._layer_events:
            event.disconnect(self.refresh_images)

    def refresh_images(self, event: object = None) -> None:
        """Offer the image layers that the viewer has now."""
        from napari.layers import Image

        from napari_histosam.viewer.layers import tag_of

        chosen = self.image
        with QSignalBlocker(self._image):
            self._image.clear()
            for layer in self._viewer.layers:
                if isinstance(layer, Image) and tag_of(layer) is None:
                    self._image.addItem(layer.name, layer)
            if not self._image.count():
                self._image.addItem("open a slide first (drag it here)", None)
            self._image.setCurrentIndex(max(0, self._index_of(chosen)))
        self.start_button.setEnabled(self.image is not None)
        self._on_image()

    def _on_image(self) -> None:
        """Another image has another scale: what was stated of the last one does not hold for it."""
        if self.image is not self._stated_for:
            self._stated_for = self.image
            self.form.choose({"slide_mpp": None})
            self._mpp.setStyleSheet("")
        self._name_button()

    def _name_button(self) -> None:
        is_open = self._open_on is not None and self._open_on is self.image
        self.start_button.setText("Apply" if is_open else "Start")
        self.start_button.setToolTip(
            "Go on with this model, device and scale; objects and clicks stay"
            if is_open
            else "Load the model and begin; then click on what you want to outline"
        )

    def _index_of(self, layer: Any) -> int:
        every = (i for i in range(self._image.count()) if self._image.itemData(i) is layer)
        return next(every, -1)


class Offer(QFrame):
    """Offers to go on with an earlier session on the slide."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self._journal: Path | None = None
        self._is_dismissed = False
        self._text = QLabel()
        self._text.setWordWrap(True)
        kept = "The earlier session stays in its journal"
        row = QHBoxLayout()
        row.addWidget(push_button("Continue it", "", self.accept))
        row.addWidget(push_button("Start afresh", kept, self.dismiss))
        layout = QVBoxLayout(self)
        layout.addWidget(self._text)
        layout.addLayout(row)
        self.setObjectName("offer")
        self.setStyleSheet("QFrame#offer { border: 2px solid #4c9aff; border-radius: 4px; }")
        self.setVisible(False)

    def accept(self) -> None:
        """Go on with the session that is offered."""
        if self._journal is not None:
            self._controller.resume(self._journal)

    def dismiss(self) -> None:
        """Offer nothing more in this session."""
        self._is_dismissed = True
        self.setVisible(False)

    def show_offers(self, view: View | None) -> None:
        """Offer the newest earlier session, until this one has clicks of its own."""
        self._is_dismissed = self._is_dismissed and view is not None
        is_new = view is not None and not (view.objects or view.prompts or self._is_dismissed)
        offer = view.offers[0] if view is not None and view.offers and is_new else None
        self._journal = None if offer is None else offer.path
        if offer is not None:
            self._text.setText(_described(offer))
        self.setVisible(offer is not None)


def _described(offer: JournalSummary) -> str:
    """Return what an earlier session holds, in a line of rich text."""
    when = offer.changed.astimezone().strftime("%d %b %Y, %H:%M")
    parts = []
    if offer.n_objects:
        parts.append(f"{offer.n_objects} accepted object{'s' * (offer.n_objects > 1)}")
    if offer.n_open_prompts:
        clicks = f"{offer.n_open_prompts} click{'s' * (offer.n_open_prompts > 1)}"
        parts.append(f"one unfinished with {clicks}")
    return f"<b>An earlier session on this slide</b>, {when}: {', '.join(parts) or 'clicks'}."
