"""Applies a scenario to a network: builds what it adds, freezes what it does not train."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from histosam_core.errors import ConfigError
from histosam_core.model.device import pick_device
from histosam_core.model.load import load_model
from histosam_core.model.sam.interactive import SamModel
from histosam_core.model.sam.start import start_network
from histosam_core.training.families.learner import check_family
from histosam_core.training.recipes import SCENARIOS

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel
    from histosam_core.model.sam.network import SamNetwork
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.recipes import Part, Scenario

DENSE_PROMPTS = "click_"
"""What names of the prompt encoder's dense click modules start with; the rest of it is SAM's."""


def part_of(parameter_name: str) -> Part:
    """Part that a parameter of `SamNetwork` belongs to, by its name in the state dict."""
    if parameter_name.startswith(f"prompt_encoder.{DENSE_PROMPTS}"):
        return "dense_prompts"
    for part in ("image_encoder", "prompt_encoder", "mask_decoder"):
        if parameter_name.startswith(f"{part}."):
            return part
    raise ValueError(f"parameter {parameter_name} belongs to no part of a SamNetwork")


def starting_model(config: TrainConfig, model: InteractiveModel | None, device: str) -> SamModel:
    """Load the model that a run starts from, or copy the one given, with what the scenario adds."""
    scenario, early = SCENARIOS[config.scenario], config.early_features
    if model is None:
        base = load_base(config.model, device, scenario, early_features=early)
        check_family(base, config)
        return base
    check_family(model, config)
    given: Any = model
    network = adapt_network(copy.deepcopy(given.network), scenario, early_features=early)
    return SamModel(network, given.info, pick_device(device))


def load_base(
    name_or_path: str, device: str, scenario: Scenario, *, early_features: bool | None = None
) -> SamModel:
    """Load a model with what a scenario adds; see `load_model` and `TrainConfig`."""
    model = load_model(
        name_or_path,
        device,
        decoder=scenario.decoder,
        dense_prompts=scenario.adds_dense_prompts or None,
        early_features=scenario.early_features(early_features),
    )
    if not isinstance(model, SamModel):
        raise ConfigError(
            f"{name_or_path} has none of SAM's decoders; scenario {scenario.name!r} trains those"
        )
    return model


def adapt_network(
    network: SamNetwork, scenario: Scenario, *, early_features: bool | None = None
) -> SamNetwork:
    """Return a network with the scenario's decoder and prompts and `network`'s weights.

    What the scenario adds starts fresh, from torch's global random state: the refining layers at
    random, dense click prompts and early features without effect. `network` itself is returned
    when it fits.

    CheckpointError says that `network` cannot give the decoder, SAM's where a checkpoint has the
    refining one only, or has early features and is to go without.
    """
    dense_prompts = network.dense_prompts or scenario.adds_dense_prompts
    early = scenario.early_features(early_features)
    if early is None:
        early = network.early_features and scenario.decoder == "refining"
    as_it_is = network.decoder, network.dense_prompts, network.early_features
    if as_it_is == (scenario.decoder, dense_prompts, early):
        return network
    adapted, _fresh = start_network(
        network.architecture,
        network.state_dict(),
        decoder=scenario.decoder,
        dense_prompts=dense_prompts,
        early_features=early,
        image_size=network.image_size,
    )
    adapted.pixel_mean.copy_(network.pixel_mean)
    adapted.pixel_std.copy_(network.pixel_std)
    return adapted.to(network.device)


def prepare_for_training(network: SamNetwork, scenario: Scenario) -> list[str]:
    """Let exactly the scenario's parts learn; return the names of their parameters."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(part_of(name) in scenario.trained)
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def set_training_mode(network: SamNetwork, scenario: Scenario) -> None:
    """Training mode for the parts that learn, evaluation mode for the frozen ones."""
    network.eval()
    for part in ("image_encoder", "prompt_encoder", "mask_decoder"):
        if part in scenario.trained:
            network.get_submodule(part).train()
    for name, module in network.prompt_encoder.named_children():
        if name.startswith(DENSE_PROMPTS):
            module.train("dense_prompts" in scenario.trained)
