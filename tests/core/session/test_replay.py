"""A replay gives what was; with another model, a comparison."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from histosam_core.annotation import read_geojson
from histosam_core.errors import JournalError
from histosam_core.session import Session, find_slide, fold, replay
from histosam_core.session.journal import JournalWriter, read_journal
from histosam_core.slide import open_slide

if TYPE_CHECKING:
    from histosam_core.slide import Slide

SCRIPT = Path(__file__).with_name("scripted_session.py")
_spec = importlib.util.spec_from_file_location("scripted_session", SCRIPT)
scripted: Any = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(scripted)  # type: ignore[union-attr]


@pytest.fixture
def journal(tmp_path: Path) -> JournalWriter:
    return JournalWriter(tmp_path / "session.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [5, 9, 15])
def test_the_same_model_gives_identical_objects(
    slide: Slide, smooth_model, journal: JournalWriter, seed: int
) -> None:
    session = scripted.run(slide, journal, model=smooth_model, seed=seed)
    assert session.objects, "the script must leave objects"
    report = replay(read_journal(journal.path), slide, lambda _: smooth_model)
    assert report.is_same_model
    assert [one.id for one in report.objects] == [one.id for one in session.objects]
    assert report.is_identical
    assert report.mean_iou == 1
    assert [r.geometry for r in report.regions] == [o.geometry for o in session.objects]
    assert [r.label for r in report.regions] == [o.label for o in session.objects]
    assert report.n_open_prompts == len(session.prompts)


def test_another_model_gives_a_comparison_object_by_object(
    slide: Slide, smooth_model, model, journal
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    for xy in ((601, 415), (690, 520)):
        session.click(xy)
        session.accept("Stroma")
    plain = Session(slide, model)
    for xy in ((601, 415), (690, 520)):
        plain.click(xy)
        plain.accept("Stroma")
    model.info = replace(model.info, name="other", sha256="cd" * 32)
    report = replay(read_journal(journal.path), slide, lambda _: model)
    assert not report.is_same_model
    assert (report.journalled_models, report.models) == (("flat-colours",), ("other",))
    for row, then, now in zip(report.objects, session.objects, plain.objects, strict=True):
        a, b = then.geometry, now.geometry
        assert row.iou == pytest.approx(a.intersection(b).area / a.union(b).area)
        assert 0 < row.iou < 1
        assert (row.journalled_mm2, row.area_mm2) == (then.area_mm2, now.area_mm2)
        assert (row.id, row.label, row.n_prompts) == (then.id, "Stroma", 1)
        assert not row.is_identical
    assert report.mean_iou == pytest.approx(np.mean([row.iou for row in report.objects]))


def test_an_object_of_which_another_model_makes_nothing_counts_as_zero(
    slide: Slide, smooth_model, journal
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    one = session.accept()
    session.reopen(one)
    session.click((690, 520))
    session.accept()
    session.relabel(session.objects[0], "Stroma")

    class Nothing(type(smooth_model)):  # type: ignore[misc]
        def decode(self, *arguments: Any, **settings: Any) -> Any:
            answer = super().decode(*arguments, **settings)
            return replace(answer, logits=np.full_like(answer.logits, -5))

    other = Nothing()
    other.info = replace(other.info, sha256="cd" * 32)
    report = replay(read_journal(journal.path), slide, lambda _: other)
    (row,) = report.objects
    assert (row.iou, row.area_mm2, row.is_identical) == (0, 0, False)
    assert report.regions == ()
    assert any("came out empty" in note for note in report.notes)


def test_a_session_restored_and_taken_over_is_replayed_to_its_end(
    slide: Slide, smooth_model, model, journal
) -> None:
    model.info = replace(model.info, name="other", sha256="cd" * 32)
    first = Session(slide, smooth_model, journal=journal)
    first.click((601, 501))
    first.accept()
    first.click((690, 520))
    second = Session(slide, model, objects=first.objects, journal=journal)
    second.take_over(first)
    second.click((760, 560))
    second.accept("Stroma")
    second.click((240, 500))
    third = Session(slide, model, journal=journal)
    third.restore(fold(read_journal(journal.path)))
    third.undo()
    third.click((300, 500))
    third.accept("Necrosis")
    models = {smooth_model.info.sha256: smooth_model, model.info.sha256: model}
    report = replay(read_journal(journal.path), slide, lambda facts: models[facts["sha256"]])
    assert [one.label for one in report.objects] == ["Tumor", "Stroma", "Necrosis"]
    assert report.is_identical
    assert report.is_same_model
    assert report.models == ("flat-colours", "other")


def test_an_import_that_replaced_an_object_does_so_again(
    slide: Slide, smooth_model, journal, tmp_path: Path
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    session.accept()
    path = session.save_geojson(tmp_path / "out.geojson")
    session.reopen(session.objects[0])
    session.click((690, 520))
    session.accept()
    session.add_objects(read_geojson(path).regions)
    session.reopen(session.objects[0])
    session.click((760, 560))
    session.accept()
    report = replay(read_journal(journal.path), slide, lambda _: smooth_model)
    assert len(report.regions) == len(session.objects) == 1
    assert report.is_identical


def test_failed_operations_are_not_repeated(
    slide: Slide, smooth_model, journal, monkeypatch
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    with monkeypatch.context() as patched:
        patched.setattr(smooth_model, "decode", lambda *_, **__: np.zeros((3, 3), np.float32))
        with pytest.raises(ValueError, match="answered"):
            session.click((690, 520))
    session.accept()
    assert replay(read_journal(journal.path), slide, lambda _: smooth_model).is_identical


def test_progress_counts_the_operations(slide: Slide, smooth_model, journal) -> None:
    Session(slide, smooth_model, journal=journal).click((601, 501))
    seen: list[tuple[int, int]] = []
    replay(
        read_journal(journal.path),
        slide,
        lambda _: smooth_model,
        progress=lambda done, total, message="": seen.append((done, total)),
    )
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_another_file_than_the_journals_is_refused(
    slide: Slide, smooth_model, journal, tmp_path: Path
) -> None:
    Session(slide, smooth_model, journal=journal).click((601, 501))
    Image.new("RGB", slide.size_wh, (1, 2, 3)).save(tmp_path / "flat.png")
    with (
        open_slide(tmp_path / "flat.png", mpp=0.5) as other,
        pytest.raises(JournalError, match=r"neither that file nor a copy.*--slide PATH"),
    ):
        replay(read_journal(journal.path), other, lambda _: smooth_model)


def test_a_copy_of_the_slide_is_as_good(
    slide: Slide, slide_path: Path, smooth_model, journal, tmp_path: Path
) -> None:
    session = Session(slide, smooth_model, journal=journal)
    session.click((601, 501))
    session.accept()
    shutil.copy(slide_path, tmp_path / "flat.png")
    with open_slide(tmp_path / "flat.png", mpp=0.5) as copy:
        assert copy.fingerprint != slide.fingerprint
        assert copy.content_fingerprint == slide.content_fingerprint
        assert replay(read_journal(journal.path), copy, lambda _: smooth_model).is_identical


def test_the_slide_is_found_where_it_was_else_beside_the_journal_or_its_folder(
    slide: Slide, slide_path: Path, smooth_model, tmp_path: Path
) -> None:
    folder = tmp_path / "flat.png.histosam"
    folder.mkdir()
    writer = JournalWriter(folder / "one.jsonl")
    Session(slide, smooth_model, journal=writer)
    assert find_slide(read_journal(writer.path)) == slide_path.absolute()
    line = json.loads(writer.path.read_text())
    line["slide"]["path"] = str(tmp_path / "gone" / "flat.png")
    writer.path.write_text(json.dumps(line) + "\n")
    moved = read_journal(writer.path)
    with pytest.raises(JournalError, match=r"--slide PATH"):
        find_slide(moved)
    for place in (tmp_path / "flat.png", folder / "flat.png"):
        shutil.copy(slide_path, place)
        assert find_slide(moved) == place
