"""What a journal brings back, after every single operation and after kill -9."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely

from histosam_core.clicks import Click
from histosam_core.errors import ConfigError, JournalError, PredictionError
from histosam_core.session import MemoryStore, Session, fold, replay
from histosam_core.session.journal import JournalWriter, read_journal
from histosam_core.slide import open_array

if TYPE_CHECKING:
    from histosam_core.slide import Slide


SCRIPT = Path(__file__).with_name("scripted_session.py")
_spec = importlib.util.spec_from_file_location("scripted_session", SCRIPT)
scripted: Any = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(scripted)  # type: ignore[union-attr]
run, state_of, WHOLE = scripted.run, scripted.state_of, scripted.WHOLE


def mask_of(session: Session) -> bytes:
    return session.mask_region(WHOLE)[0].tobytes()


def assert_same(state: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    prompts, mask, objects, reopened = state
    assert prompts == expected[0]
    assert mask == expected[1]
    assert reopened == expected[3]
    assert len(objects) == len(expected[2])
    for mine, theirs in zip(objects, expected[2], strict=True):
        assert mine[:2] == theirs[:2]
        assert mine[3:] == theirs[3:]
        assert shapely.equals_exact(
            shapely.from_wkt(mine[2]), shapely.from_wkt(theirs[2]), tolerance=1e-9
        )


def restored(slide: Slide, model: Any, path: Path, store: MemoryStore | None = None) -> Session:
    session = Session(slide, model, store=store)
    session.restore(fold(read_journal(path)))
    return session


@pytest.fixture
def journal(tmp_path: Path) -> JournalWriter:
    return JournalWriter(tmp_path / "session.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [9, 15])
def test_every_operation_is_restored_as_it_left_the_session(
    slide: Slide, smooth_model, journal: JournalWriter, seed: int
) -> None:
    states: dict[int, tuple[Any, ...]] = {}
    run(
        slide,
        journal,
        model=smooth_model,
        seed=seed,
        after=lambda session: states.__setitem__(journal.n_events, state_of(session)),
    )
    lines = journal.path.read_bytes().splitlines(keepends=True)
    assert {json.loads(line)["op"] for line in lines} > {
        "click",
        "box",
        "undo",
        "redo",
        "move",
        "grow",
    }
    assert len(lines) == max(states)
    cut, store = journal.path.with_name("cut.jsonl"), MemoryStore()
    for n, expected in states.items():
        cut.write_bytes(b"".join(lines[:n]))
        assert_same(state_of(restored(slide, smooth_model, cut, store)), expected)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
def test_killed_at_twenty_moments_the_last_journalled_operation_is_restored(
    slide: Slide, slide_path: Path, smooth_model, tmp_path: Path
) -> None:
    states: dict[int, tuple[Any, ...]] = {}
    whole = JournalWriter(tmp_path / "whole.jsonl")
    run(
        slide,
        whole,
        model=smooth_model,
        after=lambda session: states.__setitem__(whole.n_events, state_of(session)),
    )
    rng = np.random.default_rng(1)
    store, seen = MemoryStore(), set()
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), str(slide_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def begin(path: Path) -> int:
            server.stdin.write(f"{path}\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        def kill(pid: int) -> None:
            os.kill(pid, signal.SIGKILL)
            while server.stdout.readline() != "over\n":
                pass  # it may have said that it is done

        for name in ("cold", "warm"):
            pid = begin(tmp_path / f"{name}.jsonl")
            start = time.perf_counter()
            assert server.stdout.readline() == "done\n"
            lasts_s = time.perf_counter() - start
            kill(pid)
        for number in range(20):
            path = tmp_path / f"killed-{number}.jsonl"
            pid = begin(path)
            time.sleep(float(rng.uniform(0.02, 0.98)) * lasts_s)
            kill(pid)
            events = read_journal(path).events if path.exists() else ()
            if not events:
                continue
            seen.add(events[-1].n)
            assert_same(state_of(restored(slide, smooth_model, path, store)), states[events[-1].n])
        server.stdin.close()
    assert len(seen) > 5, "the kills must come at different moments"


def test_undo_goes_on_as_before_the_crash(slide: Slide, smooth_model, journal) -> None:
    session = Session(slide, smooth_model, journal=journal)
    masks = [mask_of(session)]
    for xy in ((601, 501), (690, 520), (760, 560)):
        session.click(xy)
        masks.append(mask_of(session))
    session.undo()
    again = restored(slide, smooth_model, journal.path)
    assert mask_of(again) == masks[2]
    again.redo()
    assert mask_of(again) == masks[3]
    for mask in reversed(masks[:3]):
        again.undo()
        assert mask_of(again) == mask
    assert not again.can_undo


def test_accepted_objects_come_back_without_asking_the_model(
    slide: Slide, smooth_model, journal
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    for xy in ((601, 501), (760, 560)):
        session.click(xy)
        session.accept("Stroma", color=(1, 2, 3))
    asked = len(smooth_model.calls)
    again = restored(slide, smooth_model, journal.path)
    assert again.objects == session.objects
    assert len(smooth_model.calls) == asked


def test_a_click_that_was_cut_short_is_completed(slide: Slide, smooth_model, journal) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    journal.write("click", xy=[690.0, 520.0], is_positive=True)  # the process died here
    again = restored(slide, smooth_model, journal.path)
    session.click((690, 520))
    assert again.prompts == session.prompts
    assert mask_of(again) == mask_of(session)


def test_a_click_that_failed_is_written_as_failed_and_not_brought_back(
    slide: Slide, smooth_model, journal, monkeypatch
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    with monkeypatch.context() as patched:
        patched.setattr(smooth_model, "decode", lambda *_, **__: np.zeros((3, 3), np.float32))
        with pytest.raises(PredictionError):
            session.click((690, 520))
    *_, click, failed = read_journal(journal.path).events
    assert (click.op, failed.op, failed.facts["of"]) == ("click", "failed", click.n)
    assert len(restored(slide, smooth_model, journal.path).prompts) == 1


def test_a_last_operation_that_still_fails_is_left_out_and_said(
    slide: Slide, smooth_model, journal
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    journal.write("click", xy=[-900.0, 0.0], is_positive=True)
    again = Session(slide, smooth_model)
    again.restore(fold(read_journal(journal.path)), journal)
    assert again.prompts == session.prompts
    assert any("left out" in note and "off the slide" in note for note in again.notes)
    assert fold(read_journal(journal.path)).prompts == session.prompts


def test_another_model_answers_the_prompts_again_and_says_so(
    slide: Slide, smooth_model, model, journal
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    session.accept()
    session.click((601, 501))
    session.click((690, 520))
    session.undo()
    model.info = replace(model.info, name="other", sha256="cd" * 32)
    again = restored(slide, model, journal.path)
    plain = Session(slide, model)
    plain.click((601, 501))
    assert again.prompts == plain.prompts
    assert mask_of(again) == mask_of(plain)
    assert not again.can_redo
    assert again.objects == session.objects
    assert any("answered again" in note for note in again.notes)


@pytest.mark.parametrize("with_begin", [True, False])
def test_a_restored_session_goes_on_in_the_same_journal(
    slide: Slide, smooth_model, journal, with_begin: bool
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    kept = session.accept()
    session.click((690, 520))
    state = fold(read_journal(journal.path))
    writer = JournalWriter(journal.path)
    again = Session(slide, smooth_model, journal=writer if with_begin else None)
    # Killed before it was restored, nothing is lost either.
    assert fold(read_journal(journal.path)).objects == (kept,)
    again.restore(state, None if with_begin else writer)
    again.click((760, 560))
    again.undo()
    again.undo()
    again.click((240, 500))
    third = restored(slide, smooth_model, journal.path)
    assert third.prompts == again.prompts
    assert mask_of(third) == mask_of(again)
    assert third.objects == (kept,)


def test_a_session_restored_into_another_journal_is_whole_there(
    slide: Slide, smooth_model, journal, tmp_path: Path
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    session.accept()
    session.click((690, 520))
    session.click((760, 560))
    session.undo()
    other = JournalWriter(tmp_path / "other.jsonl")
    again = Session(slide, smooth_model, journal=other)
    again.restore(fold(read_journal(journal.path)))
    again.redo()
    journal.path.unlink()
    third = restored(slide, smooth_model, other.path)
    assert third.objects == again.objects
    assert third.prompts == again.prompts
    assert mask_of(third) == mask_of(again)


def test_another_model_on_the_same_journal_takes_over(
    slide: Slide, smooth_model, model, journal
) -> None:
    model.info = replace(model.info, name="other", sha256="cd" * 32)
    first = Session(slide, smooth_model, journal=journal)
    first.click((601, 501))
    kept = first.accept()
    first.click((240, 500))
    first.accept()
    first.reopen(first.objects[1])
    first.click((690, 520))
    second = Session(slide, model, objects=first.objects, journal=journal)
    # Killed between the two, the first one's object is still there.
    assert fold(read_journal(journal.path)).prompts == first.prompts
    second.take_over(first)
    assert second.prompts == first.prompts
    assert second.reopened == first.reopened
    second.click((760, 560))
    again = restored(slide, model, journal.path)
    assert again.prompts == second.prompts
    assert mask_of(again) == mask_of(second)
    assert again.objects == (kept,)
    assert again.reopened == second.reopened


def test_a_model_that_cannot_take_over_leaves_the_first_session_in_the_journal(
    slide: Slide, smooth_model, model, journal, monkeypatch
) -> None:
    first = Session(slide, smooth_model, journal=journal)
    first.click((240, 500))
    first.accept()
    first.click((601, 501))
    first.click((690, 520))
    model.info = replace(model.info, name="other", sha256="cd" * 32)
    second = Session(slide, model, objects=first.objects, journal=journal)
    monkeypatch.setattr(model, "decode", lambda *_, **__: np.zeros((3, 3), np.float32))
    with pytest.raises(PredictionError):
        second.take_over(first)
    first.undo()
    first.undo()
    first.undo()
    second.end()
    again = restored(slide, smooth_model, journal.path)
    assert again.objects == first.objects == ()
    assert again.prompts == first.prompts == (Click((240, 500)),)
    assert mask_of(again) == mask_of(first)
    first.accept()
    report = replay(read_journal(journal.path), slide, lambda facts: smooth_model)
    assert report.is_identical


def test_a_new_journal_carries_the_objects_it_begins_with(
    slide: Slide, smooth_model, tmp_path: Path
) -> None:
    first = Session(slide, smooth_model)
    first.click((601, 501))
    first.accept()
    writer = JournalWriter(tmp_path / "new.jsonl")
    Session(slide, smooth_model, objects=first.objects, journal=writer)
    assert fold(read_journal(writer.path)).objects == first.objects


def test_only_a_fresh_session_is_restored_into(slide: Slide, smooth_model, journal) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    state = fold(read_journal(journal.path))
    with pytest.raises(ConfigError, match="new Session"):
        session.restore(state)


def test_a_journal_that_contradicts_itself_is_refused(slide: Slide, smooth_model, journal) -> None:
    Session(slide, smooth_model, journal=journal)
    journal.write("delete", id="not there")
    with pytest.raises(JournalError, match=r"operation 2 \(delete\)"):
        fold(read_journal(journal.path))


def test_a_journal_without_a_beginning_is_refused(journal) -> None:
    with pytest.raises(JournalError, match="no session"):
        fold(read_journal(journal.path))


def test_a_full_disk_is_said_once_and_the_session_goes_on_without(
    slide: Slide, smooth_model, journal, monkeypatch
) -> None:
    session = Session(slide, smooth_model, journal=journal)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JournalError, match=r"No space left.*free space"):
        session.click((601, 501))
    assert session.prompts == ()
    session.click((601, 501))
    assert session.accept().prompts == session.objects[0].prompts
    assert any("no longer recorded" in note for note in session.notes)


def test_the_journal_of_a_slide_of_another_size_is_not_restored(
    slide: Slide, smooth_model, journal
) -> None:
    Session(slide, smooth_model, journal=journal).click((601, 501))
    other = Session(
        open_array(np.zeros((90, 80, 3), np.uint8), name="other", mpp=0.5), smooth_model
    )
    with pytest.raises(ConfigError, match=r"1600 x 1200.*other is 80 x 90"):
        other.restore(fold(read_journal(journal.path)))
    assert other.prompts == ()


def test_a_session_that_ends_says_what_its_journal_holds(
    slide: Slide, smooth_model, journal
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    session.accept()
    session.click((690, 520))
    session.end()
    *_, last = read_journal(journal.path).events
    assert last.op == "end"
    assert (last.facts["holds"]["objects"], last.facts["holds"]["open_prompts"]) == (1, 1)
    assert len(restored(slide, smooth_model, journal.path).objects) == 1


def test_a_session_on_a_full_disk_ends_without_an_error(
    slide: Slide, smooth_model, journal, monkeypatch
) -> None:
    session = Session(slide, smooth_model, journal=journal)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    session.end()
    assert [event.op for event in read_journal(journal.path).events] == ["begin"]


def test_a_restore_that_cannot_be_journalled_changes_nothing(
    slide: Slide, smooth_model, journal, tmp_path: Path, monkeypatch
) -> None:
    Session(slide, smooth_model, journal=journal).click((601, 501))
    again = Session(slide, smooth_model, journal=JournalWriter(tmp_path / "other.jsonl"))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    state = fold(read_journal(journal.path))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(JournalError):
            again.restore(state)
    assert (again.prompts, again.area_mm2) == ((), 0)
    again.restore(state)
    assert len(again.prompts) == 1
