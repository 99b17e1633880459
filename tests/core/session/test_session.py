from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from histosam_core.annotation import rasterise, read_geojson
from histosam_core.clicks import Click
from histosam_core.errors import (
    ClickOutsideSlideError,
    ConfigError,
    EmptyMaskError,
    MissingMppError,
    PredictionError,
)
from histosam_core.evaluation import run_clicks
from histosam_core.geometry import Region
from histosam_core.model import TrainingGeometry
from histosam_core.session import MemoryStore, Session
from histosam_core.slide import open_slide

if TYPE_CHECKING:
    from histosam_core.slide import Slide

WHOLE = Region((0.0, 0.0), (800, 600), 1.0)
ALONG_THE_OBJECT = [(x, 505) for x in range(240, 1400, 160)]


def whole_mask(session: Session) -> NDArray[np.bool_]:
    return session.mask_region(WHOLE)[0]


def test_first_click_gives_the_mask_of_its_window(slide: Slide, model, truth) -> None:
    session = Session(slide, model)
    mask, region = session.click((601, 501))
    assert (region.size_wh, region.mpp) == ((128, 128), 1.0)
    x, y = (round(v / 2) for v in region.location_xy)
    assert np.array_equal(mask, truth[y : y + 128, x : x + 128])
    assert mask.any()
    assert whole_mask(session).sum() == mask.sum()


def test_click_reports_what_it_did(slide: Slide, model) -> None:
    ticks = iter(range(100))
    session = Session(slide, model, clock=lambda: float(next(ticks)))
    first = session.click((601, 501))
    assert (first.is_new_window, first.was_ready, first.quality) == (True, False, 0.6)
    assert (first.timings.read_s, first.timings.encode_s, first.timings.decode_s) == (1, 1, 1)
    second = session.click((605, 501), is_positive=False)
    assert (second.is_new_window, second.was_ready) == (False, True)
    assert (second.timings.read_s, second.timings.encode_s) == (0, 0)
    assert second.click == Click((605, 501), False)
    assert session.quality == pytest.approx(0.7)


def test_later_click_in_the_window_passes_all_clicks_and_the_previous_logits(
    slide: Slide, model
) -> None:
    session = Session(slide, model)
    session.click((601, 501))
    answer = session.click((610, 521), is_positive=False)
    first, second = model.calls
    assert first.previous is None
    assert [c.is_positive for c in second.clicks] == [True, False]
    assert set(np.unique(second.previous)) == {-5.0, 5.0}
    frame = answer.region.frame(session.slide_mpp)
    column, row = (round(v) for v in frame.from_level0((610, 521)))
    assert not answer.mask[row, column]
    assert answer.mask[row, column - 10]


def test_object_longer_than_four_windows_is_outlined_exactly(slide: Slide, model, truth) -> None:
    session = Session(slide, model)
    for xy in ALONG_THE_OBJECT:
        session.click(xy)
    assert len(session.windows) > 4
    assert np.array_equal(whole_mask(session), truth)
    accepted = session.accept()
    assert accepted.geometry.geom_type == "Polygon"
    assert accepted.geometry.bounds == (199.5, 399.5, 1399.5, 599.5)
    (hole,) = accepted.geometry.interiors
    assert hole.bounds == (699.5, 459.5, 759.5, 499.5)
    assert accepted.area_mm2 == pytest.approx((1200 * 200 - 60 * 40) * 0.25e-6)


def test_click_in_a_new_window_gets_the_mask_so_far_and_the_clicks_that_fall_in_it(
    slide: Slide, model
) -> None:
    session = Session(slide, model)
    session.click((240, 500))
    session.click((300, 500))
    second = session.click((460, 500))
    assert second.is_new_window
    call = model.calls[-1]
    frame = second.region.frame(session.slide_mpp)
    inside = [xy for xy in ((240, 500), (300, 500), (460, 500)) if frame.from_level0(xy)[0] > -0.5]
    assert [c.xy for c in call.clicks] == [frame.from_level0(xy) for xy in inside]
    assert len(inside) < 3
    assert call.previous is not None
    assert (call.previous > 0).any()


def test_a_window_that_the_object_does_not_reach_has_no_mask_prompt(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.click((240, 500))
    session.click((120, 1020))
    assert model.calls[-1].previous is None
    geometry = session.geometry()
    assert len(geometry.geoms) == 2


def test_one_window_of_clicks_equals_the_evaluations_loop(slide: Slide, smooth_model) -> None:
    session = Session(slide, smooth_model)
    region = session.window_for((601, 501))
    image = slide.read_region(region)
    gt_mask = np.zeros((128, 128), bool)
    gt_mask[44:96, 40:90] = True
    run = run_clicks(smooth_model, image, gt_mask, target_iou=1.0, max_clicks=6)
    frame = region.frame(slide.mpp)
    inner = [c for c in run.clicks if all(16 <= v < 112 for v in c.xy)]
    assert inner == run.clicks, "the test needs clicks that keep the window"
    for click in run.clicks:
        answer = session.click(frame.to_level0(click.xy), click.is_positive)
        assert answer.region == region
    assert np.array_equal(answer.mask, run.mask)


def test_undo_and_redo_restore_clicks_and_canvas_without_asking_the_model(
    slide: Slide, smooth_model
) -> None:
    session = Session(slide, smooth_model)
    states = [(session.clicks, whole_mask(session), session.area_mm2)]
    for i, xy in enumerate([(601, 501), (650, 520), (760, 560), (601, 470)]):
        session.click(xy, is_positive=i != 1)
        states.append((session.clicks, whole_mask(session), session.area_mm2))
    asked = len(smooth_model.calls)
    for clicks, mask, area in reversed(states[:-1]):
        undone = session.undo()
        assert session.clicks == clicks
        assert np.array_equal(whole_mask(session), mask)
        assert session.area_mm2 == area
        assert np.array_equal(undone.mask, session.mask_region(undone.region)[0])
    assert session.undo() is None
    assert not session.can_undo
    for clicks, mask, _ in states[1:]:
        session.redo()
        assert session.clicks == clicks
        assert np.array_equal(whole_mask(session), mask)
    assert session.redo() is None
    assert len(smooth_model.calls) == asked


def test_click_after_undo_is_as_if_the_undone_never_was(slide: Slide, smooth_model) -> None:
    session, straight = Session(slide, smooth_model), Session(slide, smooth_model)
    session.click((601, 501))
    session.click((690, 520), is_positive=False)
    session.undo()
    session.click((560, 480))
    assert not session.can_redo
    straight.click((601, 501))
    straight.click((560, 480))
    assert np.array_equal(whole_mask(session), whole_mask(straight))


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 1599), st.integers(0, 1199), st.booleans()),
            st.sampled_from(["undo", "redo"]),
        ),
        max_size=10,
    )
)
def test_any_session_equals_a_replay_of_the_clicks_it_kept(
    slide: Slide, smooth_model, actions
) -> None:
    store = MemoryStore()
    session = Session(slide, smooth_model, store=store)
    for action in actions:
        if isinstance(action, str):
            getattr(session, action)()
        else:
            session.click(action[:2], action[2])
    replayed = Session(slide, smooth_model, store=store)
    for click in session.clicks:
        replayed.click(click.xy, click.is_positive)
    assert np.array_equal(whole_mask(session), whole_mask(replayed))
    assert session.windows == replayed.windows


def test_accepted_object_replays_from_its_clicks(slide: Slide, model) -> None:
    session = Session(slide, model)
    for xy in ALONG_THE_OBJECT:
        session.click(xy)
    session.click((1000, 500), is_positive=False)
    accepted = session.accept("Stroma")
    again = Session(slide, model)
    for click in accepted.clicks:
        again.click(click.xy, click.is_positive)
    assert again.geometry().equals(accepted.geometry)


def test_embedding_is_made_once_for_clicks_undo_and_the_next_object(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.click((601, 501))
    session.click((610, 501))
    session.undo()
    session.accept()
    session.click((601, 501))
    assert model.n_encoded == 1


def test_click_off_the_slide_changes_nothing(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.click((601, 501))
    mask = whole_mask(session)
    with pytest.raises(ClickOutsideSlideError, match=r"\(1600, 5\).*1600 x 1200"):
        session.click((1600, 5))
    assert len(session.clicks) == 1
    assert np.array_equal(whole_mask(session), mask)


def test_answer_that_is_not_a_number_changes_nothing(slide: Slide, model, monkeypatch) -> None:
    session = Session(slide, model)
    session.click((601, 501))
    mask = whole_mask(session)
    bad = np.zeros((128, 128), np.float32)
    bad[3, 4] = np.nan
    monkeypatch.setattr(model, "decode", lambda *_, **__: bad)
    with pytest.raises(PredictionError, match="not numbers"):
        session.click((605, 501))
    monkeypatch.setattr(model, "decode", lambda *_, **__: bad[:64])
    with pytest.raises(PredictionError, match="128 x 128"):
        session.click((605, 501))
    assert len(session.clicks) == 1
    assert np.array_equal(whole_mask(session), mask)


def test_object_in_the_corner_of_the_slide(slide: Slide, model) -> None:
    session = Session(slide, model)
    answer = session.click((1599, 0))
    assert answer.region.location_xy == (1600 - 256, 0)
    assert session.accept().geometry.bounds == (1499.5, -0.5, 1599.5, 99.5)


def test_slide_smaller_than_a_window(tmp_path: Path, model) -> None:
    image = np.full((60, 90, 3), 240, np.uint8)
    image[20:40, 30:70] = (150, 60, 140)
    Image.fromarray(image).save(tmp_path / "small.png")
    with open_slide(tmp_path / "small.png", mpp=1.0) as small:
        session = Session(small, model)
        session.click((35, 25))
        assert session.geometry().bounds == (29.5, 19.5, 69.5, 39.5)
        session.click((2, 2))
        # White round the slide belongs to no object.
        assert session.geometry().bounds == (-0.5, -0.5, 89.5, 59.5)


def test_slide_without_any_scale_asks_for_it_and_takes_it(slide_path: Path, model, truth) -> None:
    with open_slide(slide_path) as bare:
        with pytest.raises(MissingMppError, match=r"mpp=0\.5.*--mpp"):
            Session(bare, model)
        session = Session(bare, model, mpp=0.5)
        for xy in ALONG_THE_OBJECT:
            session.click(xy)
        assert np.array_equal(whole_mask(session), truth)
        assert session.scale.source == "stated by the user"
        assert session.notes == ()


def test_magnification_stands_in_for_mpp_and_says_so(tmp_path: Path, model) -> None:
    path = tmp_path / "scan.svs"
    image = np.full((512, 512, 3), 240, np.uint8)
    description = "Aperio Image Library v11\r\n512x512 [0,0 512x512] (256x256)|AppMag = 20"
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb", description=description)
    with open_slide(path) as scan:
        assert scan.mpp is None
        session = Session(scan, model)
        assert session.slide_mpp == 0.5
        assert session.notes == (session.scale.note,)
        assert "assumed from 20x" in session.scale.note
        session.click((100, 100))
        assert session.accept().region.metadata["Slide mpp source"] == "assumed from 20x"


def test_a_slide_coarser_than_the_model_wants_is_noted(slide_path: Path, model) -> None:
    with open_slide(slide_path, mpp=2.0) as coarse:
        (note,) = Session(coarse, model).notes
        assert "enlarged" in note


def test_windows_follow_a_stated_geometry(slide: Slide, model) -> None:
    session = Session(slide, model, geometry=TrainingGeometry(2.0, 64))
    assert session.window_for((800, 600)).size_wh == (64, 64)
    assert session.window_for((800, 600)).mpp == 2.0


def test_settings_out_of_range_are_refused(slide: Slide, model) -> None:
    with pytest.raises(ConfigError, match="mask_threshold"):
        Session(slide, model, mask_threshold=1.0)
    with pytest.raises(ConfigError, match="mpp"):
        Session(slide, model, mpp=-1.0)


def test_accept_measures_names_and_starts_afresh(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.click((120, 1020))
    accepted = session.accept("Necrosis")
    assert session.objects == (accepted,)
    assert (session.clicks, session.windows, session.area_mm2) == ((), (), 0)
    assert session.undo() is None
    region = accepted.region
    assert (region.label, region.color) == ("Necrosis", (50, 50, 50))
    assert region.measurements == {"Area mm^2": 40 * 40 * 0.25e-6, "Clicks": 1, "Quality": 0.6}
    metadata = region.metadata
    assert metadata["Checkpoint"] == "flat-colours"
    assert metadata["Checkpoint sha256"] == "ab" * 32
    assert metadata["Window mpp"] == "1"
    assert metadata["Slide mpp"] == "0.5"
    assert metadata["Tool"].startswith("HistoSAM ")
    assert metadata["Click list"] == "120.5,1020.5,+"


def test_nothing_to_accept_is_an_error_and_keeps_the_object(slide: Slide, model) -> None:
    session = Session(slide, model)
    with pytest.raises(EmptyMaskError, match="click on the object"):
        session.accept()
    session.click((601, 501), is_positive=False)
    with pytest.raises(EmptyMaskError):
        session.accept()
    assert len(session.clicks) == 1
    with pytest.raises(EmptyMaskError):
        session.mask_region()


def test_specks_are_left_out_on_request(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.click((240, 500))
    session.click((120, 1020))
    assert session.accept(min_island_px=401).geometry.geom_type == "Polygon"


def test_drop_forgets_the_object_and_keeps_the_accepted(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.click((120, 1020))
    session.accept()
    session.click((601, 501))
    session.drop()
    assert session.clicks == ()
    assert not whole_mask(session).any()
    assert not session.can_redo
    assert len(session.objects) == 1


def test_mask_region_is_the_bounding_box(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.click((120, 1020))
    mask, region = session.mask_region()
    assert mask.all()
    assert region == Region((100.0, 1000.0), (20, 20), 1.0)
    with pytest.raises(ConfigError, match="pixel grid"):
        session.mask_region(Region((1.0, 0.0), (20, 20), 1.0))


def test_reopened_object_is_corrected_by_further_clicks(slide: Slide, model, truth) -> None:
    session = Session(slide, model)
    for xy in ALONG_THE_OBJECT:
        session.click(xy)
    accepted = session.accept()
    session.reopen(accepted)
    assert session.objects == ()
    assert session.clicks == accepted.clicks
    assert np.array_equal(whole_mask(session), truth)
    answer = session.click((1000, 500), is_positive=False)
    changed = whole_mask(session) != truth
    assert changed.any()
    assert not answer.mask[64, 64] or changed.sum() < 130
    session.undo()
    assert np.array_equal(whole_mask(session), truth)
    assert not session.can_undo
    with pytest.raises(ConfigError):
        session.reopen(accepted)


def test_saved_geojson_is_what_qupath_reads(slide: Slide, model, truth, tmp_path: Path) -> None:
    session = Session(slide, model)
    with pytest.raises(EmptyMaskError, match="accept"):
        session.save_geojson(tmp_path / "out.geojson")
    for xy in ALONG_THE_OBJECT:
        session.click(xy)
    session.accept()
    session.click((240, 500))
    session.click((120, 1020))
    session.accept("Stroma")
    path = session.save_geojson(tmp_path / "out.geojson")
    document = json.loads(path.read_text())
    assert document["type"] == "FeatureCollection"
    first, second = document["features"]
    assert (first["geometry"]["type"], second["geometry"]["type"]) == ("Polygon", "MultiPolygon")
    outer, hole = first["geometry"]["coordinates"]
    assert outer[0] == outer[-1]
    assert sorted(map(tuple, outer[:-1])) == [(200, 400), (200, 600), (1400, 400), (1400, 600)]
    assert len(hole) == 5
    assert first["properties"]["classification"] == {"name": "Tumor", "color": [200, 0, 0]}
    assert set(first["properties"]["measurements"]) == {"Area mm^2", "Clicks", "Quality"}
    regions = read_geojson(path).regions
    assert np.array_equal(rasterise(regions[0].geometry, WHOLE, 0.5), truth)
