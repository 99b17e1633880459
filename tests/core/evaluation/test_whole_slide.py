"""evaluate_slides: a record per region, what is left out, stopping and going on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from histosam_core.clicks import User
from histosam_core.errors import (
    AnnotationError,
    ConfigError,
    EmptyDatasetError,
    MissingMppError,
    OutputExistsError,
    SlideFormatError,
)
from histosam_core.evaluation import evaluate_slides, read_records, summarise, write_outputs
from histosam_core.evaluation.annotated_slide import AnnotatedSlide
from histosam_core.evaluation.pictures import read_mask, read_truth
from histosam_core.evaluation.whole_slide import slides_name

from .slide_stand_ins import Brush, write_slide

RUN: dict[str, Any] = {"name": "brush", "max_clicks": 12, "min_area_mm2": 0.0005}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two slides with three regions, and a fourth that is too small."""
    slides = tmp_path / "liver"
    slides.mkdir()
    write_slide(slides, "a", [(100, 100, 400, 160), (500, 300, 600, 400), (700, 20, 710, 30)])
    write_slide(slides, "b", [(200, 200, 300, 300)])
    return slides


def rows(result: Any) -> list[Any]:
    return [(p.index, p.patch_id, p.repeat, p.clicks, p.ious.tolist()) for p in result.patches]


def test_a_record_per_region_that_tables_and_report_take(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    result = evaluate_slides(Brush(), folder, out=out / "run", **RUN)
    assert [(p.patch_id, p.slide) for p in result.patches] == [
        ("a#1", "a"),
        ("a#2", "a"),
        ("b#1", "b"),
    ]
    (read,) = read_records(out)
    assert rows(read) == rows(result)
    assert read.is_complete
    assert read.dataset == "liver"
    assert read.header["dataset"]["slides"][0]["n_too_small"] == 1
    assert read.header["notes"] == ["regions below 0.0005 mm2, not clicked on: 1"]
    assert summarise(read).n_slides == 2
    for patch in read.patches:
        assert patch.ious[-1] >= 0.9
        mask, truth = read_mask(out / "run", patch.index), read_truth(out / "run", patch.index)
        assert mask is not None
        assert truth is None or truth.shape == mask.shape
    write_outputs([read], out)
    report = (out / "report.html").read_text()
    assert "a#1" in report
    assert report.count("data:image/jpeg") == 3


def test_a_run_that_was_stopped_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    steps: list[tuple[int, int, str]] = []

    def stop(done: int, total: int, message: str = "") -> None:
        steps.append((done, total, message))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_slides(Brush(), folder, out=out, progress=stop, **RUN)
    (kept,) = read_records(out)
    assert [p.patch_id for p in kept.patches] == ["a#1", "a#2"]
    assert [done for done, _, _ in steps] == sorted(done for done, _, _ in steps)
    assert any(message.startswith("a#2: click 1, IoU 0.") for _, _, message in steps)
    steps.clear()

    def go_on(done: int, total: int, message: str = "") -> None:
        steps.append((done, total, message))

    resumed = evaluate_slides(Brush(), folder, out=out, progress=go_on, **RUN)
    assert rows(resumed) == rows(evaluate_slides(Brush(), folder, **RUN))
    assert not any(message.startswith("a#1: click") for _, _, message in steps)
    assert steps[-1][:2] == (3, 3)


def test_another_user_clicks_several_times_on_each_region(folder: Path, tmp_path: Path) -> None:
    user, out = User("region", repeats=3, seed=4), tmp_path / "results"
    result = evaluate_slides(Brush(), folder, out=out / "run", user=user, **RUN)
    assert [(p.patch_id, p.repeat) for p in result.patches] == [
        (name, repeat) for name in ("a#1", "a#2", "b#1") for repeat in range(3)
    ]
    for name in ("a#1", "a#2", "b#1"):  # each with luck of its own
        assert len({p.clicks for p in result.patches if p.patch_id == name}) == 3
    (read,) = read_records(out)
    assert rows(read) == rows(result)
    summary = summarise(read)
    assert (summary.n_patches, summary.user) == (3, user.described)
    assert len(summary.repeats[0.80].means) == 3
    assert len(list((out / "run" / "masks").iterdir())) == 9
    for patch in read.patches:
        assert read_mask(out / "run", patch.index, patch.repeat) is not None
    write_outputs([read], out)
    report = (out / "report.html").read_text()
    assert "Other hands, other clicks" in report
    assert "3 regions of 2 slides" in report
    # The draws are the region's and the repeat's, whatever else is clicked on.
    alone = evaluate_slides(Brush(), folder / "b.tif", user=user, **RUN)
    assert [p.clicks for p in alone.patches] == [p.clicks for p in result.patches[6:]]
    with pytest.raises(OutputExistsError, match="its user differ"):
        evaluate_slides(
            Brush(), folder, out=out / "run", user=User("region"), keep_finished=True, **RUN
        )


def test_a_stop_between_repeats_leaves_no_trace(folder: Path, tmp_path: Path) -> None:
    user = User("jitter", sigma_px=3.0, repeats=2)
    steps: list[tuple[int, int, str]] = []

    def stop(done: int, total: int, message: str = "") -> None:
        steps.append((done, total, message))
        if message.startswith("a#2 (2): click 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_slides(Brush(), folder, out=tmp_path / "run", user=user, progress=stop, **RUN)
    assert steps[-1][:2] == (3, 6)
    (kept,) = read_records(tmp_path / "run")
    assert [(p.patch_id, p.repeat) for p in kept.patches] == [("a#1", 0), ("a#1", 1), ("a#2", 0)]
    resumed = evaluate_slides(Brush(), folder, out=tmp_path / "run", user=user, **RUN)
    assert rows(resumed) == rows(evaluate_slides(Brush(), folder, user=user, **RUN))


def test_slides_that_cannot_be_used_are_left_out_and_the_rest_goes_on(folder: Path) -> None:
    (folder / "broken.tif").write_bytes(b"II*\0 no slide")
    (folder / "broken.geojson").write_text((folder / "a.geojson").read_text())
    write_slide(folder, "no_mpp", [(100, 100, 200, 200)], mpp=None)
    write_slide(folder, "stroma", [(100, 100, 200, 200)], label="Stroma")
    write_slide(folder, "unannotated", [])
    (folder / "unannotated.geojson").unlink()
    result = evaluate_slides(Brush(), folder, **RUN)
    assert [p.patch_id for p in result.patches] == ["a#1", "a#2", "b#1"]
    left_out = result.header["left_out"]
    assert set(left_out) == {"broken", "no_mpp", "stroma"}
    assert "--mpp" in left_out["no_mpp"]
    assert "--label" in left_out["stroma"]
    assert any("unannotated" in note for note in result.header["notes"])


def test_annotations_without_a_slide_are_named(folder: Path, tmp_path: Path) -> None:
    apart = tmp_path / "outlines"
    apart.mkdir()
    for name in ("a", "b", "elsewhere"):
        (apart / f"{name}.geojson").write_bytes((folder / "b.geojson").read_bytes())
    result = evaluate_slides(Brush(), folder, annotations=apart, **RUN)
    (note,) = result.header["notes"]
    assert note.startswith("no slide matches elsewhere.geojson;")
    assert [p.patch_id for p in result.patches] == ["a#1", "b#1"]


def test_a_region_that_cannot_be_read_is_tried_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = AnnotatedSlide.truth

    def damaged(self: AnnotatedSlide, region: Any) -> Any:
        if (self.source.name, region.number) == ("a", 2):
            raise SlideFormatError("a.tif is damaged at tile 7; copy it again")
        return truth(self, region)

    with monkeypatch.context() as patch:
        patch.setattr(AnnotatedSlide, "truth", damaged)
        result = evaluate_slides(Brush(), folder, out=tmp_path / "run", **RUN)
    assert [p.patch_id for p in result.patches] == ["a#1", "b#1"]
    assert result.header["left_out"] == {"a#2": "a.tif is damaged at tile 7; copy it again"}
    assert not result.is_complete
    again = evaluate_slides(Brush(), folder, out=tmp_path / "run", **RUN)
    assert again.is_complete
    assert rows(again) == rows(evaluate_slides(Brush(), folder, **RUN))


def test_where_nothing_is_left_the_reason_is_raised(tmp_path: Path) -> None:
    slide = write_slide(tmp_path, "no_mpp", [(100, 100, 200, 200)], mpp=None)
    with pytest.raises(MissingMppError, match="--mpp"):
        evaluate_slides(Brush(), slide, **RUN)
    slide = write_slide(tmp_path, "healthy", [])
    with pytest.raises(EmptyDatasetError, match="--min-area"):
        evaluate_slides(Brush(), slide, **RUN)
    (tmp_path / "healthy.geojson").unlink()
    with pytest.raises(AnnotationError, match="name the file after its slide"):
        evaluate_slides(Brush(), slide, **RUN)


def test_limit_and_wrong_calls(folder: Path, tmp_path: Path) -> None:
    assert [p.patch_id for p in evaluate_slides(Brush(), folder, limit=2, **RUN).patches] == [
        "a#1",
        "b#1",
    ]
    for wrong in ({"limit": 0}, {"min_area_mm2": -1}, {"max_clicks": 0}):
        with pytest.raises(ConfigError):
            evaluate_slides(Brush(), folder, out=tmp_path / "run", **(RUN | wrong))
    assert not (tmp_path / "run").exists()


def test_a_data_set_is_named_after_its_folder(tmp_path: Path) -> None:
    assert slides_name(tmp_path / "liver") == "liver"
    assert slides_name(tmp_path / "liver" / "slides") == "liver/slides"
    assert slides_name(write_slide(tmp_path, "case", [])) == "case"


def test_a_click_that_grows_reaches_farther_and_is_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    write_slide(folder, "c", [(100, 100, 1500, 300)], size_wh=(1600, 500))
    alone = evaluate_slides(Brush(), folder, **RUN)
    grown = evaluate_slides(Brush(), folder, grow_windows=64, out=tmp_path / "run", **RUN)
    assert grown.header["settings"]["grow_windows"] == 64
    (one,), (other,) = alone.patches, grown.patches
    assert other.patch_id == one.patch_id
    assert other.clicks[0] == one.clicks[0]
    assert other.ious[0] > 5 * one.ious[0]
    assert (other.ious > one.ious).all()
    with pytest.raises(OutputExistsError):  # another run: its clicks are answered otherwise
        evaluate_slides(Brush(), folder, out=tmp_path / "run", **RUN)


def test_growing_is_for_slides(folder: Path) -> None:
    with pytest.raises(ConfigError, match="grow_windows"):
        evaluate_slides(Brush(), folder, grow_windows=-1, **RUN)
