"""The Points layer of clicks and the Shapes layer of boxes: shown as the session has them, and what
a user does to them with napari's own tools reported to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from histosam_core.clicks import Box, Click, Lasso
from napari_histosam.viewer import layers as ours
from napari_histosam.viewer.coordinates import to_row_column, to_xy

if TYPE_CHECKING:
    from histosam_core.clicks import Prompt

XY = tuple[float, float]
Edges = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Edits:
    """What is called when a user edits our layers with napari's own tools; level-0 pixels."""

    # A new click, box or lasso. napari's tools know no sign: it is positive.
    add: Callable[[Prompt], None]
    change: Callable[[Prompt, Prompt], None]  # A prompt as it was, and as it is now
    remove: Callable[[Sequence[Prompt]], None]  # prompts that are gone


class ClickLayer:
    """Keeps a Points layer, empty from `layers.make_clicks`, in step with clicks."""

    def __init__(self, layer: Any, edits: Edits) -> None:
        self.layer = layer
        self.clicks: tuple[Click, ...] = ()
        self._edits = edits
        self._is_ours = False
        self._is_pressed = False
        self._is_dragged = False
        layer.events.data.connect(self._on_data)
        layer.mouse_drag_callbacks.append(self._on_drag)

    def show(self, clicks: Sequence[Click]) -> None:
        """Show these clicks; costs little where only the last one is new, nothing where none is."""
        clicks, before, layer = tuple(clicks), self.clicks, self.layer
        is_shown = len(layer.data) == len(before) and not self._is_dragged
        if clicks == before and is_shown:
            return
        self._is_ours, self._is_dragged = True, False
        try:
            layer.selected_data = set()
            if is_shown and clicks and clicks[:-1] == before:
                layer.current_border_color = ours.click_colors(clicks[-1:])[0]
                layer.add(to_row_column([clicks[-1].xy]))
                layer.selected_data = set()
            else:
                layer.data = to_row_column([click.xy for click in clicks])
                if clicks:
                    layer.border_color = ours.click_colors(clicks)
                    layer.refresh()
        finally:
            self._is_ours = False
        self.clicks = clicks

    def drag(self, click: Click, xy: XY) -> None:
        """Show a click elsewhere while it is dragged; the session does not know yet."""
        if click in self.clicks:
            self.layer.data[self.clicks.index(click)] = (xy[1], xy[0])
            self.layer.refresh()
            self._is_dragged = True

    def _on_drag(self, layer: Any, event: Any) -> Iterator[None]:
        """Report what napari's own tools did only when the mouse button is up again."""
        self._is_pressed = True
        yield
        while event.type == "mouse_move":
            yield
        self._is_pressed = False
        self._report(None)

    def _on_data(self, event: Any) -> None:
        action = str(event.action)
        if not self._is_ours and not self._is_pressed and action in ("added", "removed", "changed"):
            self._report(event.data_indices if action == "removed" else None)

    def _report(self, removed: Sequence[int] | None) -> None:
        """Tell the session what differs between the layer and the clicks shown."""
        data, shown = self.layer.data, self.clicks
        if len(data) < len(shown):
            count = len(shown)
            gone = sorted({int(i) % count for i in removed or range(len(data), count)})
            self.clicks = tuple(c for i, c in enumerate(shown) if i not in gone)
            self._edits.remove([shown[i] for i in gone])
            return
        at = [to_xy(row) for row in data]
        for xy, click in zip(at, shown, strict=False):
            if xy != click.xy:
                self._edits.change(click, Click(xy, click.is_positive))
        for xy in at[len(shown) :]:
            self._edits.add(Click(xy))


class BoxLayer:
    """Keeps a Shapes layer, empty from `layers.make_boxes`, in step with boxes."""

    def __init__(self, layer: Any, edits: Edits) -> None:
        self.layer = layer
        self._boxes: tuple[Box, ...] = ()
        self._edits = edits
        self._is_ours = False
        layer.events.data.connect(self._on_data)

    def show(self, boxes: Sequence[Box]) -> None:
        """Show these boxes."""
        boxes, layer = tuple(boxes), self.layer
        if boxes == self._boxes and len(layer.data) == len(boxes):
            return
        self._is_ours = True
        try:
            layer.selected_data = set()
            layer.data = []
            if boxes:
                layer.add_rectangles([ours.box_corners(box) for box in boxes])
        finally:
            self._is_ours = False
        self._boxes = boxes

    def _on_data(self, event: Any) -> None:
        action, data, shown = str(event.action), self.layer.data, self._boxes
        if self._is_ours:
            return
        if action == "added" and len(data) > len(shown):
            if str(self.layer.shape_type[-1]) in ("polygon", "path"):
                self._edits.add(Lasso(tuple(to_xy(corner) for corner in data[-1])))
            else:
                self._edits.add(Box(_edges(data[-1])))
        elif action == "removed" and len(data) < len(shown):
            gone = {int(i) % len(shown) for i in event.data_indices}
            self._boxes = tuple(box for i, box in enumerate(shown) if i not in gone)
            self._edits.remove([shown[i] for i in sorted(gone)])
        elif action == "changed" and len(data) == len(shown):
            for box, corners in zip(shown, data, strict=True):
                if not np.allclose(_edges(corners), box.xyxy):
                    self._edits.change(box, Box(_edges(corners)))


def _edges(corners: Any) -> Edges:
    """Return the rectangle round a shape's corners (N, 2), rows and columns."""
    rows, columns = np.asarray(corners)[:, -2:].T
    return float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max())
