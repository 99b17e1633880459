"""The widget in a real window: fields and keys, hints, docks that are closed, what is cut off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histosam_core.slide import open_slide
from napari_histosam.interactive.engine import Engine

pytestmark = pytest.mark.gui


def beside(drawn: Any, dx: float, dy: float = 0) -> tuple[float, float]:
    x, y = drawn.inside
    return x + dx, y + dy


@pytest.fixture
def open_from_menu(viewer: Any, slide_path: Path, load: Any) -> Callable[[], Any]:
    """Opens the widget as napari's menu does, and returns it."""
    with open_slide(slide_path) as slide:
        levels = [np.asarray(level) for level in slide.levels]
        scale = (slide.mpp, slide.mpp)
    viewer.add_image(
        levels, multiscale=True, rgb=True, scale=scale, units=("um", "um"), name="slide"
    )

    def add() -> Any:
        _, widget = viewer.window.add_plugin_dock_widget("napari-histosam", "Outline by clicks")
        widget.controller.look_ahead.is_on = False
        widget.controller.engine_for = lambda image: Engine(lambda: open_slide(slide_path), load)
        return widget

    return add


@pytest.fixture
def widget(open_from_menu: Callable[[], Any]) -> Any:
    opened = open_from_menu()
    opened.controller.grows = False  # test_growing.py lets it
    return opened


def bound_keys(target: Any) -> set[str]:
    return {str(key) for key in target.keymap}


def test_what_is_typed_into_a_field_reaches_no_object(hand: Any, drawn: Any) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    hand.click(drawn.inside)
    hand.settle()
    panel, controller = hand.widget.current_object, hand.widget.controller
    field = panel._label.lineEdit()
    for end in (Qt.Key.Key_Return, Qt.Key.Key_Escape, Qt.Key.Key_Enter):
        field.setFocus()
        field.selectAll()
        QTest.keyClicks(field, "Zct")
        QTest.keyClick(field, end)
        hand.settle()
        assert len(controller.view.prompts) == 1
        assert controller.view.objects == ()
        assert controller.is_positive
    assert controller.classes.label == "Zct"
    hand.widget.setup_panel.form.unfold()
    spin = hand.widget.setup_panel._mpp
    spin.setFocus()
    QTest.keyClick(spin, Qt.Key.Key_C)
    QTest.keyClick(spin, Qt.Key.Key_Return)
    hand.settle()
    assert controller.view.objects == ()


def test_enter_in_a_field_gives_the_keyboard_back(hand: Any, drawn: Any) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    hand.click(drawn.inside)
    hand.settle()
    field = hand.widget.current_object._label.lineEdit()
    field.setFocus()
    QTest.keyClicks(field, "x")
    QTest.keyClick(field, Qt.Key.Key_Return)
    hand.wait(lambda: hand.widget.focusWidget() is None, 5)
    hand.key(Qt.Key.Key_C)
    hand.settle()
    assert len(hand.widget.controller.view.objects) == 1


def test_keys_are_napari_s_own_before_start_and_after_the_end(
    viewer: Any, widget: Any, drawn: Any
) -> None:
    from mouse_hand import Hand

    called: list[str] = []
    viewer.bind_key("T", lambda viewer: called.append("theirs"))
    before, double_click = bound_keys(viewer), list(viewer.mouse_double_click_callbacks)
    assert bound_keys(viewer.layers["slide"]) == set()
    hand = Hand(viewer, widget)
    widget.setup_panel.start_button.click()
    hand.wait(lambda: widget.controller.is_open)
    viewer.layers.selection.active = None
    assert "Z" in bound_keys(viewer)
    widget.shut_down()
    assert bound_keys(viewer) == before
    assert bound_keys(viewer.layers["slide"]) == set()
    next(iter(viewer.keymap.values()))(viewer)
    assert called == ["theirs"]
    assert viewer.mouse_double_click_callbacks != double_click  # the fixture came after the widget
    assert len(viewer.mouse_double_click_callbacks) == 1
    assert "zoom" in viewer.mouse_double_click_callbacks[0].__name__


def test_another_layer_keeps_its_keys_and_the_widget_says_so(hand: Any, drawn: Any) -> None:
    from qtpy.QtCore import Qt

    hand.click(drawn.inside)
    hand.settle()
    theirs = hand.viewer.add_labels(np.zeros((50, 50), np.uint8), name="theirs")
    theirs.data_setitem((np.array([3]), np.array([3])), 2)
    assert "'theirs' is selected" in hand.widget.status_bar.hint
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    hand.key(Qt.Key.Key_C)
    hand.settle()
    assert theirs.data[3, 3] == 0  # napari's own undo
    assert len(hand.widget.controller.view.prompts) == 1
    assert hand.widget.controller.view.objects == ()
    hand.viewer.layers.selection.active = hand.viewer.layers["Clicks"]
    assert hand.widget.status_bar.hint == ""


def test_a_session_without_clicks_says_what_to_do(hand: Any, drawn: Any) -> None:
    assert hand.widget.status_bar.hint == "Click on what you want to outline"
    hand.click(drawn.inside)
    hand.settle()
    assert hand.widget.status_bar.hint == ""
    hand.viewer.dims.ndisplay = 3
    assert "2D" in hand.widget.status_bar.hint
    hand.viewer.dims.ndisplay = 2
    before = hand.widget.controller.view.prompts
    hand.viewer.layers.remove(hand.widget.controller.scene.image)
    assert "open the slide again" in hand.widget.status_bar.hint
    hand.click(drawn.inside)
    hand.settle()
    assert hand.widget.controller.view.prompts == before


def test_closing_the_dock_ends_the_session_and_gives_the_viewer_back(
    hand: Any, drawn: Any, viewer: Any, open_from_menu: Callable[[], Any]
) -> None:
    hand.click(drawn.inside)
    hand.widget.controller.accept()
    hand.click(beside(drawn, 200))
    hand.settle()
    clicks = hand.widget.controller.view.clicks
    hand.widget.parent().destroyOnClose()
    hand.wait(lambda: hand.widget.controller.is_closed, 5)
    assert [layer.name for layer in viewer.layers] == ["slide", "Annotations"]
    hand.wait(lambda: not hand.widget.controller.thread.worker._thread.is_alive(), 20)

    again = open_from_menu()
    assert again is not hand.widget
    again.setup_panel.start_button.click()
    hand.wait(lambda: again.controller.is_open)
    again._offer.accept()
    hand.wait(lambda: again.controller.is_settled and bool(again.controller.view.objects))
    assert again.controller.view.clicks == clicks
    names = [layer.name for layer in viewer.layers]
    assert sorted(names) == ["Annotations", "Clicks", "Mask", "slide"]


def test_a_dock_that_is_hidden_or_floats_keeps_its_session(hand: Any, drawn: Any) -> None:
    dock = hand.widget.parent()
    dock.hide()
    hand.breathe()
    dock.show()
    dock.setFloating(True)
    hand.breathe()
    dock.setFloating(False)
    hand.breathe()
    assert not hand.widget.controller.is_closed
    hand.click(drawn.inside)
    hand.settle()
    assert len(hand.widget.controller.view.prompts) == 1


def test_what_was_stated_of_one_slide_is_not_taken_for_another(viewer: Any, widget: Any) -> None:
    panel = widget.setup_panel
    panel.choose(slide_mpp=0.23)
    other = viewer.add_image(np.zeros((40, 40, 3), np.uint8), rgb=True, name="other")
    assert panel.setup.slide_mpp == 0.23
    panel.choose(image=other)
    assert panel.setup.slide_mpp is None


def test_the_button_says_whether_a_session_begins_or_goes_on(hand: Any, viewer: Any) -> None:
    panel = hand.widget.setup_panel
    assert panel.start_button.text() == "Apply"
    other = viewer.add_image(np.zeros((40, 40, 3), np.uint8), rgb=True, name="other")
    panel.choose(image=other)
    assert panel.start_button.text() == "Start"
    panel.choose(image=viewer.layers["slide"])
    assert panel.start_button.text() == "Apply"


def test_a_renamed_slide_is_offered_by_its_new_name(viewer: Any, widget: Any) -> None:
    viewer.layers["slide"].name = "case 7"
    box = widget.setup_panel._image
    assert [box.itemText(i) for i in range(box.count())] == ["case 7"]


def test_nothing_is_cut_off_and_a_long_path_widens_nothing(hand: Any, tmp_path: Path) -> None:
    from qtpy.QtWidgets import QScrollArea

    hand.viewer.window.resize(1000, 700)
    hand.breathe()
    scroll = hand.widget.findChild(QScrollArea)
    assert scroll.widget().width() <= scroll.viewport().width()
    width = hand.widget.width()
    panel = hand.widget.setup_panel
    panel.choose(model=tmp_path / ("a_folder_without_spaces_" * 6) / "none.safetensors")
    panel.start()
    hand.settle()
    hand.breathe()
    assert "none.safetensors" in hand.widget.status_bar.text
    assert hand.widget.width() == width


def test_a_failed_change_leaves_the_figures_of_the_current_object(hand: Any, drawn: Any) -> None:
    hand.click(drawn.inside)
    hand.settle()
    area = hand.widget.status_bar.figure("Area")
    hand.widget.setup_panel.choose(model="no_such_model")
    hand.widget.setup_panel.start()
    hand.settle()
    assert hand.widget.status_bar.text.startswith("Not done")
    assert hand.widget.status_bar.figure("Clicks") == "1"
    assert hand.widget.status_bar.figure("Area") == area != "-"


def test_an_object_taken_for_correction_leaves_no_other_chosen(hand: Any, drawn: Any) -> None:
    for shift in (0, 250, -250):
        hand.click(beside(drawn, shift))
        hand.widget.controller.accept()
        hand.settle()
    panel = hand.widget.accepted_objects
    panel.table.selectRow(1)
    panel._on_reopen()
    hand.settle()
    assert len(panel.table.rows) == 2
    assert panel.chosen is None


@pytest.mark.parametrize(
    ("typed", "kind", "wanted"),
    [
        ("case", "QuPath GeoJSON (*.geojson)", "case.geojson"),
        ("case.v2", "OME-Zarr labels (*.ome.zarr)", "case.v2.ome.zarr"),
        ("case.json", "OME-Zarr labels (*.ome.zarr)", "case.json"),
        ("case.ome.zarr", "QuPath GeoJSON (*.geojson)", "case.ome.zarr"),
    ],
)
def test_an_export_gets_an_ending_where_none_was_typed(typed: str, kind: str, wanted: str) -> None:
    from napari_histosam.interactive.panels.accepted_objects import export_path

    assert export_path(typed, kind) == Path(wanted)


@pytest.mark.parametrize("may_replace", [True, False])
def test_an_export_replaces_no_file_unasked(
    hand: Any, drawn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_replace: bool
) -> None:
    from qtpy.QtWidgets import QFileDialog, QMessageBox

    buttons = QMessageBox.StandardButton
    there = tmp_path / "case.geojson"
    there.write_text("theirs")
    asked: list[str] = []

    def answer(parent: Any, title: str, text: str) -> Any:
        asked.append(text)
        return buttons.Yes if may_replace else buttons.No

    monkeypatch.setattr(QMessageBox, "question", answer)
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "case"), "(*.geojson)")
    )
    hand.click(drawn.inside)
    hand.widget.controller.accept()
    hand.settle()
    hand.widget.accepted_objects._on_export()
    hand.settle()
    assert "case.geojson" in asked[0]
    assert (there.read_text() != "theirs") == may_replace
