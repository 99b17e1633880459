"""A hand on the mouse: real Qt events at places of the slide, for tests, benchmarks and pictures.

It goes the way a user's hand goes: the events are sent to the canvas's native widget, and napari
and our callbacks see nothing but them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

if TYPE_CHECKING:
    from napari_histosam.interactive.widget import InteractiveWidget

__all__ = ["Hand"]

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
NONE, ALT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.AltModifier
STEPS = 6
NEAR_PX = 2


class Hand:
    """Moves the mouse over one viewer's canvas.

    Parameters
    ----------
    viewer
        Shown in a window.
    widget
        Docked in it; says where the slide lies.
    """

    def __init__(self, viewer: Any, widget: InteractiveWidget) -> None:
        self.viewer = viewer
        self.widget = widget
        self.canvas = viewer.window._qt_viewer.canvas

    def click(self, xy: tuple[float, float], *, right: bool = False, alt: bool = False) -> None:
        """Click at a level-0 point that is in view."""
        at = self.at(xy)
        QTest.mouseMove(self.canvas.native, at)
        QTest.mouseClick(self.canvas.native, RIGHT if right else LEFT, ALT if alt else NONE, at)

    def hover(self, xy: tuple[float, float], timeout_s: float = 10.0) -> None:
        """Move to a level-0 point, and wait until napari has heard of it.

        Raises
        ------
        TimeoutError
            It took longer.
        """
        QTest.mouseMove(self.canvas.native, self.at(xy))
        scene, cursor = self.widget.controller.scene, self.viewer.cursor
        world = scene.frame.to_world(xy) if scene else cursor.position[-2:]
        near = NEAR_PX / self.viewer.scene.camera.zoom
        self.wait(lambda: math.dist(cursor.position[-2:], world) <= near, timeout_s)

    def drag(self, start_xy: tuple[float, float], end_xy: tuple[float, float]) -> None:
        """Press at one level-0 point, move, and release at another."""
        self.draw((start_xy, end_xy))

    def draw(self, corners_xy: Sequence[tuple[float, float]]) -> None:
        """Press at the first of these level-0 points, move over the others, release at the last."""
        native, points = self.canvas.native, [self.at(xy) for xy in corners_xy]
        QTest.mouseMove(native, points[0])
        QTest.mousePress(native, LEFT, NONE, points[0])
        for start, end in pairwise(points):
            for step in range(1, STEPS + 1):
                QTest.mouseMove(native, start + (end - start) * step / STEPS)
                QApplication.processEvents()
        QTest.mouseRelease(native, LEFT, NONE, points[-1])

    def key(self, key: Any, modifier: Any = NONE) -> None:
        """Press a key while the canvas has the keyboard."""
        QTest.keyClick(self.canvas.native, key, modifier)

    def at(self, xy: tuple[float, float]) -> QPoint:
        """Return the canvas pixel at a level-0 point.

        Raises
        ------
        ValueError
            The point is not in view, so no hand could click there.
        """
        scene = self.widget.controller.scene
        if scene is None:
            raise ValueError("no session is open")
        world = scene.frame.to_world(xy)
        camera, (height, width) = self.viewer.scene.camera, self.canvas.size
        y, x = (
            round((w - c) * camera.zoom + side / 2)
            for w, c, side in zip(world, camera.center[-2:], (height, width), strict=True)
        )
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"{xy} is not in view; look at it first")
        return QPoint(x, y)

    def look_at(self, xy: tuple[float, float], zoom: float | None = None) -> None:
        """Bring a level-0 point to the middle; `zoom` is screen pixels per level-0 pixel."""
        scene = self.widget.controller.scene
        if scene is None:
            raise ValueError("no session is open")
        row, column = scene.frame.to_world(xy)
        self.viewer.scene.camera.center = (0.0, row, column)
        if zoom is not None:
            a, b = scene.frame.to_world((0.0, 0.0)), scene.frame.to_world((1.0, 0.0))
            self.viewer.scene.camera.zoom = zoom / ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5
        QApplication.processEvents()

    def breathe(self) -> None:
        """Let the window do once what waits to be done."""
        QApplication.processEvents()

    def settle(self, timeout_s: float = 60.0) -> None:
        """Wait until every request is answered and painted.

        Raises
        ------
        TimeoutError
            It took longer.
        """
        controller = self.widget.controller
        self.wait(lambda: controller.is_settled, timeout_s)
        QApplication.processEvents()

    def wait(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Let the window live until a condition holds.

        Raises
        ------
        TimeoutError
            It never did.
        """
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {timeout_s:g} s: {self.widget.status_bar.text}")
            QApplication.processEvents()
            time.sleep(0.002)
