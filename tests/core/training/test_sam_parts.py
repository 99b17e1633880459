"""Scenarios applied to networks: what trains, what is added, what is refused."""

from __future__ import annotations

import pytest
import torch

from histosam_core.errors import CheckpointError
from histosam_core.model.sam.network import SamNetwork, build_network
from histosam_core.training.families.sam_parts import (
    adapt_network,
    part_of,
    prepare_for_training,
    set_training_mode,
)
from histosam_core.training.recipes import SCENARIOS

PAPER = {
    "md": ({"mask_decoder"}, "sam"),
    "ie_md": ({"image_encoder", "mask_decoder"}, "sam"),
    "whole": ({"image_encoder", "prompt_encoder", "dense_prompts", "mask_decoder"}, "sam"),
    "refining": ({"mask_decoder"}, "refining"),
    "histosam": ({"mask_decoder", "dense_prompts"}, "refining"),
}


def _tiny(decoder: str) -> SamNetwork:
    return build_network("histosam_tiny", decoder=decoder, image_size=32)  # type: ignore[arg-type]


def test_the_table_is_the_papers() -> None:
    assert {n: (set(s.trained), s.decoder) for n, s in SCENARIOS.items()} == PAPER
    assert {n for n, s in SCENARIOS.items() if s.freezes_encoder} == {"md", "refining", "histosam"}
    for scenario in SCENARIOS.values():
        assert scenario.explanation
        assert "\n" not in scenario.explanation


@pytest.mark.parametrize("name", SCENARIOS)
def test_exactly_the_named_parts_learn(name: str) -> None:
    scenario = SCENARIOS[name]
    network = _tiny(scenario.decoder)
    trained = set(prepare_for_training(network, scenario))
    parts = {part_of(name) for name, _ in network.named_parameters()}
    assert parts == {"image_encoder", "prompt_encoder", "dense_prompts", "mask_decoder"}
    for parameter_name, parameter in network.named_parameters():
        assert parameter.requires_grad == (part_of(parameter_name) in PAPER[name][0])
        assert (parameter_name in trained) == parameter.requires_grad


@pytest.mark.parametrize("name", SCENARIOS)
def test_frozen_parts_are_in_evaluation_mode(name: str) -> None:
    network = _tiny(SCENARIOS[name].decoder)
    set_training_mode(network, SCENARIOS[name])
    trained = PAPER[name][0]
    assert network.image_encoder.training == ("image_encoder" in trained)
    assert network.mask_decoder.training
    assert network.prompt_encoder.mask_downscaling.training == ("prompt_encoder" in trained)
    assert network.prompt_encoder.click_fusion.training == ("dense_prompts" in trained)


def test_md_and_refining_differ_in_the_decoder_alone_on_the_tiny_model() -> None:
    refining = _tiny("refining")
    names = {n for n, _ in refining.named_parameters() if not n.startswith("mask_decoder.")}
    assert names == {
        n for n, _ in _tiny("sam").named_parameters() if not n.startswith("mask_decoder.")
    }


def test_a_network_that_fits_is_taken_as_it_is() -> None:
    network = _tiny("refining")
    assert adapt_network(network, SCENARIOS["refining"]) is network
    assert adapt_network(network, SCENARIOS["histosam"], early_features=False) is network


def test_histosam_hands_early_features_to_a_decoder_without_them() -> None:
    network = _tiny("refining")
    adapted = adapt_network(network, SCENARIOS["histosam"])
    assert (network.early_features, adapted.early_features) == (False, True)
    old, new = network.state_dict(), adapted.state_dict()
    assert all(torch.equal(old[key], new[key]) for key in old)
    # And where they are, every scenario keeps them.
    assert adapt_network(adapted, SCENARIOS["refining"]) is adapted
    with pytest.raises(CheckpointError, match="cannot do without"):
        adapt_network(adapted, SCENARIOS["refining"], early_features=False)


def test_the_choice_of_early_features_is_the_settings_then_the_scenarios() -> None:
    refining, histosam = SCENARIOS["refining"], SCENARIOS["histosam"]
    assert [refining.early_features(choice) for choice in (None, True, False)] == [
        None, True, False,
    ]  # fmt: skip
    assert [histosam.early_features(choice) for choice in (None, True, False)] == [
        True, True, False,
    ]  # fmt: skip


def test_a_new_decoder_keeps_all_weights_it_shares_with_the_old() -> None:
    network = _tiny("sam")
    adapted = adapt_network(network, SCENARIOS["refining"])
    assert adapted.decoder == "refining"
    assert adapted.image_size == network.image_size
    old, new = network.state_dict(), adapted.state_dict()
    shared = old.keys() & new.keys()
    assert all(torch.equal(old[key], new[key]) for key in shared)
    assert all(key.startswith("mask_decoder.refine_") for key in new.keys() - old.keys())


def test_sams_decoder_cannot_come_from_a_refining_checkpoint() -> None:
    with pytest.raises(CheckpointError, match="refining"):
        adapt_network(_tiny("refining"), SCENARIOS["md"])


def test_a_parameter_of_no_part_is_an_error() -> None:
    with pytest.raises(ValueError, match="no part"):
        part_of("head.weight")
