"""CAMELYON16's folders, as published and as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from histosam_core.errors import SlideNotFoundError
from histosam_core.reproduce.cohorts import (
    N_ANNOTATED,
    NOT_EXHAUSTIVE,
    REMOVED,
    find_camelyon16,
)

from .files import touch

TUMORS = [f"tumor_{i:03d}" for i in range(1, 112)]


def test_the_known_numbers() -> None:
    assert len(NOT_EXHAUSTIVE) == 21
    assert [name for name in NOT_EXHAUSTIVE if name.startswith("test")] == ["test_114"]
    assert set(REMOVED) == {"test_049", "normal_086"}
    assert sum(N_ANNOTATED.values()) == 160


def _challenge(folder: Path) -> Path:
    touch(folder / "training" / "tumor", [f"{name}.tif" for name in TUMORS])
    touch(folder / "training" / "normal", ["normal_001.tif"])
    touch(folder / "training" / "lesion_annotations", [f"{name}.xml" for name in TUMORS])
    touch(folder / "testing" / "images", [f"test_{i:03d}.tif" for i in (1, 2, 3, 49, 114)])
    touch(folder / "testing" / "lesion_annotations", [f"test_{i:03d}.xml" for i in (1, 2, 49, 114)])
    return folder


def test_the_challenges_layout(tmp_path: Path) -> None:
    files = find_camelyon16(_challenge(tmp_path))
    assert list(files.pairs) == ["test_001", "test_002"]
    slide, annotation = files.pairs["test_001"]
    assert slide == tmp_path / "testing" / "images" / "test_001.tif"
    assert annotation == tmp_path / "testing" / "lesion_annotations" / "test_001.xml"
    assert files.expected == 48
    assert files.excluded == {
        "test_049": "a duplicate, which the organisers removed",
        "test_114": "its annotation is not exhaustive",
    }
    assert files.missing == ("46 of 49 annotations test_NNN.xml",)
    assert files.described() == "2 of 48 annotated slides, 2 left out"


def test_the_training_part_leaves_unfinished_slides_out(tmp_path: Path) -> None:
    _challenge(tmp_path)
    files = find_camelyon16(tmp_path, part="training")
    assert len(files.pairs) == files.expected == 111 - 20
    assert files.missing == ()
    assert not NOT_EXHAUSTIVE & files.pairs.keys()
    everything = find_camelyon16(tmp_path, part="both", keep_partial=True)
    assert len(everything.pairs) == 111 + 3
    assert everything.expected == 160
    assert list(everything.excluded) == ["test_049"]


def test_the_buckets_layout_with_masks_of_the_same_names(tmp_path: Path) -> None:
    touch(tmp_path / "images", ["test_001.tif"], n_bytes=10)
    touch(tmp_path / "annotations", ["test_001.xml"])
    touch(tmp_path / "masks", ["test_001.tif", "test_001_mask.tif"], n_bytes=20)
    touch(tmp_path / "background_tissue", ["test_001_tissue.tif"])
    files = find_camelyon16(tmp_path)
    assert files.pairs["test_001"][0] == tmp_path / "images" / "test_001.tif"


def test_old_names_and_one_folder(tmp_path: Path) -> None:
    touch(tmp_path, ["Test_001.TIF", "Test_001.xml", "Tumor_1.tif", "tumor_001.xml"])
    assert list(find_camelyon16(tmp_path, part="both").pairs) == ["test_001", "tumor_001"]


def test_an_annotation_without_its_slide_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, ["test_001.tif", "test_001.xml", "test_004.xml"])
    assert find_camelyon16(tmp_path).missing[-1] == "test_004.tif"


def test_nothing_found_is_one_line_that_says_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, ["test_001.tif", "lesion_annotations.zip"])
    with pytest.raises(SlideNotFoundError) as caught:
        find_camelyon16(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert "test_NNN.tif with test_NNN.xml" in message
    assert "there are 1 slides and 0 annotations" in message
    assert message.endswith("unzip lesion_annotations.zip")
    with pytest.raises(SlideNotFoundError, match=r"tumor_NNN\.tif"):
        find_camelyon16(tmp_path, part="training")
    with pytest.raises(SlideNotFoundError, match="no folder"):
        find_camelyon16(tmp_path / "none")
