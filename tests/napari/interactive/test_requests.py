"""Requests that come faster than answers, or of things that are gone by then."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from histosam_core.clicks import Box, Click
from histosam_core.errors import ConfigError, PredictionError
from histosam_core.session.operations import Reopen, Undo
from napari_histosam.viewer import layers as ours


def near(drawn: Any, dx: float = 0, dy: float = 0) -> tuple[float, float]:
    x, y = drawn.inside
    return x + dx, y + dy


def seen(desk: Any) -> list[tuple[float, float]]:
    return [(x, y) for y, x in desk.layer(ours.CLICKS).data.tolist()]


@pytest.fixture
def three(started: Any, drawn: Any) -> Any:
    for shift in (0, 60, 120):
        started.controller.click(near(drawn, shift))
    started.settle()
    return started


def test_a_click_that_is_taken_out_is_gone_at_once_and_takes_no_other_along(
    three: Any, drawn: Any
) -> None:
    first = three.view.clicks[0]
    three.controller.remove([first])
    assert seen(three) == [near(drawn, 60), near(drawn, 120)]
    three.controller.remove([first])  # a second press of the key
    three.settle()
    assert [click.xy for click in three.view.clicks] == [near(drawn, 60), near(drawn, 120)]
    assert seen(three) == [near(drawn, 60), near(drawn, 120)]


@pytest.mark.parametrize("ask", ["move", "remove"])
def test_a_click_that_is_gone_is_told_in_one_line(three: Any, drawn: Any, ask: str) -> None:
    gone = three.view.clicks[2]
    three.controller.submit(Undo())
    if ask == "move":
        three.controller.change(gone, Click(near(drawn, 0, 90)))
    else:
        three.controller.remove([gone])
    three.settle()
    assert isinstance(three.failures[0].error, ConfigError)
    assert "no longer exists" in three.failures[0].message
    assert len(three.view.clicks) == 2
    assert len(seen(three)) == 2


def test_a_moved_click_stays_where_it_was_let_go_until_it_is_answered(
    three: Any, drawn: Any
) -> None:
    three.controller.click(near(drawn, -60))
    three.controller.change(three.view.clicks[1], Click(near(drawn, 60, 80)))
    wanted = [near(drawn), near(drawn, 60, 80), near(drawn, 120), near(drawn, -60)]
    assert seen(three) == wanted
    three.settle()
    assert [click.xy for click in three.view.clicks] == wanted


def test_a_click_that_cannot_be_moved_goes_back(three: Any, drawn: Any) -> None:
    scene, click = three.controller.scene, three.view.clicks[0]
    scene.drag_click(click, (-80.0, -80.0))
    assert seen(three)[0] == (-80.0, -80.0)
    three.controller.change(click, Click((-80.0, -80.0)))
    three.settle()
    assert len(three.failures) == 1
    assert seen(three)[0] == near(drawn)


def test_an_answer_in_the_middle_of_a_drag_breaks_nothing(three: Any, drawn: Any) -> None:
    scene, click = three.controller.scene, three.view.clicks[2]
    scene.drag_click(click, near(drawn, 90, 90))
    three.controller.submit(Undo())
    three.settle()
    scene.drag_click(click, near(drawn, 95, 95))  # the hand goes on, but it holds nothing now
    assert seen(three) == [near(drawn), near(drawn, 60)]


def test_a_box_can_be_moved_and_deleted_with_napari_s_tools(started: Any, drawn: Any) -> None:
    scene = started.controller.scene
    layer = scene.boxes_layer()
    x, y = near(drawn)
    first, second = Box((x - 200, y - 200, x, y)), Box((x - 150, y - 150, x + 150, y + 150))
    layer.add_rectangles([ours.box_corners(first)])
    started.settle()
    moved = layer.data
    moved[0] = ours.box_corners(second)
    layer._data_view.edit(0, moved[0])  # as napari's select tool does
    layer.events.data(value=layer.data, action="changed", data_indices=(0,), vertex_indices=((),))
    started.settle()
    assert started.view.prompts == (second,)
    layer.selected_data = {0}
    layer.remove_selected()
    started.settle()
    assert started.view.prompts == ()
    assert started.failures == []


def test_reopening_right_after_a_click_does_not_drop_what_was_clicked(
    started: Any, drawn: Any
) -> None:
    started.controller.click(near(drawn))
    started.controller.accept()
    started.settle()
    started.controller.click(near(drawn, 300))
    started.controller.submit(Reopen(started.view.objects[0].id))  # before the click is answered
    started.settle()
    assert "accept (C) or drop" in started.failures[0].message
    assert [click.xy for click in started.view.clicks] == [near(drawn, 300)]
    assert len(started.view.objects) == 1


def test_reopening_right_after_accept_is_not_refused(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.controller.accept()
    started.settle()
    started.controller.click(near(drawn, 300))
    started.settle()
    started.controller.accept()
    started.controller.submit(Reopen(started.view.objects[0].id))
    started.settle()
    assert started.failures == []
    assert started.view.reopened is not None


def test_a_corrected_object_stays_of_its_class(started: Any, drawn: Any) -> None:
    started.controller.classes.choose("Stroma")
    started.controller.click(near(drawn))
    started.controller.accept()
    started.settle()
    key = started.view.objects[0].id
    started.controller.classes.choose("Necrosis")
    started.controller.submit(Reopen(key))
    started.settle()
    assert started.controller.classes.label == "Stroma"
    started.controller.click(near(drawn, 40))
    started.controller.accept()
    started.settle()
    assert started.view.objects[0].label == "Stroma"
    assert started.controller.classes.label == "Necrosis"  # as it was for new objects


def test_a_corrected_object_gets_another_class_where_one_is_chosen(
    started: Any, drawn: Any
) -> None:
    started.controller.click(near(drawn))
    started.controller.accept()
    started.settle()
    started.controller.submit(Reopen(started.view.objects[0].id))
    started.settle()
    started.controller.classes.choose("Normal")
    started.controller.accept()
    started.settle()
    assert started.view.objects[0].label == started.controller.classes.label == "Normal"


def test_an_object_that_cannot_be_reopened_leaves_the_chosen_class(
    started: Any, drawn: Any
) -> None:
    started.controller.classes.choose("Stroma")
    started.controller.click(near(drawn))
    started.controller.accept()
    started.settle()
    started.controller.classes.choose("Tumor")
    started.controller.click(near(drawn, 100))
    started.controller.submit(Reopen(started.view.objects[0].id))
    started.settle()
    assert started.controller.classes.label == "Tumor"


def test_what_was_asked_of_a_session_that_is_left_is_still_recorded(
    started: Any, drawn: Any
) -> None:
    from histosam_core.session.journal import read_journal

    journal, engine = started.view.journal, started.controller.thread.engine
    go_on, answer = threading.Event(), engine.session.apply
    engine.session.apply = lambda *a: (go_on.wait(10), answer(*a))[1]
    started.controller.click(near(drawn))
    started.controller.click(near(drawn, 30))
    started.image = started.add_slide()
    started.controller.open(started.image, started.view.setup)
    go_on.set()
    started.settle()
    assert [e.op for e in read_journal(journal).events] == ["begin", "click", "click", "end"]
    assert started.view.prompts == ()
    assert len(started.layer(ours.CLICKS).data) == 0


def test_an_error_of_a_session_that_is_left_is_not_told(started: Any, drawn: Any) -> None:
    def fails(*_: Any) -> Any:
        raise PredictionError("the model's answer has no numbers; choose another model")

    started.controller.thread.engine.session.apply = fails
    started.controller.click(near(drawn))
    started.image = started.add_slide()
    started.start()
    assert started.failures == []
    assert started.view.clicks == ()
    assert Click(near(drawn)) not in started.view.clicks


def test_nothing_keeps_the_answers_of_objects_that_are_finished(started: Any, drawn: Any) -> None:
    import gc

    from napari_histosam.interactive.view import View

    for shift in range(0, 240, 40):
        started.controller.click(near(drawn, shift))
        started.controller.accept()
        started.settle()
    gc.collect()
    views = [one for one in gc.get_objects() if type(one) is View]
    alive = [one for one in views if one.predictor is started.view.predictor]
    assert len(alive) <= 2  # what is shown, and what the annotations layer was made of
