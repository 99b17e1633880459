"""Levels that never block: at once something, in the end the slide's own pixels."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histosam_core.errors import SlideFormatError
from histosam_core.slide import Slide, open_array, open_slide
from napari_histosam.reader import slide_layer, tag_of_slide
from napari_histosam.viewer.progressive import ProgressiveLevels

VIEW = (900, 700, 800, 600)
KEY = (slice(700, 1300, 1), slice(900, 1700, 1), slice(None))


class Gate:
    """Stands before a slide's reader: lets reads through, or holds them; notes their threads."""

    def __init__(self, slide: Slide) -> None:
        self._read = slide.reader.read
        self.open = threading.Event()
        self.open.set()
        self.threads: list[str] = []
        self.error: Exception | None = None
        slide.reader.read = self.read

    def read(self, *at: int) -> np.ndarray:
        self.threads.append(threading.current_thread().name)
        assert self.open.wait(20)
        if self.error is not None:
            raise self.error
        return self._read(*at)


@pytest.fixture
def slide(slide_path: Path) -> Iterator[Slide]:
    with open_slide(slide_path) as slide:
        yield slide


@pytest.fixture
def gate(slide: Slide) -> Gate:
    return Gate(slide)


@pytest.fixture
def shown(gate: Gate, slide: Slide, application: Any) -> Iterator[ProgressiveLevels]:
    shown = ProgressiveLevels(slide)
    yield shown
    gate.open.set()
    assert shown.wait_idle(20)


pytestmark = pytest.mark.gui


def exact(slide: Slide, rectangle: tuple[int, int, int, int] = VIEW) -> np.ndarray:
    x, y, w, h = rectangle
    return slide.read_level(0, (x, y), (w, h))


def test_the_coarsest_level_is_read_when_it_is_made(shown: ProgressiveLevels) -> None:
    assert shown.overview.shape == (925, 1250, 3)
    np.testing.assert_array_equal(shown.overview, shown.slide.levels[1][:])
    assert not shown._loader.is_busy


def test_something_like_it_is_shown_at_once_and_the_main_thread_reads_nothing(
    shown: ProgressiveLevels, gate: Gate, slide: Slide
) -> None:
    gate.threads.clear()
    gate.open.clear()
    first = shown.levels[0][KEY]
    assert "MainThread" not in gate.threads
    assert shown._loader.is_busy
    gate.open.set()
    true = exact(slide)
    off = np.abs(first.astype(int) - true).mean()
    assert 0 < off < np.abs(true - true.mean((0, 1))).mean() / 2  # enlarged, in the right place
    assert shown.wait_idle(20)
    assert set(gate.threads) <= {"MainThread", "histosam-tiles"}


def test_in_the_end_the_pixels_are_the_slides_own(shown: ProgressiveLevels, slide: Slide) -> None:
    shown.levels[0][KEY]
    assert shown.wait_idle(20)
    np.testing.assert_array_equal(shown.levels[0][KEY], exact(slide))


@pytest.mark.parametrize("at", [(0, 0, 700, 500), (4200, 3100, 800, 600), (4990, 0, 10, 3700)])
def test_edges_are_exact_too(
    shown: ProgressiveLevels, slide: Slide, at: tuple[int, int, int, int]
) -> None:
    shown.show(0, at)
    assert shown.wait_idle(20)
    np.testing.assert_array_equal(shown.show(0, at), exact(slide, at))


def test_levels_between_the_files_are_averages(shown: ProgressiveLevels, slide: Slide) -> None:
    assert [level.shape for level in shown.levels] == [
        (3700, 5000, 3),
        (1850, 2500, 3),
        (925, 1250, 3),
    ]
    shown.show(1, (100, 100, 300, 200))
    assert shown.wait_idle(20)
    source = exact(slide, (200, 200, 600, 400)).astype(float)
    mean = source.reshape(200, 2, 300, 2, 3).mean(axis=(1, 3))
    assert np.abs(shown.show(1, (100, 100, 300, 200)) - mean).max() <= 0.5


def test_the_nearest_level_in_memory_stands_in(shown: ProgressiveLevels, gate: Gate) -> None:
    shown.show(1, (450, 350, 400, 300))
    assert shown.wait_idle(20)
    middle = shown.show(1, (450, 350, 400, 300))
    gate.open.clear()
    np.testing.assert_array_equal(
        shown.levels[0][KEY], np.repeat(np.repeat(middle, 2, axis=0), 2, axis=1)
    )
    gate.open.set()


@pytest.mark.parametrize(
    "key",
    [
        np.s_[700:1300, 900:1700],
        np.s_[700, 900],
        np.s_[..., 0],
        np.s_[700:1300:2, 900:1700:3],
        np.s_[5],
        np.s_[700:1300:1, 900],
    ],
)
def test_other_reads_than_naparis_wait_for_the_true_pixels(
    shown: ProgressiveLevels, slide: Slide, key: Any
) -> None:
    np.testing.assert_array_equal(shown.levels[0][key], slide.levels[0][key])


def test_a_whole_level_as_an_array_is_exact(shown: ProgressiveLevels, slide: Slide) -> None:
    np.testing.assert_array_equal(np.asarray(shown.levels[0]), np.asarray(slide.levels[0]))
    assert np.asarray(shown.levels[1]).shape == (1850, 2500, 3)
    assert np.asarray(shown.levels[2], np.float32).dtype == np.float32


def test_on_other_threads_every_read_waits_for_the_true_pixels(
    shown: ProgressiveLevels, slide: Slide
) -> None:
    read: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: read.append(shown.levels[0][KEY]))
    thread.start()
    thread.join(20)
    np.testing.assert_array_equal(read[0], exact(slide))


def test_memory_is_bounded(slide: Slide, application: Any) -> None:
    shown = ProgressiveLevels(slide, max_bytes=3 * 2**20)
    for x in range(0, 4000, 800):
        shown.show(0, (x, 0, 800, 600))
        assert shown.wait_idle(20)
    assert shown._cache.nbytes <= 3 * 2**20


def test_the_overview_cannot_be_written_to(shown: ProgressiveLevels) -> None:
    with pytest.raises(ValueError, match="read-only"):
        shown.overview[0, 0] = 0


def test_a_large_overview_comes_in_by_and_by(
    slide: Slide, gate: Gate, application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_histosam.viewer.progressive._OVERVIEW_AT_ONCE_PX", 1000)
    gate.open.clear()
    shown = ProgressiveLevels(slide)
    kept = np.asarray(shown.levels[-1])  # as napari keeps it
    assert len(np.unique(kept)) == 1
    gate.open.set()
    assert shown.wait_idle(20)
    np.testing.assert_array_equal(kept, slide.levels[1][:])


def test_an_array_is_shown_like_a_file(textured: np.ndarray, application: Any) -> None:
    shown = ProgressiveLevels(open_array(textured, name="array"))
    shown.levels[0][KEY]
    assert shown.wait_idle(20)
    np.testing.assert_array_equal(shown.levels[0][KEY], textured[700:1300, 900:1700])


def add(viewer: Any, path: Path) -> Any:
    return viewer.open(path, plugin="napari-histosam")[0]


def look(viewer: Any, zoom: float, row_um: float = 500.0, column_um: float = 650.0) -> None:
    viewer.scene.camera.center = (0.0, row_um, column_um)
    viewer.scene.camera.zoom = zoom


def on_screen(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """What napari shows of level 0, and what it should."""
    (y0, x0), (y1, x1) = layer.corner_pixels
    slide = tag_of_slide(layer).slide
    return layer._data_view, exact(slide, (x0, y0, x1 + 1 - x0, y1 + 1 - y0))


def test_the_window_comes_to_show_the_true_pixels_by_itself(
    viewer: Any, slide_path: Path, wait_for: Callable[..., None]
) -> None:
    layer = add(viewer, slide_path)
    look(viewer, 3.0)
    wait_for(lambda: layer.data_level == 0 and np.array_equal(*on_screen(layer)))


def test_the_window_is_not_held_up_by_a_slow_disk(
    viewer: Any, slide_path: Path, application: Any, wait_for: Callable[..., None]
) -> None:
    layer = add(viewer, slide_path)
    gate = Gate(tag_of_slide(layer).slide)
    gate.open.clear()
    for column in (500, 700, 900):
        look(viewer, 3.0, column_um=column)
        for _ in range(20):
            application.processEvents()
    assert layer.data_level == 0
    assert gate.threads
    assert "MainThread" not in gate.threads
    gate.open.set()
    wait_for(lambda: np.array_equal(*on_screen(layer)))


def test_waiting_brings_the_screen_up_to_date(
    viewer: Any, slide_path: Path, application: Any, wait_for: Callable[..., None]
) -> None:
    layer = add(viewer, slide_path)
    look(viewer, 3.0)
    wait_for(lambda: layer.data_level == 0)
    assert tag_of_slide(layer).shown.wait_idle(20)
    np.testing.assert_array_equal(*on_screen(layer))


def test_a_value_is_picked_where_the_mouse_is(
    viewer: Any, slide_path: Path, wait_for: Callable[..., None]
) -> None:
    layer = add(viewer, slide_path)
    look(viewer, 3.0)
    wait_for(lambda: layer.data_level == 0 and np.array_equal(*on_screen(layer)))
    value = layer.get_value((500.0, 650.0), world=True)[1]
    np.testing.assert_array_equal(value, exact(tag_of_slide(layer).slide, (1300, 1000, 1, 1))[0, 0])


def test_a_duplicated_layer_is_kept_up_to_date_too(
    viewer: Any, slide_path: Path, wait_for: Callable[..., None]
) -> None:
    from napari.layers._layer_actions import _duplicate_layer

    add(viewer, slide_path)
    viewer.layers.select_all()
    _duplicate_layer(viewer.layers)
    assert len(viewer.layers) == 2
    viewer.layers[1].visible = True
    look(viewer, 3.0)
    wait_for(
        lambda: all(
            one.data_level == 0 and np.array_equal(*on_screen(one)) for one in viewer.layers
        )
    )


def test_a_removed_layer_stops_loading(
    viewer: Any, slide_path: Path, wait_for: Callable[..., None]
) -> None:
    layer = add(viewer, slide_path)
    tag = tag_of_slide(layer)
    gate = Gate(tag.slide)
    gate.open.clear()
    look(viewer, 3.0)
    wait_for(lambda: bool(gate.threads))
    viewer.layers.remove(layer)
    gate.open.set()
    wait_for(lambda: not tag.shown._loader.is_busy)
    assert len(gate.threads) < 10
    wait_for(lambda: "histosam-tiles" not in [t.name for t in threading.enumerate()])


def test_a_removed_layer_lets_its_tiles_go(
    viewer: Any, slide_path: Path, application: Any, wait_for: Callable[..., None]
) -> None:
    shown = weakref.ref(tag_of_slide(add(viewer, slide_path)).shown)
    look(viewer, 3.0)
    wait_for(lambda: not shown()._loader.is_busy)
    viewer.layers.clear()
    wait_for(lambda: (gc.collect(), shown() is None)[1])


def test_damage_is_shown_grey_and_noted_once(
    viewer: Any, slide_path: Path, wait_for: Callable[..., None]
) -> None:
    from napari.utils.notifications import notification_manager

    layer = add(viewer, slide_path)
    tag = tag_of_slide(layer)
    Gate(tag.slide).error = SlideFormatError("the tile is damaged; copy the slide again")
    before = len(notification_manager.records)
    look(viewer, 3.0)
    wait_for(lambda: layer.data_level == 0 and (layer._data_view == 190).all())
    look(viewer, 3.0, column_um=1200.0)
    wait_for(lambda: (layer._data_view == 190).all())
    noted = [str(one) for one in notification_manager.records[before:]]
    assert len(noted) == 1
    assert "shows grey: the tile is damaged; copy the slide again" in noted[0]


def test_the_view_is_not_refreshed_more_often_than_it_can_be_drawn(
    viewer: Any, slide_path: Path, wait_for: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = add(viewer, slide_path)
    refreshed: list[float] = []
    refresh = layer.refresh

    def counted(*args: Any, **kwargs: Any) -> None:
        refreshed.append(time.monotonic())
        refresh(*args, **kwargs)

    gate = Gate(tag_of_slide(layer).slide)
    read = gate.read

    def slow(*at: int) -> np.ndarray:
        time.sleep(0.01)
        return read(*at)

    tag_of_slide(layer).slide.reader.read = slow
    look(viewer, 2.0)
    wait_for(lambda: layer.data_level == 0)
    monkeypatch.setattr(layer, "refresh", counted)
    wait_for(lambda: np.array_equal(*on_screen(layer)))
    assert len(gate.threads) > len(refreshed)
    assert all(b - a >= 0.045 for a, b in pairwise(refreshed))


def test_a_small_image_is_shown_whole(tmp_path: Path) -> None:
    small = np.arange(300 * 200 * 3, dtype=np.uint32).astype(np.uint8).reshape(200, 300, 3)
    data, attributes, _ = slide_layer(open_array(small, name="small"))
    np.testing.assert_array_equal(data, small)
    assert not attributes["multiscale"]
