"""The journal's lines: whole, on the disk, never rewritten, and read as far as they are whole."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from histosam_core.errors import JournalError
from histosam_core.session.journal import Event, JournalWriter, read_journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session.jsonl"


def test_a_line_holds_number_time_operation_and_facts(path: Path) -> None:
    now = datetime(2026, 5, 4, 9, 12, 33, 250_000, UTC)
    with JournalWriter(path, now=lambda: now) as writer:
        assert writer.write("begin", objects=[]) == 1
        assert writer.write("click", xy=[0.1 + 0.2, 1e-9], is_positive=True) == 2
    line = path.read_text().splitlines()[1]
    assert line.startswith('{"n":2,"t":"2026-05-04T09:12:33.250+00:00","op":"click",')
    facts = {"xy": [0.30000000000000004, 1e-9], "is_positive": True}
    assert read_journal(path).events[1] == Event(2, "2026-05-04T09:12:33.250+00:00", "click", facts)


def test_a_line_is_on_the_disk_when_write_returns(path: Path, monkeypatch) -> None:
    synced: list[int] = []

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)

    writer = JournalWriter(path)
    monkeypatch.setattr(os, "fsync", fsync)
    writer.write("undo", undoes="click")
    assert synced == [path.stat().st_size]


def test_a_last_line_cut_anywhere_is_left_out_and_the_next_one_is_whole(path: Path) -> None:
    writer = JournalWriter(path)
    writer.write("begin", objects=[], name="Läsion \N{SNOWMAN}")
    writer.write("click", xy=[1.5, 2.5], is_positive=True)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole) + 1):
        path.write_bytes(whole[:length])
        journal = read_journal(path)
        is_whole = length >= len(whole) - 1
        assert [event.n for event in journal.events] == ([1, 2] if is_whole else [1])
        assert len(journal.notes) == (0 if is_whole or length == first else 1)
        n = JournalWriter(path).write("redo")
        assert path.read_bytes().startswith(whole[:length])
        after = read_journal(path)
        assert after.events[-1].op == "redo"
        assert n == after.events[-1].n == len(journal.events) + 1
        assert after.events[:-1] == journal.events


@pytest.mark.parametrize(
    "damage",
    [
        b"\x00\x00\x00",
        b"\xff\xfe{",
        b"[1,2]",
        b'{"n":NaN,"t":"","op":"x"}',
        b'{"op":"x"}',
        b"{" * 9999,
    ],
)
def test_a_damaged_line_is_noted_and_the_others_are_read(path: Path, damage: bytes) -> None:
    writer = JournalWriter(path)
    writer.write("begin", objects=[])
    with path.open("ab") as file:
        file.write(damage + b"\n")
    JournalWriter(path).write("undo")
    journal = read_journal(path)
    assert [event.op for event in journal.events] == ["begin", "undo"]
    (note,) = journal.notes
    assert "line 2" in note
    assert "damaged" in note


def test_numbers_go_on_where_the_file_ends(path: Path) -> None:
    JournalWriter(path).write("begin", objects=[])
    assert JournalWriter(path).write("click") == 2


def test_what_json_cannot_hold_is_refused_before_anything_is_written(path: Path) -> None:
    writer = JournalWriter(path)
    with pytest.raises(ValueError, match="JSON"):
        writer.write("click", xy=[float("nan"), 0])
    assert path.read_bytes() == b""
    assert writer.write("begin") == 1


def test_a_write_that_fails_half_way_leaves_later_lines_whole(path: Path, monkeypatch) -> None:
    writer = JournalWriter(path)
    writer.write("begin", objects=[])

    def full(fd: int) -> None:
        os.ftruncate(fd, os.fstat(fd).st_size - 4)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(JournalError, match=r"No space left on device; free space"):
            writer.write("click")
    assert writer.write("undo") == 2
    assert [event.op for event in read_journal(path).events] == ["begin", "undo"]


def test_a_line_that_may_not_be_on_the_disk_is_taken_back(path: Path, monkeypatch) -> None:
    writer = JournalWriter(path)
    writer.write("begin", objects=[])
    whole = path.read_bytes()

    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        with pytest.raises(JournalError, match="Input/output error"):
            writer.write("click")
    assert path.read_bytes() == whole
    assert writer.write("undo") == 2


def test_a_journal_that_another_program_writes_takes_nothing_more(path: Path) -> None:
    writer = JournalWriter(path)
    writer.write("begin", objects=[])
    JournalWriter(path).write("click")
    with pytest.raises(JournalError, match=r"another window has written.*begin a new session"):
        writer.write("undo")
    assert [event.op for event in read_journal(path).events] == ["begin", "click"]


def test_a_journal_that_was_taken_away_is_not_begun_again(path: Path) -> None:
    writer = JournalWriter(path)
    writer.write("begin", objects=[])
    path.unlink()
    with pytest.raises(JournalError, match="bring its folder back"):
        writer.write("click")
    assert not path.exists()


def test_a_closed_journal_takes_nothing(path: Path) -> None:
    class Lock:
        released = 0

        def release(self) -> None:
            self.released += 1

    lock = Lock()
    writer = JournalWriter(path, lock=lock)
    writer.close()
    writer.close()
    assert lock.released == 1
    with pytest.raises(JournalError, match="closed"):
        writer.write("click")


def test_only_a_journal_without_work_is_discarded(path: Path) -> None:
    writer = JournalWriter(path)
    writer.write("begin", objects=[])
    writer.write("click")
    writer.discard_if_empty()
    assert path.exists()
    other = JournalWriter(path.with_name("other.jsonl"))
    other.write("begin", objects=["an-id"])
    other.discard_if_empty()
    assert other.path.exists()
    empty = JournalWriter(path.with_name("empty.jsonl"))
    empty.write("begin", objects=[])
    empty.write("end")
    empty.discard_if_empty()
    assert not empty.path.exists()


def test_a_journal_of_a_newer_program_is_refused(path: Path) -> None:
    path.write_text(json.dumps({"n": 1, "t": "", "op": "begin", "format": 99}) + "\n")
    with pytest.raises(JournalError, match=r"format 99.*update napari-histosam"):
        read_journal(path)


def test_a_journal_that_is_not_there_is_an_error(path: Path) -> None:
    with pytest.raises(JournalError, match="check the name"):
        read_journal(path)
    with pytest.raises(JournalError, match="cannot make the journal"):
        JournalWriter(path / "in" / "no" / "folder.jsonl")
