from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from histosam_core.clicks import Lasso
from histosam_core.errors import ClickOutsideSlideError, ConfigError, JournalError
from histosam_core.geometry import Region
from histosam_core.session import Session, fold, replay
from histosam_core.session.journal import read_journal
from histosam_core.session.journal.slide_journals import new_journal

if TYPE_CHECKING:
    from histosam_core.slide import Slide

WHOLE = Region((0.0, 0.0), (800, 600), 1.0)
SQUARE = ((599.5, 399.5), (699.5, 399.5), (699.5, 499.5), (599.5, 499.5))  # level-0 pixels

FAR = ((99.5, 99.5), (199.5, 99.5), (199.5, 199.5))


def whole_mask(session: Session) -> NDArray[np.bool_]:
    return session.mask_region(WHOLE)[0]


def square(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.bool_]:
    mask = np.zeros((600, 800), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_a_lasso_alone_is_the_mask_and_asks_no_model(slide: Slide, model) -> None:
    session = Session(slide, model)
    answer = session.lasso(SQUARE)
    assert np.array_equal(whole_mask(session), square(300, 200, 350, 250))
    assert (model.n_encoded, model.calls) == (0, [])
    assert answer.mask.all()
    assert answer.quality is None
    assert session.prompts == (Lasso(SQUARE),)
    assert session.clicks == ()


def test_a_negative_lasso_cuts_out_of_what_a_click_gave(slide: Slide, model, truth) -> None:
    session = Session(slide, model)
    session.click((641, 501))
    before = whole_mask(session)
    session.lasso(SQUARE, is_positive=False)
    assert np.array_equal(whole_mask(session), before & ~square(300, 200, 350, 250))
    session.undo()
    assert np.array_equal(whole_mask(session), before)
    session.redo()
    assert not whole_mask(session)[square(300, 200, 350, 250)].any()


def test_later_answers_leave_the_drawn_area_as_it_is(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.click((641, 451))
    session.lasso(SQUARE, is_positive=False)
    session.click((561, 511))  # the same object, in the same window
    mask = whole_mask(session)
    assert not mask[square(300, 200, 350, 250)].any()
    assert mask[255, 281]


def test_a_click_inside_that_says_the_opposite_ends_it(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.click((561, 511))
    session.lasso(SQUARE, is_positive=False)
    session.click((641, 451))
    assert whole_mask(session)[225, 320]


def test_a_lasso_reaches_over_windows_and_is_cut_at_the_slide(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.lasso(((1400, 1000), (1900, 1000), (1900, 1900), (1400, 1900)))
    mask = whole_mask(session)
    assert mask[501:, 701:].all()
    assert not mask[:500].any()
    assert session.accept().geometry.bounds == (1399.5, 999.5, 1599.5, 1199.5)


def test_crossing_lines_are_taken_by_the_even_odd_rule(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.lasso(((400, 400), (600, 400), (400, 600), (600, 600)))  # an hourglass
    mask = whole_mask(session)
    assert mask[210, 250]
    assert mask[290, 250]
    assert not mask[250, 210]


@pytest.mark.parametrize("points", [(), ((1, 1),), ((1, 1), (5, 5)), ((1, 1), (5, 5), (9, 9))])
def test_a_lasso_round_nothing_is_refused(slide: Slide, model, points) -> None:
    session = Session(slide, model)
    with pytest.raises(ConfigError, match="encloses no area"):
        session.lasso(points)
    assert not session.can_undo


def test_a_lasso_off_the_slide_is_refused(slide: Slide, model) -> None:
    with pytest.raises(ClickOutsideSlideError, match="lies off the slide"):
        Session(slide, model).lasso(((-90, 10), (-50, 10), (-50, 90)))


def test_a_lasso_can_be_taken_out_but_not_moved(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.click((641, 451))
    alone = whole_mask(session)
    session.lasso(SQUARE, is_positive=False)
    with pytest.raises(ConfigError, match="a lasso, not a click"):
        session.move_click(1, (10, 10))
    session.remove_prompts([1])
    assert np.array_equal(whole_mask(session), alone)


def test_an_accepted_object_comes_back_with_its_lasso(slide: Slide, model) -> None:
    session = Session(slide, model)
    session.click((641, 451))
    session.lasso(SQUARE, is_positive=False)
    mask = whole_mask(session)
    accepted = session.accept()
    session.reopen(accepted)
    assert session.prompts[1] == Lasso(SQUARE, False)
    assert np.array_equal(whole_mask(session), mask)
    session.remove_prompts([1])
    assert whole_mask(session)[225, 320]


def test_a_lasso_goes_through_a_file(slide: Slide, model, tmp_path: Path) -> None:
    from histosam_core.annotation import read_geojson

    session = Session(slide, model)
    session.click((641, 451))
    session.lasso(SQUARE, is_positive=False)
    session.accept()
    session.save_geojson(tmp_path / "out.geojson")
    again = Session(slide, model)
    (back,) = again.add_objects(read_geojson(tmp_path / "out.geojson").regions)
    assert back.prompts == session.objects[0].prompts


def test_a_lasso_is_journalled_restored_and_replayed(slide: Slide, model) -> None:
    with new_journal(slide) as journal:
        session = Session(slide, model, journal=journal)
        session.lasso(SQUARE)
        session.click((641, 451))
        session.accept()
        session.lasso(FAR)
        session.accept()
        session.click((641, 451))
        session.lasso(SQUARE, is_positive=False)
        mask, path = whole_mask(session), journal.path
    read = read_journal(path)
    assert [e.op for e in read.events] == [
        *("begin", "lasso", "click", "accept", "lasso", "accept", "click", "lasso"),
    ]
    again = Session(slide, model)
    again.restore(fold(read))
    assert np.array_equal(whole_mask(again), mask)
    assert again.prompts == session.prompts
    again.undo()
    assert again.prompts == session.prompts[:1]
    report = replay(read, slide, lambda _: model)
    assert report.is_identical
    assert [one.area_mm2 > 0 for one in report.objects] == [True, True]
    assert report.n_open_prompts == 2


def test_an_operation_of_a_newer_program_is_not_passed_over(slide: Slide, model) -> None:
    with new_journal(slide) as journal:
        Session(slide, model, journal=journal)
        journal.write("scribble", points=[])
        path = journal.path
    with pytest.raises(JournalError, match="update napari-histosam"):
        replay(read_journal(path), slide, lambda _: model)
