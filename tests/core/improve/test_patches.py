"""Which slides and outlines are used, and what is said of those that cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

from histosam_core.annotation import AnnotatedRegion, write_geojson
from histosam_core.dataset import open_patches
from histosam_core.errors import AnnotationError, ConfigError, EmptyDatasetError
from histosam_core.improve.outlined_patches import RepeatedPatches, annotated_slides, cut_patches
from histosam_core.model.interface import TrainingGeometry

GEOMETRY = TrainingGeometry(2.0, 32)


def test_slides_without_outlines_and_outlines_without_slides_are_left_out_and_told(
    make_slide: Callable, settings_for: Callable, tmp_path: Path
) -> None:
    slide, outlines = make_slide("one")
    make_slide("two")
    folder = tmp_path / "outlines"
    folder.mkdir()
    shutil.move(outlines, folder)
    shutil.copy(folder / "one.geojson", folder / "gone.geojson")
    (tmp_path / "slides" / "two.geojson").unlink()
    pairs, notes = annotated_slides(settings_for(annotations=folder))
    assert pairs == [(slide, folder / "one.geojson")]
    assert "no annotation for two.tif" in notes[0]
    assert "gone.geojson has no slide of that name" in notes[1]


def test_slides_and_annotations_may_be_named_in_pairs(
    make_slide: Callable, settings_for: Callable, tmp_path: Path
) -> None:
    one, two = make_slide("one"), make_slide("two", folder="elsewhere")
    given = settings_for(slides=(one[0], two[0]), annotations=(one[1], two[1]))
    assert annotated_slides(given)[0] == [one, two]
    with pytest.raises(AnnotationError, match="no folder of annotations"):
        annotated_slides(settings_for(annotations=one[1]))


def test_an_annotation_that_outlines_nothing_is_told_and_all_of_them_are_an_error(
    make_slide: Callable, settings_for: Callable
) -> None:
    make_slide("empty", outlined=())
    with pytest.raises(AnnotationError, match=r"no tumour is outlined in .*empty.geojson; outline"):
        annotated_slides(settings_for())
    make_slide("full")
    assert annotated_slides(settings_for())[1] == ("empty.geojson outlines no tumour",)


def test_classes_without_a_tumour_among_them_are_listed(
    make_slide: Callable, settings_for: Callable
) -> None:
    make_slide(label="Stroma")
    with pytest.raises(AnnotationError, match=r"it has 'Stroma': name those that count .*--label"):
        cut_patches(settings_for(), GEOMETRY)
    summary, _ = cut_patches(settings_for(labels=("Stroma",)), GEOMETRY)
    assert summary.split_by == "place"


def test_outlines_of_another_slide_are_refused(
    make_slide: Callable, settings_for: Callable
) -> None:
    _, outlines = make_slide()
    write_geojson(outlines, [AnnotatedRegion(shapely.box(5000, 5000, 6000, 6000))])
    with pytest.raises(AnnotationError, match="matches no part of"):
        cut_patches(settings_for(), GEOMETRY)


def test_outlines_without_a_border_in_any_patch_say_which_filter(
    make_slide: Callable, settings_for: Callable
) -> None:
    _, outlines = make_slide()
    write_geojson(outlines, [AnnotatedRegion(shapely.box(-100, -100, 2000, 2000))])
    with pytest.raises(EmptyDatasetError, match=r"too much tumour \(above 80%\); widen --tumor"):
        cut_patches(settings_for(), GEOMETRY)


def test_too_few_patches_say_how_many_are_needed(
    make_slide: Callable, settings_for: Callable
) -> None:
    make_slide(centres=((500, 500),))
    with pytest.raises(EmptyDatasetError, match=r"patches are too few \(40 for train"):
        cut_patches(settings_for(least_patches=(40, 20, 40)), GEOMETRY)


def test_what_was_not_outlined_is_ignored_not_taken_for_healthy(
    make_slide: Callable, settings_for: Callable, tmp_path: Path
) -> None:
    """Of two tumours that lie close together one is outlined: the other is no background."""
    centres = ((300, 500), (530, 500), (300, 160), (300, 850))
    make_slide(centres=centres, outlined=(centres[0], *centres[2:]))

    def dark_pixels(out: str, known_within_um: float | None) -> np.ndarray:
        """Dark pixels that count as background, and that are ignored."""
        settings = settings_for(
            out=tmp_path / out, known_within_um=known_within_um, tumor_fraction=(0.02, 0.98)
        )
        cut_patches(settings, GEOMETRY)
        counts = np.zeros(2, int)
        for part in ("train", "validation", "test"):
            for patch in open_patches(settings.out / "patches", part):
                is_dark = patch.image.mean(axis=2) < 140
                counts += [(is_dark & (patch.gt_mask == value)).sum() for value in (0, -1)]
        return counts

    wrong_before, ignored_before = dark_pixels("whole", None)
    wrong, ignored = dark_pixels("near", 5.0)
    assert ignored_before == 0
    assert wrong < wrong_before / 5
    assert ignored > 5 * wrong


def test_stated_splits_are_kept_and_checked(
    make_slide: Callable, settings_for: Callable, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        make_slide(name)
    table = tmp_path / "splits.csv"
    table.write_text("slide,split\na,test\nb,train\nc,validation\n")
    summary, _ = cut_patches(settings_for(split_file=table), GEOMETRY)
    assert {part: list(slides) for part, slides in summary.slides.items()} == {
        "test": ["a"], "train": ["b"], "validation": ["c"],
    }  # fmt: skip
    table.write_text("slide,split\na,test\nb,train\nc,train\n")
    with pytest.raises(ConfigError, match="gives no slide to validation"):
        cut_patches(settings_for(split_file=table, out=tmp_path / "other"), GEOMETRY)


def test_patches_are_cut_once_and_what_a_killed_process_left_goes(
    make_slide: Callable, settings_for: Callable
) -> None:
    slide, _ = make_slide()
    killed = settings_for().out / ".patches-0123abcd"
    killed.mkdir(parents=True)
    first, _ = cut_patches(settings_for(), GEOMETRY)
    assert not killed.exists()
    slide.write_bytes(b"no slide any more")
    assert cut_patches(settings_for(), GEOMETRY)[0] == first


def test_repeated_patches_come_in_turn(make_slide: Callable, settings_for: Callable) -> None:
    make_slide()
    settings = settings_for()
    cut_patches(settings, GEOMETRY)
    store = open_patches(settings.out / "patches", "train")
    repeated = RepeatedPatches(store, 3)
    assert len(repeated) == 3 * len(store)
    np.testing.assert_array_equal(repeated[len(store) + 1].image, store[1].image)
    assert [p.id for p in repeated[:2]] == [store[0].id, store[1].id]
    assert repeated[-1].id == store[-1].id
    with pytest.raises(IndexError):
        repeated[3 * len(store)]
    assert "each 3 times" in repeated.name
