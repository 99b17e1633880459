"""`histosam replay`, end to end with the bundled model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Done, histosam
from PIL import Image

from histosam_core.annotation import read_geojson
from histosam_core.errors import (
    ConfigError,
    JournalError,
    OutputExistsError,
    SlideNotFoundError,
)
from histosam_core.model import load_model, save_checkpoint
from histosam_core.session import Session
from histosam_core.session.journal import JournalWriter, new_journal
from histosam_core.slide import open_slide


def run(*arguments: object) -> Done:
    return histosam("replay", *arguments)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Any]]:
    """A slide, the journal of a session on it, and the session's objects."""
    folder = tmp_path_factory.mktemp("recorded")
    image = np.full((600, 800, 3), (235, 215, 230), np.uint8)
    image[150:450, 200:600] = (140, 70, 150)
    Image.fromarray(image).save(folder / "scan.png")
    with (
        open_slide(folder / "scan.png", mpp=2.0) as slide,
        new_journal(slide) as journal,
    ):
        session = Session(slide, load_model("histosam-tiny", "cpu"), journal=journal)
        session.click((300, 300))
        session.click((100, 300), is_positive=False)
        session.undo()
        session.click((500, 300))
        session.accept("Tumor")
        session.click((60, 60))
        session.remove_prompts([0])
        session.box((250, 200, 350, 260))
        session.accept("Stroma")
        session.click((300, 300))
        return folder / "scan.png", journal.path, list(session.objects)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled weights with other embeddings of the clicks: another model."""
    import torch

    model = load_model("histosam-tiny", "cpu")
    with torch.no_grad():
        for name, weights in model.network.named_parameters():
            if name.startswith("prompt_encoder.point_embeddings"):
                weights.mul_(0.5)
    path = tmp_path_factory.mktemp("model") / "other.safetensors"
    save_checkpoint(path, model.network, model.info)
    return path


def test_the_same_model_gives_identical_objects(recorded, tmp_path: Path) -> None:
    _, journal, objects = recorded
    out = tmp_path / "again.geojson"
    result = run(journal, "--device", "cpu", "--json", "--out", out)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["is_same_model"]
    assert facts["is_identical"]
    assert facts["mean_iou"] == 1
    assert facts["models"] == ["histosam-tiny"]
    assert [one["label"] for one in facts["objects"]] == ["Tumor", "Stroma"]
    assert facts["open_prompts"] == 1
    for one, then in zip(read_geojson(out).regions, objects, strict=True):
        assert one.geometry.equals(then.geometry)


def test_another_model_gives_a_comparison(recorded, other_model: Path) -> None:
    _, journal, objects = recorded
    result = run(journal, "--device", "cpu", "--model", other_model, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert not facts["is_same_model"]
    assert not facts["is_identical"]
    ious = [one["iou"] for one in facts["objects"]]
    assert all(0 <= iou <= 1 for iou in ious)
    assert facts["mean_iou"] == pytest.approx(np.mean(ious)) != 1
    assert [one["journalled_mm2"] for one in facts["objects"]] == [o.area_mm2 for o in objects]


def test_the_table_says_what_was_compared(recorded) -> None:
    result = run(recorded[1], "--device", "cpu")
    assert result.exit_code == 0, result.output
    for words in ("histosam-tiny", "2, all identical", "identical", "Stroma", "1 prompt(s)"):
        assert words in result.stdout


def test_wrong_calls_are_named(recorded, tmp_path: Path) -> None:
    journal = recorded[1]
    assert isinstance(run(tmp_path / "none.jsonl").exception, JournalError)
    assert isinstance(run(journal, "--out", "x.png").exception, ConfigError)
    taken = tmp_path / "taken.geojson"
    taken.write_text("{}")
    assert isinstance(run(journal, "--out", taken).exception, OutputExistsError)
    assert taken.read_text() == "{}"
    missing = run(journal, "--slide", tmp_path / "none.svs").exception
    assert isinstance(missing, SlideNotFoundError)


def edited(journal: Path, to: Path, **model: str) -> Path:
    first, *others = journal.read_text().splitlines()
    begin = json.loads(first)
    begin["model"].update(model)
    to.write_text("\n".join([json.dumps(begin), *others]) + "\n")
    return to


def test_a_model_of_another_hash_is_refused(recorded, tmp_path: Path) -> None:
    path = edited(recorded[1], tmp_path / "one.jsonl", sha256="00" * 32)
    error = run(path, "--device", "cpu").exception
    assert isinstance(error, JournalError)
    assert "--model PATH" in str(error)


def test_a_model_that_is_not_here_is_asked_for(recorded, tmp_path: Path) -> None:
    path = edited(recorded[1], tmp_path / "one.jsonl", name="mine")
    error = run(path).exception
    assert isinstance(error, JournalError)
    assert "mine" in str(error)
    assert "--model PATH" in str(error)


def test_a_fine_tuned_models_own_file_is_found_and_missed(
    recorded, other_model: Path, tmp_path: Path
) -> None:
    """Its name is that of the model it came from, which must not stand in for it."""
    slide = recorded[0]
    own = tmp_path / "tuned.safetensors"
    shutil.copy(other_model, own)
    with open_slide(slide, mpp=2.0) as opened, JournalWriter(tmp_path / "own.jsonl") as writer:
        session = Session(opened, load_model(str(own), "cpu"), journal=writer)
        session.click((300, 300))
        session.accept("Tumor")
    result = run(writer.path, "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["is_identical"]
    own.unlink()
    error = run(writer.path, "--device", "cpu").exception
    assert isinstance(error, JournalError)
    assert str(own) in str(error)
    assert "--model PATH" in str(error)


@pytest.mark.parametrize("text", ["", "clicks\n", '{"n":1,"t":"","op":"click"}\n'])
def test_what_is_no_journal_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(text)
    error = run(path).exception
    assert isinstance(error, JournalError)
    assert "holds no session; choose another journal" in str(error)


def test_every_kind_of_operation_is_repeated_to_the_same_outlines(recorded, tmp_path: Path) -> None:
    with open_slide(recorded[0], mpp=0.499) as slide, new_journal(slide) as journal:
        session = Session(slide, load_model("histosam-tiny", "cpu"), journal=journal)
        session.click((300, 300))
        session.click((100, 300), is_positive=False)
        session.click((500, 400))
        session.move_click(2, (560, 420))
        session.remove_prompts([1])
        session.undo()
        first = session.accept("Tumor")
        path = session.save_geojson(tmp_path / "first.geojson")
        session.box((150, 100, 650, 300))
        session.accept("Stroma", overlap="keep_later", min_island_px=4)
        session.reopen(first)
        session.click((220, 430))
        session.accept()
        session.relabel(session.objects[1], "Necrosis")
        session.click((700, 550))
        session.delete(session.accept("Normal"))
        session.add_objects(read_geojson(path).regions)  # in the place of the first
        session.reopen(session.objects[0])
        session.remove_prompts([0])
        session.accept()
        session.click((760, 20))
        session.drop()
        session.undo()
        session.end()
    result = run(journal.path, "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["is_identical"]
    assert [one["label"] for one in facts["objects"]] == ["Tumor", "Necrosis"]
    assert [one["area_mm2"] for one in facts["objects"]] == [o.area_mm2 for o in session.objects]
    assert facts["open_prompts"] == 1
