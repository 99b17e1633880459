"""How models of SAM's line learn: by a scenario, with embeddings that are kept where it may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from histosam_core.errors import ConfigError
from histosam_core.training.embeddings import PatchEncoder, open_caches
from histosam_core.training.examples import Examples
from histosam_core.training.learner import StepMeans, Tools, prompt_settings
from histosam_core.training.parts import part_of, prepare_for_training
from histosam_core.training.step import StepGradients

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from histosam_core.model.sam.embedding import ImageEmbedding
    from histosam_core.model.sam.interactive import SamModel
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.examples import Example, TrainingPatch
    from histosam_core.training.scenarios import Scenario

__all__ = ["SamLearner"]


class SamLearner:
    """Trains `model` by `scenario`; a `Learner`.

    Parameters
    ----------
    config, scenario
        How is trained, and what.
    model
        Its network learns.
    train_patches, validation_patches
        Patches of one size.
    n_validated
        Validation patches that are used.
    tools
        Lent by the run.

    Attributes
    ----------
    names, buffers, examples
        As in `Learner`.
    encoder : PatchEncoder
        Gives the embeddings.
    """

    def __init__(
        self,
        config: TrainConfig,
        scenario: Scenario,
        model: SamModel,
        train_patches: Sequence[TrainingPatch],
        validation_patches: Sequence[TrainingPatch],
        n_validated: int,
        tools: Tools,
    ) -> None:
        if config.keep_base and scenario.decoder not in model.info.decoders:
            raise ConfigError(
                f"keep_base is {config.keep_base:g}, but {model.info.name} has no "
                f"{scenario.decoder} decoder to keep a share of; set keep_base to 0"
            )
        network = model.network
        self.names = prepare_for_training(network, scenario)
        others = network.state_dict().keys() - dict(network.named_parameters()).keys()
        self.buffers = sorted(name for name in others if part_of(name) in scenario.trained)
        self._encoder_share = config.encoder_lr_factor
        self.examples = Examples(
            train_patches,
            batch_size=config.batch_size * config.accumulate_steps,
            max_steps_per_epoch=config.max_steps_per_epoch,
            augmentation=config.augment,
            variants=config.augment_variants if scenario.freezes_encoder else 0,
            prompts=prompt_settings(config),
            seed=config.seed,
            cache=None,
            workers=config.workers,
            share=(tools.processes.rank, tools.processes.count),
        )
        training = validation = None
        if scenario.freezes_encoder:
            training, validation = open_caches(
                config, network, self.examples, validation_patches, n_validated
            )
        self.examples.cache = training if self.examples.variants else None
        self.encoder = PatchEncoder(
            network,
            half=config.half_embeddings,
            cache=training,
            validation_cache=validation,
            precision=tools.precision,
            chunks=tools.chunks,
            on_encode=tools.on_encode,
            notice=tools.notice,
        )
        self._gradients = StepGradients(
            config,
            scenario,
            network,
            self.encoder,
            [network.get_parameter(name) for name in self.names],
            processes=tools.processes,
            chunks=tools.chunks,
            precision=tools.precision,
            scaled=tools.scaled,
        )

    def share_of(self, name: str) -> float:
        """Share of the learning rate that a parameter gets."""
        return self._encoder_share if part_of(name) == "image_encoder" else 1.0

    def make(
        self,
        batch: Sequence[Example],
        *,
        n_in_all: int,
        iterations: int,
        sources: Sequence[np.random.Generator],
    ) -> StepMeans:
        """Take the gradient of a batch; see `StepGradients.make`."""
        return self._gradients.make(
            batch, n_in_all=n_in_all, iterations=iterations, sources=sources
        )

    def embed_whole(
        self, patches: Sequence[TrainingPatch], index: int
    ) -> tuple[ImageEmbedding, NDArray[np.int8]]:
        """Embedding and (H, W) int8 mask of one validation patch, not augmented."""
        return self.encoder.embed_whole(patches, index)
