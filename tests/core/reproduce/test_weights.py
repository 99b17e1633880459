"""Weights by their official file names, or those at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from histosam_core.model.registry import MODELS
from histosam_core.reproduce.weights import MissingWeightsError, find_weights

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
