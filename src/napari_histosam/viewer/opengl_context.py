"""Removed layers give back their graphics memory in the OpenGL context that they were drawn in.

When a layer is removed, napari 0.9.2 has vispy delete the layer's buffers, textures and programs at
once, in whichever context is current. That is mostly the window's, which Qt puts the picture
together in: it shares these objects with the canvas's context but knows nothing of what is bound
there. With Mesa (llvmpipe) the canvas then draws with what is gone, and the process dies with a
segmentation fault in glDrawArrays.
"""

from __future__ import annotations

from typing import Any

__all__ = ["remove_in_own_context"]


def remove_in_own_context(viewer: Any) -> None:
    """Make a viewer's canvas current whenever layers are removed, before napari hears of it.

    Holds as long as the viewer lives, for layers of others too; doing it twice changes nothing.

    Parameters
    ----------
    viewer
        napari's, in a window.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)  # plugins get one without private names
    canvas = viewer.window._qt_viewer.canvas._scene_canvas
    events = viewer.layers.events
    for event in (events.removed, events.end_batch):
        event.connect(canvas.set_current, position="first")
