"""Objects that grow in the background while clicks go on."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from histosam_core.session.operations import Undo
from napari_histosam.interactive import controller as controller_module


@pytest.fixture
def growing(started: Any) -> Any:
    started.controller.grows = True
    return started


def until_windows(desk: Any, count: int) -> None:
    """Carry out what is posted until so many windows have grown."""
    while desk.queue or not desk.controller.is_settled:
        time.sleep(0.002)
        if desk.queue:
            desk.queue.pop(0)()
        if desk.view.n_grown >= count:
            return
    raise AssertionError(f"it ended after {desk.view.n_grown} windows")


def test_a_click_grows_over_the_tumour_window_by_window(growing: Any, drawn: Any) -> None:
    phases, areas = [], []
    growing.controller.status_changed.connect(lambda status: phases.append(status.phase))
    growing.controller.view_changed.connect(lambda view: areas.append(view.area_mm2))
    growing.controller.click(drawn.inside)
    growing.settle()
    assert len(set(areas)) > 3, "it is painted as it grows"
    assert growing.view.n_grown >= 3
    assert not growing.view.can_grow
    assert "growing" in phases
    assert phases[-1] == "ready"
    tiles = np.array([index for index, tile in growing.view.canvas.items() if tile.area_px])
    assert (64 * (np.ptp(tiles, axis=0) + 1)).max() > growing.view.grid.window_px


def test_a_click_in_the_middle_is_answered_before_the_next_window(growing: Any, drawn: Any) -> None:
    x, y = drawn.inside
    growing.controller.click((x, y))
    until_windows(growing, 2)
    before = growing.view.n_grown
    growing.controller.click((x + 40, y))
    while len(growing.view.clicks) < 2:
        time.sleep(0.002)
        if growing.queue:
            growing.queue.pop(0)()
    assert growing.view.answer is not None
    assert growing.view.n_grown == 0, f"{before} windows belong to the click before"
    growing.settle()


def test_escape_stops_it_where_it_is(growing: Any, drawn: Any) -> None:
    growing.controller.click(drawn.inside)
    until_windows(growing, 2)
    assert growing.controller.stop_growing()
    growing.settle()
    assert growing.view.n_grown <= 3
    assert growing.view.can_grow
    assert growing.controller.status.phase == "ready"
    assert not growing.controller.stop_growing(), "now the key drops the object"


def test_switching_growth_off_and_on_stops_it_and_goes_on(growing: Any, drawn: Any) -> None:
    growing.controller.click(drawn.inside)
    until_windows(growing, 1)
    growing.controller.grows = False
    growing.settle()
    stopped = growing.view.n_grown
    assert growing.view.can_grow
    growing.controller.grows = True
    growing.settle()
    assert growing.view.n_grown > stopped
    assert not growing.view.can_grow


def test_one_undo_takes_it_all_back_and_it_does_not_start_again(growing: Any, drawn: Any) -> None:
    growing.controller.click(drawn.inside)
    until_windows(growing, 2)
    growing.controller.submit(Undo())
    growing.settle()
    assert growing.view.prompts == ()
    assert growing.view.area_mm2 == 0
    assert growing.view.n_grown == 0


def test_a_flood_stops_at_the_budget_and_says_so(
    growing: Any, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller_module, "WINDOWS_A_CLICK", 1)
    growing.controller.click(drawn.inside)
    growing.settle()
    assert growing.view.n_grown == 1
    assert any("growing has stopped" in text for text in growing.told)
    monkeypatch.setattr(controller_module, "WINDOWS_A_CLICK", 2)
    growing.controller.grows = False
    growing.controller.grows = True
    growing.settle()
    assert growing.view.n_grown == 3, "it grows on by a whole budget"
