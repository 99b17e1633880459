"""How RITM, FocalClick and SimpleClick learn: all of the network, on crops of the patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from histosam_core.training.click_step import ClickStep
from histosam_core.training.crops import CropSettings
from histosam_core.training.examples import CropExamples
from histosam_core.training.learner import StepMeans, Tools, prompt_settings
from histosam_core.training.rates import share_of

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from histosam_core.model.specialists.click_image import ClickImage
    from histosam_core.model.specialists.click_model import ClickModel
    from histosam_core.model.specialists.click_network import ClickNetwork
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.examples import Example, TrainingPatch

__all__ = ["ClickLearner", "input_settings", "model_in_training"]


class ClickLearner:
    """Trains all of a specialist's network; a `Learner`.

    Parameters
    ----------
    config
        How is trained.
    model
        Clicked on in validation; from `model_in_training`, so that it answers with what is trained.
    network
        What is trained.
    train_patches
        Patches to cut crops from.
    tools
        Lent by the run.

    Attributes
    ----------
    names, buffers, examples
        As in `Learner`.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: ClickModel,
        network: ClickNetwork,
        train_patches: Sequence[TrainingPatch],
        tools: Tools,
    ) -> None:
        self._recipe, self._model = config.recipe, model
        self._encoder_lr_factor, self._layer_decay = config.encoder_lr_factor, config.layer_decay
        network.requires_grad_(True)
        self.names = [name for name, _ in network.named_parameters()]
        self.buffers = sorted(network.state_dict().keys() - set(self.names))
        self._depth = 1 + max(
            (int(n.split(".")[2]) for n in self.names if n.startswith("backbone.blocks.")),
            default=-1,
        )
        size = config.crop_size or (0, 0)
        is_focalclick = self._recipe.name.startswith("focalclick")
        self.examples = CropExamples(
            train_patches,
            crops=CropSettings(size, "window" if is_focalclick else "scaled"),
            with_focus=is_focalclick,
            batch_size=config.batch_size * config.accumulate_steps,
            max_steps_per_epoch=config.max_steps_per_epoch,
            augmentation=config.augment,
            prompts=prompt_settings(config),
            seed=config.seed,
            workers=config.workers,
            share=(tools.processes.rank, tools.processes.count),
        )
        self._step = ClickStep(config, network, tools)

    def share_of(self, name: str) -> float:
        """Share of the learning rate that a parameter gets."""
        return share_of(
            name,
            self._recipe.name,
            encoder_lr_factor=self._encoder_lr_factor,
            layer_decay=self._layer_decay,
            depth=self._depth,
        )

    def make(
        self,
        batch: Sequence[Example],
        *,
        n_in_all: int,
        iterations: int,
        sources: Sequence[np.random.Generator],
    ) -> StepMeans:
        """Take the gradient of a batch; see `ClickStep.make`."""
        return self._step.make(batch, n_in_all=n_in_all, iterations=iterations, sources=sources)

    def embed_whole(
        self, patches: Sequence[TrainingPatch], index: int
    ) -> tuple[ClickImage, NDArray[np.int8]]:
        """Pixels and (H, W) int8 mask of one validation patch, not augmented."""
        patch = patches[index]
        return self._model.encode(patch.image), np.asarray(patch.gt_mask).astype(np.int8)


def model_in_training(
    model: ClickModel, network: ClickNetwork, config: TrainConfig, device: str | torch.device
) -> ClickModel:
    """Return a model that answers as `model` does, with `network` itself rather than a copy of it.

    Where FocalClick or SimpleClick are trained on crops of a size of the user's own, they see that
    size in use too; see `input_settings`.

    Parameters
    ----------
    model
        A RITM, FocalClick or SimpleClick model.
    network
        What is trained.
    config
        Size of the crops.
    device
        Where.
    """
    from histosam_core.model.focalclick.model import FocalClickModel
    from histosam_core.model.ritm.model import RitmModel

    given: dict[str, Any] = {
        "flip": model.flip,
        "max_net_clicks": model.max_net_clicks,
        "device": device,
        "info": model.info,
        "fold": False,
    }
    own = input_settings(config)
    if isinstance(model, FocalClickModel):
        return FocalClickModel(
            network,
            infer_size=own.get("infer_size", model.infer_size),
            focus_ratio=model.focus_ratio,
            zoom_in=model.zoom_in,
            merge_threshold=model.merge_threshold,
            **given,
        )
    if isinstance(model, RitmModel):
        zoom_in = model.zoom_in
        if zoom_in is not None and "zoom_in" in own:
            zoom_in = replace(zoom_in, target_size=tuple(own["zoom_in"]["target_size"]))
        return type(model)(network, zoom_in=zoom_in, **given)
    raise TypeError(f"{type(model).__name__} is none of RITM, FocalClick and SimpleClick")


def input_settings(config: TrainConfig) -> dict[str, Any]:
    """Settings of an interactive model that fit what its network was trained on, as JSON has them.

    Empty where crops are of the family's own size, and for RITM, which takes any.
    """
    size, recipe = config.crop_size, config.recipe
    if size is None or size == recipe.crop_size:
        return {}
    if recipe.name.startswith("focalclick"):
        return {"infer_size": size[0]}
    return {"zoom_in": {"target_size": list(size)}} if recipe.name == "simpleclick" else {}
