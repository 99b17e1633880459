"""The keys: bound on the slide's layer and on ours while a session is open, and on the viewer while
no layer is chosen. Another layer's keys, and napari's own then, are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from histosam_core.session.operations import Drop, Redo, Undo

if TYPE_CHECKING:
    from napari_histosam.interactive.controller import Controller

REACH_PX = 12


@dataclass(slots=True, eq=False)
class _Bound:
    """A viewer or layer, and for each key what is bound and what was there before."""

    target: Any
    keys: dict[str, tuple[Any, Any]] = field(default_factory=dict)


class KeyBindings:
    """The keys of one controller on its viewer; `bind` again when layers were made or have gone.

    Attributes
    ----------
    actions
        What each key does, as napari writes the keys.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._viewer = controller.viewer
        self._bound: list[_Bound] = []
        table: dict[tuple[str, ...], Callable[[], object]] = {
            ("T",): controller.toggle_sign,
            ("Z", "Control-Z", "Meta-Z"): lambda: controller.submit(Undo()),
            ("Y", "Control-Y", "Meta-Y", "Control-Shift-Z", "Meta-Shift-Z"): (
                lambda: controller.submit(Redo())
            ),
            ("C", "Enter"): controller.accept,
            ("Escape",): self.drop,
            ("Delete", "Backspace"): self.remove_click,
            ("B",): self.draw_box,
            ("L",): self.draw_lasso,
            ("R",): self.reopen,
            ("O",): lambda: self._toggle("as_outline"),
            ("H",): lambda: self._toggle("heat_map"),
            ("G",): self._toggle_growing,
        }
        self.actions = {key: action for keys, action in table.items() for key in keys}
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

    def drop(self) -> None:
        """Drop the current object; while it grows or a tool draws, end that instead."""
        if not self._end_drawing() and not self._controller.stop_growing():
            self._controller.submit(Drop())

    def remove_click(self) -> None:
        """Take out the click under the mouse; in napari's select mode, the selected ones."""
        scene = self._controller.scene
        if scene is None:
            return
        active = self._viewer.layers.selection.active
        if active in scene.layers and getattr(active, "selected_data", None):
            active.remove_selected()
            return
        reach = REACH_PX / self._viewer.scene.camera.zoom
        found = scene.click_at(self._viewer.cursor.position, reach)
        if found is not None:
            self._controller.remove([found])

    def reopen(self) -> None:
        """Correct the accepted object under the mouse."""
        scene = self._controller.scene
        if scene is not None:
            self._controller.reopen_at(scene.frame.to_level0(self._viewer.cursor.position))

    def draw_box(self) -> None:
        """Draw a box round the object; once more: back to clicks."""
        self._draw("add_rectangle")

    def draw_lasso(self) -> None:
        """Draw an area by hand; once more: back to clicks."""
        self._draw("add_polygon_lasso")

    def _toggle_growing(self) -> None:
        self._controller.grows = not self._controller.grows

    def _toggle(self, setting: str) -> None:
        display = self._controller.display
        setattr(display, setting, not getattr(display, setting))

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
            layer.mode = mode  # before it is chosen: that tells the widget which tool is
            self._viewer.layers.selection.active = layer

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
        for name, action in self.actions.items():

            def callback(_: Any, action: Callable[[], object] = action) -> None:
                action()

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
