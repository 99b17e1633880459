"""A window for the plugin's tests: a display of their own, settings apart, nothing left behind.

What napari and Qt read when they are imported is set here, before any test module is.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from virtual_display import start_screen

OURS = "histosam"

_SETTINGS = Path(tempfile.mkdtemp(prefix="histosam-test-"))
atexit.register(shutil.rmtree, _SETTINGS, ignore_errors=True)
os.environ["NAPARI_CONFIG"] = str(_SETTINGS / "settings.yaml")
os.environ["QT_QPA_PLATFORM"] = "xcb"
os.environ["LIBGL_ALWAYS_SOFTWARE"] = "1"


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """A virtual screen that nobody looks at; skips where there is no Xvfb."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed; scripts/system_libraries.sh installs it")
    # It ends with its last client, so also when this process dies in the middle of a test.
    server, name = start_screen("-terminate")
    before = os.environ.get("DISPLAY")
    os.environ["DISPLAY"] = name
    yield name
    os.environ.pop("DISPLAY")
    if before is not None:
        os.environ["DISPLAY"] = before
    # The server ends last: Qt aborts the process when its screen goes away.
    atexit.register(_end, server)


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    server.wait(10)


@pytest.fixture(scope="session")
def application(display: str) -> Any:
    """The one QApplication of this process; torch is imported before it draws, as other tests need.

    See `torch_beside_opengl`.
    """
    from napari_histosam.viewer.torch_beside_opengl import import_torch

    import_torch()
    from napari.qt import get_qapp

    return get_qapp()


@pytest.fixture(autouse=True)
def folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals of each test in a folder of its own; sample data and weights made once a run."""
    monkeypatch.setenv("HISTOSAM_DATA", str(tmp_path_factory.mktemp("data")))
    shared = _SETTINGS / "cache"
    shared.mkdir(exist_ok=True)
    monkeypatch.setenv("HISTOSAM_CACHE", str(shared))


@pytest.fixture(scope="session")
def textured() -> np.ndarray:
    """(3700, 5000, 3) uint8 with detail everywhere."""
    import cv2

    rng = np.random.default_rng(5)
    coarse = rng.integers(40, 230, (120, 160, 3), np.uint8)
    image = cv2.resize(coarse, (5000, 3700), interpolation=cv2.INTER_CUBIC)
    return cv2.add(image, rng.integers(0, 25, image.shape, np.uint8))


@pytest.fixture(scope="session")
def slide_path(textured: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SVS of 5000 x 3700 px at 0.5 um with levels 1 and 4 in tiles of 240 px."""
    from histosam_core.slide.write import write_svs

    path = tmp_path_factory.mktemp("slides") / "textured.svs"
    return write_svs(
        path, textured, mpp=0.5, magnification=20, tile_px=240, downsamples=(1, 4), quality=70
    )


@pytest.fixture
def wait_for(application: Any) -> Callable[..., None]:
    """Let the window live until a condition holds; fails after `timeout_s`."""

    def wait(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"waited {timeout_s:g} s in vain"
            application.processEvents()
            time.sleep(0.002)

    return wait


@pytest.fixture
def unhandled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What callbacks of Qt raised; without this Qt would end the process."""
    raised: list[str] = []

    def note(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        raised.append("".join(traceback.format_exception(kind, error, trace)))

    monkeypatch.setattr(sys, "excepthook", note)
    return raised


@pytest.fixture
def viewer(application: Any, unhandled: list[str]) -> Iterator[Any]:
    """A napari viewer in a real window of 1200 x 800.

    Fails when our threads or timers outlive it, or when a callback of Qt raised. Threads are ours
    when their name begins with "histosam", timers when they or an object above them are of our
    classes or bear such a name.
    """
    import napari

    timers_before, threads_before = {id(timer) for timer in _active_timers()}, _our_threads()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 800)
    application.processEvents()
    yield viewer
    if viewer in _open_viewers():  # a test may close it itself
        viewer.close()
    application.processEvents()
    end = time.monotonic() + 5
    while _our_threads() - threads_before and time.monotonic() < end:
        application.processEvents()
        time.sleep(0.01)
    assert not unhandled, "\n".join(unhandled)
    assert [thread.name for thread in _our_threads() - threads_before] == []
    timers = [t for t in _active_timers() if id(t) not in timers_before and _is_ours(t)]
    assert timers == []


def _open_viewers() -> list[Any]:
    from napari._qt.qt_main_window import _QtMainWindow

    return [window._qt_viewer.viewer for window in _QtMainWindow._instances]


def _our_threads() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name.startswith(OURS) and t.is_alive()}


def _active_timers() -> list[Any]:
    from qtpy.QtCore import QTimer

    found = []
    for thing in gc.get_objects():
        try:
            if issubclass(type(thing), QTimer) and thing.isActive():
                found.append(thing)
        except (ReferenceError, RuntimeError):  # gone, or deleted by Qt
            continue
    return found


def _is_ours(timer: Any) -> bool:
    while timer is not None:
        if timer.objectName().startswith(OURS) or "napari_histosam" in type(timer).__module__:
            return True
        timer = timer.parent()
    return False
