"""Weights by their official file names, or those at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from histosam_core.errors import CheckpointError
from histosam_core.model import network
from histosam_core.model.registry.registry import MODELS
from histosam_core.reproduce.method_models import MissingWeightsError, find_weights, load_weights

from .files import touch


def test_official_names_are_found_in_the_folder_and_below(tmp_path: Path) -> None:
    name = MODELS["sam_vit_b"].file_name
    assert name == "sam_vit_b_01ec64.pth"
    touch(tmp_path / "SAM", [name.upper()])
    found = find_weights("sam_vit_b", tmp_path)
    assert found.source == str(tmp_path / "SAM" / name.upper())
    assert found.model == "sam_vit_b"


def test_what_comes_with_the_program_needs_no_folder() -> None:
    assert find_weights("histosam-tiny", None).source == "histosam-tiny"


def test_a_file_is_its_own_weights(base: Path) -> None:
    assert find_weights(str(base), None).source == str(base)


def test_a_network_without_published_weights_is_found_by_its_name(tmp_path: Path) -> None:
    touch(tmp_path, ["simpleclick_xtiny448.pth"])
    source = find_weights("simpleclick_xtiny448", tmp_path).source
    assert source.endswith("simpleclick_xtiny448.pth")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError) as caught:
        find_weights("sam_vit_b", tmp_path)
    assert str(caught.value) == (
        f"weights missing: no sam_vit_b_01ec64.pth in {tmp_path}; "
        "histosam models --download sam_vit_b"
    )
    with pytest.raises(MissingWeightsError, match=r"get .*HRNet32.* from https://drive\.google"):
        find_weights("focalclick_h32_s2", None)
    with pytest.raises(MissingWeightsError, match="--weights"):
        find_weights("simpleclick_xtiny448", None)


def test_weights_of_another_family_never_fill_a_row(tmp_path: Path, base: Path) -> None:
    # RITM's network in a file by FocalClick's name.
    file = tmp_path / MODELS["focalclick_h32_s2"].file_name
    torch.save({"state_dict": network("ritm_h18s").state_dict(), "config": {}}, file)
    by_name = find_weights("focalclick_h32_s2", tmp_path)
    with pytest.raises(CheckpointError, match="holds ritm_hrnet18s_itm, but focalclick_hrnet32"):
        load_weights(by_name, "cpu", family="focalclick")
    assert load_weights(find_weights(str(file), None), "cpu", family="ritm")
    with pytest.raises(CheckpointError, match="of the family ritm, not focalclick"):
        load_weights(find_weights(str(file), None), "cpu", family="focalclick")
    with pytest.raises(CheckpointError, match=r"of the family sam, not ritm.*--model sam="):
        load_weights(find_weights(str(base), None), "cpu", family="ritm")
