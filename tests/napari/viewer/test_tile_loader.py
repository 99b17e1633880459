"""The loader's order: the newest view first, what it left behind dropped, threads that end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from napari_histosam.viewer.tile_loader import TileLoader


class Gate:
    """Loads a tile when it is let through; keeps the order."""

    def __init__(self) -> None:
        self.loaded: list[object] = []
        self.open = threading.Event()
        self.entered = threading.Event()

    def __call__(self, tile: object) -> None:
        self.entered.set()
        assert self.open.wait(10)
        self.loaded.append(tile)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def loader(gate: Gate) -> Iterator[TileLoader]:
    loader = TileLoader("histosam-test", gate, n_threads=1)
    yield loader
    gate.open.set()
    assert loader.wait_idle(10)


def hold(loader: TileLoader, gate: Gate) -> None:
    """Have the one thread wait in a first tile."""
    loader.request(["held"])
    assert gate.entered.wait(10)


def test_the_most_urgent_tile_comes_first(loader: TileLoader, gate: Gate) -> None:
    hold(loader, gate)
    loader.request("abc")
    gate.open.set()
    assert loader.wait_idle(10)
    assert gate.loaded == ["held", "a", "b", "c"]


def test_a_newer_view_comes_before_an_older_one(loader: TileLoader, gate: Gate) -> None:
    hold(loader, gate)
    loader.request("ab")
    loader.request("bc")
    gate.open.set()
    assert loader.wait_idle(10)
    assert gate.loaded == ["held", "b", "c", "a"]


def test_what_the_view_has_left_is_dropped(loader: TileLoader, gate: Gate) -> None:
    hold(loader, gate)
    for view in ("ax", "b", "c", "dx"):
        loader.request(view)
    gate.open.set()
    assert loader.wait_idle(10)
    assert gate.loaded == ["held", "d", "x", "c", "b"]


def test_views_without_missing_tiles_drop_old_ones_too(loader: TileLoader, gate: Gate) -> None:
    hold(loader, gate)
    loader.request("a")
    for _ in range(3):
        loader.request("")
    gate.open.set()
    assert loader.wait_idle(10)
    assert gate.loaded == ["held"]


def test_a_tile_that_is_being_loaded_is_not_loaded_again(loader: TileLoader, gate: Gate) -> None:
    hold(loader, gate)
    loader.request(["held", "a"])
    gate.open.set()
    assert loader.wait_idle(10)
    assert gate.loaded == ["held", "a"]


def test_the_background_comes_last_and_is_never_dropped(loader: TileLoader, gate: Gate) -> None:
    hold(loader, gate)
    loader.fill("xy")
    loader.request("a")
    loader.forget()
    loader.request("b")
    gate.open.set()
    assert loader.wait_idle(10)
    assert gate.loaded == ["held", "b", "x", "y"]


def test_waiting_ends_in_time_when_loading_does_not(loader: TileLoader, gate: Gate) -> None:
    hold(loader, gate)
    assert not loader.wait_idle(0.05)
    assert loader.is_busy


def test_threads_end_when_there_is_nothing_to_do_and_begin_again(
    loader: TileLoader, gate: Gate
) -> None:
    gate.open.set()
    for tile in "ab":
        loader.request(tile)
        assert loader.wait_idle(10)
        end = time.monotonic() + 10
        while any(t.name == "histosam-test" for t in threading.enumerate()):
            assert time.monotonic() < end
            time.sleep(0.01)
    assert gate.loaded == ["a", "b"]


def test_several_threads_load_at_once() -> None:
    together = threading.Barrier(3)
    loader = TileLoader("histosam-test", lambda _: together.wait(10) and None, n_threads=3)
    loader.request("abc")
    assert loader.wait_idle(10)
    assert not together.broken
