"""What differs between families of models in a run: how they learn a step and are clicked on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from histosam_core.clicks.sample import sample_next_click
from histosam_core.errors import ConfigError
from histosam_core.training.recipes import recipe_of_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from histosam_core.clicks import Click
    from histosam_core.model.interface import InteractiveModel
    from histosam_core.training.compute import Compute, StepMeans
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.samples import Example, Examples, TrainingPatch


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
        """Click `n_clicks` times on the errors that the network makes, without gradient.

        `batch` is this process's share, `n_clicks` the same in all processes. The batch with its
        prompts comes back, as `take_gradient` takes it.
        """

    def take_gradient(
        self, prompted: Any, n_in_all: int, backward: Callable[[Tensor], None]
    ) -> StepMeans:
        """Leave the gradient of a batch's mean loss in the parameters that learn.

        Uses up what `prompt` gave. The batch has `n_in_all` patches over all processes; `backward`
        adds the gradient of a loss to the parameters'. OutOfMemoryError says that the memory does
        not suffice for the fewest patches that can be trained on.
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


def click_on_errors(
    compute: Compute,
    batch: Sequence[Example],
    clicks: Sequence[list[Click]],
    answer: Callable[[slice], Tensor],
) -> Tensor:
    """Let the network answer a batch in parts; add a click on each sample's errors, if any.

    `answer` gives (n, 1, H, W) logits of a part; those of all of it are returned.
    """
    logits = torch.cat(compute.micro_batches.run(len(batch), answer))
    predicted = torch.sigmoid(logits)[:, 0].float().cpu().numpy()
    for sample, example, probability in zip(clicks, batch, predicted, strict=True):
        click = sample_next_click(example.gt_mask, probability, example.rng)
        if click is not None:
            sample.append(click)
    return logits
