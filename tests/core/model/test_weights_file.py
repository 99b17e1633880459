"""Files of weights: what is read, what is refused unread, and in which words."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from histosam_core.errors import CheckpointError
from histosam_core.model.checkpoint.restricted_pickle import STAND_INS
from histosam_core.model.checkpoint.weights_file import read_weights

MODULE = "isegm.model.modeling.transformer_helper.cross_entropy_loss"
STATE = {"backbone.pos_embed": torch.arange(6.0).view(1, 2, 3), "count": torch.tensor(3)}


class Bomb:
    """A pickle that would make a folder when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def loss() -> Iterator[nn.Module]:
    """An object as SimpleClick's configuration holds it: its class is not there when it is read."""

    class CrossEntropyLoss(nn.Module):
        pass

    def cross_entropy() -> None:
        pass

    module = ModuleType(MODULE)
    for name, value in (("CrossEntropyLoss", CrossEntropyLoss), ("cross_entropy", cross_entropy)):
        value.__module__, value.__qualname__ = MODULE, name
        setattr(module, name, value)
    parts = MODULE.split(".")
    parents = [".".join(parts[:n]) for n in range(1, len(parts))]
    sys.modules.update({parent: ModuleType(parent) for parent in parents})
    sys.modules[MODULE] = module
    made = CrossEntropyLoss()
    made.cls_criterion = cross_entropy  # type: ignore[assignment]
    yield made
    for name in (*parents, MODULE):
        sys.modules.pop(name, None)


def save(content: Any, path: Path, old: bool) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    sys.modules.pop(MODULE, None)
    return path


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_simpleclicks_configuration_is_read_without_its_classes(
    loss: nn.Module, tmp_path: Path, old: bool
) -> None:
    parameters = {
        "with_prev_mask": {"type": "builtin", "value": True, "specified": True},
        "head_params": {"type": "builtin", "value": {"loss_decode": loss}, "specified": True},
    }
    config = {"class": "isegm.model.is_plainvit_model.PlainVitModel", "params": parameters}
    path = save({"state_dict": STATE, "config": config}, tmp_path / "x.pth", old)
    read = read_weights(path)
    assert MODULE not in sys.modules
    assert read.config["class"].endswith("PlainVitModel")
    assert read.config["params"]["with_prev_mask"]["value"] is True
    assert read.state.keys() == STATE.keys()
    assert all(torch.equal(read.state[key], value) for key, value in STATE.items())
    stand_in = type(read.config["params"]["head_params"]["value"]["loss_decode"])
    assert stand_in.__name__ == "CrossEntropyLoss"
    assert not issubclass(stand_in, nn.Module)


def test_exactly_two_names_have_stand_ins() -> None:
    assert {f"{MODULE}.CrossEntropyLoss", f"{MODULE}.cross_entropy"} == STAND_INS


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_code_is_refused_unrun_behind_a_name_that_has_a_stand_in_too(
    loss: nn.Module, tmp_path: Path, old: bool, hidden: bool
) -> None:
    config = {"loss": loss if hidden else None, "bomb": Bomb(tmp_path / "ran")}
    path = save({"state_dict": STATE, "config": config}, tmp_path / "x.pth", old)
    with pytest.raises(CheckpointError, match=r"contains code \(posix.mkdir\) and was refused"):
        read_weights(path)
    assert not (tmp_path / "ran").exists()


def test_a_file_cannot_change_the_functions_that_make_its_tensors(tmp_path: Path) -> None:
    """A pickle may set attributes on whatever it has been given."""
    loss = f"c{MODULE}\nCrossEntropyLoss\n".encode()
    make = b"ctorch._utils\n_rebuild_tensor_v2\n"
    set_attribute = b"}X\x07\x00\x00\x00meddled\x88sb"
    sys_info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, sys_info)
    path = tmp_path / "x.pth"
    path.write_bytes(
        b"".join(pickle.dumps(one, 2) for one in head)
        + b"\x80\x02](" + loss + make + set_attribute + b"e."
        + pickle.dumps([], 2)
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="holds no state_dict"):
        read_weights(path)
    assert not hasattr(torch._utils._rebuild_tensor_v2, "meddled")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("key", ["state_dict", "model_state", None])
def test_layouts_of_old_and_new_torch_are_read(tmp_path: Path, old: bool, key: str | None) -> None:
    content = STATE if key is None else {key: STATE, "epoch": 3}
    read = read_weights(save(content, tmp_path / "x.pth", old))
    assert all(torch.equal(read.state[name], value) for name, value in STATE.items())
    assert (read.config, read.metadata) == ({}, {})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><head><title>Sign in</title>", "is a web page.*login page"),
        (b"\n\n  <html>404</html>", "is a web page, not a checkpoint"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        (b"not weights at all", "not a checkpoint"),
        (b"\x80\x02}q\x00", "truncated or not a checkpoint"),
        (b"PK\x03\x04 and then nothing", "truncated or not a checkpoint"),
        ((1000).to_bytes(8, "little") + b'{"a": ', "truncated or damaged"),
    ],
)
def test_what_is_no_file_of_weights_is_told_in_a_line(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as raised:
        read_weights(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kept", [1, 100, 0.5, 0.999])
@pytest.mark.parametrize("old", [False, True])
def test_truncated_files_are_refused(tmp_path: Path, kept: float, old: bool) -> None:
    path = save({"state_dict": {"w": torch.zeros(300)}, "config": {}}, tmp_path / "x.pth", old)
    os.truncate(path, kept if isinstance(kept, int) else int(path.stat().st_size * kept))
    with pytest.raises(CheckpointError, match="truncated"):
        read_weights(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint file at"):
        read_weights(tmp_path)


def test_other_objects_are_refused(tmp_path: Path) -> None:
    for content in ([1, 2], {"state_dict": {"a": 1}}, {"a": STATE}, 3):
        path = save(content, tmp_path / "x.pth", False)
        with pytest.raises(CheckpointError, match="holds no state_dict"):
            read_weights(path)
