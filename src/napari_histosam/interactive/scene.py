"""The session's layers in a viewer: made when needed, kept in step with a `View`, rebuilt if lost.

All of this runs on the interface thread. What is not ours to decide (which clicks there are, what
the mask is) comes from the `View`; what a user does to the Points or Shapes layer with napari's own
tools is reported through callbacks and undone on the screen if the session refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks import Box, Click
from napari_histosam import layers as ours
from napari_histosam.coordinates import ImageFrame, to_row_column, to_xy
from napari_histosam.interactive.painter import Stage, changed_tiles, paint, stage_for

if TYPE_CHECKING:
    from histosam_core.inference import CanvasSnapshot
    from napari_histosam.interactive.engine import View

__all__ = ["Display", "Edits", "Scene"]

DISC_SHARE = 0.03  # of a window's side
OUTLINE_PX = 2


@dataclass(frozen=True, slots=True)
class Display:
    """How the object at hand is shown.

    Parameters
    ----------
    as_outline
        Its outline instead of a fill.
    opacity
        Of the mask, 0 to 1.
    heat_map
        Whether its probability is shown too.
    """

    as_outline: bool = False
    opacity: float = 0.45
    heat_map: bool = False

    def changed(self, **settings: Any) -> Display:
        """Return a copy with other settings."""
        return replace(self, **settings)


@dataclass(frozen=True, slots=True)
class Edits:
    """What is called when a user edits our layers with napari's own tools; level-0 pixels.

    Parameters
    ----------
    added
        Positions of new points.
    moved
        Number of a click, and where it is now.
    removed
        Numbers of clicks.
    boxed
        A new rectangle (x0, y0, x1, y1).
    """

    added: Callable[[list[tuple[float, float]]], None]
    moved: Callable[[int, tuple[float, float]], None]
    removed: Callable[[list[int]], None]
    boxed: Callable[[tuple[float, float, float, float]], None]


@dataclass(slots=True)
class _Shown:
    clicks: tuple[Click, ...] = ()
    boxes: tuple[Box, ...] = ()
    canvas: CanvasSnapshot = field(default_factory=dict)
    objects: tuple[Any, ...] = ()
    stage: Stage | None = None


class Scene:
    """Our layers in one viewer, over one image layer.

    Parameters
    ----------
    viewer
        napari's.
    image
        The image layer that clicks are made on.
    owner
        Goes into the layers' tags.
    edits
        Where a user's own edits go.
    """

    def __init__(self, viewer: Any, image: Any, owner: object, edits: Edits) -> None:
        self.viewer = viewer
        self.image = image
        self.frame = ImageFrame.of(image)
        self.display = Display()
        self._owner = owner
        self._edits = edits
        self._shown = _Shown()
        self._layers: dict[ours.Role, Any] = {}
        self._mask = np.zeros((1, 1), np.uint8)
        self._heat: NDArray[np.uint8] | None = None
        self._view: View | None = None
        self._is_ours = False
        self._is_pressed = False
        viewer.layers.events.removed.connect(self._on_removed)
        for name in ("scale", "translate", "rotate", "shear", "affine"):
            getattr(image.events, name).connect(self._on_moved_image)

    @property
    def layers(self) -> tuple[Any, ...]:
        """Our layers that exist now."""
        return tuple(self._layers.values())

    def layer(self, role: ours.Role) -> Any | None:
        """Return one of our layers, or None."""
        return self._layers.get(role)

    def show(self, view: View, pending: Sequence[Click] = ()) -> None:
        """Bring all layers in step with a view, and with clicks that wait for their answer."""
        if self._view is not None and self._view.grid != view.grid:
            self._forget_grid()
        self._view = view
        self._show_objects(view)
        self._show_mask(view)
        self.show_clicks((*view.clicks, *pending))
        self._show_boxes(tuple(p for p in view.prompts if isinstance(p, Box)))

    def show_clicks(self, clicks: Sequence[Click]) -> None:
        """Show these clicks; costs little where only the last one is new, nothing where none is."""
        clicks, before = tuple(clicks), self._shown.clicks
        layer = self._clicks_layer()
        if clicks == before and len(layer.data) == len(clicks):
            return
        with self._by_us():
            is_longer = len(clicks) == len(before) + 1 == len(layer.data) + 1
            if is_longer and clicks[:-1] == before:
                layer.selected_data = set()
                layer.current_border_color = ours.click_colors(clicks[-1:])[0]
                layer.add(to_row_column([clicks[-1].xy]))
                layer.selected_data = set()
            else:
                layer.selected_data = set()
                layer.data = to_row_column([click.xy for click in clicks])
                if clicks:
                    layer.border_color = ours.click_colors(clicks)
                    layer.refresh()
        self._shown.clicks = clicks

    def drag_click(self, number: int, xy: tuple[float, float]) -> None:
        """Show a click elsewhere while it is dragged; the session does not know yet."""
        layer = self._clicks_layer()
        with self._by_us():
            layer.data[number] = (xy[1], xy[0])
            layer.refresh()
        clicks = list(self._shown.clicks)
        clicks[number] = Click(xy, clicks[number].is_positive)
        self._shown.clicks = tuple(clicks)

    def click_at(self, world: Sequence[float], reach_world: float) -> int | None:
        """Return the number of the shown click nearest to a world position, within reach."""
        if not self._shown.clicks:
            return None
        at = np.array([self.frame.to_world(click.xy) for click in self._shown.clicks])
        distance = np.hypot(*(at - np.asarray(world[-2:])).T)
        nearest = int(np.argmin(distance))
        return nearest if distance[nearest] <= reach_world else None

    def set_display(self, display: Display) -> None:
        """Show the object at hand in another way."""
        self.display = display
        mask = self._layers.get(ours.MASK)
        if mask is not None:
            self._style(mask)
        if display.heat_map and self._heat is None and self._view is not None:
            self._repaint(self._view.canvas)
        heat = self._layers.get(ours.HEAT_MAP)
        if heat is not None:
            heat.visible = display.heat_map

    def boxes_layer(self) -> Any:
        """Return the layer that boxes are drawn on, made where there is none yet."""
        layer = self._layers.get(ours.BOX)
        if layer is None:
            width = 0.004 * self._window_level0()
            layer = ours.make_boxes(self._owner, self.frame, self.image.units, width)
            layer.events.data.connect(self._on_boxes)
            self._add(ours.BOX, layer)
            self._shown.boxes = ()
        return layer

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

    def remove(self) -> None:
        """Take our layers out of the viewer and let go of it."""
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        for name in ("scale", "translate", "rotate", "shear", "affine"):
            getattr(self.image.events, name).disconnect(self._on_moved_image)
        with self._by_us():
            for layer in self.layers:
                if layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)
        self._layers.clear()

    def _forget_grid(self) -> None:
        """Another pixel grid: the mask gets a new stage, the accepted objects a new layer."""
        self._shown.stage = None
        layer = self._layers.get(ours.OBJECTS)
        if layer is not None:
            with self._by_us():
                self.viewer.layers.remove(layer)

    def _clicks_layer(self) -> Any:
        layer = self._layers.get(ours.CLICKS)
        if layer is None:
            size = DISC_SHARE * self._window_level0()
            layer = ours.make_clicks(self._owner, self.frame, self.image.units, size)
            layer.events.data.connect(self._on_points)
            layer.mouse_drag_callbacks.append(self._on_drag)
            self._add(ours.CLICKS, layer)
            self._shown.clicks = ()
        return layer

    def _show_boxes(self, boxes: tuple[Box, ...]) -> None:
        if not boxes and ours.BOX not in self._layers:
            return
        layer = self.boxes_layer()
        if boxes == self._shown.boxes and len(layer.data) == len(boxes):
            return
        with self._by_us():
            layer.selected_data = set()
            layer.data = []
            if boxes:
                layer.add_rectangles([ours.box_corners(box) for box in boxes])
        self._shown.boxes = boxes

    def _show_mask(self, view: View) -> None:
        canvas = view.canvas
        painted = {index for index, tile in canvas.items() if tile.area_px}
        stage = self._shown.stage
        if ours.MASK not in self._layers and not painted:
            return
        if ours.MASK not in self._layers or stage is None or not stage.holds(painted):
            self._set_stage(stage_for(painted or ((0, 0),)), view)
            return
        changed = [i for i in changed_tiles(self._shown.canvas, canvas) if stage.holds((i,))]
        if changed:
            paint(self._mask, stage, canvas, changed, self._heat)
            self._refresh_mask()
        self._shown.canvas = canvas

    def _set_stage(self, stage: Stage, view: View) -> None:
        self._shown.stage = stage
        self._mask = np.zeros(stage.shape, np.uint8)
        self._heat = None
        affine = self.frame.affine(stage.frame(view.grid.downsample))
        paint(self._mask, stage, view.canvas, [i for i in view.canvas if stage.holds((i,))])
        layer = self._layers.get(ours.MASK)
        if layer is None:
            layer = ours.make_mask(self._owner, self._mask, affine, self.image.units)
            self._style(layer)
            self._add(ours.MASK, layer)
        else:
            layer.data = self._mask
            layer.affine = affine
        self._shown.canvas = view.canvas
        if self.display.heat_map:
            self._repaint(view.canvas)

    def _repaint(self, canvas: CanvasSnapshot) -> None:
        """Paint the heat map anew; makes its layer where there is none."""
        stage, view = self._shown.stage, self._view
        if stage is None or view is None:
            return
        self._heat = np.zeros(stage.shape, np.uint8)
        paint(self._mask, stage, canvas, [i for i in canvas if stage.holds((i,))], self._heat)
        affine = self.frame.affine(stage.frame(view.grid.downsample))
        layer = self._layers.get(ours.HEAT_MAP)
        if layer is None:
            layer = ours.make_heat_map(self._owner, self._heat, affine, self.image.units)
            self._add(ours.HEAT_MAP, layer)
        else:
            layer.data = self._heat
            layer.affine = affine

    def _refresh_mask(self) -> None:
        self._layers[ours.MASK].refresh(extent=False, thumbnail=False)
        heat = self._layers.get(ours.HEAT_MAP)
        if heat is not None and self._heat is not None:
            heat.refresh(extent=False, thumbnail=False)

    def _style(self, mask: Any) -> None:
        mask.contour = OUTLINE_PX if self.display.as_outline else 0
        mask.opacity = self.display.opacity

    def _show_objects(self, view: View) -> None:
        layer = self._layers.get(ours.OBJECTS)
        if view.objects == self._shown.objects and (layer is not None or not view.objects):
            return
        self._shown.objects = view.objects
        colors = {
            view.labels[one.id]: one.region.color or ours.MASK_RGB
            for one in view.objects
            if one.id in view.labels
        }
        affine, source = self.frame.affine(view.grid.frame), ObjectsOf(view)
        if layer is None:
            levels, units = view.pyramid.levels, self.image.units
            layer = ours.make_objects(self._owner, levels, affine, units, source)
            self._add(ours.OBJECTS, layer)
        else:
            layer.metadata[ours.TAG] = ours.LayerTag(ours.OBJECTS, self._owner, source)
            layer.affine = affine
        layer.colormap = ours.label_colormap(colors)
        layer.features = features_of(view)
        _reread(layer, view.pyramid.levels)

    def _add(self, role: ours.Role, layer: Any) -> None:
        """Put a layer where it belongs in the pile, and leave the selection as it is."""
        order = (ours.OBJECTS, ours.HEAT_MAP, ours.MASK, ours.BOX, ours.CLICKS)
        above = [
            self.viewer.layers.index(other)
            for other_role, other in self._layers.items()
            if order.index(other_role) > order.index(role) and other in self.viewer.layers
        ]
        active = self.viewer.layers.selection.active
        self._layers[role] = layer
        with self._by_us():
            self.viewer.layers.insert(min(above, default=len(self.viewer.layers)), layer)
            if role != ours.CLICKS and active is not None:
                self.viewer.layers.selection.active = active

    def _window_level0(self) -> float:
        view = self._view
        return 800.0 if view is None else view.grid.window_px * view.grid.downsample

    @contextmanager
    def _by_us(self) -> Iterator[None]:
        """Mark changes to layers as our own, so that they are not taken for a user's."""
        before, self._is_ours = self._is_ours, True
        try:
            yield
        finally:
            self._is_ours = before

    def _on_drag(self, layer: Any, event: Any) -> Iterator[None]:
        """Report what napari's own tools did only when the mouse button is up again."""
        self._is_pressed = True
        yield
        while event.type == "mouse_move":
            yield
        self._is_pressed = False
        self._report_points(None)

    def _on_points(self, event: Any) -> None:
        if self._is_ours or str(event.action) not in ("added", "removed", "changed"):
            return
        if not self._is_pressed:
            removed = event.data_indices if str(event.action) == "removed" else None
            self._report_points(removed)

    def _report_points(self, removed: Sequence[int] | None) -> None:
        """Tell the session what differs between the Points layer and the clicks shown."""
        data, shown = self._clicks_layer().data, self._shown.clicks
        if len(data) < len(shown):
            count = len(shown)
            gone = sorted({int(i) % count for i in removed or range(len(data), count)})
            self._shown.clicks = tuple(c for i, c in enumerate(shown) if i not in gone)
            self._edits.removed(gone)
            return
        at = [to_xy(row) for row in data]
        moved = [(i, at[i]) for i, click in enumerate(shown) if at[i] != click.xy]
        for number, xy in moved:
            self._edits.moved(number, xy)
        if len(at) > len(shown):
            self._edits.added(at[len(shown) :])

    def _on_boxes(self, event: Any) -> None:
        layer = self._layers.get(ours.BOX)
        if self._is_ours or layer is None or str(event.action) != "added":
            return
        if len(layer.data) > len(self._shown.boxes):
            rows, columns = np.asarray(layer.data[-1])[:, -2:].T
            self._edits.boxed(
                (float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))
            )

    def _on_removed(self, event: Any) -> None:
        for role, layer in list(self._layers.items()):
            if layer is event.value:
                del self._layers[role]
                if role == ours.OBJECTS:
                    self._shown.objects = ()

    def _on_moved_image(self, event: Any) -> None:
        frame = ImageFrame.of(self.image)
        if self._view is None or frame.equals(self.frame):
            return
        self.frame = frame
        grid, stage = self._view.grid, self._shown.stage
        affines: Mapping[ours.Role, Any] = {
            ours.CLICKS: frame.affine(),
            ours.BOX: frame.affine(),
            ours.OBJECTS: frame.affine(grid.frame),
        }
        if stage is not None:
            on_stage = frame.affine(stage.frame(grid.downsample))
            affines = {**affines, ours.MASK: on_stage, ours.HEAT_MAP: on_stage}
        for role, layer in self._layers.items():
            layer.affine = affines[role]


def _reread(layer: Any, levels: Sequence[Any]) -> None:
    """Let a multiscale layer read its levels again; napari keeps the coarsest one otherwise.

    Data that is set is shown at the coarsest level, at the corners of the level shown before: they
    may lie outside it, and an empty picture cannot be drawn.
    """
    layer.corner_pixels = np.array(((0, 0), np.array(levels[-1].shape) - 1))
    layer.data = list(levels)


@dataclass(frozen=True, slots=True, eq=False)
class ObjectsOf:
    """The accepted objects of a view, as a writer asks for them (`writer.AnnotationSource`)."""

    view: View

    def regions(self) -> tuple[Any, ...]:
        """Every accepted object, in order."""
        return tuple(accepted.region for accepted in self.view.objects)

    @property
    def slide_wh(self) -> tuple[int, int]:
        """Width and height of level 0."""
        return self.view.slide_wh

    @property
    def slide_mpp(self) -> float:
        """Micrometres per level-0 pixel."""
        return self.view.slide_mpp

    @property
    def slide_name(self) -> str:
        """The slide's file name."""
        return self.view.slide_name


def features_of(view: View) -> Any:
    """Return the table napari shows for a label under the cursor."""
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
