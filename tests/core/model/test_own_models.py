from __future__ import annotations

from pathlib import Path

import pytest
import torch

from histosam_core.errors import CheckpointError, ConfigError, UnknownModelError
from histosam_core.model import (
    add_own_model,
    build_network,
    describe_network,
    list_own_models,
    load_model,
    remove_own_model,
    save_checkpoint,
)
from histosam_core.model.checkpoint.weights_header import checkpoint_facts
from histosam_core.model.registry.own_models import own_models_folder


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HISTOSAM_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build_network("histosam_tiny", decoder="refining", image_size=64)
    path = tmp_path / "run" / "best.safetensors"
    save_checkpoint(path, network, describe_network(network, name="mine", scenario="refining"))
    return path


def some_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_a_named_checkpoint_loads_by_its_name(checkpoint: Path) -> None:
    own = add_own_model(checkpoint, name="liver-2026")
    model = load_model("liver-2026", device="cpu")
    assert model.info.scenario == "refining"
    assert own.path == checkpoint
    assert model.info.path == str(checkpoint)
    assert list_own_models() == [own]


def test_the_latest_comes_first_and_a_model_whose_file_is_gone_does_not_come(
    tmp_path: Path,
) -> None:
    for name in ("a", "b", "c"):
        add_own_model(some_file(tmp_path / f"{name}.safetensors"))
    (tmp_path / "b.safetensors").unlink()
    assert [own.name for own in list_own_models()] == ["c", "a"]
    with pytest.raises(UnknownModelError):
        load_model("b")


def test_a_name_is_made_from_the_file_or_its_run_and_never_twice(tmp_path: Path) -> None:
    first = some_file(tmp_path / "one" / "liver run" / "best.safetensors")
    second = some_file(tmp_path / "two" / "liver run" / "best.safetensors")
    third = some_file(tmp_path / "histosam-tiny.safetensors")
    names = [add_own_model(path).name for path in (first, second, third, first)]
    assert names == ["liver-run", "liver-run-2", "histosam-tiny-2", "liver-run"]


def test_a_name_of_ours_or_of_another_file_or_of_a_path_is_refused(tmp_path: Path) -> None:
    one, other = some_file(tmp_path / "one.pt"), some_file(tmp_path / "other.pt")
    add_own_model(one, name="mine")
    add_own_model(one, name="mine")
    with pytest.raises(ConfigError, match="belongs to"):
        add_own_model(other, name="mine")
    with pytest.raises(ConfigError, match="a model of ours"):
        add_own_model(other, name="SAM_vit_b")
    for name in ("../mine", "a=b", "", ".hidden", "x" * 81):
        with pytest.raises(ConfigError, match=r"letters, digits and \._\+-"):
            add_own_model(other, name=name)
    with pytest.raises(CheckpointError, match="check the path"):
        add_own_model(tmp_path / "none.pt")


def test_removing_keeps_a_users_file_and_takes_what_the_program_had_copied(tmp_path: Path) -> None:
    users = some_file(tmp_path / "users.pt")
    copied = some_file(own_models_folder() / "copied.safetensors")
    for path in (users, copied):
        add_own_model(path)
    remove_own_model("users")
    remove_own_model("copied")
    assert users.is_file()
    assert not copied.exists()
    assert list_own_models() == []
    with pytest.raises(UnknownModelError, match="no own model is named 'users'"):
        remove_own_model("users")


def test_a_damaged_entry_is_passed_over(tmp_path: Path) -> None:
    add_own_model(some_file(tmp_path / "good.pt"))
    (own_models_folder() / "bad.json").write_text("{")
    assert [own.name for own in list_own_models()] == ["good"]


def test_facts_come_from_the_header_of_our_files_alone(checkpoint: Path, tmp_path: Path) -> None:
    facts = checkpoint_facts(checkpoint)
    assert (facts["architecture"], facts["scenario"]) == ("histosam_tiny", "refining")
    assert facts["geometry"]["mpp"] == 2.0
    assert checkpoint_facts(some_file(tmp_path / "other.pt")) == {}
    assert checkpoint_facts(tmp_path / "none") == {}


def test_a_close_own_name_is_proposed(tmp_path: Path) -> None:
    add_own_model(some_file(tmp_path / "liver_tumour.pt"))
    with pytest.raises(UnknownModelError, match="did you mean liver_tumour"):
        load_model("liver_tumor")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"<html>", "a web page"), (b"version https://git-lfs", "Git LFS")],
)
def test_what_is_plainly_no_checkpoint_gets_no_name(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        add_own_model(path)
    assert not list_own_models()
