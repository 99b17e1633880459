"""A controller over a viewer without a window, on a synthetic slide whose tumour is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from histosam_core.model import load_model
from histosam_core.recipes.synthetic import render_slide
from histosam_core.slide import open_slide
from histosam_core.slide.write import write_svs
from napari_histosam.interactive.controller import Controller
from napari_histosam.interactive.engine import Engine
from napari_histosam.interactive.view import Setup

SIZE_PX, MPP = 3000, 0.5
PATIENCE_S = 60


@dataclass(frozen=True)
class Drawn:
    """A slide's pixels and its truth, level 0."""

    image: NDArray[np.uint8]
    tumor: NDArray[np.bool_]

    @property
    def inside(self) -> tuple[float, float]:
        """The point (x, y) deepest in the tumour."""
        depth = cv2.distanceTransform(np.pad(self.tumor, 1).astype(np.uint8), cv2.DIST_L2, 5)
        y, x = np.unravel_index(int(depth[1:-1, 1:-1].argmax()), self.tumor.shape)
        return float(x), float(y)


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    slide = render_slide("liver", (SIZE_PX, SIZE_PX), mpp=MPP, rng=5)
    return Drawn(slide.image, slide.tumor_mask)


@pytest.fixture(scope="session")
def slide_file(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slides") / "liver.svs"
    return write_svs(path, drawn.image, mpp=MPP, magnification=20)


@pytest.fixture(autouse=True)
def own_cache(folders: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No embedding of another test is found."""
    monkeypatch.setenv("HISTOSAM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def slide_path(slide_file: Path, tmp_path: Path) -> Path:
    """The slide in a folder of its own, so that journals of other tests are not found."""
    path = tmp_path / "case" / slide_file.name
    path.parent.mkdir()
    path.hardlink_to(slide_file)
    return path


@cache
def loaded(name: str) -> Any:
    return load_model(name, "cpu")


def load_once(name: str, device: str, *, progress: Any = None) -> Any:
    """`load_model`, each model once a run."""
    return loaded(name)


@pytest.fixture
def load() -> Callable[..., Any]:
    return load_once


class Desk:
    """A controller, and the interface thread's queue that brings it its answers."""

    def __init__(self, slide_path: Path) -> None:
        from napari.components import ViewerModel

        self.slide_path = slide_path
        self.viewer = ViewerModel()
        self.queue: list[Callable[[], None]] = []
        self.controller = Controller(self.viewer, self.queue.append, self.engine_for)
        self.controller.grows = False  # test_growing.py lets it
        self.failures: list[Any] = []
        self.told: list[str] = []
        self.controller.failed.connect(self.failures.append)
        self.controller.informed.connect(self.told.append)
        self.image = self.add_slide()

    def engine_for(self, image: Any) -> Engine:
        return Engine(lambda: open_slide(self.slide_path), load_once)

    def add_slide(self) -> Any:
        with open_slide(self.slide_path) as slide:
            levels = [np.asarray(level) for level in slide.levels]
        return self.viewer.add_image(
            levels, multiscale=True, rgb=True, scale=(MPP, MPP), units=("um", "um"), name="liver"
        )

    def start(self, **choices: Any) -> None:
        self.controller.open(self.image, Setup(**{"model": "histosam-tiny", **choices}))
        self.settle()
        assert self.controller.view is not None, self.failures

    def settle(self) -> None:
        """Carry out what was posted until every request is answered."""
        end = time.monotonic() + PATIENCE_S
        while self.queue or not self.controller.is_settled:
            assert time.monotonic() < end, self.controller.status
            while self.queue:
                self.queue.pop(0)()
            time.sleep(0.002)

    def layer(self, role: Any) -> Any:
        assert self.controller.scene is not None
        layer = self.controller.scene.layer(role)
        assert layer is not None
        return layer

    @property
    def view(self) -> Any:
        assert self.controller.view is not None
        return self.controller.view

    def mask_at(self, xy: tuple[float, float]) -> int:
        """What the mask layer shows at a level-0 point: 1 or 0."""
        assert self.controller.scene is not None
        layer = self.layer("mask")
        row, column = np.rint(layer.world_to_data(self.controller.scene.frame.to_world(xy)))
        return int(layer.data[int(row), int(column)])


@pytest.fixture
def make_desk() -> Iterator[Callable[[Path], Desk]]:
    desks: list[Desk] = []

    def make(path: Path) -> Desk:
        desks.append(Desk(path))
        return desks[-1]

    yield make
    for desk in desks:
        desk.controller.close()


@pytest.fixture
def desk(make_desk: Callable[[Path], Desk], slide_path: Path) -> Desk:
    return make_desk(slide_path)


@pytest.fixture
def started(desk: Desk) -> Desk:
    desk.controller.look_ahead.is_on = False
    desk.start()
    return desk


@pytest.fixture
def hand(viewer: Any, widget: Any, drawn: Any) -> Any:
    """A session that is open, the tumour in the middle of the view."""
    from mouse_hand import Hand

    hand = Hand(viewer, widget)
    widget.setup_panel.start_button.click()
    hand.wait(lambda: widget.controller.is_open)
    hand.look_at(drawn.inside, zoom=0.4)
    return hand
