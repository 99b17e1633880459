"""The dock widget in a real window, driven by real mouse and key events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histosam_core.errors import OutOfMemoryError
from histosam_core.slide import open_slide
from napari_histosam.interactive.engine import Engine

pytestmark = pytest.mark.gui


@pytest.fixture
def add_widget(viewer: Any) -> Iterator[Callable[[], Any]]:
    from napari_histosam.interactive.widget import InteractiveWidget

    made = []

    def add() -> Any:
        widget = InteractiveWidget(viewer)
        viewer.window.add_dock_widget(widget, name="HistoSAM")
        widget.controller.look_ahead.is_on = widget.controller.grows = False
        made.append(widget)
        return widget

    yield add
    for widget in made:
        widget.shut_down()


@pytest.fixture
def widget(viewer: Any, slide_path: Path, add_widget: Callable[[], Any], load: Any) -> Any:
    with open_slide(slide_path) as slide:
        levels = [np.asarray(level) for level in slide.levels]
        scale = (slide.mpp, slide.mpp)
    viewer.add_image(levels, multiscale=True, rgb=True, scale=scale, units=("um", "um"))
    widget = add_widget()
    widget.controller.engine_for = lambda image: Engine(lambda: open_slide(slide_path), load)
    return widget


def signs(hand: Any) -> list[bool]:
    return [click.is_positive for click in hand.widget.controller.view.clicks]


def beside(drawn: Any, dx: float, dy: float = 0) -> tuple[float, float]:
    x, y = drawn.inside
    return x + dx, y + dy


def test_left_is_positive_right_and_alt_are_negative(hand: Any, drawn: Any) -> None:
    hand.click(drawn.inside)
    hand.settle()
    hand.click(beside(drawn, 300), right=True)
    hand.settle()
    hand.click(beside(drawn, -300), alt=True)
    hand.settle()
    assert signs(hand) == [True, False, False]
    at = [click.xy for click in hand.widget.controller.view.clicks]
    for xy, wanted in zip(at, (0, 300, -300), strict=True):
        assert xy == pytest.approx(beside(drawn, wanted), abs=2)  # a screen pixel is 2.5 of them


def test_what_is_clicked_is_painted_where_it_was_clicked(hand: Any, drawn: Any) -> None:
    before = hand.viewer.screenshot(canvas_only=True, flash=False)
    hand.click(drawn.inside)
    hand.settle()
    view = hand.widget.controller.view
    assert hand.widget.status_bar.text == "Ready"
    assert float(hand.widget.status_bar.figure("Area").split()[0]) == pytest.approx(
        view.area_mm2, rel=1e-3
    )
    after = hand.viewer.screenshot(canvas_only=True, flash=False)
    at = hand.at(drawn.inside)
    scale = after.shape[1] / hand.canvas.native.width()
    row, column = round(at.y() * scale) + 25, round(at.x() * scale) + 25
    changed = np.abs(after[row, column, :3].astype(int) - before[row, column, :3])
    inside = (beside(drawn, 25 / 0.4 / scale, 25 / 0.4 / scale),)
    grid = view.grid
    shown = [grid.frame.from_level0(xy) for xy in inside]
    masked = [_is_set(view.canvas, round(x), round(y)) for x, y in shown]
    assert (changed.max() > 15) == masked[0]


def _is_set(canvas: Any, x: int, y: int) -> bool:
    tile = canvas.get((x // 64, y // 64))
    return tile is not None and bool(tile.mask[y % 64, x % 64])


def test_a_drag_pans_and_makes_no_click(hand: Any, drawn: Any) -> None:
    centre = hand.viewer.scene.camera.center
    hand.drag(beside(drawn, 200, 200), beside(drawn, -100, 50))
    hand.settle()
    assert hand.widget.controller.view.prompts == ()
    assert hand.viewer.scene.camera.center != centre


def test_a_click_is_moved_by_dragging_it(hand: Any, drawn: Any) -> None:
    hand.click(drawn.inside)
    hand.settle()
    before, centre = hand.widget.controller.view.area_mm2, hand.viewer.scene.camera.center
    hand.drag(drawn.inside, beside(drawn, 250, 100))
    hand.settle()
    (click,) = hand.widget.controller.view.clicks
    assert click.xy == pytest.approx(beside(drawn, 250, 100), abs=3)
    assert hand.widget.controller.view.area_mm2 != before
    assert hand.viewer.scene.camera.center == centre  # it was not a pan
    assert hand.viewer.scene.camera.mouse_pan


def test_two_quick_clicks_are_two_clicks_and_no_zoom(hand: Any, drawn: Any) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    zoom = hand.viewer.scene.camera.zoom
    at = hand.at(beside(drawn, 60, 60))
    hand.click(beside(drawn, 60, 60))
    QTest.mouseDClick(
        hand.canvas.native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, at
    )
    hand.settle()
    assert len(hand.widget.controller.view.clicks) == 2
    assert hand.viewer.scene.camera.zoom == zoom


@pytest.mark.parametrize("active", ["Clicks", "Mask", "Annotations", "slide"])
def test_keys_work_whichever_of_our_layers_is_active(hand: Any, drawn: Any, active: str) -> None:
    from qtpy.QtCore import Qt

    key = Qt.Key
    hand.click(beside(drawn, -200))
    hand.settle()
    hand.key(key.Key_C)
    hand.settle()
    hand.click(drawn.inside)
    hand.settle()
    layers = hand.viewer.layers
    image = hand.widget.controller.scene.image
    layers.selection.active = image if active == "slide" else layers[active]
    hand.key(key.Key_T)
    hand.click(beside(drawn, 200))
    hand.settle()
    assert signs(hand) == [True, False]
    hand.key(key.Key_Z)
    hand.settle()
    assert signs(hand) == [True]
    hand.key(key.Key_Y)
    hand.settle()
    assert signs(hand) == [True, False]
    hand.key(key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    hand.settle()
    assert signs(hand) == [True]
    hand.key(key.Key_Escape)
    hand.settle()
    assert signs(hand) == []
    hand.key(key.Key_Z)
    hand.settle()
    assert signs(hand) == [True]
    hand.key(key.Key_Return)
    hand.settle()
    assert len(hand.widget.controller.view.objects) == 2


def test_delete_takes_out_the_click_under_the_mouse(hand: Any, drawn: Any) -> None:
    from qtpy.QtCore import Qt

    for shift in (0, 150):
        hand.click(beside(drawn, shift))
        hand.settle()
    hand.hover(drawn.inside)
    hand.key(Qt.Key.Key_Delete)
    hand.settle()
    (left,) = hand.widget.controller.view.clicks
    assert left.xy == pytest.approx(beside(drawn, 150), abs=2)


def test_a_box_is_drawn_with_b_and_a_drag(hand: Any, drawn: Any) -> None:
    from qtpy.QtCore import Qt

    hand.key(Qt.Key.Key_B)
    hand.drag(beside(drawn, -200, -200), beside(drawn, 200, 200))
    hand.settle()
    (box,) = hand.widget.controller.view.prompts
    wanted = (*beside(drawn, -200, -200), *beside(drawn, 200, 200))
    assert box.xyxy == pytest.approx(wanted, abs=4)
    hand.key(Qt.Key.Key_Escape)  # ends drawing, drops nothing
    hand.click(beside(drawn, 100, 0))
    hand.settle()
    assert len(hand.widget.controller.view.prompts) == 2


@pytest.mark.parametrize("is_positive", [True, False])
def test_a_lasso_is_drawn_with_l_and_a_drag(hand: Any, drawn: Any, is_positive: bool) -> None:
    from qtpy.QtCore import Qt

    if not is_positive:
        hand.click(beside(drawn, 40, 40))
        hand.settle()
        hand.key(Qt.Key.Key_T)
    hand.key(Qt.Key.Key_L)
    corners = [(-150, -150), (150, -150), (150, 150), (-150, 150), (-150, -140)]
    hand.draw([beside(drawn, dx, dy) for dx, dy in corners])
    hand.settle()
    view = hand.widget.controller.view
    lasso = view.prompts[-1]
    assert (type(lasso).__name__, lasso.is_positive) == ("Lasso", is_positive)
    x, y = (round(v) for v in view.grid.frame.from_level0(beside(drawn, 100, 100)))
    assert _is_set(view.canvas, x, y) == is_positive
    hand.key(Qt.Key.Key_Escape)  # ends drawing, drops nothing
    hand.key(Qt.Key.Key_Z)
    hand.settle()
    assert lasso not in hand.widget.controller.view.prompts


def test_r_reopens_the_object_under_the_mouse(hand: Any, drawn: Any) -> None:
    from qtpy.QtCore import Qt

    hand.click(drawn.inside)
    hand.settle()
    hand.key(Qt.Key.Key_C)
    hand.settle()
    hand.hover(beside(drawn, 2, 2))
    hand.key(Qt.Key.Key_R)
    hand.settle()
    assert hand.widget.controller.view.reopened is not None
    assert signs(hand) == [True]
    assert "being corrected" in hand.widget.current_object.title()


def test_another_layer_or_tool_keeps_the_mouse(hand: Any, drawn: Any) -> None:
    theirs = hand.viewer.add_points(np.empty((0, 2)), name="theirs")
    hand.click(drawn.inside)
    hand.settle()
    assert hand.widget.controller.view.prompts == ()
    hand.viewer.layers.remove(theirs)
    hand.viewer.layers.selection.active = hand.widget.controller.scene.image
    hand.click(drawn.inside)
    hand.settle()
    assert signs(hand) == [True]


def test_the_table_lists_what_was_accepted_and_finds_it(hand: Any, drawn: Any) -> None:
    for shift in (0, 250):
        hand.click(beside(drawn, shift))
        hand.widget.controller.accept()
        hand.settle()
    panel = hand.widget.accepted_objects
    assert len(panel.table.rows) == 2
    hand.viewer.scene.camera.center = (0, 0, 0)
    panel.table.selectRow(0)
    panel.go_to()
    x0, y0, x1, y1 = hand.widget.controller.scene.visible_level0()
    assert x0 < drawn.inside[0] < x1
    assert y0 < drawn.inside[1] < y1


def test_a_removed_layer_of_ours_comes_back_by_itself(hand: Any, drawn: Any) -> None:
    hand.click(drawn.inside)
    hand.settle()
    hand.viewer.layers.remove("Mask")
    hand.wait(lambda: "Mask" in hand.viewer.layers)
    hand.viewer.layers.remove("Clicks")
    hand.wait(lambda: "Clicks" in hand.viewer.layers)
    hand.viewer.layers.selection.active = hand.viewer.layers["Clicks"]
    hand.click(beside(drawn, 100))
    hand.settle()
    assert signs(hand) == [True, True]


def test_out_of_memory_offers_the_cpu(hand: Any, drawn: Any) -> None:
    from napari.utils.notifications import notification_manager

    hand.click(drawn.inside)
    hand.settle()
    engine = hand.widget.controller.thread.engine
    session, answer = engine.session, engine.session.apply

    def full(*_: Any, **__: Any) -> Any:
        raise OutOfMemoryError("the GPU's memory is full; choose the CPU or a smaller model")

    session.apply = full
    hand.click(beside(drawn, 100))
    hand.settle()
    notice = notification_manager.records[-1]
    assert "choose the CPU" in notice.message
    ways = dict(notice.actions)
    assert list(ways) == ["Use the CPU", "Use histosam-tiny"]
    assert signs(hand) == [True]
    session.apply = answer
    ways["Use the CPU"](None)
    hand.settle()
    assert hand.widget.controller.view.setup.device == "cpu"
    assert signs(hand) == [True]


def test_after_a_crash_the_session_is_offered_and_continued(
    hand: Any, drawn: Any, viewer: Any, slide_path: Path, add_widget: Callable[[], Any], load: Any
) -> None:
    hand.click(drawn.inside)
    hand.settle()
    hand.widget.controller.accept()
    hand.click(beside(drawn, 150))
    hand.settle()
    mask = hand.widget.controller.view.canvas
    objects = hand.widget.controller.view.objects
    first = hand.widget.controller.thread.engine
    first._journal.close()  # what the system does when a process dies; the session says nothing
    first._journal = None

    again = add_widget()
    again.controller.engine_for = lambda image: Engine(lambda: open_slide(slide_path), load)
    again.setup_panel.start_button.click()
    hand.wait(lambda: again.controller.is_open)
    assert again._offer.isVisible()
    assert again.controller.view.offers[0].n_objects == 1
    again._offer.accept()
    hand.wait(lambda: again.controller.is_settled and bool(again.controller.view.objects))
    view = again.controller.view
    assert [o.id for o in view.objects] == [o.id for o in objects]
    assert [c.xy for c in view.clicks] == [c.xy for c in hand.widget.controller.view.clicks]
    assert view.canvas.keys() == mask.keys()
    assert all(np.array_equal(view.canvas[i].logits, mask[i].logits) for i in mask)
    assert not again._offer.isVisible()


def test_two_windows_on_one_slide_write_two_journals(
    hand: Any, drawn: Any, slide_path: Path, add_widget: Callable[[], Any], load: Any
) -> None:
    hand.click(drawn.inside)
    hand.settle()
    other = add_widget()
    other.controller.engine_for = lambda image: Engine(lambda: open_slide(slide_path), load)
    other.setup_panel.start_button.click()
    hand.wait(lambda: other.controller.is_open)
    assert other.controller.view.offers == ()  # the first is at work on its own
    assert other.controller.view.journal != hand.widget.controller.view.journal


def test_closing_the_window_ends_the_session_and_keeps_its_record(
    hand: Any, drawn: Any, viewer: Any, slide_path: Path
) -> None:
    from histosam_core.session.journal import read_journal

    hand.click(drawn.inside)
    hand.settle()
    path = hand.widget.controller.view.journal
    viewer.close()
    hand.wait(lambda: hand.widget.controller.is_closed)
    assert [e.op for e in read_journal(path).events] == ["begin", "click", "end"]
