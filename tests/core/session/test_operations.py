"""Operations are values: written and read without loss, carried out by one `apply`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from histosam_core.annotation import AnnotatedRegion
from histosam_core.clicks import Box, Click, Lasso
from histosam_core.errors import ClickOutsideSlideError, ConfigError, EmptyMaskError
from histosam_core.geometry import Region
from histosam_core.session import AcceptedObject, Session
from histosam_core.session.apply import State, accepting, apply, taking_over
from histosam_core.session.objects import Start
from histosam_core.session.operations import (
    NAMES,
    Accept,
    Delete,
    Drop,
    Grow,
    Import,
    MoveClick,
    Operation,
    Redo,
    Refine,
    RemovePrompts,
    Reopen,
    SetClass,
    TakeOver,
    Undo,
    from_json,
    to_json,
)

if TYPE_CHECKING:
    from histosam_core.slide import Slide

WHOLE = Region((0.0, 0.0), (800, 600), 1.0)
SQUARE = shapely.box(599.5, 459.5, 679.5, 539.5)
ONE, TWO = (
    AcceptedObject.imported(AnnotatedRegion(shapely.box(x, 0, x + 9, 9)), 0.5) for x in (0, 20)
)
CLICK = Click((601.1, 501.7), False)
WRITTEN = [
    CLICK,
    Box((1.25, 2.5, 3.125, 4.0)),
    Lasso(((0.1, 0.2), (9.0, 0.2), (9.0, 9.3)), True),
    RemovePrompts((2, 0, 2)),
    MoveClick(3, (1, 2)),
    Grow(3),
    Undo("drop"),
    Redo(),
    Accept("Tumor", ONE.region.color, "keep_later", 7, ONE, (TWO,), ("gone",)),
    Drop(),
    Reopen("an id"),
    Refine(Start(SQUARE, (CLICK,), None)),
    SetClass(ONE.id, "Own", (1, 2, 3), ONE.with_class("Own", (1, 2, 3))),
    Delete("an id"),
    Import((ONE, TWO)),
    TakeOver(Start(), (CLICK,), TWO, 1),
]


@pytest.mark.parametrize("operation", WRITTEN, ids=lambda one: type(one).__name__)
def test_an_operation_is_written_and_read_without_loss(operation: Operation) -> None:
    line = json.loads(json.dumps(to_json(operation)))
    again = from_json(line)
    assert type(again) is type(operation)
    if isinstance(again, SetClass):  # the object is not written, its class is
        again = replace(again, object=operation.object)
    assert to_json(again) == line
    if not isinstance(operation, Refine | TakeOver):  # a start is known by identity
        assert again == operation


def test_every_operation_has_a_name() -> None:
    assert {type(one) for one in WRITTEN} == set(NAMES)
    assert [to_json(one)["op"] for one in WRITTEN] == list(NAMES.values())


def test_what_is_no_operation_is_refused() -> None:
    with pytest.raises(ValueError, match="'dance' is no operation"):
        from_json({"op": "dance"})
    with pytest.raises(ValueError, match="has no object yet"):
        to_json(Accept())
    with pytest.raises(ValueError, match="has no object yet"):
        apply(State(), Accept())
    with pytest.raises(ConfigError, match="nothing to undo"):
        apply(State(), Undo())


edits = st.lists(
    st.one_of(
        st.builds(Click, st.tuples(st.integers(0, 9), st.integers(0, 9)), st.booleans()),
        st.builds(lambda place: RemovePrompts((place,)), st.integers(0, 4)),
        st.builds(MoveClick, st.integers(0, 4), st.just((5.0, 5.0))),
        st.just(Undo("click")),
        st.just(Redo()),
    ),
    max_size=20,
)


@given(edits)
def test_undo_goes_back_to_the_very_draft_and_redo_to_the_next(done: list[Operation]) -> None:
    state = State((ONE,))
    for operation in done:
        before = state
        try:
            state = apply(state, operation)
        except ConfigError:  # there is no such prompt
            continue
        if not isinstance(operation, Undo | Redo):
            assert apply(state, Undo()).draft is before.draft
            assert apply(apply(state, Undo()), Redo()).draft is state.draft
            assert not state.can_redo
    assert apply(apply(state, Drop()), Undo()).draft is state.draft
    assert [draft.n for draft in state.draft.chain()] == list(range(state.draft.n + 1))
    collapsed = state.collapsed()
    assert (collapsed.draft, collapsed.can_redo) == (state.draft, False)
    taken = apply(State(), taking_over(state))
    assert taken.draft.prompts == state.draft.prompts
    assert len(taken.edits) == state.draft.n


def test_a_moved_click_keeps_its_sign_and_what_came_before(slide: Slide) -> None:
    state = State()
    for click in (CLICK, Click((5, 5)), CLICK):
        state = apply(state, click)
    moved = apply(state, MoveClick(1, (7, 7)))
    assert moved.draft.prompts == (CLICK, Click((7, 7)), CLICK)
    assert moved.draft.chain()[1] is state.draft.chain()[1]
    assert state.draft.prompts[1] == Click((5, 5)), "the state before stays as it is"


def test_an_accept_puts_a_reopened_object_back_where_it_was() -> None:
    state = apply(State((ONE, TWO)), Reopen(ONE.id))
    assert state.objects == (TWO,)
    better = ONE.with_geometry(shapely.box(0, 0, 30, 9))
    done = apply(state, accepting(state, Accept(overlap="keep_later"), better))
    assert done.objects == (better,), "what it covers is gone"
    assert apply(done, Undo()).reopened is ONE
    assert apply(apply(done, Delete(better.id)), Click((1, 1))).undoes == "click"
    with pytest.raises(ConfigError, match="nothing to undo"):
        apply(apply(done, Delete(better.id)), Undo())


def test_a_session_carries_operations_out(slide: Slide, smooth_model) -> None:
    session, plain = Session(slide, smooth_model), Session(slide, smooth_model)
    answer = session.apply(Click((601, 501)))
    mask, _ = plain.click((601, 501))
    assert answer is not None
    assert np.array_equal(answer.mask, mask)
    assert session.apply(RemovePrompts(())) is None
    assert session.apply(Undo()) is not None
    assert session.apply(Undo()) is None
    assert session.apply(Redo()) is not None
    assert session.apply(Accept("Stroma", (1, 2, 3))) is None
    (one,) = session.objects
    assert (one.label, one.region.color) == ("Stroma", (1, 2, 3))
    assert one.geometry.equals(plain.geometry())
    session.apply(SetClass(one.id, "Necrosis"))
    assert session.objects[0].region.color == (50, 50, 50)
    state = session.state
    for bad, error in (
        (Accept(), EmptyMaskError),
        (Click((-9, 0)), ClickOutsideSlideError),
        (Reopen("an id"), ConfigError),
        (MoveClick(0, (1, 1)), ConfigError),
    ):
        with pytest.raises(error):
            session.apply(bad)
    assert session.state is state
