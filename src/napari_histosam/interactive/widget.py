"""The dock widget: puts the panels together and connects them; what to do is the controller's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import shapely
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QMainWindow,
    QVBoxLayout,
    QWidget,
)

from histosam_core.errors import HistoSamError, MissingMppError, OutOfMemoryError
from histosam_core.model.registry.registry import BUNDLED
from napari_histosam.interactive.controller import Controller
from napari_histosam.interactive.keys import KeyBindings
from napari_histosam.interactive.mouse import Mouse
from napari_histosam.interactive.object_panel import ObjectPanel
from napari_histosam.interactive.objects_panel import ObjectsPanel
from napari_histosam.interactive.offer import Offer
from napari_histosam.interactive.setup_panel import SetupPanel
from napari_histosam.interactive.status_bar import StatusBar
from napari_histosam.viewer.interface_thread import InterfaceThread
from napari_histosam.viewer.layers import remove_in_own_context
from napari_histosam.widgets.notices import inform, notify, report
from napari_histosam.widgets.parts import Scrolled

if TYPE_CHECKING:
    from napari_histosam.interactive.status import Failure, Status
    from napari_histosam.interactive.view import View

__all__ = ["InteractiveWidget"]

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
        self.object_panel = ObjectPanel(self.controller, self._keys)
        self.objects_panel = ObjectsPanel(self.controller)
        self.status_bar = StatusBar()
        self._offer = Offer(self.controller)
        self._told: set[str] = set()
        self._is_closed = False
        self._was_docked = False
        self._window: QWidget | None = None

        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(6)
        for part in (self._offer, self.setup_panel, self.object_panel, self.objects_panel):
            column.addWidget(part)
        column.setStretchFactor(self.objects_panel, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(Scrolled(inner), 1)
        layout.addWidget(self.status_bar)

        # napari may delete the window at once, with the widget in it and no event before.
        self.destroyed.connect(lambda: self.shut_down())
        self.setup_panel.started.connect(self.controller.open)
        self.objects_panel.shown.connect(self.go_to)
        self.controller.status_changed.connect(self._on_status)
        self.controller.view_changed.connect(self._on_view)
        self.controller.failed.connect(self._on_failed)
        self.controller.informed.connect(
            lambda message: self._thread.post(lambda: self._say(message))
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
        if view is None or scene is None:
            return
        for accepted in view.objects:
            if accepted.id == object_id:
                x0, y0, x1, y1 = shapely.bounds(accepted.geometry)
                corners = [scene.frame.to_world(xy) for xy in ((x0, y0), (x1, y1))]
                (top, left), (bottom, right) = corners
                camera = self._viewer.scene.camera
                camera.center = (0.0, (top + bottom) / 2, (left + right) / 2)
                extent = max(abs(bottom - top), abs(right - left), 1e-9)
                camera.zoom = VIEW_SHARE * min(self._viewer.canvas.size) / extent

    def shut_down(self, *, is_window_gone: bool = True) -> None:
        """End the session and its threads, and give keys and mouse back; what is done is kept.

        Parameters
        ----------
        is_window_gone
            False: the viewer goes on, so nothing is waited for, and the layers that only a session
            needs are removed. Default: the window has been closed, or is about to be.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._thread.close()
        self._mouse.detach()
        self._keys.detach()
        self.setup_panel.detach()
        for event in self._hint_events:
            event.disconnect(self._show_hint)
        if is_window_gone:
            self.controller.close()
        else:
            self.controller.close(wait_s=0.0, remove_layers=True)

    def showEvent(self, event: Any) -> None:  # Qt's name
        """Watch the window that the widget is in, to end with it."""
        super().showEvent(event)
        window = self.window()  # a floating dock is one too, but closing that ends nothing
        if self._window is None and isinstance(window, QMainWindow):
            self._window = window
            window.installEventFilter(self)

    def event(self, event: QEvent) -> bool:  # Qt's name
        """End when napari takes the widget out of its dock: its dock was closed, not hidden."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._was_docked = True
            elif self._was_docked:
                self._thread.post(self._shut_down_if_undocked)
        return bool(super().event(event))

    def keyPressEvent(self, event: Any) -> None:  # Qt's name
        """Keep from napari, and so from the object at hand, what was typed into a field.

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

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # Qt's name
        """End when the window is about to be deleted."""
        if watched is self._window and event.type() in (
            QEvent.Type.DeferredDelete,
            QEvent.Type.Close,
        ):
            self._on_window_event(event)
        return False

    def _on_window_event(self, event: QEvent) -> None:
        # napari may ask before it closes, and stay: a closed window is one that is gone from sight.
        if event.type() == QEvent.Type.DeferredDelete:
            self.shut_down()
        else:
            self._thread.post(self._shut_down_if_hidden)

    def _shut_down_if_hidden(self) -> None:
        try:
            is_visible = self._window is not None and self._window.isVisible()
        except RuntimeError:  # Qt has deleted it
            is_visible = False
        if not is_visible:
            self.shut_down()

    def _shut_down_if_undocked(self) -> None:
        """Docked again at once, it has only been moved."""
        if self.parent() is not None or self._is_closed:
            return
        view = self.controller.view
        self.shut_down(is_window_gone=False)
        if view is not None and (view.objects or view.prompts):
            inform(
                "the session has ended and is kept: open Outline by clicks again, press Start, and "
                "it will be offered"
            )

    def _on_status(self, status: Status) -> None:
        self.status_bar.show_status(status)
        self._show_hint()

    def _say(self, message: str) -> None:
        """Inform, unless the window is closing: its layers go one by one, which is no news then."""
        if self._window is not None and self._window.isVisible():
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
            if note not in self._told:
                self._told.add(note)
                inform(note)

    def _on_layers(self) -> None:
        """A layer is gone: if it was one of ours, it comes back with all that it showed."""
        self._show_hint()
        scene, view = self.controller.scene, self.controller.view
        if scene is None or view is None or self._is_closed:
            return
        if scene.image not in self._viewer.layers:
            return
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
            notify(
                failure.message,
                [
                    ("Use the CPU", lambda: self._again(device="cpu")),
                    (f"Use {BUNDLED}", lambda: self._again(model=BUNDLED)),
                ],
            )
        elif isinstance(error, HistoSamError | OSError):
            notify(failure.message)
        else:
            report(error)

    def _again(self, **choice: Any) -> None:
        self.setup_panel.choose(**choice)
        self.setup_panel.start()
