from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histosam_core.annotation import read_annotations
from histosam_core.clicks import Box, Click
from histosam_core.errors import (
    ClickOutsideSlideError,
    ConfigError,
    EmptyMaskError,
    MissingMppError,
)
from histosam_core.session.operations import Delete, Drop, Redo, Reopen, SetClass, Undo
from histosam_core.slide.write import write_svs
from napari_histosam.viewer import layers as ours


def near(drawn: Any, dx: float = 0, dy: float = 0) -> tuple[float, float]:
    x, y = drawn.inside
    return x + dx, y + dy


def test_a_click_is_shown_at_once_and_its_mask_when_answered(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    assert started.layer(ours.CLICKS).data.tolist() == [list(near(drawn))[::-1]]
    assert started.controller.view.prompts == ()
    started.settle()
    assert started.view.prompts == (Click(near(drawn)),)
    assert started.mask_at(near(drawn)) == 1
    assert started.controller.status.phase == "ready"
    assert started.view.area_mm2 > 0
    assert started.controller.status.click_ms > 0


def test_states_pass_from_loading_over_embedding_and_predicting_to_ready(
    desk: Any, drawn: Any
) -> None:
    phases: list[str] = []
    desk.controller.look_ahead.is_on = False
    desk.controller.status_changed.connect(lambda status: phases.append(status.phase))
    desk.start()
    desk.controller.click(near(drawn))
    desk.settle()
    desk.controller.click(near(drawn, 20, 20))
    desk.settle()
    order = list(dict.fromkeys(phases))
    assert order == ["loading", "ready", "embedding", "predicting"]
    assert phases[-1] == "ready"


def test_clicks_are_answered_in_order_however_fast_they_come(started: Any, drawn: Any) -> None:
    at = [near(drawn, 15 * i, -10 * i) for i in range(8)]
    for number, xy in enumerate(at):
        started.controller.click(xy, is_positive=number % 3 != 2)
    assert len(started.layer(ours.CLICKS).data) == 8
    started.settle()
    assert [click.xy for click in started.view.clicks] == at
    assert [click.is_positive for click in started.view.clicks] == [n % 3 != 2 for n in range(8)]


def test_colours_say_what_belongs(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.controller.toggle_sign()
    started.controller.click(near(drawn, 300, 0))
    started.settle()
    assert [c.is_positive for c in started.view.clicks] == [True, False]
    green, red = started.layer(ours.CLICKS).border_color
    assert green[:3] == pytest.approx((0, 1, 0))
    assert red[:3] == pytest.approx((1, 0, 0))


def test_a_click_before_start_says_what_to_do(desk: Any) -> None:
    desk.controller.click((10, 10))
    assert isinstance(desk.failures[0].error, ConfigError)
    assert "Start" in desk.failures[0].message


def test_a_click_off_the_slide_leaves_no_trace(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.settle()
    before = started.view
    started.controller.click((-50.0, 10.0))
    started.settle()
    assert isinstance(started.failures[0].error, ClickOutsideSlideError)
    assert started.controller.status.phase == "failed"
    assert len(started.layer(ours.CLICKS).data) == 1
    assert started.view.canvas == before.canvas
    started.controller.click(near(drawn, 30, 30))
    started.settle()
    assert started.controller.status.phase == "ready"
    assert len(started.view.clicks) == 2


def test_undo_and_redo_move_mask_and_clicks_together(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.settle()
    first = started.layer(ours.MASK).data.copy()
    started.controller.click(near(drawn, 60, 0), is_positive=False)
    started.settle()
    second = started.layer(ours.MASK).data.copy()
    assert not np.array_equal(first, second)
    started.controller.submit(Undo())
    started.settle()
    assert np.array_equal(started.layer(ours.MASK).data, first)
    assert len(started.layer(ours.CLICKS).data) == 1
    started.controller.submit(Redo())
    started.settle()
    assert np.array_equal(started.layer(ours.MASK).data, second)


def test_a_click_beyond_the_window_continues_the_object(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.settle()
    far = near(drawn, -900 if drawn.inside[0] > 1500 else 900, 0)
    started.controller.click(far)
    started.settle()
    assert started.view.answer.is_new_window
    assert started.mask_at(near(drawn)) == 1
    assert started.mask_at(far) == 1


def test_a_moved_point_moves_its_click(started: Any, drawn: Any) -> None:
    for xy in (near(drawn), near(drawn, 80, 80)):
        started.controller.click(xy)
    started.settle()
    layer = started.layer(ours.CLICKS)
    layer.selected_data = {1}
    row, column = layer.data[1]
    layer._move([1], (row, column))  # as napari's select tool does on the first move
    layer._move([1], (row - 40, column + 24))
    started.settle()
    assert started.view.clicks[0].xy == near(drawn)
    assert started.view.clicks[1].xy == pytest.approx((column + 24, row - 40))
    started.controller.submit(Undo())
    started.settle()
    assert started.view.clicks[1].xy == near(drawn, 80, 80)


def test_a_point_deleted_with_napari_s_tool_takes_its_click_out(started: Any, drawn: Any) -> None:
    for shift in (0, 60, 120):
        started.controller.click(near(drawn, shift, 0))
    started.settle()
    layer = started.layer(ours.CLICKS)
    layer.selected_data = {1}
    layer.remove_selected()
    started.settle()
    assert [c.xy for c in started.view.clicks] == [near(drawn), near(drawn, 120, 0)]
    assert len(layer.data) == 2


def test_a_point_added_with_napari_s_tool_is_a_click(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.settle()
    started.controller.toggle_sign()
    x, y = near(drawn, 90, 30)
    started.layer(ours.CLICKS).add((y, x))
    started.settle()
    assert started.view.clicks[1] == Click((x, y), False)


def test_a_rectangle_is_a_box_prompt(started: Any, drawn: Any) -> None:
    assert started.controller.scene is not None
    layer = started.controller.scene.boxes_layer()
    x, y = near(drawn)
    box = Box((x - 150, y - 150, x + 150, y + 150))
    layer.add_rectangles([ours.box_corners(box)])
    started.settle()
    assert started.view.prompts == (box,)
    assert started.view.area_mm2 > 0
    started.controller.submit(Undo())
    started.settle()
    assert started.view.prompts == ()
    assert len(layer.data) == 0


def test_accepted_objects_go_to_the_annotations_layer(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.controller.classes.choose("Necrosis")
    started.controller.accept()
    started.settle()
    (accepted,) = started.view.objects
    layer = started.layer(ours.OBJECTS)
    label = started.view.labels[accepted.id]
    x, y = near(drawn)
    grid = started.view.grid
    column, row = (round(v) for v in grid.frame.from_level0((x, y)))
    assert layer.data[0][row, column] == label
    assert layer.features.loc[0, "class"] == accepted.label == "Necrosis"
    assert layer.colormap.map(label)[:3] == pytest.approx(np.array((50, 50, 50)) / 255, abs=0.01)
    assert len(started.layer(ours.CLICKS).data) == 0
    assert started.layer(ours.MASK).data.sum() == 0
    assert started.view.object_at((x, y)) == accepted.id


def test_an_empty_object_is_not_accepted(started: Any) -> None:
    started.controller.accept()
    started.settle()
    assert isinstance(started.failures[0].error, EmptyMaskError)


def test_a_reopened_object_comes_back_with_its_clicks(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.controller.click(near(drawn, 50, 20))
    started.controller.accept()
    started.settle()
    (accepted,) = started.view.objects
    started.controller.reopen_at(near(drawn))
    started.settle()
    assert started.view.objects == ()
    assert started.view.reopened.id == accepted.id
    assert len(started.layer(ours.CLICKS).data) == 2
    assert started.mask_at(near(drawn)) == 1
    started.controller.click(near(drawn, 100, 0), is_positive=False)
    started.controller.accept()
    started.settle()
    assert [one.id for one in started.view.objects] == [accepted.id]
    assert len(started.view.objects[0].clicks) == 3


def test_an_object_in_work_is_not_lost_by_reopening_another(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.controller.accept()
    started.controller.click(near(drawn, 40, 0))
    started.settle()
    started.controller.submit(Reopen(started.view.objects[0].id))
    started.settle()
    assert isinstance(started.failures[0].error, ConfigError)
    assert len(started.view.clicks) == 1


def test_drop_and_undo_of_drop(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.settle()
    before = started.layer(ours.MASK).data.copy()
    started.controller.submit(Drop())
    started.settle()
    assert started.view.prompts == ()
    assert started.layer(ours.MASK).data.sum() == 0
    started.controller.submit(Undo())
    started.settle()
    assert np.array_equal(started.layer(ours.MASK).data, before)


def test_class_and_existence_of_accepted_objects_can_be_changed(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.controller.accept()
    started.settle()
    key = started.view.objects[0].id
    started.controller.submit(SetClass(key, "Stroma"))
    started.settle()
    assert (started.view.objects[0].label, started.view.objects[0].id) == ("Stroma", key)
    started.controller.submit(Delete(key))
    started.settle()
    assert started.view.objects == ()
    assert not any(level[:].any() for level in started.layer(ours.OBJECTS).data[-1:])


def test_the_overlap_rule_decides_who_keeps_shared_pixels(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.controller.accept()
    started.controller.overlap = "keep_earlier"
    started.controller.click(near(drawn))
    started.controller.accept()
    started.settle()
    assert isinstance(started.failures[0].error, EmptyMaskError)
    assert len(started.view.objects) == 1
    started.controller.overlap = "keep_later"
    started.controller.accept()
    started.settle()
    assert len(started.view.objects) == 1


def test_a_new_class_gets_a_colour(started: Any) -> None:
    started.controller.classes.choose("Mucin")
    assert started.controller.classes.label == "Mucin"
    assert started.controller.classes.colors["Mucin"] not in [(200, 0, 0), (150, 200, 150)]
    started.controller.classes.choose("Mucin", (1, 2, 3))
    assert started.controller.classes.colors["Mucin"] == (1, 2, 3)


def test_outline_opacity_and_probability(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.settle()
    display = started.controller.display
    display.as_outline, display.opacity, display.heat_map = True, 0.8, True
    mask, heat = started.layer(ours.MASK), started.layer(ours.HEAT_MAP)
    assert (mask.contour > 0, mask.opacity) == (True, 0.8)
    assert_same(heat.data, mask.data)
    started.controller.click(near(drawn, 200, 100))
    started.settle()
    assert_same(heat.data, mask.data)
    display.as_outline, display.heat_map = False, False
    assert not heat.visible


@pytest.mark.parametrize("role", [ours.CLICKS, ours.MASK, ours.OBJECTS])
def test_a_removed_layer_comes_back_with_what_it_showed(
    started: Any, drawn: Any, role: ours.Role
) -> None:
    started.controller.click(near(drawn, 0, 60))
    started.controller.accept()
    started.controller.click(near(drawn))
    started.settle()
    lost = started.layer(role)
    scene = started.controller.scene
    before = [np.array(level) for level in lost.data] if role == ours.OBJECTS else lost.data
    started.viewer.layers.remove(lost)
    assert scene.is_incomplete
    scene.restore_lost()
    assert not scene.is_incomplete
    back = started.layer(role)
    assert back is not lost
    assert back in started.viewer.layers
    after = [np.array(level) for level in back.data] if role == ours.OBJECTS else back.data
    assert all(np.array_equal(a, b) for a, b in zip(after, before, strict=True))
    started.controller.click(near(drawn, 30, 30))
    started.settle()
    assert len(started.view.clicks) == 2


def test_renamed_layers_stay_ours(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.settle()
    n_layers = len(started.viewer.layers)
    for layer in list(started.viewer.layers):
        layer.name = f"my {layer.name}"
    started.controller.click(near(drawn, 50, 0))
    started.settle()
    assert len(started.viewer.layers) == n_layers
    assert len(started.layer(ours.CLICKS).data) == 2


def test_the_session_outlives_its_slide_s_layer(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.settle()
    started.viewer.layers.remove(started.image)
    assert "nothing is lost" in started.told[-1]
    started.controller.click(near(drawn, 40, 0))
    started.settle()
    assert len(started.view.clicks) == 2


def test_our_layers_follow_the_slide_s_transform(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.settle()
    started.image.scale = (2.0, 2.0)
    started.image.translate = (70, -30)
    x, y = near(drawn)
    world = started.layer(ours.CLICKS).data_to_world((y, x))
    assert world == pytest.approx((2 * y + 70, 2 * x - 30))
    assert started.mask_at(near(drawn)) == 1


def test_another_scale_keeps_objects_and_answers_the_clicks_again(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn, 0, 60))
    started.controller.accept()
    started.controller.click(near(drawn))
    started.settle()
    kept = started.view.objects
    started.start(window_mpp=4.0)
    assert started.view.grid.mpp == 4.0
    assert started.view.objects == kept
    assert started.view.clicks == (Click(near(drawn)),)
    assert started.mask_at(near(drawn)) == 1
    column, row = (round(v) for v in started.view.grid.frame.from_level0(near(drawn, 0, 60)))
    assert started.layer(ours.OBJECTS).data[0][row, column] > 0


def test_another_slide_ends_the_session_and_its_late_answers_are_dropped(
    started: Any, drawn: Any
) -> None:
    started.controller.click(near(drawn))
    started.controller.click(near(drawn, 30, 0))
    other = started.add_slide()
    started.image = other
    started.start()
    assert started.view.prompts == ()
    assert started.controller.scene.image is other
    assert len(started.layer(ours.CLICKS).data) == 0


def test_a_slide_without_scale_asks_for_it(
    make_desk: Callable[[Path], Any], drawn: Any, tmp_path: Path
) -> None:
    from PIL import Image

    path = tmp_path / "no_scale.png"
    Image.fromarray(drawn.image[:1200, :1200]).save(path)
    desk = make_desk(path)
    desk.controller.open(desk.image, _setup())
    desk.settle()
    assert isinstance(desk.failures[0].error, MissingMppError)
    assert not desk.controller.is_open
    desk.start(slide_mpp=0.5)
    assert desk.view.slide_mpp == 0.5


def test_a_scale_the_slide_does_not_have_is_told(
    make_desk: Callable[[Path], Any], drawn: Any, tmp_path: Path
) -> None:
    path = write_svs(tmp_path / "coarse.svs", drawn.image[:800, :800], mpp=4.0, magnification=2.5)
    desk = make_desk(path)
    desk.start()
    assert "enlarged" in desk.view.notes[0]


def test_an_unknown_model_leaves_the_session_as_it_was(started: Any, drawn: Any) -> None:
    started.controller.click(near(drawn))
    started.settle()

    def cannot(*_: Any, **__: Any) -> Any:
        raise ConfigError("no device 'cuda'; choose 'cpu'")

    started.controller.thread.engine._load = cannot
    started.controller.open(started.image, _setup(device="cuda"))
    started.settle()
    assert "choose 'cpu'" in started.failures[0].message
    started.controller.click(near(drawn, 40, 0))
    started.settle()
    assert len(started.view.clicks) == 2


def test_a_journal_that_cannot_be_written_stops_no_work(
    desk: Any, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from histosam_core.errors import JournalError
    from histosam_core.session.journal.file import JournalWriter

    def full(*_: Any, **__: Any) -> int:
        raise JournalError("the disk is full; free space")

    monkeypatch.setattr(JournalWriter, "write", full)
    desk.controller.look_ahead.is_on = False
    desk.start()
    assert any("not recorded" in note and "free space" in note for note in desk.view.notes)
    assert desk.view.journal is None
    desk.controller.click(drawn.inside)
    desk.settle()
    assert len(desk.view.clicks) == 1


def test_windows_in_view_are_encoded_ahead(desk: Any, drawn: Any) -> None:
    desk.start()
    scene = desk.controller.scene
    assert scene is not None
    assert desk.controller.look_ahead.wait_idle(60)
    desk.settle()
    assert desk.controller.status.ahead_total > 0
    assert desk.controller.status.ahead_done == desk.controller.status.ahead_total
    x0, y0, x1, y1 = scene.visible_level0()
    desk.controller.click(((x0 + x1) / 2, (y0 + y1) / 2))
    desk.settle()
    assert desk.view.answer.was_ready


def test_export_and_import_are_the_same_objects(
    started: Any, make_desk: Callable[[Path], Any], drawn: Any, tmp_path: Path
) -> None:
    started.controller.click(near(drawn))
    started.controller.accept()
    started.controller.click(near(drawn, -300, 100))
    started.controller.classes.choose("Stroma")
    started.controller.accept()
    files = [tmp_path / "out.geojson", tmp_path / "out.ome.zarr"]
    for path in files:
        started.controller.export_file(path)
    started.settle()
    assert started.failures == []
    assert started.told[-1].startswith("2 objects written")
    for path in files:
        back = read_annotations(path).regions
        assert [r.label for r in back] == ["Tumor", "Stroma"]
        for one, region in zip(started.view.objects, back, strict=True):
            assert one.geometry.symmetric_difference(region.geometry).area < 1e-6
            assert one.id == region.id
        for one in started.view.objects:
            started.controller.submit(Delete(one.id))
        started.controller.import_file(path)
        started.settle()
        assert [one.label for one in started.view.objects] == ["Tumor", "Stroma"]
        assert [len(one.clicks) for one in started.view.objects] == [1, 1]


def assert_same(heat: Any, mask: Any) -> None:
    """The threshold, 0.49, lies at 125 of 255: above is the object, below is not."""
    assert (heat > 125).any()
    assert mask[heat > 125].all()
    assert not mask[heat < 125].any()


def _setup(**choices: Any) -> Any:
    from napari_histosam.interactive.view import Setup

    return Setup(**{"model": "histosam-tiny", "device": "cpu", **choices})
