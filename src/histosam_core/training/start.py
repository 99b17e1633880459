"""What a run starts from: a model of its own, ready to learn."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from histosam_core.errors import ConfigError
from histosam_core.training.parts import adapt_network, load_base
from histosam_core.training.recipes import recipe_of_weights
from histosam_core.training.scenarios import Scenario, find_scenario

if TYPE_CHECKING:
    from torch import nn

    from histosam_core.model.interface import InteractiveModel
    from histosam_core.model.sam.interactive import SamModel
    from histosam_core.model.specialists.click_model import ClickModel
    from histosam_core.model.specialists.click_network import ClickNetwork
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.examples import TrainingPatch
    from histosam_core.training.learner import Learner, Tools

__all__ = ["Start", "find_start"]


class Start(Protocol):
    """A model to start from.

    Attributes
    ----------
    model : InteractiveModel
        Answers clicks with `network` as it stands.
    network : nn.Module
        Learns.
    """

    @property
    def model(self) -> Any:
        """Answers clicks with the network as it stands."""

    @property
    def network(self) -> Any:
        """Learns."""

    def learner(
        self,
        config: TrainConfig,
        train_patches: Sequence[TrainingPatch],
        validation_patches: Sequence[TrainingPatch],
        n_validated: int,
        tools: Tools,
    ) -> Learner:
        """Return what trains it; arguments as for `SamLearner`."""


@dataclass(frozen=True, slots=True)
class _SamStart:
    """A model of SAM's line, with what the scenario adds."""

    model: SamModel
    scenario: Scenario

    @property
    def network(self) -> nn.Module:
        return self.model.network

    def learner(
        self,
        config: TrainConfig,
        train_patches: Sequence[TrainingPatch],
        validation_patches: Sequence[TrainingPatch],
        n_validated: int,
        tools: Tools,
    ) -> Learner:
        from histosam_core.training.sam_learner import SamLearner

        return SamLearner(
            config,
            self.scenario,
            self.model,
            train_patches,
            validation_patches,
            n_validated,
            tools,
        )


@dataclass(frozen=True, slots=True)
class _SpecialistStart:
    """A model of RITM's, FocalClick's or SimpleClick's."""

    model: ClickModel
    network: ClickNetwork

    def learner(
        self,
        config: TrainConfig,
        train_patches: Sequence[TrainingPatch],
        validation_patches: Sequence[TrainingPatch],
        n_validated: int,
        tools: Tools,
    ) -> Learner:
        from histosam_core.training.click_learner import ClickLearner

        return ClickLearner(config, self.model, self.network, train_patches, tools)


def find_start(config: TrainConfig, model: InteractiveModel | None, device: str) -> Start:
    """Load or copy the model that a run starts from.

    Parameters
    ----------
    config
        Names the model, unless it is given.
    model
        It is copied, not changed.
    device
        Where the run computes.

    Raises
    ------
    ConfigError
        `model` cannot be trained, or not in the way that `config` says.
    """
    if config.recipe.is_specialist:
        return _specialist(config, model, device)
    scenario, early = find_scenario(config.scenario), config.early_features
    if model is None:
        base = load_base(config.model, device, scenario, early_features=early)
        _check_family(base, config)
        return _SamStart(base, scenario)

    from histosam_core.model.device import pick_device
    from histosam_core.model.sam.interactive import SamModel

    _check_family(model, config)
    given: Any = model
    network = adapt_network(copy.deepcopy(given.network), scenario, early_features=early)
    return _SamStart(SamModel(network, given.info, pick_device(device)), scenario)


def _specialist(config: TrainConfig, model: InteractiveModel | None, device: str) -> Start:
    from histosam_core.model.load import load_model
    from histosam_core.training.click_learner import model_in_training

    base: Any = load_model(config.model, device) if model is None else model
    _check_family(base, config)
    network = base.network if model is None else copy.deepcopy(base.network)
    return _SpecialistStart(model_in_training(base, network, config, device), network)


def _check_family(model: InteractiveModel, config: TrainConfig) -> None:
    """Make sure that a model is of the family that the settings are for."""
    network: Any = getattr(model, "network", None)
    names: list[str] = list(network.state_dict()) if hasattr(network, "state_dict") else []
    if not names:
        raise ConfigError(
            f"{model.info.name} cannot be fine-tuned: it is no model of SAM's line, of RITM, "
            "FocalClick or SimpleClick"
        )
    found, wanted = recipe_of_weights("\n".join(names)), config.recipe
    if found != wanted:
        raise ConfigError(
            f"the model given is of {found.title}'s line, but the settings are for {config.model}, "
            f"of {wanted.title}'s; let the setting model name one of {found.title}'s"
        )
