"""Few canvases are kept of a long object, and all of them come back bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from histosam_core.clicks import Click
from histosam_core.errors import PredictionError
from histosam_core.geometry import Region
from histosam_core.session import Session
from histosam_core.session.apply import Draft
from histosam_core.session.canvas import kept_canvases
from histosam_core.session.canvas.kept_canvases import KeptCanvases

if TYPE_CHECKING:
    from histosam_core.slide import Slide

WHOLE = Region((0.0, 0.0), (800, 600), 1.0)


@pytest.fixture
def few(monkeypatch) -> None:
    """Keep 4 steps, and every 5th."""
    monkeypatch.setattr(kept_canvases, "RECENT", 4)
    monkeypatch.setattr(kept_canvases, "EVERY", 5)


def bits(session: Session) -> dict[tuple[int, int], bytes]:
    return {
        index: tile.logits.tobytes() + tile.mask.tobytes() + tile.depth.tobytes()
        for index, tile in session.canvas_snapshot.items()
    }


def clicked(session: Session, n: int, seed: int = 0) -> list[dict[tuple[int, int], bytes]]:
    """Click along the long object, in several windows; return the canvas after each."""
    rng = np.random.default_rng(seed)
    seen = [bits(session)]
    for number in range(n):
        if number % 9 == 4:
            x, y = rng.uniform((300, 420), (1000, 560))
            session.box((x, y, x + 300, y + 40))
        else:
            session.click(tuple(rng.uniform((200, 400), (1400, 600))), bool(rng.random() < 0.7))
        seen.append(bits(session))
    return seen


def test_what_is_kept_does_not_grow_with_the_object() -> None:
    kept = KeptCanvases()
    last = Draft().then(*(Click((float(i), 0.0)) for i in range(20_000)))
    steps = last.chain()[1:]
    for step in steps:
        kept.keep(step, {})
    most = kept_canvases.RECENT + kept_canvases.MILESTONES
    assert len(kept) <= most < 400
    assert all(kept.find(step) is not None for step in steps[-kept_canvases.RECENT :])
    of_old = [kept.find(step) is not None for step in steps[-1000 : -kept_canvases.RECENT]]
    assert 900 // kept_canvases.EVERY <= sum(of_old) <= 1000 // kept_canvases.EVERY


@pytest.mark.usefixtures("few")
def test_undo_and_redo_through_a_long_object_are_bit_for_bit(slide: Slide, smooth_model) -> None:
    session = Session(slide, smooth_model)
    seen = clicked(session, 40)
    assert len(session._outline.kept) < 14
    for canvas in reversed(seen[:-1]):
        session.undo()
        assert bits(session) == canvas
    for canvas in seen[1:]:
        session.redo()
        assert bits(session) == canvas


@pytest.mark.usefixtures("few")
def test_going_back_asks_the_model_for_what_lies_between_two_kept_ones_once(
    slide: Slide, smooth_model
) -> None:
    session = Session(slide, smooth_model)
    for number in range(20):
        session.click((601 + number, 501))
    asked = len(smooth_model.calls)
    for _ in range(3):
        session.undo()
    assert len(smooth_model.calls) == asked  # 17, 18, 19 are kept
    for _ in range(17):
        session.undo()
    # 15, 10 and 5 are kept; from each the one to four after it are made again.
    assert len(smooth_model.calls) - asked == 1 + 4 + 4 + 4


@pytest.mark.usefixtures("few")
def test_edits_of_a_long_object_and_their_undo_are_bit_for_bit(slide: Slide, smooth_model) -> None:
    session, fresh = Session(slide, smooth_model), Session(slide, smooth_model)
    before = clicked(session, 30)[-1]
    session.remove_prompts([7, 12])
    for prompt in session.prompts:
        if isinstance(prompt, Click):
            fresh.click(prompt.xy, prompt.is_positive)
        else:
            fresh.box(prompt.xyxy)
    assert bits(session) == bits(fresh)
    session.undo()
    assert bits(session) == before


@pytest.mark.usefixtures("few")
def test_an_accept_of_a_long_object_is_taken_back_with_all_its_undo(
    slide: Slide, smooth_model
) -> None:
    session = Session(slide, smooth_model)
    seen = clicked(session, 12)
    session.accept()
    clicked(session, 8, seed=1)
    for _ in range(8):
        session.undo()
    session.undo()
    for canvas in reversed(seen[:-1]):
        assert session.can_undo
        session.undo()
        assert bits(session) == canvas


@pytest.mark.usefixtures("few")
def test_an_undo_that_cannot_be_made_again_changes_nothing_and_is_journalled_as_failed(
    slide: Slide, smooth_model, monkeypatch, tmp_path
) -> None:
    from histosam_core.session import fold
    from histosam_core.session.journal import JournalWriter, read_journal

    with JournalWriter(tmp_path / "session.jsonl") as journal:
        session = Session(slide, smooth_model, journal=journal)
        seen = clicked(session, 14)
        for _ in range(3):
            session.undo()
        with monkeypatch.context() as patched:
            patched.setattr(smooth_model, "decode", lambda *_, **__: np.zeros((2, 2), np.float32))
            while True:
                made, canvas = session.prompts, bits(session)
                try:
                    session.undo()
                except PredictionError:
                    break
        assert len(made) > 5
        assert (session.prompts, bits(session)) == (made, canvas)
        events = read_journal(journal.path).events
        assert [event.op for event in events[-2:]] == ["undo", "failed"]
        assert fold(read_journal(journal.path)).prompts == made
        session.undo()
        assert bits(session) == seen[len(made) - 1]
