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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from histosam_core.clicks import Click
from histosam_core.errors import ConfigError, HistoSamError
from napari_histosam.interactive import classes as class_list
from napari_histosam.interactive.engine import Engine, engine_of_layer
from napari_histosam.interactive.scene import Display, Edits, Scene
from napari_histosam.interactive.status import Failure, Phase, Status, status_of
from napari_histosam.workers import Ahead, Answer, LookAhead, SerialWorker

if TYPE_CHECKING:
    from histosam_core.inference import OverlapRule
    from napari_histosam.interactive.classes import Color
    from napari_histosam.interactive.view import Setup, View

__all__ = ["Controller"]

WINDOWS_AHEAD = 24
XY = tuple[float, float]


class Controller:
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
    sign_changed = Signal(bool)
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
        self.look_ahead = True
        self.classes = dict(class_list.CLASS_COLORS)
        self._label = next(iter(self.classes))
        self._is_positive = True
        self._display = Display()
        self._engine: Engine | None = None
        self._pending: dict[int, Click] = {}
        self._asked_at: dict[int, float] = {}
        self._post = post
        self._engine_for = engine_for or engine_of_layer
        self._worker = SerialWorker("histosam-session", lambda a: post(lambda: self._take(a)))
        self._ahead = LookAhead(
            "histosam-ahead",
            lambda: self._worker.is_busy,
            lambda progress: post(lambda: self._take_ahead(progress)),
        )
        self._worker.submit("classes", lambda: class_list.read_classes(class_list.classes_file()))
        viewer.layers.events.removed.connect(self._on_removed)
        self._camera_events = _camera_events(viewer)
        for event in self._camera_events:
            event.connect(self._aim)

    # What the widget, keys and mouse ask for.

    @property
    def is_open(self) -> bool:
        """Whether a session is open and clicks are taken."""
        return self.view is not None

    @property
    def is_positive(self) -> bool:
        """Whether a left click says that a place belongs to the object."""
        return self._is_positive

    @property
    def label(self) -> str:
        """The class that the next object is accepted as."""
        return self._label

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
        scene = self.scene
        if scene is None or scene.image is not image:
            self._leave()
            edits = Edits(self._add_points, self.move, self.remove, self.box)
            self.scene = Scene(self.viewer, image, self, edits)
            self.scene.set_display(self._display)
        self._ahead.stop()
        self._say(replace(Status(), phase="loading", message=f"loading {setup.model}"))

        def work() -> View:
            engine = self._engine
            if engine is None:
                engine = self._engine_for(image)
            view = engine.open(setup, self._progress("loading"))
            self._engine = engine
            return view

        self._asked_at[self._worker.submit("open", work)] = time.perf_counter()

    def click(self, xy: XY, is_positive: bool | None = None) -> None:
        """Answer a click.

        Parameters
        ----------
        xy
            Level-0 pixels.
        is_positive
            None: what `is_positive` says.
        """
        if self.view is None:
            return self._complain("click", ConfigError("press Start first: no session is open"))
        click = Click(xy, self._is_positive if is_positive is None else is_positive)
        number = self._submit("click", lambda e: e.click(click.xy, click.is_positive), click.xy)
        self._pending[number] = click
        self._show_clicks()

    def box(self, xyxy: tuple[float, float, float, float]) -> None:
        """Answer a box; level-0 pixels."""
        x0, y0, x1, y1 = xyxy
        self._submit("box", lambda e: e.box(xyxy), ((x0 + x1) / 2, (y0 + y1) / 2))

    def move(self, number: int, xy: XY) -> None:
        """Move a click of the object at hand."""
        self._submit("move", lambda e: e.move(number, xy), xy)

    def remove(self, numbers: Sequence[int]) -> None:
        """Take clicks of the object at hand out."""
        self._submit("remove", lambda e: e.remove(list(numbers)))

    def undo(self) -> None:
        """Undo the last click, box or edit; with none left, the last accept or drop."""
        self._submit("undo", lambda e: e.undo())

    def redo(self) -> None:
        """Put back what was undone last."""
        self._submit("redo", lambda e: e.redo())

    def accept(self) -> None:
        """Keep the object at hand as the chosen class."""
        label, color, rule = self._label, self.classes.get(self._label), self.overlap
        self._submit("accept", lambda e: e.accept(label, color, rule))

    def drop(self) -> None:
        """Forget the object at hand; undo brings it back."""
        self._submit("drop", lambda e: e.drop())

    def reopen(self, object_id: str) -> None:
        """Correct an accepted object; the one at hand must be accepted or dropped first."""
        if self.view is not None and (self.view.prompts or self.view.canvas):
            error = ConfigError("accept (C) or drop (Esc) the object at hand, then open another")
            return self._complain("reopen", error)
        self._submit("reopen", lambda e: e.reopen(object_id))

    def reopen_at(self, xy: XY) -> None:
        """Correct the accepted object under a level-0 point."""
        found = self.object_at(xy)
        if found is None:
            return self._complain("reopen", ConfigError("no accepted object lies there"))
        self.reopen(found)

    def object_at(self, xy: XY) -> str | None:
        """Return the id of the topmost accepted object at a level-0 point."""
        if self.view is None:
            return None
        label = self.view.pyramid.label_at(xy)
        return next((key for key, one in self.view.labels.items() if one == label), None)

    def relabel(self, object_id: str, label: str) -> None:
        """Give an accepted object another class."""
        color = self.classes.get(label)
        self._submit("relabel", lambda e: e.relabel(object_id, label, color))

    def delete(self, object_id: str) -> None:
        """Remove an accepted object."""
        self._submit("delete", lambda e: e.delete(object_id))

    def import_file(self, path: Path) -> None:
        """Add the objects of an annotation file."""
        self._submit("import", lambda e: e.import_file(path))

    def export_file(self, path: Path) -> None:
        """Write the accepted objects."""
        progress = self._progress("working")
        self._submit("export", lambda e: e.export_file(path, progress))

    def resume(self, path: Path) -> None:
        """Go on with an earlier session on this slide."""
        self._submit("restore", lambda e: e.resume(path))

    def dismiss_offers(self) -> None:
        """Begin afresh; earlier sessions stay in their journals."""
        self._submit("dismiss", lambda e: e.dismiss_offers())

    def set_positive(self, is_positive: bool) -> None:
        """Say what a left click means."""
        if is_positive != self._is_positive:
            self._is_positive = is_positive
            self.sign_changed.emit(is_positive)

    def toggle_sign(self) -> None:
        """Let left clicks mean the opposite."""
        self.set_positive(not self._is_positive)

    def set_label(self, label: str, color: Color | None = None) -> None:
        """Choose the class of the next object; a new one is added to the classes."""
        self._set_classes(class_list.added(self.classes, label, color), label.strip())

    def rename_label(self, label: str) -> None:
        """Give the chosen class another name, and every accepted object of it."""
        old = self._label
        self._set_classes(class_list.renamed(self.classes, old, label), label.strip())
        for accepted in () if self.view is None else self.view.objects:
            if accepted.label == old:
                self.relabel(accepted.id, self._label)

    def remove_label(self) -> None:
        """Take the chosen class off the list; objects of it keep it."""
        left = class_list.removed(self.classes, self._label)
        self._set_classes(left, next(iter(left)))

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
        self.look_ahead = is_on
        if is_on:
            self._aim()
        else:
            self._ahead.stop()

    @property
    def is_settled(self) -> bool:
        """Whether every request is answered, and every answer painted."""
        return not self._asked_at and not self._worker.is_busy

    def close(self) -> None:
        """End the session and the threads; the layers stay in the viewer."""
        for event in self._camera_events:
            event.disconnect(self._aim)
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self._ahead.close()
        engine = self._engine
        if engine is not None:
            self._worker.submit("end", engine.close)
        self._worker.close(timeout_s=2.0)
        self._ahead.close(timeout_s=2.0)

    # Requests and answers.

    def _set_classes(self, classes: dict[str, Color], label: str) -> None:
        self._label = label
        if classes != self.classes:
            self.classes = classes
            path = class_list.classes_file()
            self._worker.submit("save classes", lambda: class_list.write_classes(path, classes))
        self.label_changed.emit(label)

    def _submit(self, name: str, work: Callable[[Engine], View], at: XY | None = None) -> int:
        """Ask the session's thread; `at` is where a model must look, level-0 pixels."""

        def run() -> View:
            engine = self._engine
            if engine is None:
                raise ConfigError("no session is open; choose an image and a model, press Start")
            is_ready = at is None or engine.is_ready_at(at)
            self._announce(
                "embedding" if not is_ready else "working" if at is None else "predicting"
            )
            return work(engine)

        number = self._worker.submit(name, run)
        self._asked_at[number] = time.perf_counter()
        return number

    def _announce(self, phase: Phase) -> None:
        """Say what is going on; on the session's thread."""
        self._post(lambda: self._say(replace(self.status, phase=phase, message="")))

    def _take(self, answer: Answer) -> None:
        """Paint an answer; on the interface thread."""
        asked_at = self._asked_at.pop(answer.number, None)
        self._pending.pop(answer.number, None)
        scene = self.scene
        if answer.error is not None:
            self._failed(answer)
        elif answer.name == "classes":
            self.classes = answer.result
            self._label = next(iter(self.classes))
            self.label_changed.emit(self._label)
        elif answer.result is not None and scene is not None:
            self.view = answer.result
            scene.show(self.view, tuple(self._pending.values()))
            painted_ms = None if asked_at is None else 1e3 * (time.perf_counter() - asked_at)
            self._say(status_of(self.view, self.status, painted_ms))
            self.view_changed.emit(self.view)
            if answer.name == "export":
                self.informed.emit(f"{len(self.view.objects)} objects written")
            self._aim()

    def _failed(self, answer: Answer) -> None:
        self._show_clicks()
        if self.view is not None and self.scene is not None:
            self.scene.show(self.view, tuple(self._pending.values()))
        if answer.error is not None:
            self._complain(answer.name, answer.error)

    def _complain(self, name: str, error: BaseException) -> None:
        failure = Failure(name, error)
        self._say(replace(self.status, phase="failed", message=failure.message))
        self.failed.emit(failure)

    def _say(self, status: Status) -> None:
        self.status = replace(status, n_waiting=len(self._pending))
        self.status_changed.emit(self.status)

    def _progress(self, phase: Any) -> Callable[..., None]:
        last = [0.0]

        def report(done: int, total: int, message: str = "") -> None:
            now = time.perf_counter()
            if now - last[0] > 0.1 or done >= total:
                last[0] = now
                new = {"phase": phase, "done": done, "total": total, "message": message}
                self._post(lambda: self._say(replace(self.status, **new)))

        return report

    def _show_clicks(self) -> None:
        if self.view is not None and self.scene is not None:
            self.scene.show_clicks((*self.view.clicks, *self._pending.values()))

    def _add_points(self, points: list[XY]) -> None:
        for xy in points:
            self.click(xy)

    # The view moves, layers go.

    def _aim(self, event: object = None) -> None:
        """Let the look-ahead turn to what is in view now."""
        view, scene = self.view, self.scene
        if view is None or scene is None or not self.look_ahead:
            return
        rect = scene.visible_level0()
        if rect is None:
            return
        centre = (rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2
        grid = view.grid

        def regions() -> list[Any]:
            return [grid.region(w) for w in grid.around(centre, rect, WINDOWS_AHEAD)]

        self._ahead.aim(view.predictor, regions)

    def _take_ahead(self, progress: Ahead) -> None:
        if progress.error is not None and not isinstance(progress.error, HistoSamError):
            self.failed.emit(Failure("look ahead", progress.error))
        self._say(replace(self.status, ahead_done=progress.done, ahead_total=progress.total))

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
        """End the session that is open, if one is; its record stays."""
        engine, self._engine = self._engine, None
        self._ahead.stop()
        self._worker.forget()
        self._pending.clear()
        self._asked_at.clear()
        if engine is not None:
            self._worker.submit("end", engine.close)
        if self.scene is not None:
            self.scene.remove()
        self.scene, self.view = None, None


def _camera_events(viewer: Any) -> tuple[Any, ...]:
    return viewer.scene.camera.events.zoom, viewer.scene.camera.events.center
