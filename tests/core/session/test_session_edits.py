"""Boxes, prompts taken out and moved, and what undo brings back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from histosam_core.clicks import Box, Click, Prompt
from histosam_core.errors import ClickOutsideSlideError, ConfigError, PredictionError
from histosam_core.geometry import Region
from histosam_core.model import Prediction
from histosam_core.session import MemoryStore, Session

if TYPE_CHECKING:
    from histosam_core.model import ModelInfo
    from histosam_core.slide import Slide

WHOLE = Region((0.0, 0.0), (800, 600), 1.0)
PLACES = [(601, 501), (690, 520), (760, 560), (240, 500), (610, 470)]
XY = tuple[float, float]


def whole_mask(session: Session) -> NDArray[np.bool_]:
    return session.mask_region(WHOLE)[0]


def give(session: Session, prompts: list[Prompt]) -> Session:
    for prompt in prompts:
        if isinstance(prompt, Box):
            session.box(prompt.xyxy)
        else:
            session.click(prompt.xy, prompt.is_positive)
    return session


class BoxModel:
    """Sets the box; remembers which it was given."""

    device = "cpu"

    def __init__(self, info: ModelInfo) -> None:
        self.info = replace(info, takes_boxes=True)
        self.boxes: list[tuple[float, ...] | None] = []

    def encode(self, image):
        return image.shape[:2]

    def decode(self, embedding, clicks, previous=None, *, box_xyxy=None):
        self.boxes.append(box_xyxy)
        yy, xx = np.mgrid[: embedding[0], : embedding[1]]
        inside = np.zeros(embedding, bool) if previous is None else previous.logits > 0
        if box_xyxy is not None:
            x0, y0, x1, y1 = box_xyxy
            inside = inside | ((xx > x0) & (xx < x1) & (yy > y0) & (yy < y1))
        return Prediction(np.where(inside, 5, -5).astype(np.float32))


@pytest.fixture
def box_model(model) -> BoxModel:
    return BoxModel(model.info)


def test_a_box_inside_a_window_is_one_answer(slide: Slide, box_model) -> None:
    session = Session(slide, box_model)
    answer = session.box((599.5, 499.5, 639.5, 519.5))
    assert answer.region.size_wh == (128, 128)
    assert answer.prompt == Box((599.5, 499.5, 639.5, 519.5))
    assert session.geometry().bounds == (599.5, 499.5, 639.5, 519.5)
    assert (session.prompts, session.clicks) == ((answer.prompt,), ())
    with pytest.raises(ConfigError, match="box"):
        _ = answer.click


def test_a_box_larger_than_a_window_is_answered_window_by_window(slide: Slide, box_model) -> None:
    session = Session(slide, box_model)
    answer = session.box((199.5, 399.5, 1399.5, 599.5))
    assert len(session.windows) > 4
    assert session.geometry().bounds == (199.5, 399.5, 1399.5, 599.5)
    assert session.geometry().area == 1200 * 200
    mask, region = answer
    assert np.array_equal(mask, session.mask_region(region)[0])
    assert mask.sum() == 600 * 100
    session.undo()
    assert (session.prompts, session.windows, session.area_mm2) == ((), (), 0)
    session.redo()
    assert session.area_mm2 == pytest.approx(1200 * 200 * 0.25e-6)


def test_a_box_holds_for_later_clicks_until_a_positive_one_beside_it(
    slide: Slide, box_model
) -> None:
    session = Session(slide, box_model)
    session.box((600, 500, 640, 520))
    session.click((620, 510))
    session.click((660, 510), is_positive=False)
    session.click((650, 510))
    session.click((620, 510))
    assert [box is not None for box in box_model.boxes] == [True, True, True, False, False]


def test_a_box_is_cut_at_the_slides_edge(slide: Slide, box_model) -> None:
    session = Session(slide, box_model)
    session.box((1560, -900, 9000, 40))
    assert session.prompts == (Box((1560, -0.5, 1599.5, 40)),)
    assert session.geometry().bounds[2:] == (1599.5, 39.5)


@pytest.mark.parametrize(
    ("box", "error", "words"),
    [
        ((1700, 0, 1800, 50), ClickOutsideSlideError, "off the slide"),
        ((20, 20, 20, 50), ConfigError, "no area"),
    ],
)
def test_a_box_that_cannot_be_answered_is_refused(
    slide: Slide, box_model, box, error, words
) -> None:
    session = Session(slide, box_model)
    with pytest.raises(error, match=words):
        session.box(box)
    assert session.prompts == ()


def test_a_box_of_too_many_windows_is_refused(slide: Slide, box_model) -> None:
    session = Session(slide, box_model)
    with pytest.raises(ConfigError, match=r"windows.*draw a smaller"):
        session.box((0, 0, 1599, 1199))
    assert session.prompts == ()
    assert box_model.boxes == []


prompts = st.one_of(
    st.builds(Click, st.sampled_from(PLACES), st.booleans()),
    st.builds(
        lambda xy, w, h: Box((*xy, xy[0] + w, xy[1] + h)),
        st.sampled_from(PLACES),
        st.integers(10, 300),
        st.integers(10, 300),
    ),
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(prompts, min_size=2, max_size=6), st.data())
def test_taking_prompts_out_is_as_if_they_had_not_been_made(
    slide: Slide, smooth_model, made, data
) -> None:
    store = MemoryStore()
    session = give(Session(slide, smooth_model, store=store), made)
    before = whole_mask(session)
    gone = data.draw(st.sets(st.integers(0, len(made) - 1), min_size=1))
    left = [prompt for i, prompt in enumerate(made) if i not in gone]
    answer = session.remove_prompts(gone)
    straight = give(Session(slide, smooth_model, store=store), left)
    assert session.prompts == straight.prompts == tuple(left)
    assert np.array_equal(whole_mask(session), whole_mask(straight))
    assert (session.windows, session.quality) == (straight.windows, straight.quality)
    assert (answer is None) == (not left)
    session.undo()
    assert session.prompts == tuple(made)
    assert np.array_equal(whole_mask(session), before)
    session.redo()
    assert np.array_equal(whole_mask(session), whole_mask(straight))


def test_a_moved_click_is_as_if_made_there(slide: Slide, smooth_model) -> None:
    session, straight = Session(slide, smooth_model), Session(slide, smooth_model)
    for i, xy in enumerate(PLACES):
        session.click(xy, is_positive=i != 1)
        straight.click((800, 480) if i == 1 else xy, is_positive=i != 1)
    session.move_click(1, (800, 480))
    assert session.prompts == straight.prompts
    assert np.array_equal(whole_mask(session), whole_mask(straight))


def test_prompts_before_the_edit_are_not_asked_again(slide: Slide, smooth_model) -> None:
    session = Session(slide, smooth_model)
    for xy in PLACES:
        session.click(xy)
    asked = len(smooth_model.calls)
    session.remove_prompts([3])
    assert len(smooth_model.calls) - asked == 1


def test_an_edit_that_fails_changes_nothing(slide: Slide, smooth_model, monkeypatch) -> None:
    session = Session(slide, smooth_model)
    for xy in PLACES:
        session.click(xy)
    mask, made = whole_mask(session), session.prompts
    with pytest.raises(ConfigError, match=r"no prompt 5.*0 to 4"):
        session.remove_prompts([5])
    with pytest.raises(ClickOutsideSlideError):
        session.move_click(0, (-50, 0))
    monkeypatch.setattr(smooth_model, "decode", lambda *_, **__: np.zeros((2, 2), np.float32))
    with pytest.raises(PredictionError):
        session.remove_prompts([1])
    assert session.prompts == made
    assert np.array_equal(whole_mask(session), mask)
    assert session.remove_prompts([]) is None


def test_a_box_cannot_be_moved(slide: Slide, smooth_model) -> None:
    session = Session(slide, smooth_model)
    session.box((600, 500, 640, 520))
    with pytest.raises(ConfigError, match="is a box"):
        session.move_click(0, (610, 510))


def test_undo_takes_back_the_last_accept(slide: Slide, smooth_model) -> None:
    session = Session(slide, smooth_model)
    session.click(PLACES[0])
    first = session.accept()
    session.click(PLACES[1])
    session.click(PLACES[2])
    session.undo()
    mask, made = whole_mask(session), session.prompts
    session.accept()
    session.click(PLACES[3])
    session.undo()
    assert session.can_undo
    session.undo()
    assert session.objects == (first,)
    assert session.prompts == made
    assert np.array_equal(whole_mask(session), mask)
    session.redo()
    assert len(session.prompts) == 2
    session.undo()
    session.undo()
    assert not session.can_undo


def test_undo_takes_back_a_drop(slide: Slide, smooth_model) -> None:
    session = Session(slide, smooth_model)
    session.click(PLACES[0])
    mask = whole_mask(session)
    session.drop()
    session.drop()
    session.undo()
    assert np.array_equal(whole_mask(session), mask)
    assert session.prompts == (Click(PLACES[0]),)


def test_undo_of_an_accept_gives_back_what_it_cut_from_others(slide: Slide, box_model) -> None:
    session = Session(slide, box_model)
    session.box((599.5, 499.5, 639.5, 519.5))
    first = session.accept()
    session.box((619.5, 499.5, 659.5, 519.5))
    session.accept(overlap="keep_later")
    assert session.objects[0].geometry.area < first.geometry.area
    session.undo()
    assert session.objects == (first,)


def test_canvas_tiles_that_did_not_change_stay_the_same_objects(slide: Slide, smooth_model) -> None:
    session = Session(slide, smooth_model)
    session.click(PLACES[0])
    before = session.canvas_snapshot
    session.click((1300, 500))
    after = session.canvas_snapshot
    assert before.keys() < after.keys()
    assert all(after[key] is tile for key, tile in before.items())
    session.undo()
    assert all(session.canvas_snapshot[key] is tile for key, tile in before.items())


def test_probabilities_are_the_logits_through_the_logistic_function(slide: Slide, model) -> None:
    session = Session(slide, model)
    region = session.click((601, 501)).region
    probability = session.probability_region(region)
    assert probability.dtype == np.float32
    assert set(np.unique(probability)) == {expit(np.float32(-5)), expit(np.float32(5))}
    assert np.array_equal(probability > 0.49, session.mask_region(region)[0])
    assert session.probability_region(WHOLE).max() <= 1
    with pytest.raises(ConfigError, match="pixel grid"):
        session.probability_region(Region((1.0, 0.0), (20, 20), 1.0))
