from __future__ import annotations

from histosam_core.clicks import Click
from napari_histosam.interactive.pending import ClickEdit, PendingClicks

A, B, C = Click((1.0, 1.0)), Click((2.0, 2.0)), Click((3.0, 3.0), False)


def test_new_clicks_come_last_in_the_order_they_were_asked_for() -> None:
    pending = PendingClicks()
    pending.add(7, ClickEdit(None, B))
    pending.add(8, ClickEdit(None, C))
    assert pending.shown([A]) == (A, B, C)
    pending.answered(7)
    assert pending.shown([A, B]) == (A, B, C)
    assert len(pending) == 1


def test_a_moved_click_keeps_its_place_and_a_removed_one_is_gone() -> None:
    pending = PendingClicks()
    pending.add(1, ClickEdit(A, C))
    pending.add(2, ClickEdit(B, None))
    assert pending.shown([A, B]) == (C,)
    pending.answered(1)
    assert pending.shown([C, B]) == (C,)


def test_edits_of_a_click_that_is_gone_change_nothing() -> None:
    pending = PendingClicks()
    pending.add(1, ClickEdit(A, None), ClickEdit(A, None))
    pending.add(2, ClickEdit(C, A))
    assert pending.shown([A, B]) == (B,)


def test_of_two_equal_clicks_the_later_one_is_meant() -> None:
    pending = PendingClicks()
    pending.add(1, ClickEdit(A, C))
    assert pending.shown([A, B, A]) == (A, B, C)


def test_what_was_refused_is_seen_as_the_session_has_it() -> None:
    pending = PendingClicks()
    pending.add(1, ClickEdit(A, B))
    pending.clear()
    assert pending.shown([A]) == (A,)
