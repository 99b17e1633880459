"""Slides to patch stores, end to end on tiny slides."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from histosam_core.dataset import extract_patches, open_patches
from histosam_core.errors import (
    AnnotationError,
    ConfigError,
    EmptyDatasetError,
    OutputExistsError,
    SlideError,
)

SMALL = {"mpp": 2.0, "patch_size_px": 64, "stride_px": 32, "workers": 2}


@pytest.fixture(scope="module")
def data_set(cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "patches"
    calls = []
    summary = extract_patches(
        cohort, out, **SMALL, progress=lambda done, total, message="": calls.append((done, total))
    )
    return out, summary, calls


def test_patches_show_what_their_truth_says(data_set):
    out, summary, _ = data_set
    for split, n in summary.n_patches.items():
        store = open_patches(out, split)
        assert len(store) == n > 0
        for patch in store:
            is_dark = patch.image.mean(axis=2) < 155
            assert (is_dark == (patch.gt_mask == 1)).mean() > 0.98
            assert 0.2 <= (patch.gt_mask == 1).mean() <= 0.8
            assert patch.tumor_fraction == pytest.approx((patch.gt_mask == 1).mean())


def test_every_annotation_format_gave_patches_and_no_slide_is_in_two_splits(data_set):
    _, summary, _ = data_set
    slides = [name for members in summary.slides.values() for name in members]
    assert sorted(slides) == [f"case{i}" for i in range(5)]
    assert set(summary.slides) == {"train", "validation", "test"}
    assert all(n > 0 for members in summary.slides.values() for n in members.values())


def test_patches_of_the_bare_margin_are_left_out(data_set):
    out, _, _ = data_set
    for split in ("train", "validation", "test"):
        store = open_patches(out, split)
        assert (store.tissue_fractions >= 0.5).all()
        assert (store.locations_xy[:, 0] + 64 * 4 * 0.5 <= 768 * 0.75 + 1).all()


def test_record_counts_everything(data_set):
    out, summary, _ = data_set
    record = json.loads((out / "dataset.json").read_text())
    assert record["n_patches"] == summary.n_patches
    assert record["settings"]["stride_px"] == 32
    kept = sum(summary.n_patches.values())
    assert kept + sum(summary.rejected.values()) == summary.n_candidates
    assert {s["name"]: s["n_patches"] for s in record["slides"]} == {
        name: n for members in summary.slides.values() for name, n in members.items()
    }
    assert record["tool"].startswith("napari-histosam ")


def test_preview_shows_every_split(data_set):
    out, _, _ = data_set
    with Image.open(out / "preview.png") as preview:
        assert preview.mode == "RGB"
        assert preview.height > 3 * 240


def test_progress_rises_to_its_total(data_set):
    _, summary, calls = data_set
    dones = [done for done, _ in calls]
    assert dones == sorted(dones)
    assert calls[-1] == (5 + sum(summary.n_patches.values()),) * 2


def test_same_call_gives_the_same_patches_on_any_number_of_threads(cohort, data_set, tmp_path):
    out, summary, _ = data_set
    again = extract_patches(cohort, tmp_path / "again", **{**SMALL, "workers": 1})
    assert again.slides == summary.slides
    first, second = open_patches(out, "train"), open_patches(tmp_path / "again", "train")
    assert [p.id for p in first] == [p.id for p in second]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.gt_mask, b.gt_mask)


def test_explicit_splits_are_kept(cohort, tmp_path):
    mapping = {"case0": "fit", "case1": "none", "case2": "fit", "case3": "judge", "case4": "fit"}
    summary = extract_patches(cohort, tmp_path / "out", **SMALL, splits=mapping)
    assert {k: sorted(v) for k, v in summary.slides.items()} == {
        "fit": ["case0", "case2", "case4"],
        "judge": ["case3"],
    }


def test_ignored_pixels_are_minus_one(new_slide, tmp_path):
    from histosam_core.annotation import read_annotations, write_geojson
    from histosam_core.annotation.regions import AnnotatedRegion

    slide, annotation = new_slide(size=512)
    whole = read_annotations(annotation).regions
    left = AnnotatedRegion(whole[0].geometry.envelope.buffer(-20), "Ignore*")
    write_geojson(annotation, [*whole, left])
    extract_patches([(slide, annotation)], tmp_path / "out", **SMALL, splits={"all": 1})
    assert any((p.gt_mask == -1).any() for p in open_patches(tmp_path / "out"))


def test_nothing_left_says_how_many_failed_which_filter(new_slide, tmp_path):
    pair = new_slide(tumor=np.zeros((512, 512), bool))
    with pytest.raises(
        EmptyDatasetError, match=r"of 9 candidates: 9 too little tumour \(below 20%"
    ):
        extract_patches([pair], tmp_path / "out", mpp=2.0, patch_size_px=64, stride_px=32)
    assert not (tmp_path / "out").exists()


def test_slides_smaller_than_a_patch_are_said(new_slide, tmp_path):
    with pytest.raises(EmptyDatasetError, match="no slide is as large as one patch"):
        extract_patches([new_slide()], tmp_path / "out", mpp=2.0, patch_size_px=400)


def test_split_without_patches_is_named(new_slide, tmp_path):
    pairs = [new_slide("a"), new_slide("b", tumor=np.zeros((512, 512), bool))]
    with pytest.raises(EmptyDatasetError, match="split 'test'"):
        extract_patches(pairs, tmp_path / "out", **SMALL, splits={"a": "train", "b": "test"})


def test_too_few_slides_for_the_splits_raises(new_slide, tmp_path):
    with pytest.raises(ConfigError, match="cannot fill the 3 splits"):
        extract_patches([new_slide()], tmp_path / "out", **SMALL)


def test_annotation_of_another_slide_stops_everything(new_slide, tmp_path):
    far = np.zeros((900, 900), bool)
    far[800:, 800:] = True
    pair = new_slide("a")[0], new_slide("b", tumor=far)[1]
    with pytest.raises(AnnotationError, match="matches no part"):
        extract_patches([pair], tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()


def test_damaged_slide_stops_everything(new_slide, tmp_path):
    slide, annotation = new_slide()
    slide.write_bytes(b"not an image")
    with pytest.raises(SlideError):
        extract_patches([(slide, annotation)], tmp_path / "out", **SMALL)


def test_existing_output_is_kept_unless_asked(cohort, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").touch()
    with pytest.raises(OutputExistsError, match="exists"):
        extract_patches(cohort, out, **SMALL)
    assert (out / "precious.txt").exists()
    extract_patches(cohort, out, **SMALL, overwrite=True)
    assert not (out / "precious.txt").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("at", [0, 6, 12])
def test_interruption_leaves_nothing_and_the_old_output_whole(cohort, tmp_path, error, at):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").touch()

    def stop(done, total, message=""):
        if done == at:
            raise error

    with pytest.raises(error):
        extract_patches(cohort, out, **SMALL, overwrite=True, progress=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (out / "precious.txt").exists()
