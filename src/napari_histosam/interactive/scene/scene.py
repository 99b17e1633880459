"""The session's layers in a viewer: made when needed, kept in step with a `View`, rebuilt if lost.

All of this runs on the interface thread. Which prompts there are and what the mask is comes from
the `View`; what a user does to the Points or Shapes layer with napari's own tools goes to `Edits`,
and is undone on the screen if the session refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks import Box, Click
from napari_histosam.interactive.scene.mask_layers import Display, MaskLayers
from napari_histosam.interactive.scene.prompt_layers import BoxLayer, ClickLayer, Edits
from napari_histosam.viewer import layers as ours
from napari_histosam.viewer.coordinates import ImageFrame

if TYPE_CHECKING:
    from napari_histosam.interactive.view import View

DISC_SHARE, LINE_SHARE = 0.03, 0.004  # of a window's side
PILE: tuple[ours.Role, ...] = (ours.OBJECTS, ours.HEAT_MAP, ours.MASK, ours.BOX, ours.CLICKS)
"""Our layers, undermost first."""
TRANSFORM_EVENTS = ("scale", "translate", "rotate", "shear", "affine")


class Scene:
    """Our layers in one viewer, over one image layer.

    Parameters
    ----------
    viewer, image
        napari's viewer, and the image layer that clicks are made on.
    owner
        Goes into the layers' tags.
    edits
        Where a user's own edits go.
    display
        How the current object is shown.
    """

    def __init__(
        self, viewer: Any, image: Any, owner: object, edits: Edits, display: Display
    ) -> None:
        self.viewer = viewer
        self.image = image
        self.frame = ImageFrame.of(image)
        self._owner = owner
        self._edits = edits
        self._view: View | None = None
        self._layers: dict[ours.Role, Any] = {}
        self._clicks: ClickLayer | None = None
        self._boxes: BoxLayer | None = None
        self._mask = MaskLayers(
            display, lambda f: self.frame.affine(f), self._make_mask, self._layers.get
        )
        self._display_events = display.events
        self._display_events.connect(self._mask.restyle)
        self._shown_objects: tuple[Any, ...] | None = ()
        viewer.layers.events.removed.connect(self._on_removed)
        for name in TRANSFORM_EVENTS:
            getattr(image.events, name).connect(self._on_moved_image)

    @property
    def layers(self) -> tuple[Any, ...]:
        """Our layers that are in the viewer now."""
        return tuple(self._layers.values())

    @property
    def is_incomplete(self) -> bool:
        """Whether a layer that shows something was removed from the viewer."""
        view = self._view
        if view is None:
            return False
        needed = {ours.CLICKS}
        needed |= {ours.OBJECTS} if view.objects else set()
        needed |= {ours.MASK} if any(tile.area_px for tile in view.canvas.values()) else set()
        needed |= {ours.BOX} if any(isinstance(p, Box) for p in view.prompts) else set()
        return not needed <= self._layers.keys()

    def layer(self, role: ours.Role) -> Any | None:
        """Return one of our layers, or None."""
        return self._layers.get(role)

    def show(self, view: View, clicks: Sequence[Click] | None = None) -> None:
        """Bring all layers in step with a view; `clicks` are to be seen instead of its own."""
        if self._view is not None and self._view.grid != view.grid:
            self._forget_grid()
        self._view = view
        self._show_objects(view)
        self._mask.show(view.canvas, view.grid.downsample)
        self.show_clicks(view.clicks if clicks is None else clicks)
        boxes = [prompt for prompt in view.prompts if isinstance(prompt, Box)]
        if boxes or self._boxes is not None:
            self._box_layer().show(boxes)

    def show_clicks(self, clicks: Sequence[Click]) -> None:
        """Show these clicks."""
        if self._clicks is None:
            size = DISC_SHARE * self._window_level0()
            layer = ours.make_clicks(self._owner, self.frame, self.image.units, size)
            self._clicks = ClickLayer(layer, self._edits)
            self._add(ours.CLICKS, layer)
        self._clicks.show(clicks)

    def drag_click(self, click: Click, xy: tuple[float, float]) -> None:
        """Show a click elsewhere while it is dragged; the session does not know yet."""
        if self._clicks is not None:
            self._clicks.drag(click, xy)

    def click_at(self, world: Sequence[float], reach_world: float) -> Click | None:
        """Return the shown click nearest to a world position, within reach."""
        if self._clicks is None or not self._clicks.clicks:
            return None
        at = np.array([self.frame.to_world(click.xy) for click in self._clicks.clicks])
        distance = np.hypot(*(at - np.asarray(world[-2:])).T)
        nearest = int(np.argmin(distance))
        return self._clicks.clicks[nearest] if distance[nearest] <= reach_world else None

    def boxes_layer(self) -> Any:
        """Return the layer that boxes are drawn on, made where there is none yet."""
        return self._box_layer().layer

    def restore_lost(self) -> None:
        """Make again what was removed from the viewer, and show everything as it is."""
        if self._view is not None:
            self.show(self._view)

    def visible_level0(self) -> tuple[float, float, float, float] | None:
        """Return the part of the slide in view (x0, y0, x1, y1), level-0 pixels; None: unknown."""
        corners = np.asarray(self.image.corner_pixels, np.float64)[:, -2:]
        if getattr(self.image, "multiscale", False):
            corners = corners * np.asarray(self.image.downsample_factors)[self.image.data_level][:2]
        (y0, x0), (y1, x1) = corners
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def remove_left_behind(self) -> None:
        """Take out what widgets that were closed have left; what is restored stands for it."""
        tags = [(layer, ours.tag_of(layer)) for layer in self.viewer.layers]
        ours.remove_layers(
            self.viewer,
            [layer for layer, tag in tags if tag and getattr(tag.owner, "is_closed", False)],
        )

    def remove(self, *, keep_objects: bool = False) -> None:
        """Take our layers out of the viewer and let go of it; the accepted objects may stay."""
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self._display_events.disconnect(self._mask.restyle)
        for name in TRANSFORM_EVENTS:
            getattr(self.image.events, name).disconnect(self._on_moved_image)
        kept = {ours.OBJECTS} if keep_objects else set()
        gone = [layer for role, layer in self._layers.items() if role not in kept]
        ours.remove_layers(self.viewer, gone)
        self._layers.clear()

    def _box_layer(self) -> BoxLayer:
        if self._boxes is None:
            width = LINE_SHARE * self._window_level0()
            layer = ours.make_boxes(self._owner, self.frame, self.image.units, width)
            self._boxes = BoxLayer(layer, self._edits)
            self._add(ours.BOX, layer)
        return self._boxes

    def _make_mask(
        self, role: ours.Role, data: NDArray[np.uint8], affine: NDArray[np.float64]
    ) -> Any:
        make = ours.make_mask if role == ours.MASK else ours.make_heat_map
        return self._add(role, make(self._owner, data, affine, self.image.units))

    def _show_objects(self, view: View) -> None:
        layer = self._layers.get(ours.OBJECTS)
        if layer is None and view.objects:
            affine, units = self.frame.affine(view.grid.frame), self.image.units
            made = ours.make_objects(self._owner, view.pyramid.levels, affine, units, view)
            layer = self._add(ours.OBJECTS, made)
        elif view.objects == self._shown_objects:
            return
        self._shown_objects = view.objects
        if layer is not None:
            colors = {
                view.labels[one.id]: one.region.color or ours.MASK_RGB for one in view.objects
            }
            layer.metadata[ours.TAG] = ours.LayerTag(ours.OBJECTS, self._owner, view)
            layer.colormap = ours.label_colormap(colors)
            layer.features = _features_of(view)
            _reread(layer, view.pyramid.levels)

    def _forget_grid(self) -> None:
        """Another pixel grid: the accepted objects get a new layer."""
        layer = self._layers.get(ours.OBJECTS)
        if layer is not None:
            self.viewer.layers.remove(layer)

    def _add(self, role: ours.Role, layer: Any) -> Any:
        """Put a layer where it belongs in the pile, and leave the selection as it is."""
        layers = self.viewer.layers
        above = [
            layers.index(other)
            for other_role, other in self._layers.items()
            if PILE.index(other_role) > PILE.index(role) and other in layers
        ]
        active = layers.selection.active
        self._layers[role] = layer
        layers.insert(min(above, default=len(layers)), layer)
        if role != ours.CLICKS and active is not None:
            layers.selection.active = active
        return layer

    def _window_level0(self) -> float:
        view = self._view
        return 800.0 if view is None else view.grid.window_px * view.grid.downsample

    def _on_removed(self, event: Any) -> None:
        for role, layer in list(self._layers.items()):
            if layer is event.value:
                del self._layers[role]
                if role == ours.CLICKS:
                    self._clicks = None
                elif role == ours.BOX:
                    self._boxes = None

    def _on_moved_image(self, event: Any) -> None:
        frame, view = ImageFrame.of(self.image), self._view
        if view is None or frame.equals(self.frame):
            return
        self.frame = frame
        for role, layer in self._layers.items():
            if role == ours.OBJECTS:
                layer.affine = frame.affine(view.grid.frame)
            elif role in (ours.CLICKS, ours.BOX):
                layer.affine = frame.affine()
            elif self._mask.frame is not None:
                layer.affine = frame.affine(self._mask.frame)


def _features_of(view: View) -> Any:
    """Return the table that napari shows for a label under the cursor."""
    import pandas as pd

    rows = [
        {
            "index": view.labels[one.id],
            "class": one.label,
            "area_mm2": round(one.area_mm2, 4),
            "clicks": len(one.clicks),
            "quality": float("nan") if one.quality is None else round(one.quality, 2),
        }
        for one in view.objects
    ]
    return pd.DataFrame(rows, columns=["index", "class", "area_mm2", "clicks", "quality"])


def _reread(layer: Any, levels: Sequence[Any]) -> None:
    """Let a multiscale layer read its levels again; napari keeps the coarsest one otherwise.

    Data that is set is shown at the coarsest level, at the corners of the level shown before: they
    may lie outside it, and an empty picture cannot be drawn.
    """
    layer.corner_pixels = np.array(((0, 0), np.array(levels[-1].shape) - 1))
    layer.data = list(levels)
