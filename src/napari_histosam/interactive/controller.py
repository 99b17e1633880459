"""Events <-> session: what the widget, keys and mouse submit, and what they hear of it. No widgets.

Everything here runs on the interface thread and returns at once. What a user does is an `Operation`
of the core, sent to the session's thread as a numbered request. Each answer is a complete `View`:
one that comes late is painted over by the next. A second thread encodes the windows in view ahead
of the clicks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from histosam_core.clicks import Box, Click, Lasso
from histosam_core.errors import ConfigError, HistoSamError
from histosam_core.session.growth.growing import WINDOWS_A_CLICK
from histosam_core.session.operations import NAMES, Accept, Grow, Operation, Reopen, SetClass
from napari_histosam.interactive import classes as class_list
from napari_histosam.interactive.engine import Engine, engine_of_layer
from napari_histosam.interactive.look_ahead import Ahead, LookAhead
from napari_histosam.interactive.pending import ClickEdit, PendingClicks
from napari_histosam.interactive.scene.mask_layers import Display
from napari_histosam.interactive.scene.prompt_layers import Edits
from napari_histosam.interactive.scene.scene import Scene
from napari_histosam.interactive.session_thread import SessionThread
from napari_histosam.interactive.status import Failure, Phase, Status

if TYPE_CHECKING:
    from pathlib import Path

    from histosam_core.clicks import Prompt
    from histosam_core.session import OverlapRule
    from napari_histosam.interactive.view import Setup, View
    from napari_histosam.viewer.workers import Answer

XY = tuple[float, float]
WINDOWS_AHEAD = 24
GROWN_FROM = "click", "move", "remove"
"""Requests after which the object grows."""


class Controller:
    """One interactive session at a time in one viewer.

    Parameters
    ----------
    viewer
        napari's viewer (or its model, in tests).
    post
        Runs a callable soon on the interface thread; may be called from any thread.
    engine_for
        Makes the engine for an image layer. Default: of the slide behind the layer.

    Attributes
    ----------
    view, scene
        What the session last answered, and our layers; None where no session is open.
    classes
        The class that the next object is accepted as, and those to choose from.
    display
        How the current object is shown.
    overlap
        The rule for places that accepted objects cover already.
    look_ahead
        Encodes the windows in view; may be switched off.
    is_growing
        Whether the current object is growing, window by window, until it ends or is stopped.
    """

    status_changed = Signal(Status)
    view_changed = Signal(object)
    sign_changed = Signal(bool)
    grows_changed = Signal(bool)
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
        self.is_positive = True
        self._grows = True
        self.is_growing = False
        self._grow_until = 0
        self.is_closed = False
        self.display = Display()
        self.engine_for = engine_for or engine_of_layer
        self.thread = SessionThread(post, self._take, self._announce)
        self.classes = class_list.ClassList(self._save_classes)
        self._pending = PendingClicks()
        self.thread.worker.submit(
            "classes", lambda: class_list.read_classes(class_list.classes_file())
        )
        self.look_ahead = LookAhead(
            "histosam-ahead",
            lambda: self.thread.worker.is_busy,
            lambda progress: post(lambda: self._take_ahead(progress)),
        )
        self._ahead_failed = False
        camera = viewer.scene.camera
        self._watched = (
            (viewer.layers.events.removed, self._on_removed),
            (camera.events.zoom, self._aim),
            (camera.events.center, self._aim),
        )
        for event, callback in self._watched:
            event.connect(callback)

    @property
    def is_open(self) -> bool:
        """Whether a session is open and clicks are taken."""
        return self.view is not None

    @property
    def is_settled(self) -> bool:
        """Whether every request is answered, and every answer painted."""
        return self.thread.is_settled

    def open(self, image: Any, setup: Setup) -> None:
        """Begin a session on an image layer, or go on with another setup in the open one."""
        scene, before = self.scene, self.status
        if scene is None or scene.image is not image:
            self._leave()
            before = Status()
            edits = Edits(self._add_drawn, self.change, self.remove)
            self.scene = Scene(self.viewer, image, self, edits, self.display)
        self._ahead_failed = False
        self.look_ahead.stop()
        message = f"loading {setup.model}"
        self._say(replace(before, phase="loading", message=message, done=0, total=0))
        self.thread.open(self.thread.engine or self.engine_for(image), setup)

    def submit(self, operation: Operation) -> None:
        """Have the session carry out an operation."""
        at, edits = None, []
        match operation:
            case Click(xy):
                at, edits = xy, [ClickEdit(None, operation)]
            case Box((x0, y0, x1, y1)):
                at = (x0 + x1) / 2, (y0 + y1) / 2
            case Reopen(key):  # its class is the chosen one until it is accepted or dropped
                for accepted in () if self.view is None else self.view.objects:
                    if accepted.id == key:
                        self.classes.begin_correction(accepted)
        self._ask(NAMES[type(operation)], lambda e: e.apply(operation), at=at, edits=edits)

    def click(self, xy: XY, is_positive: bool | None = None) -> None:
        """Submit a click at a level-0 point, with the sign of left clicks where none is given."""
        self.submit(Click(xy, self.is_positive if is_positive is None else is_positive))

    def change(self, old: Prompt, new: Prompt) -> None:
        """Have a prompt of the current object replaced: a click is moved, a box drawn anew."""
        if isinstance(old, Click) and isinstance(new, Click):
            xy, edits = new.xy, [ClickEdit(old, new)]
            self._ask("move", lambda e: e.move(old, xy), at=xy, edits=edits)
        else:
            self.remove([old])
            self.submit(new)

    def remove(self, prompts: Sequence[Prompt]) -> None:
        """Have prompts of the current object taken out, known by their values."""
        given = tuple(prompts)
        edits = [ClickEdit(prompt, None) for prompt in given if isinstance(prompt, Click)]
        self._ask("remove", lambda e: e.remove(given), edits=edits)

    def accept(self) -> None:
        """Have the current object accepted as the chosen class."""
        label = self.classes.label
        self.submit(Accept(label, self.classes.colors[label], self.overlap))

    def reopen_at(self, xy: XY) -> None:
        """Correct the topmost accepted object under a level-0 point."""
        found = None if self.view is None else self.view.object_at(xy)
        if found is None:
            self._complain(ConfigError("no accepted object is there; point at one"))
        else:
            self.submit(Reopen(found))

    def import_file(self, path: Path) -> None:
        """Add the objects of an annotation file."""
        self._ask("import", lambda e: e.import_file(path))

    def export_file(self, path: Path) -> None:
        """Write the accepted objects."""
        progress = self.thread.progress("working")
        self._ask("export", lambda e: e.export_file(path, progress))

    def resume(self, path: Path) -> None:
        """Go on with an earlier session on this slide, from its journal."""
        self._ask("restore", lambda e: e.resume(path))

    def toggle_sign(self) -> None:
        """Let left clicks mean the opposite."""
        self.is_positive = not self.is_positive
        self.sign_changed.emit(self.is_positive)

    @property
    def grows(self) -> bool:
        """Whether objects grow beyond the windows that are clicked in."""
        return self._grows

    @grows.setter
    def grows(self, grows: bool) -> None:
        if grows == self._grows:
            return
        self._grows = grows
        self.grows_changed.emit(grows)
        if not grows:
            self.stop_growing()
        elif self.view is not None:
            self._begin_to_grow(self.view)
            self._grow_on(self.view)

    def stop_growing(self) -> bool:
        """Leave the object as far as it has grown; return whether it was growing."""
        was, self.is_growing = self.is_growing, False
        if was:
            self._say(replace(self.status, phase="ready", message="", done=0, total=0))
        return was

    def rename_class(self, label: str) -> None:
        """Give the chosen class another name, and every accepted object of it."""
        old = self.classes.label
        self.classes.rename(label)
        label = self.classes.label
        for accepted in () if self.view is None else self.view.objects:
            if accepted.label == old:
                self.submit(SetClass(accepted.id, label, self.classes.colors[label]))

    def attempt(self, action: Callable[[], None]) -> None:
        """Do something at once that may be refused, and report why like any other failure."""
        try:
            action()
        except HistoSamError as error:
            self._complain(error)

    def close(self, wait_s: float = 2.0, *, remove_layers: bool = False) -> None:
        """End the session and the threads, and maybe its layers but the accepted objects.

        Its record stays. What is not done in `wait_s` is done in the background.
        """
        self.is_closed = True
        for event, callback in self._watched:
            event.disconnect(callback)
        self.look_ahead.close()
        self.thread.close(wait_s)
        self.look_ahead.close(timeout_s=wait_s)
        if self.scene is not None and remove_layers:
            self.scene.remove(keep_objects=True)

    # Requests and answers.

    def _ask(
        self,
        name: str,
        work: Callable[[Engine], View],
        *,
        at: XY | None = None,
        edits: Sequence[ClickEdit] = (),
    ) -> None:
        """Ask the session's thread; `at` is where a model must look, level-0 pixels."""
        if self.view is None:
            return self._complain(ConfigError("press Start first: no session is open"))
        number = self.thread.ask(name, work, at)
        if edits:
            self._pending.add(number, *edits)
            if self.scene is not None:
                self.scene.show_clicks(self._pending.shown(self.view.clicks))

    def _take(self, answer: Answer, asked_at: float | None) -> None:
        """Paint an answer; without `asked_at` it was for no session, or for one that is over."""
        self._pending.answered(answer.number)
        is_ours = asked_at is not None
        if answer.name == "classes" and answer.error is None:
            self.classes.load(answer.result)
        elif answer.error is not None and (is_ours or answer.name in ("save classes", "end")):
            if is_ours and self.view is not None:
                self._paint(self.view)
            self._complain(answer.error)
        elif asked_at is not None and answer.result is not None:
            view: View = answer.result
            if answer.name == "restore" and self.scene is not None:
                self.scene.remove_left_behind()
            self._paint(view)
            painted_ms = 1e3 * (time.perf_counter() - asked_at)
            self._say(self.status.painted(view, painted_ms))
            self.view_changed.emit(view)
            if view.message:
                self.informed.emit(view.message)
            if answer.name in GROWN_FROM:
                self._begin_to_grow(view)
            elif answer.name in ("undo", "redo", "open"):
                self.is_growing = False
            self._grow_on(view)
            self._aim()

    def _begin_to_grow(self, view: View) -> None:
        self.is_growing, self._grow_until = self.grows, view.n_grown + WINDOWS_A_CLICK

    def _grow_on(self, view: View) -> None:
        """Have the object grow into one window more, unless something else is asked for."""
        if not self.is_growing or self.thread.is_asked:
            return  # the answer to what is asked for comes back here
        if not view.can_grow:
            self.is_growing = False
        elif view.n_grown >= self._grow_until:
            self.is_growing = False
            self.informed.emit(
                f"the object goes on beyond {view.n_grown} windows; growing has stopped. Click "
                "where it should end or go on, press G twice to grow on, Z to take it all back"
            )
        else:
            work = Grow(1)
            self.thread.ask("grow", lambda e: e.apply(work), is_announced=False)
            done, waits = view.n_grown, max(view.n_to_grow, 1)
            message = f"{done} windows done, {waits} wait (Esc stops)"
            self._announce("growing", message, done=done, total=done + waits)

    def _paint(self, view: View) -> None:
        """Show a view, what is still asked for, and the class of an object that is corrected."""
        self.view = view
        if self.scene is not None:
            self.scene.show(view, self._pending.shown(view.clicks))
        if view.reopened is None:
            self.classes.end_correction()
        else:
            self.classes.begin_correction(view.reopened)

    def _complain(self, error: BaseException) -> None:
        failure = Failure(error)
        self._say(replace(self.status, phase="failed", message=failure.message))
        self.failed.emit(failure)

    def _say(self, status: Status) -> None:
        self.status = replace(status, n_waiting=len(self._pending))
        self.status_changed.emit(self.status)

    def _announce(self, phase: Phase, message: str, **facts: Any) -> None:
        self._say(replace(self.status, phase=phase, message=message, **facts))

    def _save_classes(self, classes: dict[str, class_list.Color]) -> None:
        path = class_list.classes_file()
        self.thread.worker.submit("save classes", lambda: class_list.write_classes(path, classes))

    def _add_drawn(self, prompt: Prompt) -> None:
        """Submit what was drawn with napari's tools, which know no sign."""
        if isinstance(prompt, Click | Lasso):
            prompt = replace(prompt, is_positive=self.is_positive)
        self.submit(prompt)

    def _aim(self, event: object = None) -> None:
        view, scene = self.view, self.scene
        rect = None if scene is None else scene.visible_level0()
        if view is not None and rect is not None:
            self.look_ahead.aim(view.predictor, lambda: view.regions_around(rect, WINDOWS_AHEAD))

    def _take_ahead(self, progress: Ahead) -> None:
        error = progress.error
        # An error that has a fix is left to the click that meets it; another is shown once.
        is_unexpected = error is not None and not isinstance(error, HistoSamError | OSError)
        if error is not None and is_unexpected and not self._ahead_failed:
            self._ahead_failed = True
            self.failed.emit(Failure(error))
        self._say(replace(self.status, ahead_done=progress.done, ahead_total=progress.total))

    def _on_removed(self, event: Any) -> None:
        if self.scene is None:
            return
        if event.value is self.scene.image:
            self.informed.emit(
                "the slide's layer was removed; nothing is lost: accepted objects and clicks stay "
                "here and in the journal. Open the slide again and press Start to go on"
            )
        self.layers_changed.emit()

    def _leave(self) -> None:
        """End the session that is open or about to be; its record stays.

        What it was asked for is still done, so that no click is lost, but its answers are dropped.
        """
        self.look_ahead.stop()
        self._pending.clear()
        if self.scene is None:
            return
        self.thread.leave()
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
