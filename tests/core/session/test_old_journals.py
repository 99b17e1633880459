"""Journals that earlier versions wrote are read, folded, restored and replayed as they were.

old_journals/ holds five of them, made with the models of conftest.py on its slide by the version
before operations were values, and what that version made of them. One session was killed in the
middle of an answer, and its last line was cut off.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from histosam_core.geometry import Region
from histosam_core.session import Session, fold, replay
from histosam_core.session.as_json import prompt_to_json
from histosam_core.session.journal import JournalWriter, read_journal
from histosam_core.session.journal.fold import OPERATIONS
from histosam_core.session.journal.holding import read_holding
from histosam_core.session.operations import SetClass, from_json, to_json

if TYPE_CHECKING:
    from histosam_core.slide import Slide

FOLDER = Path(__file__).with_name("old_journals")
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
WHOLE = Region((0.0, 0.0), (800, 600), 1.0)

names = pytest.mark.parametrize("name", sorted(EXPECTED))


@pytest.fixture
def models(model) -> dict[str, Any]:
    """The two models of the journals, by their hash."""
    other = type(model)()
    other.info = replace(model.info, name="other", sha256="cd" * 32)
    return {one.info.sha256: one for one in (model, other)}


@pytest.fixture
def copied(tmp_path: Path, slide: Slide):
    """A copy of a journal that names the slide of these tests."""

    def copy(name: str) -> Path:
        text = (FOLDER / f"{name}.jsonl").read_text()
        path = tmp_path / f"{name}.jsonl"
        path.write_text(text.replace("f0" * 32, slide.fingerprint))
        return path

    return copy


def mask_of(session: Session) -> str:
    return hashlib.sha256(session.mask_region(WHOLE)[0].tobytes()).hexdigest()[:16]


def restored(slide: Slide, models: dict[str, Any], path: Path, writer: Any = None) -> Session:
    state = fold(read_journal(path))
    session = Session(slide, models[state.header.model["sha256"]])
    session.restore(state, writer)
    return session


@names
def test_it_is_restored_with_its_undo(slide: Slide, models, copied, name: str) -> None:
    session, expected = restored(slide, models, copied(name)), EXPECTED[name]
    objects = [
        [one.id, one.label, one.area_mm2, len(one.prompts), list(one.geometry.bounds)]
        for one in session.objects
    ]
    assert objects == expected["objects"]
    reopened = session.reopened
    assert (None if reopened is None else reopened.id) == expected["reopened"]
    assert [prompt_to_json(prompt) for prompt in session.prompts] == expected["prompts"]
    assert list(session.notes) == expected["notes"]
    assert mask_of(session) == expected["mask"]
    for n_prompts, mask in expected["redone"]:
        session.redo()
        assert (len(session.prompts), mask_of(session)) == (n_prompts, mask)
    for _ in expected["redone"]:
        session.undo()
    for n_prompts, mask in expected["undone"]:
        session.undo()
        assert (len(session.prompts), mask_of(session)) == (n_prompts, mask)
    assert not session.can_undo


@names
def test_it_is_replayed(slide: Slide, models, copied, name: str) -> None:
    journal = read_journal(copied(name))
    report = replay(journal, slide, lambda facts: models[facts["sha256"]])
    assert EXPECTED[name]["replay"] == {
        "operations": report.n_operations,
        "open": report.n_open_prompts,
        "identical": report.is_identical,
        "same": report.is_same_model,
    }


@names
def test_it_is_listed_by_what_it_holds(copied, name: str) -> None:
    held = read_holding(copied(name))
    counted = [held.n_objects, held.n_open_prompts, held.n_clicks, held.model]
    assert counted == EXPECTED[name]["holds"]


@names
def test_it_is_gone_on_with(slide: Slide, models, copied, name: str) -> None:
    """The lines of both versions are one journal."""
    path = copied(name)
    with JournalWriter(path) as writer:
        session = restored(slide, models, path, writer)
        session.click((601, 415))
        session.accept("Stroma")
        session.click((690, 520))
    again = restored(slide, models, path)
    assert [one.id for one in again.objects] == [one.id for one in session.objects]
    assert (again.prompts, mask_of(again)) == (session.prompts, mask_of(session))
    report = replay(read_journal(path), slide, lambda facts: models[facts["sha256"]])
    assert report.is_identical


@names
def test_every_operation_is_written_as_it_was(name: str) -> None:
    for event in read_journal(FOLDER / f"{name}.jsonl").events:
        if event.op not in OPERATIONS:
            continue
        line = {"op": event.op, **event.facts}
        operation = from_json(line)
        if isinstance(operation, SetClass):  # which is written with the object as it then is
            assert operation.label == line["properties"]["classification"]["name"]
        else:
            assert to_json(operation) == line
