"""The keys: bound on the slide's layer and on ours while a session is open, and on the viewer while
no layer is chosen. Another layer's keys, and napari's own then, are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_histosam.interactive.controller import Controller

__all__ = ["KEYS", "Key", "KeyBindings"]


@dataclass(frozen=True, slots=True)
class Key:
    """What some keys do.

    Parameters
    ----------
    keys
        As napari writes them.
    action
        Method of `KeyBindings`.
    """

    keys: tuple[str, ...]
    action: str


KEYS = (
    Key(("T",), "toggle_sign"),
    Key(("Z", "Control-Z", "Meta-Z"), "undo"),
    Key(("Y", "Control-Y", "Meta-Y", "Control-Shift-Z", "Meta-Shift-Z"), "redo"),
    Key(("C", "Enter"), "accept"),
    Key(("Escape",), "drop"),
    Key(("Delete", "Backspace"), "delete"),
    Key(("B",), "draw_box"),
    Key(("L",), "draw_lasso"),
    Key(("R",), "reopen"),
    Key(("O",), "outline"),
    Key(("H",), "heat_map"),
)
REACH_PX = 12


@dataclass(slots=True, eq=False)
class _Bound:
    """A viewer or layer, and for each key what is bound and what was there before."""

    target: Any
    keys: dict[str, tuple[Any, Any]] = field(default_factory=dict)


class KeyBindings:
    """The keys of one controller on its viewer; `bind` again when layers were made or have gone.

    Parameters
    ----------
    controller
        What the keys work on.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._viewer = controller.viewer
        self._bound: list[_Bound] = []
        self._viewer.layers.selection.events.active.connect(self.bind)

    def bind(self, event: object = None) -> None:
        """Bind the keys where they belong now, and nowhere else."""
        scene = self._controller.scene
        wanted: list[Any] = []
        if scene is not None and self._controller.is_open:
            wanted = [*scene.layers, scene.image]
            if self._viewer.layers.selection.active is None:
                wanted.append(self._viewer)
        for bound in list(self._bound):
            if not any(bound.target is target for target in wanted):
                self._unbind(bound)
        for target in wanted:
            if not any(bound.target is target for bound in self._bound):
                self._bind_to(target)

    def detach(self) -> None:
        """Unbind everything; keys that others had bound do again what they did."""
        self._viewer.layers.selection.events.active.disconnect(self.bind)
        for bound in list(self._bound):
            self._unbind(bound)

    def toggle_sign(self) -> None:
        """T: left clicks mean the opposite (belongs / does not belong)."""
        self._controller.toggle_sign()

    def undo(self) -> None:
        """Z: undo the last click, box, lasso, edit, accept or drop."""
        self._controller.undo()

    def redo(self) -> None:
        """Y: put back what was undone last."""
        self._controller.redo()

    def accept(self) -> None:
        """C, Enter: accept the object."""
        self._controller.accept()

    def drop(self) -> None:
        """Esc: drop the object; while a box or lasso is drawn, end that instead."""
        if not self._end_drawing():
            self._controller.drop()

    def delete(self) -> None:
        """Delete: the click under the mouse; in napari's select mode, the selected ones."""
        scene = self._controller.scene
        if scene is None:
            return
        active = self._viewer.layers.selection.active
        if active in scene.layers and getattr(active, "selected_data", None):
            active.remove_selected()
            return
        found = scene.click_at(
            self._viewer.cursor.position, REACH_PX / self._viewer.scene.camera.zoom
        )
        if found is not None:
            self._controller.remove([found])

    def draw_box(self) -> None:
        """B: draw a box round the object; once more: back to clicks."""
        self._draw("add_rectangle")

    def draw_lasso(self) -> None:
        """L: draw an area by hand; once more: back to clicks."""
        self._draw("add_polygon_lasso")

    def reopen(self) -> None:
        """R: correct the accepted object under the mouse."""
        scene = self._controller.scene
        if scene is not None:
            position = self._viewer.cursor.position
            self._controller.reopen_at(scene.frame.to_level0(position))

    def outline(self) -> None:
        """O: show the mask as an outline, or filled."""
        display = self._controller.display
        self._controller.set_display(display.changed(as_outline=not display.as_outline))

    def heat_map(self) -> None:
        """H: show the probability, or not."""
        display = self._controller.display
        self._controller.set_display(display.changed(heat_map=not display.heat_map))

    def _draw(self, mode: str) -> None:
        """Take up one of napari's drawing tools, or put it down."""
        scene = self._controller.scene
        if scene is None or not self._controller.is_open:
            return
        layer = scene.boxes_layer()
        was = str(layer.mode)
        self._end_drawing()
        if was != mode:
            self.bind()
            self._viewer.layers.selection.active = layer
            layer.mode = mode

    def _end_drawing(self) -> bool:
        scene = self._controller.scene
        layer = None if scene is None else scene.layer("box")
        if scene is None or layer is None or str(layer.mode) == "pan_zoom":
            return False
        layer.mode = "pan_zoom"
        self._viewer.layers.selection.active = scene.layer("clicks") or scene.image
        return True

    def _bind_to(self, target: Any) -> None:
        bound = _Bound(target)
        for key in KEYS:
            for name in key.keys:
                callback = self._callback(key.action)
                before = target.bind_key(name, None)
                target.bind_key(name, callback)
                bound.keys[name] = callback, before
        self._bound.append(bound)

    def _unbind(self, bound: _Bound) -> None:
        self._bound.remove(bound)
        for name, (callback, before) in bound.keys.items():
            now = bound.target.bind_key(name, None)
            again = before if now is callback else now  # another has bound it since
            if again is not None:
                bound.target.bind_key(name, again)

    def _callback(self, action: str) -> Callable[[Any], None]:
        def run(target: Any) -> None:
            getattr(self, action)()

        return run
