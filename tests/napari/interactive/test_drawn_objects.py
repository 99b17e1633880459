from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import shapely

from histosam_core.session import WindowGrid
from napari_histosam.interactive.drawn_objects import DrawnObjects

GRID = WindowGrid((4000, 4000), 1.0, 1.0, 128)


def one(key: str, *bounds: int) -> Any:
    return SimpleNamespace(id=key, geometry=shapely.box(*bounds))


def shown(drawn: DrawnObjects, x: int, y: int) -> str:
    """Return the id of the object that is seen at a grid pixel."""
    label = drawn.pyramid.levels[0][y, x]
    return next((key for key, number in drawn.labels.items() if number == label), "")


def test_an_object_that_changed_keeps_its_place_in_the_pile_and_its_label() -> None:
    drawn = DrawnObjects(GRID)
    under, over = one("under", 0, 0, 300, 300), one("over", 200, 200, 500, 500)
    drawn.update([under, over])
    before = drawn.labels
    drawn.update([one("under", 100, 100, 300, 300), over])
    assert shown(drawn, 250, 250) == "over"
    assert shown(drawn, 150, 150) == "under"
    assert shown(drawn, 50, 50) == ""
    assert drawn.labels == before


def test_an_object_that_is_gone_is_erased_and_a_new_one_has_a_new_label() -> None:
    drawn = DrawnObjects(GRID)
    drawn.update([one("a", 0, 0, 300, 300)])
    first = drawn.labels["a"]
    drawn.update([one("b", 0, 0, 300, 300)])
    assert shown(drawn, 50, 50) == "b"
    assert drawn.labels["b"] != first
    drawn.update([])
    assert shown(drawn, 50, 50) == ""
