"""The run folder: what it refuses, what it deletes, what it writes."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import pytest
import torch

from histosam_core.errors import CheckpointError, ConfigError, OutputExistsError
from histosam_core.training.run_folder import LOG_COLUMNS, RunFolder

ROWS = [
    {"epoch": 0, "step": 0, "seconds": 0.5, "val_noc80": 6.0, "val_noc85": 8.0, "val_noc90": 9.0},
    {"epoch": 1, "step": 4, "seconds": 1.5, "loss": 0.25, "train_iou": 0.5, "val_noc80": 5.0},
]


def test_an_empty_or_missing_folder_is_free(tmp_path: Path) -> None:
    RunFolder(tmp_path).check_free()
    RunFolder(tmp_path / "new").check_free()


def test_a_taken_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        RunFolder(tmp_path).check_free()
    RunFolder(tmp_path).save_state({"step": 1})
    with pytest.raises(OutputExistsError, match="--resume"):
        RunFolder(tmp_path).check_free()
    with pytest.raises(OutputExistsError):
        RunFolder(tmp_path / "notes.txt").check_free()


def test_clearing_deletes_the_runs_files_only(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    folder.save_state({})
    folder.write_log(ROWS)
    folder.clear()
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(OutputExistsError, match="is a file"):
        RunFolder(tmp_path / "notes.txt").clear()


def test_what_a_killed_process_had_half_written_goes_and_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save_state({})
    mine = {"notes.txt", ".hidden", ".state.pt", ".tmp"}
    halves = {".state-0123abcd.pt", ".last-0123abcd.safetensors", ".log-0123abcd.csv", ".tmpoH7uMX"}
    for name in mine | halves:
        (tmp_path / name).write_text("x")
    folder.clear_leftovers()
    assert {file.name for file in tmp_path.iterdir()} == mine | {"state.pt"}


def test_the_state_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    state = {"weights": {"a": torch.arange(3.0)}, "rows": ROWS, "best": None, "step": 7}
    folder.save_state(state)
    loaded = folder.load_state()
    assert torch.equal(loaded["weights"]["a"], torch.arange(3.0))
    assert loaded["rows"] == ROWS
    assert (loaded["best"], loaded["step"]) == (None, 7)
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


def test_a_missing_state_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without --resume"):
        RunFolder(tmp_path).load_state()


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save_state({"weights": torch.zeros(1000)})
    whole = folder.state.read_bytes()
    for content in (b"", b"not a state", whole[: len(whole) // 2]):
        folder.state.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged"):
            folder.load_state()
    torch.save({"format": 99}, folder.state)
    with pytest.raises(CheckpointError, match="format 99"):
        folder.load_state()


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("code-was-run"),))


def test_a_state_with_code_in_it_is_refused_unrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(tmp_path)
    torch.save({"format": 1, "weights": _Code()}, folder.state)
    with pytest.raises(CheckpointError):
        folder.load_state()
    folder.state.write_bytes(pickle.dumps({"format": 1, "weights": _Code()}))
    with pytest.raises(CheckpointError):
        folder.load_state()
    assert not (tmp_path / "code-was-run").exists()


def test_the_log_has_a_row_per_epoch_and_blanks_where_nothing_was_measured(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path)
    folder.write_log(ROWS)
    with folder.log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == LOG_COLUMNS
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert rows[0]["loss"] == ""
    assert rows[1]["loss"] == "0.25"


def test_curves_are_a_picture_even_of_a_run_without_validation(tmp_path: Path) -> None:
    import cv2

    folder = RunFolder(tmp_path)
    folder.write_curves(ROWS[1:], "small, md")
    picture = cv2.imread(str(folder.curves))
    assert picture.shape[1] > 800
    assert picture.min() < 100
