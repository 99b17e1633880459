"""Events <-> session: what the widget, keys and mouse call, and what they are told. No widgets.

Everything here runs on the interface thread and returns at once. Work goes to a `SerialWorker` as
numbered requests; each answer is a complete `View`, so an answer that comes late is simply painted
over by a later one, and answers of a session that is over are dropped. A second thread encodes the
windows in view ahead of the clicks. See docs/napari.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from histosam_core.errors import ConfigError, HistoSamError
from napari_histosam.interactive import classes as class_list
from napari_histosam.interactive.ahead_of_view import AheadOfView
from napari_histosam.interactive.class_choice import ClassChoice
from napari_histosam.interactive.engine import Engine, engine_of_layer
from napari_histosam.interactive.pending import ClickEdit, PendingClicks
from napari_histosam.interactive.requests import Requests
from napari_histosam.interactive.scene import Display, Edits, Scene
from napari_histosam.interactive.status import Failure, Phase, Status, status_of
from napari_histosam.viewer.workers import Answer, SerialWorker

if TYPE_CHECKING:
    from histosam_core.session import OverlapRule
    from napari_histosam.interactive.classes import Color
    from napari_histosam.interactive.view import Setup, View

__all__ = ["Controller"]

XY = tuple[float, float]


class _Seat:
    """Where a session's engine is, once its thread has made it; another session has another seat.

    A request that is still on its way when another slide is started finds its own engine here.
    """

    def __init__(self) -> None:
        self.engine: Engine | None = None

    def close(self) -> None:
        """End the engine that is there; on the session's thread."""
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.close()


class Controller(Requests):
    """One interactive session at a time in one viewer.

    Parameters
    ----------
    viewer
        napari's viewer (or its model, in tests).
    post
        Runs a callable soon on the interface thread; may be called from any thread.
    engine_for
        Makes the engine for an image layer, on the session's thread. Default: of the slide behind
        the layer.
    """

    status_changed = Signal(Status)
    view_changed = Signal(object)
    label_changed = Signal(str)
    display_changed = Signal(Display)
    failed = Signal(Failure)
    informed = Signal(str)
    layers_changed = Signal()

    def __init__(
        self,
        viewer: Any,
        post: Callable[[Callable[[], None]], None],
        engine_for: Callable[[Any], Engine] | None = None,
    ) -> None:
        self.viewer = viewer
        self.scene: Scene | None = None
        self.view: View | None = None
        self.status = Status()
        self.overlap: OverlapRule = "allow"
        self._is_positive = True
        self._is_closed = False
        self._display = Display()
        self._seat = _Seat()
        self._pending = PendingClicks()
        self._asked_at: dict[int, float] = {}
        self._post = post
        self._engine_for = engine_for or engine_of_layer
        self._worker = SerialWorker("histosam-session", lambda a: post(lambda: self._take(a)))
        self._ahead = AheadOfView(
            viewer,
            post,
            is_busy=lambda: self._worker.is_busy,
            now=lambda: None if self.view is None or not self.scene else (self.view, self.scene),
            told=self._say_ahead,
            failed=lambda error: self.failed.emit(Failure("look ahead", error)),
        )
        self._classes = ClassChoice(self._save_classes)
        self._classes.changed.connect(self.label_changed.emit)
        self._worker.submit("classes", lambda: class_list.read_classes(class_list.classes_file()))
        viewer.layers.events.removed.connect(self._on_removed)

    # What the widget, keys and mouse ask for; the requests are in requests.py.

    @property
    def is_open(self) -> bool:
        """Whether a session is open and clicks are taken."""
        return self.view is not None

    @property
    def is_closed(self) -> bool:
        """Whether the controller has ended for good."""
        return self._is_closed

    @property
    def display(self) -> Display:
        """How the object at hand is shown."""
        return self._display

    def open(self, image: Any, setup: Setup) -> None:
        """Begin a session on an image layer, or go on with another model in the one that is open.

        Parameters
        ----------
        image
            A napari image layer.
        setup
            Model, device, scale.
        """
        scene, before = self.scene, self.status
        if scene is None or scene.image is not image:
            self._leave()
            before = Status()
            edits = Edits(
                self._add_points, self.move, self.remove, self.box, self.replace_box, self.lasso
            )
            self.scene = Scene(self.viewer, image, self, edits)
            self.scene.set_display(self._display)
        self._ahead.begin()
        message = f"loading {setup.model}"
        self._say(replace(before, phase="loading", message=message, done=0, total=0))
        seat, progress = self._seat, self._progress("loading")

        def work() -> View:
            engine = seat.engine or self._engine_for(image)
            try:
                view = engine.open(setup, progress)
            except BaseException:
                if seat.engine is None:
                    engine.close()
                raise
            seat.engine = engine
            return view

        self._asked_at[self._worker.submit("open", work)] = time.perf_counter()

    def attempt(self, name: str, action: Callable[[], None]) -> None:
        """Do something at once that may be refused, and tell why like any other failure."""
        try:
            action()
        except HistoSamError as error:
            self._complain(name, error)

    def set_display(self, display: Display) -> None:
        """Show the object at hand in another way."""
        self._display = display
        if self.scene is not None:
            self.scene.set_display(display)
        self.display_changed.emit(display)

    def set_look_ahead(self, is_on: bool) -> None:
        """Encode the windows in view ahead of clicks, or not."""
        self._ahead.switch(is_on)

    @property
    def is_settled(self) -> bool:
        """Whether every request is answered, and every answer painted."""
        return not self._asked_at and not self._worker.is_busy

    def close(self, wait_s: float = 2.0, *, remove_layers: bool = False) -> None:
        """End the session and the threads; its record stays.

        Parameters
        ----------
        wait_s
            How long to wait for each thread; what is not done by then is done in the background.
        remove_layers
            Whether our layers go, all but the accepted objects. Default: all stay.
        """
        self._is_closed = True
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self._ahead.stop_watching()
        self._worker.submit("end", self._seat.close)
        self._worker.close(timeout_s=wait_s)
        self._ahead.close(timeout_s=wait_s)
        if self.scene is not None and remove_layers:
            self.scene.remove(keep_objects=True)

    # Requests and answers.

    @property
    def _engine(self) -> Engine | None:
        return self._seat.engine

    def _save_classes(self, classes: dict[str, Color]) -> None:
        path = class_list.classes_file()
        self._worker.submit("save classes", lambda: class_list.write_classes(path, classes))

    def _submit(
        self,
        name: str,
        work: Callable[[Engine], View],
        *,
        at: XY | None = None,
        edits: Sequence[ClickEdit] = (),
    ) -> None:
        seat = self._seat

        def run() -> View:
            engine = seat.engine
            if engine is None:
                raise ConfigError("no session is open; choose an image and a model, press Start")
            is_ready = at is None or engine.is_ready_at(at)
            phase: Phase = "predicting" if is_ready else "embedding"
            self._announce(seat, "working" if at is None else phase)
            return work(engine)

        number = self._worker.submit(name, run)
        self._asked_at[number] = time.perf_counter()
        if edits:
            self._pending.add(number, *edits)
            self._show_clicks()

    def _announce(self, seat: _Seat, phase: Phase, message: str = "", **facts: Any) -> None:
        """Say what is going on, unless that session is over; on the session's thread."""

        def say() -> None:
            if seat is self._seat:
                self._say(replace(self.status, phase=phase, message=message, **facts))

        self._post(say)

    def _take(self, answer: Answer) -> None:
        """Paint an answer; on the interface thread."""
        asked_at = self._asked_at.pop(answer.number, None)
        self._pending.answered(answer.number)
        is_ours = asked_at is not None  # else it belongs to no session, or to one that is over
        if answer.name == "classes" and answer.error is None:
            self._classes.load(answer.result)
        elif answer.error is not None and (is_ours or answer.name in ("save classes", "end")):
            if is_ours and self.view is not None:
                self._paint(self.view)
            self._complain(answer.name, answer.error)
        elif asked_at is not None and answer.result is not None:
            view: View = answer.result
            if answer.name == "restore" and self.scene is not None:
                self.scene.remove_left_behind()
            self._paint(view)
            painted_ms = 1e3 * (time.perf_counter() - asked_at)
            self._say(status_of(view, self.status, painted_ms))
            self.view_changed.emit(view)
            if view.told:
                self.informed.emit(view.told)
            self._ahead.aim()

    def _paint(self, view: View) -> None:
        """Show a view, what is still asked for, and the class of an object that is corrected."""
        self.view = view
        if self.scene is not None:
            self.scene.show(view, self._pending.shown(view.clicks))
        if view.reopened is None:
            self._classes.end_correction()
        else:
            self._classes.begin_correction(view.reopened)

    def _complain(self, name: str, error: BaseException) -> None:
        failure = Failure(name, error)
        self._say(replace(self.status, phase="failed", message=failure.message))
        self.failed.emit(failure)

    def _say(self, status: Status) -> None:
        self.status = replace(status, n_waiting=len(self._pending))
        self.status_changed.emit(self.status)

    def _say_ahead(self, done: int, total: int) -> None:
        self._say(replace(self.status, ahead_done=done, ahead_total=total))

    def _progress(self, phase: Any) -> Callable[..., None]:
        last, seat = [0.0], self._seat

        def report(done: int, total: int, message: str = "") -> None:
            now = time.perf_counter()
            if now - last[0] > 0.1 or done >= total:
                last[0] = now
                self._announce(seat, phase, message, done=done, total=total)

        return report

    def _show_clicks(self) -> None:
        if self.view is not None and self.scene is not None:
            self.scene.show_clicks(self._pending.shown(self.view.clicks))

    def _add_points(self, points: list[XY]) -> None:
        for xy in points:
            self.click(xy)

    # Layers go, sessions end.

    def _on_removed(self, event: Any) -> None:
        scene = self.scene
        if scene is None:
            return
        if event.value is scene.image:
            self.informed.emit(
                "the slide's layer was removed; nothing is lost: accepted objects and clicks stay "
                "here and in the journal. Open the slide again and press Start to go on"
            )
        self.layers_changed.emit()

    def _leave(self) -> None:
        """End the session that is open or about to be; its record stays.

        What it was asked for is still done, so that no click is lost, but its answers are dropped.
        """
        seat, self._seat = self._seat, _Seat()
        self._ahead.begin()
        self._pending.clear()
        self._asked_at.clear()
        if self.scene is None:
            return
        self._worker.submit("end", seat.close)
        self.scene.remove()
        had = self.view
        self.scene = self.view = None
        if had is not None:
            self.view_changed.emit(None)
            if had.objects or had.prompts:
                self.informed.emit(
                    f"the session on {had.slide_name} has ended and is kept: start on it again and "
                    "it will be offered"
                )
