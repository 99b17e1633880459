"""What differs between families of models in a run: how they learn a step and are clicked on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from histosam_core.errors import ConfigError
from histosam_core.training.recipes import recipe_of_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from histosam_core.model.interface import InteractiveModel
    from histosam_core.training.compute import StepMeans
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.samples import Example, Examples, TrainingPatch

__all__ = ["Learner", "check_family"]


class Learner(Protocol):
    """A model that learns.

    Attributes
    ----------
    model, network : InteractiveModel, nn.Module
        The model answers clicks with the network as it is; the network learns.
    names, buffers : list of str
        Parameters that learn, as the network's state dict has them, and what else changes in it
        meanwhile, such as running means.
    examples : Examples
        The training patches, epoch by epoch.
    settings : mapping
        What a checkpoint must say of how the network is used, beyond what the start said.
    """

    model: Any
    network: Any
    names: list[str]
    buffers: list[str]
    examples: Examples
    settings: Mapping[str, Any]

    def share_of(self, name: str) -> float:
        """Share of the learning rate that a parameter gets."""

    def prompt(self, batch: Sequence[Example], n_clicks: int) -> Any:
        """Click `n_clicks` times on the errors that the network makes on a batch, without gradient.

        Parameters
        ----------
        batch
            This process's share.
        n_clicks
            The same in all processes.

        Returns
        -------
        Any
            The batch with its prompts, as `take_gradient` takes it.
        """

    def take_gradient(
        self, prompted: Any, n_in_all: int, backward: Callable[[Tensor], None]
    ) -> StepMeans:
        """Leave the gradient of a batch's mean loss in the parameters that learn.

        Parameters
        ----------
        prompted
            From `prompt`; used up.
        n_in_all
            Patches in the batch over all processes.
        backward
            Adds the gradient of a loss to the parameters'.

        Raises
        ------
        OutOfMemoryError
            The memory does not suffice for the fewest patches that can be trained on.
        """

    def embed_whole(
        self, patches: Sequence[TrainingPatch], index: int
    ) -> tuple[Any, NDArray[np.int8]]:
        """What the model's `decode` takes, and (H, W) int8 mask, of one patch, not augmented."""


def check_family(model: InteractiveModel, config: TrainConfig) -> None:
    """Raise ConfigError unless a model is of the family that the settings are for."""
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
            f"of {wanted.title}'s; set model to one of {found.title}'s"
        )
