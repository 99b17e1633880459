"""Accepted objects: overlaps, classes, imports, and correcting them."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from histosam_core.annotation import AnnotatedRegion, read_geojson
from histosam_core.clicks import Box, Click
from histosam_core.errors import ConfigError, EmptyMaskError
from histosam_core.geometry import Region
from histosam_core.model import TrainingGeometry
from histosam_core.session import AcceptedObject, Session, Tile
from histosam_core.slide import open_array

if TYPE_CHECKING:
    from histosam_core.slide import Slide

WHOLE = Region((0.0, 0.0), (800, 600), 1.0)


def box_at(x: float, y: float, side: float = 40) -> Any:
    """A square of level-0 pixels whose edges lie on even ones."""
    return shapely.box(x - 0.5, y - 0.5, x + side - 0.5, y + side - 0.5)


def accepted(session: Session, geometry: Any, **settings: Any) -> AcceptedObject:
    session.refine(geometry)
    return session.accept(**settings)


@pytest.fixture
def session(slide: Slide, smooth_model) -> Session:
    return Session(slide, smooth_model)


def test_overlaps_are_allowed_unless_said_otherwise(session: Session) -> None:
    for x in (100, 120):
        accepted(session, box_at(x, 100))
    assert [one.geometry.area for one in session.objects] == [1600, 1600]


def test_keep_earlier_cuts_the_new_object(session: Session) -> None:
    accepted(session, box_at(100, 100))
    new = accepted(session, box_at(120, 100), overlap="keep_earlier")
    assert new.geometry.bounds == (139.5, 99.5, 159.5, 139.5)
    assert new.area_mm2 == pytest.approx(20 * 40 * 0.25e-6)
    assert new.region.measurements["Area mm^2"] == pytest.approx(new.area_mm2)
    assert session.objects[0].geometry.area == 1600


def test_keep_earlier_of_a_covered_object_leaves_nothing_and_says_why(session: Session) -> None:
    accepted(session, box_at(100, 100, 80))
    session.refine(box_at(120, 120))
    with pytest.raises(EmptyMaskError, match="accepted objects cover the whole mask"):
        session.accept(overlap="keep_earlier")
    assert len(session.objects) == 1
    assert session.mask_region(WHOLE)[0].any()


def test_keep_later_cuts_and_removes_the_accepted(session: Session) -> None:
    larger = accepted(session, box_at(100, 100, 80), label="Stroma")
    accepted(session, box_at(140, 140, 20))
    far = accepted(session, box_at(600, 100))
    new = accepted(session, box_at(120, 120), overlap="keep_later")
    cut, kept, last = session.objects
    assert (cut.id, cut.label, kept, last) == (larger.id, "Stroma", far, new)
    assert cut.geometry.area == 80 * 80 - 40 * 40
    assert len(cut.geometry.interiors) == 1
    assert cut.region.measurements["Area mm^2"] == pytest.approx(cut.geometry.area * 0.25e-6)


def test_no_two_objects_share_a_place_under_either_rule(session: Session) -> None:
    rng = np.random.default_rng(0)
    for i in range(12):
        x, y = (2.0 * int(v) for v in rng.integers(20, 90, 2))
        session.refine(box_at(x, y, 2.0 * int(rng.integers(10, 40))))
        try:
            session.accept(overlap="keep_earlier" if i % 2 else "keep_later")
        except EmptyMaskError:
            session.drop()
    assert len(session.objects) > 3
    shapes = [one.geometry for one in session.objects]
    total = sum(shape.area for shape in shapes)
    assert shapely.union_all(shapes).area == pytest.approx(total)


def test_an_unknown_rule_is_refused(session: Session) -> None:
    session.refine(box_at(100, 100))
    with pytest.raises(ConfigError, match="allow, keep_earlier, keep_later"):
        session.accept(overlap="merge")  # type: ignore[arg-type]


def test_relabelling_keeps_id_place_and_outline(session: Session) -> None:
    first, second = accepted(session, box_at(100, 100)), accepted(session, box_at(300, 100))
    changed = session.relabel(first, "Necrosis")
    assert session.objects == (changed, second)
    assert (changed.id, changed.label, changed.region.color) == (first.id, "Necrosis", (50, 50, 50))
    assert session.relabel(changed, "Own", (1, 2, 3)).region.color == (1, 2, 3)
    assert session.objects[0].geometry == first.geometry


def test_deleted_objects_are_gone_and_cannot_be_used(session: Session) -> None:
    first, second = accepted(session, box_at(100, 100)), accepted(session, box_at(300, 100))
    session.delete(first)
    assert session.objects == (second,)
    for use in (session.delete, session.reopen, lambda one: session.relabel(one, "Own")):
        with pytest.raises(ConfigError, match="not one of this session's"):
            use(first)


def test_a_reopened_object_keeps_id_label_colour_and_place(session: Session) -> None:
    one, two, three = (
        accepted(session, box_at(x, 100), label="Own", color=(1, 2, 3)) for x in (100, 300, 500)
    )
    session.reopen(two)
    assert session.reopened == two
    assert session.objects == (one, three)
    session.delete(one)
    session.click((320, 120))
    again = session.accept()
    assert (again.id, again.label, again.region.color) == (two.id, "Own", (1, 2, 3))
    assert session.objects == (again, three)
    assert session.reopened is None


def test_dropping_a_reopened_object_puts_it_back_unchanged(session: Session) -> None:
    one, two = accepted(session, box_at(100, 100)), accepted(session, box_at(300, 100))
    session.reopen(one)
    session.click((120, 120), is_positive=False)
    session.drop()
    assert session.objects == (one, two)
    assert session.reopened is None
    session.undo()
    assert session.reopened == one
    assert session.objects == (two,)
    assert session.prompts == (Click((120, 120), False),)


def test_reopening_another_puts_the_first_back(session: Session) -> None:
    one, two = accepted(session, box_at(100, 100)), accepted(session, box_at(300, 100))
    session.reopen(one)
    session.reopen(two)
    assert session.objects == (one,)
    session.drop()
    assert session.objects == (one, two)


def test_taking_a_prompt_out_of_a_reopened_object_makes_it_anew(slide: Slide, smooth_model) -> None:
    session, straight = Session(slide, smooth_model), Session(slide, smooth_model)
    for xy in ((601, 501), (690, 520), (760, 560)):
        session.click(xy)
    one = session.accept()
    session.reopen(one)
    session.click((620, 540))
    reopened = session.mask_region(WHOLE)[0]
    session.remove_prompts([1])
    for xy in ((601, 501), (760, 560), (620, 540)):
        straight.click(xy)
    assert session.prompts == straight.prompts
    assert np.array_equal(session.mask_region(WHOLE)[0], straight.mask_region(WHOLE)[0])
    assert session.reopened == one
    session.undo()
    assert np.array_equal(session.mask_region(WHOLE)[0], reopened)


def test_an_object_begun_from_an_outline_is_made_anew_from_it(session: Session) -> None:
    session.refine(box_at(600, 460, 80))
    plain = session.mask_region(WHOLE)[0]
    session.click((640, 500))
    one = session.accept()
    assert one.origin == box_at(600, 460, 80)
    session.reopen(one)
    assert session.remove_prompts([0]) is None
    assert np.array_equal(session.mask_region(WHOLE)[0], plain)


def test_imported_geojson_brings_its_prompts_and_measures(
    slide: Slide, smooth_model, tmp_path: Path
) -> None:
    first = Session(slide, smooth_model)
    first.box((600.25, 480, 700, 520))
    first.click((601.125, 501))
    first.click((690, 520), is_positive=False)
    made = first.accept("Stroma")
    path = first.save_geojson(tmp_path / "out.geojson")
    session = Session(slide, smooth_model)
    (one,) = session.add_objects(read_geojson(path).regions)
    assert session.objects == (one,)
    assert one.prompts == made.prompts
    assert isinstance(one.prompts[0], Box)
    assert (one.id, one.label, one.origin) == (made.id, "Stroma", None)
    assert one.area_mm2 == pytest.approx(made.area_mm2)
    session.reopen(one)
    session.remove_prompts([2])
    first.reopen(made)
    first.remove_prompts([2])
    assert np.array_equal(session.mask_region(WHOLE)[0], first.mask_region(WHOLE)[0])


def test_an_outline_of_another_program_is_its_own_origin(session: Session) -> None:
    foreign = AnnotatedRegion(
        box_at(100, 100), metadata={"Click list": "1,1,+"}, measurements={"Area mm^2": 7.0}
    )
    (one,) = session.add_objects([foreign])
    assert one.prompts == ()
    assert one.origin == box_at(100, 100)
    assert one.region.measurements["Area mm^2"] == pytest.approx(1600 * 0.25e-6)
    session.reopen(one)
    session.click((120, 120))
    assert session.accept().id == foreign.id


def test_importing_again_replaces_what_has_the_same_id(session: Session) -> None:
    region = AnnotatedRegion(box_at(100, 100))
    session.add_objects([region, AnnotatedRegion(box_at(300, 100))])
    changed = AnnotatedRegion(box_at(100, 100, 60), id=region.id, label="Stroma")
    session.add_objects([changed])
    assert [one.label for one in session.objects] == ["Stroma", "Tumor"]
    session.reopen(session.objects[0])
    with pytest.raises(ConfigError, match="accept or drop it first"):
        session.add_objects([changed])


def test_a_click_list_that_cannot_be_read_is_left(session: Session) -> None:
    metadata = {"Tool": "HistoSAM 0.1.0", "Click list": "1,x,+ 5,5,-"}
    (one,) = session.add_objects([AnnotatedRegion(box_at(100, 100), metadata=metadata)])
    assert one.prompts == ()


def test_objects_of_another_session_are_carried_over(slide: Slide, smooth_model) -> None:
    first = Session(slide, smooth_model)
    one = accepted(first, box_at(100, 100))
    second = Session(slide, smooth_model, objects=first.objects)
    assert second.objects == (one,)
    second.reopen(one)
    assert second.reopened == one


def test_the_object_at_hand_is_taken_over_with_its_prompts(
    slide: Slide, smooth_model, model
) -> None:
    first, plain = Session(slide, smooth_model), Session(slide, model)
    for session in (first, plain):
        session.click((601, 501))
        session.click((690, 520), is_positive=False)
    second = Session(slide, model)
    second.take_over(first)
    assert second.prompts == first.prompts
    assert np.array_equal(second.mask_region(WHOLE)[0], plain.mask_region(WHOLE)[0])
    second.undo()
    assert len(second.prompts) == 1


def n_tiles() -> int:
    gc.collect()
    return sum(type(one) is Tile for one in gc.get_objects())


def test_accepted_objects_keep_no_canvas(slide: Slide, smooth_model) -> None:
    before = n_tiles()
    session = Session(slide, smooth_model)
    for xy in ((601, 501), (690, 520), (760, 560), (240, 500)):
        session.click(xy)
        session.accept()
    # The last accept can be undone, so its tiles are kept (3 x 3 at most); no others are.
    assert 0 < n_tiles() - before <= 9


class Blobs:
    """Random smooth blobs, other ones at each answer; on windows of 64 px at 2.0 um.

    It states its geometry alone, and answers with plain arrays.
    """

    def __init__(self, seed: int) -> None:
        self.info = SimpleNamespace(geometry=TrainingGeometry(2.0, 64))
        self.rng = np.random.default_rng(seed)

    def encode(self, image):
        return image.shape[:2]

    def decode(self, embedding, clicks, previous=None, *, box_xyxy=None):
        noise = gaussian_filter(self.rng.normal(size=embedding), self.rng.uniform(0.3, 4))
        logits = 3 * noise / noise.std()
        return logits + (0 if previous is None else np.tanh(previous.logits))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.25, 0.2517, 0.499, 0.5, 1.0, 2.0, 2.2, 3.1]),
    st.tuples(st.integers(40, 700), st.integers(40, 700)),
)
def test_an_object_reopened_and_accepted_unchanged_is_the_same(
    tmp_path_factory, seed: int, slide_mpp: float, size_wh: tuple[int, int]
) -> None:
    rng, (w, h) = np.random.default_rng(seed), size_wh
    slide = open_array(np.zeros((h, w, 3), np.uint8), name="blobs", mpp=slide_mpp)
    session = Session(slide, Blobs(seed))
    for _ in range(4):
        session.click((float(rng.uniform(0, w - 1)), float(rng.uniform(0, h - 1))))
    try:
        first = session.accept()
    except EmptyMaskError:
        return
    assert first.geometry.is_valid
    assert shapely.box(-0.5, -0.5, w - 0.5, h - 0.5).covers(first.geometry)
    session.reopen(first)
    traced = session._outline.canvas.to_geometry()
    assert traced.symmetric_difference(first.geometry).area <= 1e-6 * first.geometry.area
    second = session.accept()
    assert second.geometry.equals(first.geometry)
    path = session.save_geojson(tmp_path_factory.mktemp("blobs") / "out.geojson")
    again = Session(slide, Blobs(seed))
    (imported,) = again.add_objects(read_geojson(path).regions)
    again.reopen(imported)
    assert again.accept().area_mm2 == pytest.approx(first.area_mm2, rel=1e-9)


def test_a_fine_outline_keeps_its_detail_until_it_is_changed(slide: Slide, model) -> None:
    """Drawn elsewhere, at level 0, finer than the model's pixels."""
    fine = shapely.Point(640.3, 500.2).buffer(61.7)
    session = Session(slide, model)
    (one,) = session.add_objects([AnnotatedRegion(fine)])
    session.reopen(one)
    assert session.accept().geometry.equals(fine)
    session.reopen(session.objects[0])
    session.click((601, 501))
    session.undo()
    assert session.accept().geometry.equals(fine)


def test_an_outline_that_was_not_changed_is_cut_and_cleaned_as_any_other(
    slide: Slide, model
) -> None:
    fine = shapely.Point(640.3, 500.2).buffer(61.7)  # 2989 window pixels
    corner = shapely.box(1499.5, 1099.5, 1700, 1300)  # 2500 on the slide
    session = Session(slide, model)
    session.refine(shapely.MultiPolygon([fine, corner]))
    assert session.accept().geometry.bounds[2:] == (1599.5, 1199.5)
    session.refine(shapely.MultiPolygon([fine, corner]))
    assert session.accept(min_island_px=2700).geometry.equals(fine)
