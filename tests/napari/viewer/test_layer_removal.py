"""In which OpenGL context removed layers give back what they held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_histosam.viewer.layers import remove_in_own_context, remove_layers

pytestmark = pytest.mark.gui


@pytest.fixture
def deleted_in(viewer: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The context that is current each time when napari lets vispy delete."""
    from qtpy.QtGui import QOpenGLContext

    contexts: list[Any] = []
    finished = viewer.window._qt_viewer.canvas._scene_canvas.context.__class__
    finish = finished.finish

    def watched(self: Any) -> None:
        contexts.append(QOpenGLContext.currentContext())
        finish(self)

    monkeypatch.setattr(finished, "finish", watched)
    return contexts


def drawn(viewer: Any, application: Any) -> list[Any]:
    """Two layers that have been seen, so that the window's context was the last to be current."""
    layers = [viewer.add_image(np.full((64, 64), v, np.uint8)) for v in (90, 200)]
    for _ in range(5):
        application.processEvents()
    return layers


def test_what_removed_layers_held_is_deleted_in_the_context_that_drew_it(
    viewer: Any, application: Any, deleted_in: list[Any]
) -> None:
    own = viewer.window._qt_viewer.canvas.native.context()
    for _ in range(2):  # twice is once
        remove_in_own_context(viewer)
    viewer.layers.remove(drawn(viewer, application)[0])
    remove_layers(viewer, drawn(viewer, application))
    assert [context == own for context in deleted_in] == [True, True]
    application.processEvents()


def test_several_layers_are_removed_at_once_and_one_that_has_gone_is_no_matter(
    viewer: Any, application: Any, deleted_in: list[Any]
) -> None:
    one, other = drawn(viewer, application)
    viewer.layers.remove(one)
    third = drawn(viewer, application)[0]
    deleted_in.clear()
    remove_layers(viewer, [one, other, third])
    assert len(deleted_in) == 1
    assert len(viewer.layers) == 1
    remove_layers(viewer, [one])
    assert len(deleted_in) == 1
