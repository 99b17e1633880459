from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from histosam_core.errors import ConfigError
from napari_histosam.interactive import classes

START = {"Tumor": (200, 0, 0), "Stroma": (150, 200, 150)}


def test_there_are_classes_to_start_with(tmp_path: Path) -> None:
    found = classes.read_classes(tmp_path / "none.json")
    assert list(found) == ["Tumor", "Stroma", "Necrosis", "Normal"]


def test_classes_are_kept_in_order_with_their_colours(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "classes.json"
    classes.write_classes(path, {**START, "Mucin": (1, 2, 3)})
    assert classes.read_classes(path) == {**START, "Mucin": (1, 2, 3)}
    assert list(classes.read_classes(path)) == ["Tumor", "Stroma", "Mucin"]


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"Tumor": "red"}', '{"Tumor": [1, 2]}', "{"])
def test_a_damaged_file_gives_the_classes_to_start_with(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes.json"
    path.write_text(text)
    assert classes.read_classes(path) == classes.CLASS_COLORS


@pytest.fixture
def chosen() -> classes.ClassList:
    """Two classes, Tumor chosen."""
    made = classes.ClassList(lambda colors: None)
    made.load(dict(START))
    return made


def test_a_new_class_has_a_colour_of_its_own(chosen: classes.ClassList) -> None:
    chosen.choose("A")
    chosen.choose(" B ")
    assert list(chosen.colors) == ["Tumor", "Stroma", "A", "B"]
    assert len(set(chosen.colors.values())) == 4
    assert chosen.label == "B"


def test_another_colour_keeps_the_order(chosen: classes.ClassList) -> None:
    chosen.choose("Tumor", (9, 9, 9))
    assert chosen.colors == {**START, "Tumor": (9, 9, 9)}
    assert list(chosen.colors) == ["Tumor", "Stroma"]


def test_renaming_keeps_place_and_colour(chosen: classes.ClassList) -> None:
    chosen.rename("Carcinoma")
    assert list(chosen.colors.items()) == [
        ("Carcinoma", (200, 0, 0)),
        ("Stroma", (150, 200, 150)),
    ]


def test_what_makes_no_sense_is_refused(chosen: classes.ClassList) -> None:
    refused = [
        lambda: chosen.choose("  "),
        lambda: chosen.rename("Stroma"),
        lambda: chosen.rename(""),
    ]
    for change in refused:
        with pytest.raises(ConfigError):
            change()
    chosen.remove()
    with pytest.raises(ConfigError, match="one class must stay"):
        chosen.remove()


def test_classes_outlive_the_session(desk: Any) -> None:
    from napari_histosam.interactive.controller import Controller

    desk.controller.classes.choose("Mucin", (1, 2, 3))
    assert desk.controller.thread.worker.wait_idle(5)
    again = Controller(desk.viewer, desk.queue.append)
    assert again.thread.worker.wait_idle(5)
    desk.settle()
    assert again.classes.colors["Mucin"] == (1, 2, 3)
    again.close()


def test_renaming_a_class_renames_its_objects(started: Any, drawn: Any) -> None:
    started.controller.click(drawn.inside)
    started.controller.accept()
    started.settle()
    started.controller.rename_class("Carcinoma")
    started.settle()
    assert [one.label for one in started.view.objects] == ["Carcinoma"]
    assert started.controller.classes.label == "Carcinoma"
    started.controller.classes.remove()
    assert "Carcinoma" not in started.controller.classes.colors
    assert [one.label for one in started.view.objects] == ["Carcinoma"]
