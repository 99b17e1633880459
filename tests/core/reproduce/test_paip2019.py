"""PAIP2019's folders, as published and as people have them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from histosam_core.annotation import write_mask_tiff
from histosam_core.errors import SlideNotFoundError
from histosam_core.reproduce.cohorts import PHASES, find_paip2019, with_right_mask

from .files import touch

CASES = [f"01_01_{number:04d}" for phase in PHASES.values() for number in phase]
ENDINGS = (".svs", ".xml", "_viable.tif", "_whole.tif")


def test_fifty_cases_in_two_phases() -> None:
    assert {phase: len(numbers) for phase, numbers in PHASES.items()} == {1: 20, 2: 30}
    assert len(set(CASES)) == 50


@pytest.mark.parametrize("mask", ["viable", "whole"])
def test_the_published_layout_is_complete(tmp_path: Path, mask: str) -> None:
    for i, case in enumerate(CASES, start=1):
        phase = 1 if i <= 20 else 2
        touch(tmp_path / f"Training_phase_{phase}_{i:03d}", [case + end for end in ENDINGS])
    touch(tmp_path, ["Phase_1_tumor_burden.csv", "Phase_2_tumor_burden.csv"])
    files = find_paip2019(tmp_path, mask=mask)  # type: ignore[arg-type]
    assert list(files.pairs) == CASES
    slide, annotation = files.pairs["01_01_0110"]
    assert slide == tmp_path / "Training_phase_2_021" / "01_01_0110.svs"
    assert annotation == slide.with_name(f"01_01_0110_{mask}.tif")
    assert files.missing == files.notes == ()
    assert files.described() == "50 of 50 annotated slides"


def test_case_and_folders_do_not_matter(tmp_path: Path) -> None:
    touch(tmp_path / "SVS", ["01_01_0083.SVS"])
    touch(tmp_path / "ViableMask", ["01_01_0083_VIABLE.TIF"])
    files = find_paip2019(tmp_path)
    assert list(files.pairs) == ["01_01_0083"]
    assert files.pairs["01_01_0083"][0].name == "01_01_0083.SVS"


def test_a_rescan_and_names_after_folders_are_taken(tmp_path: Path) -> None:
    touch(tmp_path, ["01_01_0111_rescan.svs", "01_01_0111_rescan_viable.tif"])
    touch(tmp_path, ["Training_phase_1_001.svs", "Training_phase_1_001_viable.tif"])
    assert list(find_paip2019(tmp_path).pairs) == ["01_01_0111", "training_phase_1_001"]


def test_what_is_missing_is_listed_and_the_rest_is_used(tmp_path: Path) -> None:
    touch(tmp_path, [case + end for case in CASES[:3] for end in ENDINGS])
    (tmp_path / f"{CASES[1]}_viable.tif").unlink()
    (tmp_path / f"{CASES[2]}.svs").unlink()
    files = find_paip2019(tmp_path)
    assert list(files.pairs) == [CASES[0]]
    assert files.missing[0].startswith(f"47 slides and their masks: {CASES[3]}, {CASES[4]}")
    assert files.missing[1:] == (
        f"1 slides: {CASES[2]}",
        f"1 masks *_viable.tif: {CASES[1]}",
    )


def test_other_slides_are_left_out_with_a_note(tmp_path: Path) -> None:
    touch(tmp_path, [CASES[0] + end for end in ENDINGS])
    touch(tmp_path / "validation", ["01_01_0150.svs", "ID_001.svs", "notes.txt", ".hidden.svs"])
    files = find_paip2019(tmp_path)
    assert list(files.pairs) == [CASES[0]]
    assert files.notes[0].startswith("1 other .svs files are left out")


def test_a_folder_of_something_else_is_one_line(tmp_path: Path) -> None:
    touch(tmp_path, ["a.svs", "tumor_001.tif", "01_01_0083.svs"])
    with pytest.raises(SlideNotFoundError) as caught:
        find_paip2019(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert "01_01_NNNN.svs (there are 1) and 01_01_NNNN_viable.tif (0)" in message
    assert "unzip" in message
    with pytest.raises(SlideNotFoundError, match="no folder"):
        find_paip2019(tmp_path / "none")


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    home = touch(tmp_path / "disk", [CASES[0] + end for end in ENDINGS])
    seen = tmp_path / "PAIP2019"
    seen.mkdir()
    (seen / "data").symlink_to(home)
    (home / "again").symlink_to(seen)
    assert list(find_paip2019(seen).pairs) == [CASES[0]]


def _masks(folder: Path, case: str, *, viable: int, whole: int) -> tuple[Path, Path]:
    paths = []
    for name, side in (("viable", viable), ("whole", whole)):
        mask = np.zeros((512, 512), bool)
        mask[:side, :side] = True
        paths.append(write_mask_tiff(folder / f"{case}_{name}.tif", mask, mpp=0.5))
    return paths[0], paths[1]


def test_masks_with_each_others_names_are_told_by_their_area(tmp_path: Path) -> None:
    viable, whole = _masks(tmp_path, "01_01_0107", viable=400, whole=200)
    right, note = with_right_mask("01_01_0107", viable, "viable")
    assert right == whole
    assert "each other's names" in note
    assert with_right_mask("01_01_0107", whole, "whole")[0] == viable


def test_masks_with_their_own_names_stay(tmp_path: Path) -> None:
    viable, whole = _masks(tmp_path, "01_01_0107", viable=200, whole=400)
    assert with_right_mask("01_01_0107", viable, "viable") == (viable, "")
    assert with_right_mask("01_01_0107", whole, "whole") == (whole, "")
    whole.unlink()
    assert with_right_mask("01_01_0107", viable, "viable") == (viable, "")
    other, _ = _masks(tmp_path, "01_01_0083", viable=400, whole=200)
    assert with_right_mask("01_01_0083", other, "viable") == (other, "")


def test_the_synthetic_folder_is_read(folders: tuple[Path, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders[0], tmp_path / "copy")
    files = find_paip2019(copy)
    assert list(files.pairs) == CASES[:3]
    for slide, mask in files.pairs.values():
        assert slide.parent.name.startswith("Training_phase_1_")
        assert mask.is_file()
