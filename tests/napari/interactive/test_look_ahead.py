from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from histosam_core.geometry import Region
from napari_histosam.interactive.look_ahead import Ahead, LookAhead

REGIONS = [Region((100.0 * i, 0.0), (8, 8), 1.0) for i in range(6)]


class FakePredictor:
    """Records what it was asked to encode; waits where it is told to."""

    def __init__(self) -> None:
        self.encoded: list[Region] = []
        self.hold: threading.Event | None = None
        self.reached = threading.Event()
        self.error: Exception | None = None

    def embed(self, regions: list[Region]) -> int:
        if self.error is not None:
            raise self.error
        self.encoded += regions
        if self.hold is not None:
            self.reached.set()
            self.hold.wait(5)
        return len(regions)


class Room:
    """A look-ahead with its reports."""

    def __init__(self) -> None:
        self.is_busy = False
        self.reports: list[Ahead] = []
        self.ahead = LookAhead("test-ahead", lambda: self.is_busy, self.reports.append)
        self.predictor: Any = FakePredictor()


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    yield made
    made.is_busy = False
    assert made.ahead.close(5)


def test_windows_are_encoded_in_the_order_asked_for(room: Room) -> None:
    room.ahead.aim(room.predictor, lambda: REGIONS)
    assert room.ahead.wait_idle(5)
    assert room.predictor.encoded == REGIONS
    assert room.reports[-1] == Ahead(6, 6)


def test_a_new_view_cancels_the_rest_of_the_old_one(room: Room) -> None:
    room.predictor.hold = threading.Event()
    room.ahead.aim(room.predictor, lambda: REGIONS[:3])
    assert room.predictor.reached.wait(5)
    room.ahead.aim(room.predictor, lambda: REGIONS[4:])
    room.predictor.hold.set()
    assert room.ahead.wait_idle(5)
    assert room.predictor.encoded == [REGIONS[0], *REGIONS[4:]]


def test_only_the_last_of_many_views_is_looked_at(room: Room) -> None:
    looked_at = []
    for number in range(50):
        room.ahead.aim(room.predictor, lambda n=number: looked_at.append(n) or [])
    assert room.ahead.wait_idle(5)
    assert looked_at == [49]


def test_it_gives_way_while_clicks_are_answered(room: Room) -> None:
    room.is_busy = True
    room.ahead.aim(room.predictor, lambda: REGIONS)
    assert not room.ahead.wait_idle(0.4)
    assert room.predictor.encoded == []
    room.is_busy = False
    assert room.ahead.wait_idle(5)
    assert len(room.predictor.encoded) == 6


def test_an_error_ends_the_view_and_is_reported_once(room: Room) -> None:
    room.predictor.error = OSError("the slide is gone")
    room.ahead.aim(room.predictor, lambda: REGIONS)
    assert room.ahead.wait_idle(5)
    assert [type(r.error) for r in room.reports] == [OSError]


def test_stop_encodes_nothing_more(room: Room) -> None:
    room.ahead.aim(room.predictor, lambda: REGIONS)
    room.ahead.stop()
    assert room.ahead.wait_idle(5)
    assert room.predictor.encoded == []


def test_switched_off_it_encodes_nothing_more_whatever_it_is_aimed_at(room: Room) -> None:
    room.ahead.aim(room.predictor, lambda: REGIONS)
    room.ahead.is_on = False
    room.ahead.aim(room.predictor, lambda: REGIONS)
    assert room.ahead.wait_idle(5)
    assert room.predictor.encoded == []
