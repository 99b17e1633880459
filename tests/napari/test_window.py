"""The window of the plugin's tests: its own display and settings, and it shows what is added."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.gui


def test_an_added_image_is_seen(viewer: Any, application: Any) -> None:
    image = np.zeros((600, 600, 3), np.uint8)
    image[...] = (200, 30, 30)
    viewer.add_image(image, rgb=True)
    viewer.reset_view()
    application.processEvents()
    seen = viewer.screenshot(canvas_only=True, flash=False)
    assert (seen[..., :3] == (200, 30, 30)).all(axis=-1).sum() > 100_000


def test_settings_are_not_the_users(viewer: Any) -> None:
    from napari.settings import get_settings

    assert str(get_settings().config_path) == os.environ["NAPARI_CONFIG"]
    assert os.environ["DISPLAY"].startswith(":")
