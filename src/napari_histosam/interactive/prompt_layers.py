"""The Points layer of clicks and the Shapes layer of boxes: shown as the session has them, and what
a user does to them with napari's own tools reported to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from histosam_core.clicks import Box, Click
from napari_histosam import layers as ours
from napari_histosam.coordinates import to_row_column, to_xy

__all__ = ["BoxLayer", "ClickLayer", "Edits"]

XY = tuple[float, float]


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

    added: Callable[[list[XY]], None]
    moved: Callable[[int, XY], None]
    removed: Callable[[list[int]], None]
    boxed: Callable[[tuple[float, float, float, float]], None]


class ClickLayer:
    """Keeps a Points layer in step with clicks.

    Parameters
    ----------
    layer
        From `layers.make_clicks`, empty.
    edits
        Where a user's own edits go.
    """

    def __init__(self, layer: Any, edits: Edits) -> None:
        self.layer = layer
        self.clicks: tuple[Click, ...] = ()
        self._edits = edits
        self._is_ours = False
        self._is_pressed = False
        layer.events.data.connect(self._on_data)
        layer.mouse_drag_callbacks.append(self._on_drag)

    def show(self, clicks: Sequence[Click]) -> None:
        """Show these clicks; costs little where only the last one is new, nothing where none is."""
        clicks, before, layer = tuple(clicks), self.clicks, self.layer
        if clicks == before and len(layer.data) == len(clicks):
            return
        self._is_ours = True
        try:
            layer.selected_data = set()
            is_one_more = len(clicks) == len(before) + 1 == len(layer.data) + 1
            if is_one_more and clicks[:-1] == before:
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

    def drag(self, number: int, xy: XY) -> None:
        """Show a click elsewhere while it is dragged; the session does not know yet."""
        self.layer.data[number] = (xy[1], xy[0])
        self.layer.refresh()
        clicks = list(self.clicks)
        clicks[number] = Click(xy, clicks[number].is_positive)
        self.clicks = tuple(clicks)

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
            self._edits.removed(gone)
            return
        at = [to_xy(row) for row in data]
        for number, click in enumerate(shown):
            if at[number] != click.xy:
                self._edits.moved(number, at[number])
        if len(at) > len(shown):
            self._edits.added(at[len(shown) :])


class BoxLayer:
    """Keeps a Shapes layer in step with boxes.

    Parameters
    ----------
    layer
        From `layers.make_boxes`, empty.
    edits
        Where a user's own boxes go.
    """

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
        data = self.layer.data
        if self._is_ours or str(event.action) != "added" or len(data) <= len(self._boxes):
            return
        rows, columns = np.asarray(data[-1])[:, -2:].T
        self._edits.boxed(
            (float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))
        )
