"""The look-ahead's aim: windows of what is in view now, encoded before a click falls there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from histosam_core.errors import HistoSamError
from napari_histosam.interactive.look_ahead import Ahead, LookAhead

if TYPE_CHECKING:
    from napari_histosam.interactive.scene import Scene
    from napari_histosam.interactive.view import View

__all__ = ["AheadOfView"]

WINDOWS_AHEAD = 24


class AheadOfView:
    """Aims a `LookAhead` whenever the view moves. Lives on the interface thread.

    Parameters
    ----------
    viewer
        napari's; its camera is watched.
    post
        Runs a callable soon on the interface thread.
    is_busy
        Whether clicks are being answered.
    now
        Gives what the session shows, and where; None where no session is open.
    told
        Gets how far it has come, (done, total).
    failed
        Gets an error that nobody foresaw, once until `begin`. One that was foreseen is left to the
        click that meets it.
    """

    def __init__(
        self,
        viewer: Any,
        post: Callable[[Callable[[], None]], None],
        is_busy: Callable[[], bool],
        now: Callable[[], tuple[View, Scene] | None],
        told: Callable[[int, int], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.is_on = True
        self._now = now
        self._told = told
        self._failed = failed
        self._has_failed = False
        self._thread = LookAhead(
            "histosam-ahead", is_busy, lambda progress: post(lambda: self._take(progress))
        )
        camera = viewer.scene.camera
        self._events = camera.events.zoom, camera.events.center
        for event in self._events:
            event.connect(self.aim)

    def begin(self) -> None:
        """Stop, and be ready for another session."""
        self._has_failed = False
        self._thread.stop()

    def switch(self, is_on: bool) -> None:
        """Work, or do not."""
        self.is_on = is_on
        if is_on:
            self.aim()
        else:
            self._thread.stop()

    def aim(self, event: object = None) -> None:
        """Turn to what is in view now."""
        now = self._now() if self.is_on else None
        if now is None:
            return
        view, scene = now
        rect = scene.visible_level0()
        if rect is None:
            return
        centre = (rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2
        grid = view.grid

        def regions() -> list[Any]:
            return [grid.region(w) for w in grid.around(centre, rect, WINDOWS_AHEAD)]

        self._thread.aim(view.predictor, regions)

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until everything asked for is encoded; return whether that came in time."""
        return self._thread.wait_idle(timeout_s)

    def stop_watching(self) -> None:
        """Let go of the camera, and let the thread end after the window at hand."""
        for event in self._events:
            event.disconnect(self.aim)
        self._thread.close()

    def close(self, timeout_s: float) -> bool:
        """Wait for the thread to end; return whether that came in time."""
        return self._thread.close(timeout_s)

    def _take(self, progress: Ahead) -> None:
        error = progress.error
        is_new = error is not None and not isinstance(error, HistoSamError | OSError)
        if is_new and error is not None and not self._has_failed:
            self._has_failed = True
            self._failed(error)
        self._told(progress.done, progress.total)
