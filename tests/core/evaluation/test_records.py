"""Rows on disk: they read back as they were, survive a cut, and protect what is there."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from histosam_core.clicks import User
from histosam_core.errors import EvaluationRecordsError, OutputExistsError
from histosam_core.evaluation import EvaluationResult, evaluate, read_records
from histosam_core.evaluation.pictures import read_mask
from histosam_core.evaluation.records import COLUMNS

# The fixtures are classes of conftest.py, which cannot be imported by name here.


def same(a: EvaluationResult, b: EvaluationResult) -> bool:
    return len(a.patches) == len(b.patches) and all(
        (p.index, p.patch_id, p.slide, p.clicks) == (q.index, q.patch_id, q.slide, q.clicks)
        and p.ious.tolist() == q.ious.tolist()
        for p, q in zip(a.patches, b.patches, strict=True)
    )


class Cut(Exception):
    """Stands for Ctrl-C."""


def cut_after(n: int):  # type: ignore[no-untyped-def]
    def progress(done: int, total: int, message: str = "") -> None:
        if done >= n:
            raise Cut

    return progress


def test_a_row_per_click_reads_back_as_it_was(batched_model, store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = evaluate(batched_model, store, name="blob", out=tmp_path / "run", max_clicks=6)
    with (tmp_path / "run" / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == sum(len(p.clicks) for p in result.patches)
    assert {(r["model"], r["dataset"]) for r in rows} == {("blob", "liver/test")}
    (again,) = read_records(tmp_path)
    assert again.is_complete
    assert same(result, again)
    assert again.settings == result.settings
    assert again.patches[3].location_xy == (144.0, 0.0)
    assert again.patches[0].ious.dtype == np.float32
    for p, q in zip(result.patches, again.patches, strict=True):
        assert q.decode_s == pytest.approx(p.decode_s, abs=1e-6)
        assert q.encode_s == pytest.approx(p.encode_s, abs=1e-6)


def test_an_unfinished_run_keeps_its_patches_and_goes_on(batched_model, store, tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole = evaluate(batched_model, store, name="blob", max_clicks=6)
    out = tmp_path / "run"
    with pytest.raises(Cut):
        evaluate(batched_model, store, name="blob", out=out, max_clicks=6, progress=cut_after(4))
    (partial,) = read_records(out)
    assert not partial.is_complete
    assert len(partial.patches) == 4
    # A cut may fall within a patch's rows, or within a line.
    lines = (out / "rows.csv").read_text().splitlines(keepends=True)
    (out / "rows.csv").write_text("".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    assert len(read_records(out)[0].patches) == 3
    batched_model.calls.clear()
    resumed = evaluate(batched_model, store, name="blob", out=out, max_clicks=6)
    redone = sum(len(p.clicks) for p in whole.patches) - sum(
        len(p.clicks) for p in partial.patches[:3]
    )
    assert sum(batched_model.calls) <= redone + 6
    assert same(resumed, whole)
    assert same(read_records(out)[0], whole)


def test_an_unfinished_run_of_other_settings_is_not_mixed_in(model, store, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "run"
    with pytest.raises(Cut):
        evaluate(model, store, name="blob", out=out, progress=cut_after(2))
    before = (out / "rows.csv").read_bytes()
    with pytest.raises(OutputExistsError, match="settings differ"):
        evaluate(model, store, name="blob", out=out, max_clicks=7)
    with pytest.raises(OutputExistsError, match="resuming is off"):
        evaluate(model, store, name="blob", out=out, resume=False)
    assert (out / "rows.csv").read_bytes() == before


def test_a_finished_run_is_kept_or_overwritten_when_asked(model, store, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "run"
    first = evaluate(model, store, name="blob", out=out, max_clicks=3)
    with pytest.raises(OutputExistsError, match="finished"):
        evaluate(model, store, name="blob", out=out, max_clicks=3)
    stamps = []
    kept = evaluate(
        model,
        store,
        name="blob",
        out=out,
        max_clicks=3,
        keep_finished=True,
        progress=lambda done, total, message="": stamps.append(done),
    )
    assert stamps == [11]
    assert same(first, kept)
    with pytest.raises(OutputExistsError):
        evaluate(model, store, name="blob", out=out, max_clicks=4, keep_finished=True)
    other = evaluate(model, store, name="blob", out=out, max_clicks=4, overwrite=True)
    assert same(read_records(out)[0], other)


def test_a_folder_of_something_else_is_never_touched(model, store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    precious = tmp_path / "thesis.txt"
    precious.write_text("all of it")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError):
            evaluate(model, store, name="blob", out=tmp_path, overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_runs_below_a_folder_come_in_the_order_they_were_made(model, store, tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name in ("zebra", "aardvark"):
        evaluate(model, store, name=name, out=tmp_path / name, limit=2, max_clicks=2)
        header = tmp_path / name / "evaluation.json"
        content = json.loads(header.read_text())
        content["started"] = "2024-01-01" if name == "zebra" else "2024-01-02"
        header.write_text(json.dumps(content))
    assert [run.name for run in read_records(tmp_path)] == ["zebra", "aardvark"]
    both = read_records([tmp_path / "aardvark", tmp_path / "zebra"])
    assert [run.name for run in both] == ["aardvark", "zebra"]


def test_unreadable_records_are_one_line_errors(model, store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EvaluationRecordsError, match="histosam evaluate"):
        read_records(tmp_path)
    with pytest.raises(EvaluationRecordsError):
        read_records(tmp_path / "missing")
    evaluate(model, store, name="blob", out=tmp_path / "run", limit=2, max_clicks=2)
    (tmp_path / "run" / "evaluation.json").write_text("{")
    with pytest.raises(EvaluationRecordsError, match="run it again"):
        read_records(tmp_path)


def test_repeats_are_rows_of_their_own_and_go_on_where_they_were(
    batched_model, store, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    user = User("jitter", sigma_px=3.0, repeats=3, seed=4)
    how = {"name": "blob", "user": user, "max_clicks": 5}
    whole = evaluate(batched_model, store, **how)
    out = tmp_path / "run"
    with pytest.raises(Cut):  # within the repeats of a patch
        evaluate(batched_model, store, out=out, progress=cut_after(8), **how)
    (cut,) = read_records(out)
    assert 0 < len(cut.patches) < 33
    evaluate(batched_model, store, out=out, **how)
    (again,) = read_records(out)
    assert same(again, whole)
    assert [(p.index, p.repeat) for p in again.patches] == [
        (i, repeat) for i in range(11) for repeat in range(3)
    ]
    assert again.user == user
    assert [p.index for p in again.of_repeat(2).patches] == list(range(11))
    for patch in again.patches:
        assert read_mask(out, patch.index, patch.repeat) is not None


def test_a_run_of_another_user_does_not_go_on(model, store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "run"
    with pytest.raises(Cut):
        evaluate(model, store, name="blob", out=out, max_clicks=2, progress=cut_after(3))
    with pytest.raises(OutputExistsError, match="user"):
        evaluate(model, store, name="blob", out=out, max_clicks=2, user=User("region"))


def test_a_run_goes_on_where_the_licence_was_not_stated_before(  # type: ignore[no-untyped-def]
    model, store, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    whole = evaluate(model, store, name="blob", max_clicks=3)
    with pytest.raises(Cut):
        evaluate(model, store, name="blob", out=out, max_clicks=3, progress=cut_after(4))
    header = json.loads((out / "evaluation.json").read_text())
    del header["checkpoint"]["licence"]
    (out / "evaluation.json").write_text(json.dumps(header))
    assert same(evaluate(model, store, name="blob", out=out, max_clicks=3), whole)


def test_runs_of_before_there_were_users_read_and_go_on(model, store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "run"
    whole = evaluate(model, store, name="blob", max_clicks=3)
    with pytest.raises(Cut):
        evaluate(model, store, name="blob", out=out, max_clicks=3, progress=cut_after(4))
    header = json.loads((out / "evaluation.json").read_text())
    del header["user"]
    (out / "evaluation.json").write_text(json.dumps(header))
    with (out / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    old = [column for column in COLUMNS if column != "repeat"]
    with (out / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, old, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    (before,) = read_records(out)
    assert (before.user, len(before.patches)) == (User(), 4)
    assert same(evaluate(model, store, name="blob", out=out, max_clicks=3), whole)
