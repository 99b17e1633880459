"""The dock widget: puts the panels together and connects them; what to do is the controller's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import shapely
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from histosam_core.errors import HistoSamError, MissingMppError, OutOfMemoryError
from histosam_core.model.registry.registry import BUNDLED
from napari_histosam.interactive.controller import Controller
from napari_histosam.interactive.keys import KeyBindings
from napari_histosam.interactive.mouse import Mouse
from napari_histosam.interactive.panels.accepted_objects import AcceptedObjectsPanel
from napari_histosam.interactive.panels.current_object import CurrentObjectPanel
from napari_histosam.interactive.panels.setup_panel import Offer, SetupPanel
from napari_histosam.interactive.panels.status_bar import StatusBar
from napari_histosam.viewer.interface_thread import InterfaceThread
from napari_histosam.viewer.layers import remove_in_own_context
from napari_histosam.widgets.dock_life import DockLife
from napari_histosam.widgets.notices import inform, notify, report
from napari_histosam.widgets.parts import Scrolled

if TYPE_CHECKING:
    from napari_histosam.interactive.status import Failure, Status
    from napari_histosam.interactive.view import View

FIRST = "Click on what you want to outline"
TAKES_KEYS = QLineEdit, QAbstractSpinBox, QComboBox, QAbstractItemView
VIEW_SHARE = 0.6  # of the canvas that an object fills when it is brought into view


class InteractiveWidget(QWidget):
    """Outline objects on a slide by clicks.

    Parameters
    ----------
    napari_viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._thread = InterfaceThread()
        self.controller = Controller(napari_viewer, self._thread.post)
        self._mouse = Mouse(self.controller)
        self._keys = KeyBindings(self.controller)
        remove_in_own_context(napari_viewer)
        self.setup_panel = SetupPanel(napari_viewer)
        self.current_object = CurrentObjectPanel(self.controller, self._keys)
        self.accepted_objects = AcceptedObjectsPanel(self.controller)
        self.status_bar = StatusBar()
        self._offer = Offer(self.controller)
        self._noted: set[str] = set()
        self._life = DockLife(self, self._end)

        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(6)
        for part in (self._offer, self.setup_panel, self.current_object, self.accepted_objects):
            column.addWidget(part)
        column.setStretchFactor(self.accepted_objects, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(Scrolled(inner), 1)
        layout.addWidget(self.status_bar)

        self.setup_panel.started.connect(self.controller.open)
        self.accepted_objects.shown.connect(self.go_to)
        self.controller.status_changed.connect(self._on_status)
        self.controller.view_changed.connect(self._on_view)
        self.controller.failed.connect(self._on_failed)
        self.controller.informed.connect(
            lambda message: self._thread.post(lambda: self._inform(message))
        )
        self.controller.layers_changed.connect(self._on_layers)
        self._hint_events = (
            napari_viewer.layers.selection.events.active,
            napari_viewer.dims.events.ndisplay,
        )
        for event in self._hint_events:
            event.connect(self._show_hint)
        for box in self.findChildren(QComboBox):
            box.activated.connect(lambda _, box=box: self._thread.post(box.clearFocus))

    def go_to(self, object_id: str) -> None:
        """Bring an accepted object into view."""
        view, scene = self.controller.view, self.controller.scene
        for accepted in () if view is None else view.objects:
            if scene is not None and accepted.id == object_id:
                x0, y0, x1, y1 = shapely.bounds(accepted.geometry)
                (top, left), (bottom, right) = map(scene.frame.to_world, ((x0, y0), (x1, y1)))
                camera = self._viewer.scene.camera
                camera.center = (0.0, (top + bottom) / 2, (left + right) / 2)
                extent = max(abs(bottom - top), abs(right - left), 1e-9)
                camera.zoom = VIEW_SHARE * min(self._viewer.canvas.size) / extent

    def shut_down(self) -> None:
        """End the session and its threads, and give keys and mouse back; what is done is kept."""
        self._life.finish(True)

    def keyPressEvent(self, event: Any) -> None:  # Qt's name
        """Keep from napari, and so from the current object, what was typed into a field.

        A field leaves Enter and Esc to those above it. They end the typing: where nothing has the
        keyboard, napari's window gives its keys to the canvas.
        """
        field = self.focusWidget()
        if not isinstance(field, TAKES_KEYS):
            event.ignore()
            return
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape):
            field.clearFocus()
        event.accept()

    def _end(self, is_window_gone: bool) -> None:
        self._thread.close()
        self._mouse.detach()
        self._keys.detach()
        self.setup_panel.detach()
        for event in self._hint_events:
            event.disconnect(self._show_hint)
        if is_window_gone:
            self.controller.close()
            return
        view = self.controller.view
        self.controller.close(wait_s=0.0, remove_layers=True)
        if view is not None and (view.objects or view.prompts):
            inform(
                "the session has ended and is kept: open Outline by clicks again, press Start, and "
                "it will be offered"
            )

    def _on_status(self, status: Status) -> None:
        self.status_bar.show_status(status, self.controller.view)
        self._show_hint()

    def _inform(self, message: str) -> None:
        """Inform, unless the window is closing: its layers go one by one, which is no news then."""
        if self.window().isVisible():
            inform(message)

    def _show_hint(self, event: object = None) -> None:
        view, obstacle = self.controller.view, self._mouse.obstacle()
        is_blank = view is not None and not (view.prompts or view.canvas or view.objects)
        is_first = is_blank and self.controller.status.phase == "ready"
        self.status_bar.show_hint(obstacle or FIRST * is_first, is_obstacle=bool(obstacle))

    def _on_view(self, view: View | None) -> None:
        scene = self.controller.scene
        self.setup_panel.say_open(None if view is None or scene is None else scene.image)
        self._keys.bind()
        self._offer.show_offers(view)
        for note in () if view is None else view.notes:
            if note not in self._noted:
                self._noted.add(note)
                inform(note)

    def _on_layers(self) -> None:
        """A layer is gone: if it was one of ours, it comes back with all that it showed."""
        self._show_hint()
        self._thread.post(self._bring_back)

    def _bring_back(self) -> None:
        scene = self.controller.scene
        if scene is not None and scene.image in self._viewer.layers and scene.is_incomplete:
            scene.restore_lost()
            self._keys.bind()
            inform("a HistoSAM layer was removed; it is back, since the session needs it")

    def _on_failed(self, failure: Failure) -> None:
        error = failure.error
        if isinstance(error, MissingMppError):
            self.setup_panel.ask_for_mpp()
        if isinstance(error, OutOfMemoryError):
            ways_out = [
                ("Use the CPU", lambda: self._start_with(device="cpu")),
                (f"Use {BUNDLED}", lambda: self._start_with(model=BUNDLED)),
            ]
            notify(failure.message, ways_out)
        elif isinstance(error, HistoSamError | OSError):
            notify(failure.message)
        else:
            report(error)

    def _start_with(self, **choice: Any) -> None:
        self.setup_panel.choose(**choice)
        self.setup_panel.start()
