"""What a journal holds is known from its last line, and is what all its lines come to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import shapely

from histosam_core.annotation import AnnotatedRegion
from histosam_core.errors import JournalError
from histosam_core.session import AcceptedObject
from histosam_core.session.journal import JournalWriter, read_journal
from histosam_core.session.journal import holding as journal_holding
from histosam_core.session.journal.holding import holding_of, holding_to_json, read_holding
from histosam_core.session.operations import Accept, Delete, to_json


@pytest.fixture
def journal(tmp_path: Path) -> JournalWriter:
    """A session of two objects, one of them deleted, and an open one of two prompts."""
    writer = JournalWriter(tmp_path / "session.jsonl")
    of_slide = {"path": "/a/scan.svs", "fingerprint": "ab", "content": "cd"}
    model, of_window = {"name": "tiny"}, {"mpp": 1.0, "patch_size_px": 128}
    writer.write(
        "begin", slide=of_slide, model=model, geometry=of_window, threshold=0.5, objects=[]
    )
    one, two = (
        AcceptedObject.imported(AnnotatedRegion(shapely.box(x, 0, x + 9, 9)), 0.5) for x in (0, 20)
    )
    for accepted in (one, two):
        writer.write("click", xy=[1.0, 2.0], is_positive=True)
        writer.write(**to_json(Accept(object=accepted)))
    writer.write(**to_json(Delete(one.id)))
    writer.write("box", xyxy=[0.0, 0.0, 9.0, 9.0])
    for _ in range(3):
        writer.write("click", xy=[3.0, 4.0], is_positive=False)
    writer.write("undo", undoes="click")
    writer.write("move", index=1, xy=[5.0, 5.0])
    writer.write("undo", undoes="click")
    return writer


def end(writer: JournalWriter) -> None:
    writer.write("end", holds=holding_to_json(holding_of(read_journal(writer.path))))


def test_an_ended_session_is_known_from_its_last_line(journal: JournalWriter, monkeypatch) -> None:
    there = read_holding(journal.path)
    assert (there.n_objects, there.n_open_prompts, there.n_clicks) == (1, 3, 6)
    assert (there.model, there.slide["content"], there.is_empty) == ("tiny", "cd", False)
    end(journal)
    ended = holding_of(read_journal(journal.path))
    with monkeypatch.context() as patched:
        patched.setattr(journal_holding, "read_journal", None)
        assert read_holding(journal.path) == ended
    assert ended == replace(there, changed=ended.changed)


def test_a_session_that_goes_on_after_its_end_is_read_anew(journal: JournalWriter) -> None:
    end(journal)
    journal.write("click", xy=[3.0, 4.0], is_positive=False)
    assert read_holding(journal.path).n_open_prompts == 4
    end(journal)
    assert read_holding(journal.path).n_clicks == 7


@pytest.mark.parametrize("holds", [None, {}, [], {"format": 1}, {"format": 2, "objects": 5}])
def test_an_end_that_says_less_or_else_is_not_relied_on(journal: JournalWriter, holds) -> None:
    journal.write("end", holds=holds)
    assert read_holding(journal.path).n_objects == 1


def test_an_end_that_was_cut_off_is_not_relied_on(journal: JournalWriter) -> None:
    end(journal)
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-1])
    assert read_holding(journal.path).n_objects == 1
    journal.path.write_bytes(whole[:-9])
    assert "cut off" in read_holding(journal.path).notes[0]


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    for text in ("", "\n", "{}\n", "[1]\n", json.dumps({"op": "end"}) + "\n"):
        path.write_text(text)
        with pytest.raises(JournalError, match="no session"):
            read_holding(path)
