"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from histosam_core.atomic import new_file, new_folder
from histosam_core.errors import OutputExistsError, OutputWriteError


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.json"
    with new_file(target) as temporary:
        temporary.write_text("1")
        assert not target.exists()
        assert temporary.suffix == ".json"
    assert target.read_text() == "1"
    assert names_in(target.parent) == {"a.json"}


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_a_broken_off_file_leaves_the_old_one(tmp_path: Path, stop: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(stop), new_file(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise stop
    assert target.read_text() == "old"
    assert names_in(tmp_path) == {"a.txt"}


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with (
        pytest.raises(OutputExistsError, match="exists; choose another name"),
        new_file(target, overwrite=False),
    ):
        pass
    with new_file(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputWriteError, match=r"No space left.*free space"), new_file(target) as t:  # noqa: PT012
        t.write_text("half")
        raise full
    assert names_in(tmp_path) == set()


def test_a_parent_that_is_a_file_is_a_write_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputWriteError), new_file(tmp_path / "file" / "a.txt") as temporary:
        temporary.write_text("never")


def test_folder_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with new_folder(target) as temporary:
        (temporary / "a").write_text("1")
        assert not target.exists()
    assert names_in(target) == {"a"}
    assert names_in(tmp_path) == {"run"}


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    target = tmp_path / "run"
    target.mkdir()
    with new_folder(target) as temporary:
        (temporary / "a").write_text("1")
    assert names_in(target) == {"a"}


def test_a_filled_folder_is_kept_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "run"
    target.mkdir()
    (target / "old").write_text("1")
    with pytest.raises(OutputExistsError, match="--overwrite"), new_folder(target):
        pass
    with pytest.raises(KeyboardInterrupt), new_folder(target, overwrite=True) as temporary:  # noqa: PT012
        (temporary / "half").write_text("1")
        raise KeyboardInterrupt
    assert names_in(target) == {"old"}
    with new_folder(target, overwrite=True) as temporary:
        (temporary / "new").write_text("1")
    assert names_in(target) == {"new"}
    assert names_in(tmp_path) == {"run"}
