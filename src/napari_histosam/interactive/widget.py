"""The dock widget: puts the panels together and connects them; what to do is the controller's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from histosam_core.errors import HistoSamError, MissingMppError, OutOfMemoryError
from histosam_core.model.registry import BUNDLED
from napari_histosam.interactive.controller import Controller
from napari_histosam.interactive.keys import KeyBindings
from napari_histosam.interactive.mouse import Mouse
from napari_histosam.interactive.object_panel import ObjectPanel
from napari_histosam.interactive.objects_panel import ObjectsPanel
from napari_histosam.interactive.setup_panel import SetupPanel
from napari_histosam.interactive.status_bar import StatusBar
from napari_histosam.interface_thread import InterfaceThread

if TYPE_CHECKING:
    from histosam_core.clicks.journal_folder import JournalSummary
    from napari_histosam.interactive.status import Failure
    from napari_histosam.interactive.view import View

__all__ = ["InteractiveWidget"]

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
        self.setup_panel = SetupPanel(napari_viewer)
        self.object_panel = ObjectPanel(self.controller, self._keys)
        self.objects_panel = ObjectsPanel(self.controller)
        self.status_bar = StatusBar()
        self._offer = _Offer(self.controller)
        self._is_closed = False
        self._window: QWidget | None = None

        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(6)
        for part in (self._offer, self.setup_panel, self.object_panel, self.objects_panel):
            column.addWidget(part)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        layout.addWidget(self.status_bar)
        self.setMinimumWidth(300)

        self.setup_panel.started.connect(self.controller.open)
        self.objects_panel.shown.connect(self.go_to)
        self.controller.status_changed.connect(self.status_bar.show_status)
        self.controller.view_changed.connect(self._on_view)
        self.controller.failed.connect(self._on_failed)
        self.controller.informed.connect(_inform)
        self.controller.layers_changed.connect(self._on_layers)

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

    def shut_down(self) -> None:
        """End the session and its threads, and give keys and mouse back; what is done is kept."""
        if self._is_closed:
            return
        self._is_closed = True
        self._thread.close()
        self.controller.close()
        self._mouse.detach()
        self._keys.detach()

    def showEvent(self, event: Any) -> None:  # Qt's name
        """Watch the window that the widget is in, to end with it."""
        super().showEvent(event)
        window = self.window()  # a floating dock is one too, but closing that ends nothing
        if self._window is None and isinstance(window, QMainWindow):
            self._window = window
            window.installEventFilter(self)

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

    def _on_view(self, view: View | None) -> None:
        self.setup_panel.say_open(view is not None)
        self._keys.bind()
        self._offer.show_offers(view)
        for note in () if view is None else view.notes:
            if note not in self._offer.said:
                self._offer.said.add(note)
                _inform(note)

    def _on_layers(self) -> None:
        """A layer is gone: if it was one of ours, it comes back with all that it showed."""
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
            _inform("a HistoSAM layer was removed; it is back, since the session needs it")

    def _on_failed(self, failure: Failure) -> None:
        error = failure.error
        if isinstance(error, MissingMppError):
            self.setup_panel.ask_for_mpp()
        if isinstance(error, OutOfMemoryError):
            _notify(
                failure.message,
                [
                    ("Use the CPU", lambda: self._again(device="cpu")),
                    (f"Use {BUNDLED}", lambda: self._again(model=BUNDLED)),
                ],
            )
        elif isinstance(error, HistoSamError | OSError):
            _notify(failure.message)
        else:
            _report(error)

    def _again(self, **choice: Any) -> None:
        self.setup_panel.choose(**choice)
        self.setup_panel.start()


class _Offer(QFrame):
    """Offers to go on with an earlier session on the slide."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self._journal: Path | None = None
        self.said: set[str] = set()
        self._text = QLabel()
        self._text.setWordWrap(True)
        go_on, afresh = QPushButton("Continue it"), QPushButton("Start afresh")
        go_on.clicked.connect(self.accept)
        afresh.clicked.connect(controller.dismiss_offers)
        afresh.setToolTip("The earlier session stays in its journal")
        row = QHBoxLayout()
        row.addWidget(go_on)
        row.addWidget(afresh)
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

    def show_offers(self, view: View | None) -> None:
        """Offer the newest earlier session, until this one has clicks of its own."""
        is_new = view is not None and not (view.objects or view.prompts)
        offer = view.offers[0] if view is not None and view.offers and is_new else None
        self._journal = None if offer is None else offer.path
        if offer is not None:
            self._text.setText(_describe(offer))
        self.setVisible(offer is not None)


def _describe(offer: JournalSummary) -> str:
    when = offer.changed.astimezone().strftime("%d %b %Y, %H:%M")
    parts = []
    if offer.n_objects:
        parts.append(f"{offer.n_objects} accepted object{'s' * (offer.n_objects > 1)}")
    if offer.n_open_prompts:
        parts.append(f"one in work with {offer.n_open_prompts} clicks")
    return f"<b>An earlier session on this slide</b>, {when}: {', '.join(parts) or 'clicks'}."


def _inform(message: str) -> None:
    from napari.utils.notifications import show_info

    show_info(message)


def _notify(message: str, actions: list[tuple[str, Any]] | None = None) -> None:
    """Show an error in one line, with buttons that lead out of it."""
    from napari.utils.notifications import (
        Notification,
        NotificationSeverity,
        notification_manager,
    )

    buttons = tuple((text, lambda _, action=action: action()) for text, action in actions or ())
    notification_manager.dispatch(
        Notification(message, severity=NotificationSeverity.ERROR, actions=buttons)
    )


def _report(error: BaseException) -> None:
    """Show an error that nobody foresaw, with its traceback behind a button."""
    from napari.utils.notifications import notification_manager

    notification_manager.receive_error(type(error), error, error.__traceback__)
