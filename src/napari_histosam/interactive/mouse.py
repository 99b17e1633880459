"""The mouse on the slide: a click without a drag is a prompt; drags still pan, points can be moved.

The callbacks sit on the viewer, so clicks count whichever of our layers, or the slide's, is active;
they keep out of the way while another layer is, or while a napari tool (add, select, a shape) is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from histosam_core.clicks import Click

if TYPE_CHECKING:
    from napari_histosam.interactive.controller import Controller

LEFT, RIGHT = 1, 2
STILL_PX = 4
"""A hand moves the mouse this far, in screen pixels, while it clicks."""
REACH_PX = 9
"""So near to a click, in screen pixels, the mouse takes hold of it."""


class Mouse:
    """Mouse callbacks of one controller on its viewer.

    While it is attached, napari's double click does not zoom: it is two quick clicks.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._viewer = controller.viewer
        self._viewer.mouse_drag_callbacks.append(self._on_press)
        # In the others' place: napari calls all of the list, whoever has taken the click.
        self._is_attached = True
        self._others = list(self._viewer.mouse_double_click_callbacks)
        self._viewer.mouse_double_click_callbacks[:] = [self._on_double_click]

    def detach(self) -> None:
        """Give the mouse back to napari."""
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)
        callbacks = self._viewer.mouse_double_click_callbacks
        if self._on_double_click in callbacks:
            place = callbacks.index(self._on_double_click)
            callbacks[place : place + 1] = self._others
        self._is_attached = False

    def takes_clicks(self) -> bool:
        """Whether a click now is meant for us."""
        return self._is_attached and self._controller.is_open and not self.obstacle()

    def obstacle(self) -> str:
        """Why clicks do not count now, though a session is open, and what to do; else empty."""
        scene = self._controller.scene
        if scene is None or not self._controller.is_open:
            return ""
        if scene.image not in self._viewer.layers:
            return "the slide's layer was removed; open the slide again and press Start"
        if self._viewer.dims.ndisplay != 2:
            return "clicks count in the 2D view only; press the cube below the layers"
        active = self._viewer.layers.selection.active
        if active is not None and active is not scene.image and active not in scene.layers:
            return f"the layer {active.name!r} is selected; select 'Clicks' to go on"
        mode = str(getattr(active, "mode", "pan_zoom"))
        if mode == "add_rectangle" and active is scene.layer("box"):
            return "drag from one corner of the object to the opposite one; Esc: back to clicks"
        if mode == "add_polygon_lasso" and active is scene.layer("box"):
            word = "belongs" if self._controller.is_positive else "does not belong"
            return f"drag round what {word} (T: the opposite); Esc: back to clicks"
        if mode != "pan_zoom":
            return (
                f"napari's {mode.replace('_', ' ')} tool is chosen; the magnifier: back to clicks"
            )
        return ""

    def _on_press(self, viewer: Any, event: Any) -> Iterator[None]:
        scene = self._controller.scene
        if scene is None or event.button not in (LEFT, RIGHT) or not self.takes_clicks():
            return
        start = tuple(event.pos)
        held = None
        if event.button == LEFT and "Alt" not in event.modifiers:
            held = scene.click_at(event.position, REACH_PX / viewer.scene.camera.zoom)
        could_pan = viewer.scene.camera.mouse_pan
        is_drag = False
        if held is not None:
            viewer.scene.camera.mouse_pan = False
        try:
            yield
            while event.type == "mouse_move":
                is_drag = is_drag or math.dist(start, event.pos) > STILL_PX
                if is_drag and held is not None:
                    scene.drag_click(held, scene.frame.to_level0(event.position))
                yield
        finally:
            if held is not None:
                viewer.scene.camera.mouse_pan = could_pan
        xy = scene.frame.to_level0(event.position)
        if is_drag and held is not None:
            self._controller.change(held, Click(xy, held.is_positive))
        elif not is_drag and held is None:
            self._click(event, xy)

    def _on_double_click(self, viewer: Any, event: Any) -> None:
        scene = self._controller.scene
        if scene is not None and self.takes_clicks():
            self._click(event, scene.frame.to_level0(event.position))
            return
        for callback in self._others:
            callback(viewer, event)

    def _click(self, event: Any, xy: tuple[float, float]) -> None:
        is_negative = event.button == RIGHT or "Alt" in event.modifiers
        self._controller.click(xy, False if is_negative else None)
