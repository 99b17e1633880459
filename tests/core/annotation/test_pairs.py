"""Slides and their annotations, found by name."""

from __future__ import annotations

import pytest

from histosam_core.annotation.files import find_pairs, find_slides
from histosam_core.errors import AnnotationError, ConfigError, SlideNotFoundError


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_masks_beside_slides_are_not_slides(tmp_path):
    touch(tmp_path, "b.svs", "a.tif", "a_mask.tif", "a_Viable.tif", "notes.txt", ".hidden.svs")
    assert [p.name for p in find_slides(tmp_path)] == ["a.tif", "b.svs"]


def test_slide_whose_name_ends_like_a_mask_but_stands_alone_is_a_slide(tmp_path):
    touch(tmp_path, "biopsy_tumor.tif")
    assert [p.name for p in find_slides(tmp_path)] == ["biopsy_tumor.tif"]


def test_subfolder_slides_is_looked_into(tmp_path):
    touch(tmp_path / "slides", "a.svs")
    touch(tmp_path / "annotations", "a.xml")
    pairs, notes = find_pairs(tmp_path)
    assert [(s.name, a.name) for s, a in pairs] == [("a.svs", "a.xml")]
    assert notes == []


def test_slide_without_annotation_raises_or_is_left_out(tmp_path):
    touch(tmp_path, "a.svs", "b.svs", "b.xml")
    with pytest.raises(AnnotationError, match=r"no annotation for a\.svs"):
        find_pairs(tmp_path)
    pairs, notes = find_pairs(tmp_path, skip_unannotated=True)
    assert [s.name for s, _ in pairs] == ["b.svs"]
    assert "a.svs" in notes[0]


def test_no_slide_annotated_raises_even_when_skipping(tmp_path):
    touch(tmp_path, "a.svs")
    with pytest.raises(AnnotationError, match="none of the 1 slides"):
        find_pairs(tmp_path, skip_unannotated=True)


def test_folder_without_slides_raises(tmp_path):
    with pytest.raises(SlideNotFoundError, match="no slide in"):
        find_pairs(tmp_path)
    with pytest.raises(SlideNotFoundError, match="no folder"):
        find_pairs(tmp_path / "none")
    with pytest.raises(SlideNotFoundError, match="no slide was given"):
        find_pairs([])


def test_two_slides_of_one_name_raise(tmp_path):
    touch(tmp_path, "a.svs", "a.tif", "a.xml")
    with pytest.raises(ConfigError, match="two slides are named a"):
        find_pairs(tmp_path)


def test_pairs_and_an_annotation_folder_exclude_each_other(tmp_path):
    with pytest.raises(ConfigError, match="either"):
        find_pairs([(tmp_path / "a.svs", tmp_path / "a.xml")], tmp_path)
