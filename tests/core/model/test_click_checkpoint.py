"""Checkpoints of RITM, FocalClick and SimpleClick: found out, read, saved, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from histosam_core.errors import CheckpointError, UnknownModelError
from histosam_core.model import describe_network, load_checkpoint, network, save_checkpoint
from histosam_core.model.checkpoint.click_checkpoint import (
    ASSUMED,
    click_architectures,
    fill_click_network,
    find_click_architecture,
    is_click_state,
    network_architecture,
)
from histosam_core.model.checkpoint.weights_file import WeightsFile
from histosam_core.model.checkpoint.weights_header import checkpoint_facts, file_sha256
from histosam_core.model.interface import TrainingGeometry
from histosam_core.model.specialists.click_network import ClickNetwork

SMALL = ("ritm_hrnet18s_itm", "focalclick_segformerB0_S2", "simpleclick_xtiny448")


def small_state(name: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return network(name).state_dict()


def parameters(**values: Any) -> dict[str, Any]:
    """A configuration as the originals save it."""
    given = {name: {"type": "builtin", "value": value, "specified": True}
             for name, value in values.items()}  # fmt: skip
    return {"class": "isegm.model.is_hrnet_model.HRNetModel", "params": given}


def shapes(name: str) -> dict[str, Tensor]:
    """A network's weights without memory."""
    with torch.device("meta"):
        return network(name).state_dict()


@pytest.mark.parametrize("name", click_architectures())
def test_every_network_is_found_out_by_its_weights_and_configuration(name: str) -> None:
    size = name.rpartition("_")[2].lower()
    config = parameters(pipeline_version=size) if name.startswith("focalclick") else {}
    file = WeightsFile(shapes(name), config=config)
    assert is_click_state(file.state)
    assert find_click_architecture(Path("any.pth"), file) == (name, True)


@pytest.mark.real_slide
@pytest.mark.parametrize("name", click_architectures())
def test_official_keys_and_configurations_are_those_of_the_network(
    data_dir: Path, name: str
) -> None:
    told = json.loads((data_dir / "reference" / f"keys_{name}.json").read_text())
    official = {
        key: torch.empty(one["shape"], device="meta") for key, one in told["state_dict"].items()
    }
    file = WeightsFile(official, config=told["config"])
    assert find_click_architecture(Path("any.pth"), file) == (name, True)
    assert {k: v.shape for k, v in official.items()} == {
        k: v.shape for k, v in shapes(name).items()
    }


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("old", [False, True])
def test_official_files_and_bare_state_dicts_are_read(tmp_path: Path, name: str, old: bool) -> None:
    state = small_state(name)
    config = parameters(pipeline_version="s2", use_disks=True, norm_radius=5)
    for content in ({"state_dict": state, "config": config}, state):
        path = tmp_path / "cocolvis.pth"
        torch.save(content, path, _use_new_zipfile_serialization=not old)
        loaded, info = load_checkpoint(path)
        assert (info.architecture, info.name) == (name, "cocolvis")
        assert (info.decoder, info.decoders) == ("", ())
        assert (info.takes_boxes, info.encodes_ahead) == (False, False)
        assert info.sha256 == file_sha256(path)
        assert isinstance(loaded, ClickNetwork)
        assert not loaded.training
        assert all(torch.equal(state[key], value) for key, value in loaded.state_dict().items())
        assert not any(value.is_meta for value in loaded.state_dict().values())
        learns = [parameter.requires_grad for parameter in network(name).parameters()]
        assert [parameter.requires_grad for parameter in loaded.parameters()] == learns


@pytest.mark.parametrize("name", SMALL)
def test_ours_survive_a_round_trip_and_say_what_they_are_without_torch(
    tmp_path: Path, name: str
) -> None:
    torch.manual_seed(0)
    trained = network(name)
    info = describe_network(
        trained,  # type: ignore[arg-type]
        name="liver",
        scenario="specialist",
        geometry=TrainingGeometry(mpp=1.0, patch_size_px=256),
        provenance={"data": "cohort", "epochs": 3},
        licence="MIT",
        settings={"flip": False, "zoom_in": None},
    )
    path = tmp_path / "run" / "best.safetensors"
    saved = save_checkpoint(path, trained, info)  # type: ignore[arg-type]
    loaded, read = load_checkpoint(path)
    assert read == saved
    assert read.architecture == name
    assert (read.licence, read.scenario, read.geometry.mpp) == ("MIT", "specialist", 1.0)
    assert dict(read.settings) == {"flip": False, "zoom_in": None}
    before = trained.state_dict()
    assert all(torch.equal(before[key], value) for key, value in loaded.state_dict().items())
    facts = checkpoint_facts(path)
    assert facts["architecture"] == name
    assert facts["decoders"] == []
    assert facts["licence"] == "MIT"


def test_half_precision_loads_as_float32_and_counts_stay_whole(tmp_path: Path) -> None:
    made = network("ritm_h18s")
    path = tmp_path / "half.safetensors"
    save_checkpoint(path, made, describe_network(made, name="x"), half=True)  # type: ignore[arg-type]
    loaded, _ = load_checkpoint(path)
    kinds = {value.dtype for value in loaded.state_dict().values()}
    assert kinds == {torch.float32, torch.int64}


def test_the_size_of_focalclicks_input_comes_from_the_file_else_from_the_call(
    tmp_path: Path,
) -> None:
    state = small_state("focalclick_b0_s1")
    path = tmp_path / "x.pth"
    torch.save({"state_dict": state, "config": parameters(pipeline_version="s1")}, path)
    stated, info = load_checkpoint(path)
    assert info.architecture == "focalclick_segformerB0_S1"
    assert stated.halves_input  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match=r"holds focalclick_segformerB0_S1, but .*_S2 was"):
        load_checkpoint(path, architecture="focalclick_b0_s2")

    torch.save(state, path)
    _, info = load_checkpoint(path)
    assert info.architecture == "focalclick_segformerB0_S2"
    assert info.provenance["assumed"] == ASSUMED
    asked, info = load_checkpoint(path, architecture="focalclick_b0_s1")
    assert info.architecture == "focalclick_segformerB0_S1"
    assert "assumed" not in info.provenance
    assert asked.halves_input  # type: ignore[union-attr]

    ours = tmp_path / "ours.safetensors"
    save_checkpoint(ours, asked, info)
    assert load_checkpoint(ours)[1].architecture == "focalclick_segformerB0_S1"


def test_one_familys_file_given_as_anothers_is_told(tmp_path: Path) -> None:
    path = tmp_path / "coco_lvis_h18s_itermask.pth"
    torch.save({"state_dict": small_state("ritm_h18s"), "config": {}}, path)
    for asked in ("simpleclick_vit_b", "focalclick_h18s_s2", "sam_vit_b", "ritm_h32"):
        with pytest.raises(CheckpointError, match="holds ritm_hrnet18s_itm, but") as raised:
            load_checkpoint(path, architecture=asked)
        assert "pass the matching file" in str(raised.value)
    with pytest.raises(UnknownModelError, match="ritm_h18s"):
        load_checkpoint(path, architecture="ritm_h18ss")
    with pytest.raises(CheckpointError, match="none of SAM's decoders"):
        load_checkpoint(path, decoder="refining")


@pytest.mark.parametrize("name", SMALL)
def test_missing_unexpected_and_misshapen_weights_are_listed(tmp_path: Path, name: str) -> None:
    state = small_state(name)
    first, second, *_, last = sorted(state)
    del state[first]
    state[second] = torch.zeros(7, 7, 7)
    state["extra.weight"] = torch.zeros(1)
    path = tmp_path / "x.pth"
    torch.save(state, path)
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(path)
    for part in (
        str(path),
        name,
        f"1 missing ({first})",
        f"1 differently shaped ({second})",
        "1 unexpected (extra.weight)",
    ):
        assert part in str(raised.value)
    torch.save({key: value for key, value in state.items() if key == last}, path)
    with pytest.raises(CheckpointError, match=r"missing \(.* and \d+ more\)"):
        load_checkpoint(path)


def test_the_tellers_themselves_may_be_missing(tmp_path: Path) -> None:
    state = small_state("ritm_h18s")
    for key in ("transition1.0.0.weight", "conv3x3_ocr.1.weight"):
        del state[f"feature_extractor.{key}"]
    path = tmp_path / "x.pth"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"do not fit ritm_hrnet18s_itm: 2 missing"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("use_disks", False), ("norm_radius", 260), ("with_prev_mask", False),
     ("norm_mean_std", [[0, 0, 0], [1, 1, 1]])],
)  # fmt: skip
def test_networks_with_other_settings_are_refused(setting: str, value: object) -> None:
    file = WeightsFile(shapes("ritm_h18s"), config=parameters(**{setting: value}))
    with pytest.raises(CheckpointError, match=f"network with {setting}"):
        find_click_architecture(Path("x.pth"), file)


def test_networks_of_other_sizes_and_classes_are_refused() -> None:
    wide = {"feature_extractor.transition1.0.0.weight": torch.empty(48, 256, 3, 3, device="meta")}
    config = {"class": "isegm.model.is_deeplab_model.DeeplabModel", "params": {}}
    with pytest.raises(CheckpointError, match=r"DeeplabModel; there are ritm_hrnet18s_itm"):
        find_click_architecture(Path("x.pth"), WeightsFile(wide, config=config))
    s3 = WeightsFile(shapes("focalclick_b0_s1"), config=parameters(pipeline_version="s3"))
    with pytest.raises(CheckpointError, match="as 's3', which is not known"):
        find_click_architecture(Path("x.pth"), s3)


def test_a_configuration_of_nonsense_is_as_none() -> None:
    for config in ({"params": 3}, {"params": {"use_disks": 1}}, {"class": 7}):
        file = WeightsFile(shapes("ritm_h18s"), config=config)
        assert find_click_architecture(Path("x.pth"), file) == ("ritm_hrnet18s_itm", True)


def test_a_network_of_nobodys_cannot_be_saved(tmp_path: Path) -> None:
    class Odd(ClickNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Module()
            self.backbone.pos_embed = nn.Parameter(torch.zeros(1, 5, 3))

    with pytest.raises(CheckpointError, match="none of the networks that can be saved"):
        describe_network(Odd(), name="x")


@pytest.mark.parametrize("name", SMALL)
def test_networks_know_their_names(name: str) -> None:
    made = fill_click_network(name, small_state(name))
    assert network_architecture(made) == name
