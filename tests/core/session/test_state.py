"""What a model must know of its last answer goes along: click by click, window by window."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from histosam_core.clicks import Box, Click, Prompt
from histosam_core.errors import PredictionError
from histosam_core.evaluation.walkthrough import walk_through
from histosam_core.geometry import Region
from histosam_core.model import Prediction
from histosam_core.session import MemoryStore, Session, fold, replay
from histosam_core.session.canvas import kept_canvases
from histosam_core.session.journal import JournalWriter, read_journal

if TYPE_CHECKING:
    from histosam_core.session.windows.windows import Window
    from histosam_core.slide import Slide

SCRIPT = Path(__file__).with_name("scripted_session.py")
_spec = importlib.util.spec_from_file_location("scripted_session", SCRIPT)
scripted: Any = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(scripted)  # type: ignore[union-attr]

HERE = [(601, 501), (640, 530), (570, 470), (655, 455)]
"""Level-0 pixels that one window of 256 holds, from the middle of the first click's on."""
FAR = (1300, 500)
BESIDE = (790, 520)
"""Answered by a window that overlaps the first one's."""

Bits = dict[tuple[int, int], bytes]


def bits(session: Session) -> Bits:
    return {
        index: tile.logits.tobytes() + tile.mask.tobytes() + tile.depth.tobytes()
        for index, tile in session.canvas_snapshot.items()
    }


def straight(slide: Slide, model: Any, prompts: tuple[Prompt, ...]) -> Session:
    """A session of its own that was given some prompts and nothing else."""
    session = Session(slide, type(model)())
    for prompt in prompts:
        if isinstance(prompt, Box):
            session.box(prompt.xyxy)
        elif isinstance(prompt, Click):
            session.click(prompt.xy, prompt.is_positive)
        else:
            session.lasso(prompt.points_xy, prompt.is_positive)
    return session


def window_at(session: Session, xy: tuple[float, float]) -> Window:
    return session._outline.window_for(xy)


def stands(session: Session, window: Window) -> NDArray[np.float32]:
    """The logits that the canvas shows in a window."""
    return session._outline.canvas.read_window(window).logits


def n_answers(model: Any) -> list[int]:
    """How often the model was told that it had answered before, call by call."""
    befores = [asked.previous for asked in model.asked]
    return [0 if p is None or p.state is None else p.state.n_answers for p in befores]


def test_it_goes_along_from_click_to_click(slide: Slide, zooming_model) -> None:
    """As the evaluation's walk over the same window: the masks are the same to the bit."""
    session = Session(slide, zooming_model)
    clicks, masks, logits = [], [], []
    for number, xy in enumerate(HERE):
        answer = session.click(xy, is_positive=number != 2)
        masks.append(answer.mask)
        logits.append(stands(session, window_at(session, xy)))
    assert len(session.windows) == 1
    (region,) = session.windows
    frame = region.frame(0.5)
    clicks = [Click(frame.from_level0(c.xy), c.is_positive) for c in session.clicks]
    image = session.predictor.read(region)
    walk = walk_through(type(zooming_model)(), image, np.zeros(image.shape[:2], bool), clicks)
    assert np.array_equal(np.stack(masks), walk.masks)
    assert n_answers(zooming_model) == [0, 1, 2, 3]
    first, *others = zooming_model.asked
    assert first.previous is None
    for asked, shown in zip(others, logits, strict=False):
        assert np.array_equal(asked.previous.logits, shown)
    assert [asked.previous.quality for asked in others] == [1, 1 / 2, 1 / 3]
    assert session.quality == 1 / 4


def test_each_window_has_its_own(slide: Slide, zooming_model) -> None:
    session = Session(slide, zooming_model)
    for xy in (HERE[0], FAR, HERE[1], FAR, FAR, HERE[2]):
        session.click(xy)
    assert len(session.windows) == 2
    assert n_answers(zooming_model) == [0, 0, 1, 1, 2, 2]


def test_a_window_that_anothers_answer_changed_gets_the_canvas_and_its_own_state(
    slide: Slide, zooming_model
) -> None:
    session = Session(slide, zooming_model)
    session.click(HERE[0])
    here = window_at(session, HERE[0])
    own = stands(session, here)
    state = session._outline.latest()[here].state
    session.click(BESIDE)
    assert len(session.windows) == 2
    beside = zooming_model.asked[-1].previous
    assert beside.state is None, "this window had not answered: it sees the mask alone"
    changed = stands(session, here)
    assert not np.array_equal(changed, own)
    assert window_at(session, (540, 500)) == here
    session.click((540, 500))
    previous = zooming_model.asked[-1].previous
    assert previous.state is state
    assert np.array_equal(previous.logits, changed)


def test_a_lasso_changes_the_logits_and_not_the_state(slide: Slide, zooming_model) -> None:
    session = Session(slide, zooming_model)
    session.click(HERE[0])
    here = window_at(session, HERE[0])
    state = session._outline.latest()[here].state
    session.lasso([(560, 460), (600, 460), (600, 480), (560, 480)], is_positive=False)
    session.click(HERE[1])
    previous = zooming_model.asked[-1].previous
    assert previous.state is state
    assert (previous.logits == -8).any()
    assert bits(session) == bits(straight(slide, zooming_model, session.prompts))


def test_a_box_hands_it_to_every_window_it_takes(slide: Slide, zooming_model) -> None:
    session = Session(slide, zooming_model)
    box = (199.5, 399.5, 1399.5, 599.5)
    session.box(box)
    n_windows = len(session.windows)
    assert n_windows > 4
    assert set(n_answers(zooming_model)) == {0}
    zooming_model.asked.clear()
    session.box(box)
    assert n_answers(zooming_model) == [1] * n_windows


def test_undo_and_redo_bring_it_back(slide: Slide, zooming_model) -> None:
    session = Session(slide, zooming_model)
    seen = [bits(session)]
    for xy in (*HERE[:2], BESIDE, *HERE[2:]):
        session.click(xy)
        seen.append(bits(session))
    asked = len(zooming_model.asked)
    for canvas in reversed(seen[:-1]):
        session.undo()
        assert bits(session) == canvas
    for canvas in seen[1:]:
        session.redo()
        assert bits(session) == canvas
    assert len(zooming_model.asked) == asked, "nothing had to be made again"


@pytest.mark.parametrize("back", [1, 2, 3, 4])
def test_after_undo_a_click_is_answered_as_if_the_others_had_not_been(
    slide: Slide, zooming_model, back: int
) -> None:
    session = Session(slide, zooming_model)
    for xy in (*HERE[:2], BESIDE, HERE[2]):
        session.click(xy)
    for _ in range(back):
        session.undo()
    session.click(HERE[3], is_positive=False)
    assert bits(session) == bits(straight(slide, zooming_model, session.prompts))
    session.undo()
    session.click(HERE[3], is_positive=False)
    assert bits(session) == bits(straight(slide, zooming_model, session.prompts))


@pytest.mark.parametrize("place", range(5))
def test_taking_a_click_out_or_moving_it(slide: Slide, zooming_model, place: int) -> None:
    session = Session(slide, zooming_model)
    for xy in (*HERE[:2], BESIDE, *HERE[2:]):
        session.click(xy)
    before = bits(session)
    session.remove_prompts([place])
    assert bits(session) == bits(straight(slide, zooming_model, session.prompts))
    session.undo()
    assert bits(session) == before
    session.move_click(place, (620, 480))
    assert bits(session) == bits(straight(slide, zooming_model, session.prompts))
    session.click((585, 505), is_positive=False)
    assert bits(session) == bits(straight(slide, zooming_model, session.prompts))
    session.undo()
    session.undo()
    assert bits(session) == before


prompts = st.one_of(
    st.builds(Click, st.sampled_from([*HERE, BESIDE, FAR]), st.booleans()),
    st.builds(
        lambda xy, w, h: Box((*xy, xy[0] + w, xy[1] + h)),
        st.sampled_from(HERE),
        st.integers(10, 200),
        st.integers(10, 200),
    ),
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(prompts, min_size=2, max_size=6), st.data())
def test_taking_any_prompts_out_is_as_if_they_had_not_been_made(
    slide: Slide, zooming_model, made, data
) -> None:
    session = straight(slide, zooming_model, tuple(made))
    gone = data.draw(st.sets(st.integers(0, len(made) - 1), min_size=1))
    session.remove_prompts(gone)
    left = straight(slide, zooming_model, session.prompts)
    assert bits(session) == bits(left)
    assert session.quality == left.quality
    for one in (session, left):
        one.click((620, 480))
    assert bits(session) == bits(left)


def test_canvases_that_were_dropped_are_made_again_with_it(
    slide: Slide, zooming_model, monkeypatch
) -> None:
    monkeypatch.setattr(kept_canvases, "RECENT", 4)
    monkeypatch.setattr(kept_canvases, "EVERY", 5)
    session, rng = Session(slide, zooming_model), np.random.default_rng(1)
    seen = [bits(session)]
    for number in range(24):
        x, y = rng.uniform((480, 420), (860, 580))
        if number % 7 == 3:
            session.box((x, y, x + 300, y + 40))
        else:
            session.click((x, y), bool(rng.random() < 0.7))
        seen.append(bits(session))
    asked = len(zooming_model.asked)
    for canvas in reversed(seen[:-1]):
        session.undo()
        assert bits(session) == canvas
    assert len(zooming_model.asked) > asked, "some were not kept"
    for canvas in seen[1:14]:
        session.redo()
        assert bits(session) == canvas
    session.click(HERE[0])
    assert bits(session) == bits(straight(slide, zooming_model, session.prompts))


def test_an_edit_that_fails_leaves_it(slide: Slide, zooming_model, monkeypatch) -> None:
    session = Session(slide, zooming_model)
    for xy in HERE[:3]:
        session.click(xy)
    with monkeypatch.context() as patched:
        broken = Prediction(np.zeros((2, 2), np.float32), 0.5, "of no use")
        patched.setattr(zooming_model, "decode", lambda *_, **__: broken)
        with pytest.raises(PredictionError):
            session.remove_prompts([0])
        with pytest.raises(PredictionError):
            session.click(HERE[3])
    session.click(HERE[3])
    assert bits(session) == bits(straight(slide, zooming_model, session.prompts))


def test_an_accept_that_is_taken_back_goes_on_with_it(slide: Slide, zooming_model) -> None:
    session = Session(slide, zooming_model)
    for xy in HERE[:3]:
        session.click(xy)
    session.accept()
    session.click(FAR)
    session.undo()
    session.undo()
    session.click(HERE[3])
    assert bits(session) == bits(straight(slide, zooming_model, session.prompts))


def test_an_object_that_is_reopened_begins_without(slide: Slide, zooming_model) -> None:
    """An outline may come from anywhere; only its mask goes on."""
    session = Session(slide, zooming_model)
    for xy in HERE[:3]:
        session.click(xy)
    session.reopen(session.accept())
    here = window_at(session, HERE[3])
    drawn = stands(session, here)
    session.click(HERE[3])
    previous = zooming_model.asked[-1].previous
    assert (previous.state, previous.quality) == (None, None)
    assert np.array_equal(previous.logits, drawn)
    session.click(HERE[0])
    assert n_answers(zooming_model)[-1] == 1


def test_another_model_gets_none_of_it(slide: Slide, zooming_model, smooth_model) -> None:
    smooth_model.info = replace(smooth_model.info, geometry=zooming_model.info.geometry)
    first = Session(slide, smooth_model)
    for xy in HERE[:3]:
        first.click(xy)
    second = Session(slide, zooming_model)
    second.take_over(first)
    second.click(HERE[3])
    assert n_answers(zooming_model) == [0, 1, 2, 3]
    assert bits(second) == bits(straight(slide, zooming_model, second.prompts))


def test_a_restored_session_has_it_again(slide: Slide, zooming_model, tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path / "session.jsonl")
    session = Session(slide, zooming_model, journal=journal)
    for xy in (*HERE[:2], BESIDE, HERE[2]):
        session.click(xy)
    session.remove_prompts([1])
    session.undo()
    session.undo()
    model = type(zooming_model)()
    again = Session(slide, model)
    again.restore(fold(read_journal(journal.path)))
    assert bits(again) == bits(session)
    for one in (session, again):
        one.redo()
        one.click(HERE[3])
    assert bits(again) == bits(session)
    assert bits(again) == bits(straight(slide, zooming_model, again.prompts))
    last, expected = model.asked[-1].previous, zooming_model.asked[-1].previous
    assert (last.state, last.quality) == (expected.state, expected.quality)


@pytest.mark.parametrize("seed", [5, 7, 9])
def test_a_replay_gives_the_same_objects_and_a_restore_the_same_canvas(
    slide: Slide, zooming_model, tmp_path: Path, seed: int
) -> None:
    journal = JournalWriter(tmp_path / "session.jsonl")
    session = scripted.run(slide, journal, model=zooming_model, seed=seed, n=30)
    assert session.objects, "the script must leave objects"
    events = read_journal(journal.path)
    report = replay(events, slide, lambda _: type(zooming_model)(), store=MemoryStore())
    assert report.is_same_model
    assert report.is_identical
    again = Session(slide, type(zooming_model)())
    again.restore(fold(events))
    assert scripted.state_of(again) == scripted.state_of(session)
    assert bits(again) == bits(session)


def test_a_state_shared_by_two_sessions_is_changed_by_neither(slide: Slide, zooming_model) -> None:
    """The model keeps nothing: two sessions on it are as two models."""
    one, other = Session(slide, zooming_model), Session(slide, zooming_model)
    for at, xy in enumerate(HERE):
        one.click(xy)
        other.click(xy, is_positive=at % 2 == 0)
    for session in (one, other):
        assert bits(session) == bits(straight(slide, zooming_model, session.prompts))


def test_the_predictor_hands_it_through_and_keeps_it_beside_a_box(
    slide: Slide, zooming_model
) -> None:
    predictor = Session(slide, zooming_model).predictor
    region = Region((476.0, 380.0), (128, 128), 1.0)
    first = predictor.predict(region, [Click(HERE[0])])
    assert first.prediction.state.n_answers == 1
    box = Box((560.0, 460.0, 640.0, 540.0))
    boxed = predictor.predict(region, [Click(HERE[0])], first.prediction, box=box)
    assert boxed.prediction.state.n_answers == 2
    assert zooming_model.asked[-1].previous is first.prediction
    assert (boxed.prediction.logits > 0).sum() <= 41 * 41, "confined to the box"
