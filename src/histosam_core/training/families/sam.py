"""How models of SAM's line learn: by a scenario, from embeddings that are kept where they may.

A step does not depend on how a batch is divided over processes and passes: losses are summed and
divided by the whole batch, click lists are padded to the longest one anywhere, and each sample has
its own source of clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from histosam_core.errors import ConfigError, OutOfMemoryError
from histosam_core.model.device import naming_a_full_memory
from histosam_core.model.sam.interactive import to_image_size, to_mask_input
from histosam_core.training.families.learner import click_on_errors
from histosam_core.training.families.sam_embeddings import PatchEncoder, open_caches
from histosam_core.training.families.sam_parts import (
    part_of,
    prepare_for_training,
    set_training_mode,
)
from histosam_core.training.losses import batch_iou, normalized_focal_loss
from histosam_core.training.prompts import pack_clicks
from histosam_core.training.recipes import SCENARIOS
from histosam_core.training.samples import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from histosam_core.clicks import Click
    from histosam_core.model.sam.embedding import ImageEmbedding
    from histosam_core.model.sam.interactive import SamModel
    from histosam_core.training.compute import Compute, StepMeans
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.run_log import RunLog
    from histosam_core.training.samples import Example, TrainingPatch


@dataclass(slots=True)
class Prompted:
    """A batch with its prompts."""

    batch: Sequence[Example]  # this process's share
    embeddings: Tensor  # (B, C, h, w) that errors were judged by, without gradient
    # The same with gradient, where the encoder learns and takes the batch in one pass.
    encoded: Tensor | None
    # From `pack_clicks`.
    points_xy: Tensor
    labels: Tensor
    mask_input: Tensor | None  # (B, 1, 4h, 4w) made of the last answer; None where there was none


class SamLearner:
    """Trains a model by a scenario; a `Learner`.

    All patches are of one size; `n_validated` of the validation patches are used. The log gets a
    report of every patch that a frozen image encoder encodes, and may raise to stop.
    """

    settings: Mapping[str, Any] = {}

    def __init__(
        self,
        config: TrainConfig,
        model: SamModel,
        train_patches: Sequence[TrainingPatch],
        validation_patches: Sequence[TrainingPatch],
        n_validated: int,
        compute: Compute,
        log: RunLog,
    ) -> None:
        scenario = SCENARIOS[config.scenario]
        if config.keep_base and scenario.decoder not in model.info.decoders:
            raise ConfigError(
                f"keep_base is {config.keep_base:g}, but {model.info.name} has no "
                f"{scenario.decoder} decoder to keep a share of; set keep_base to 0"
            )
        self.model, self.network = model, model.network
        self._config, self._scenario, self._compute = config, scenario, compute
        self.names = prepare_for_training(self.network, scenario)
        others = self.network.state_dict().keys() - dict(self.network.named_parameters()).keys()
        self.buffers = sorted(name for name in others if part_of(name) in scenario.trained)
        variants = config.augment_variants if scenario.freezes_encoder else 0
        self.examples = Examples(
            train_patches, config, variants=variants, share=compute.processes.share
        )
        caches = None
        if scenario.freezes_encoder:
            caches = open_caches(
                config, self.network, self.examples, validation_patches, n_validated
            )
            self.examples.find_kept = caches[0].get
        self.encoder = PatchEncoder(self.network, caches, config, compute, log)

    def share_of(self, name: str) -> float:
        """Share of the learning rate that a parameter gets."""
        return self._config.encoder_lr_factor if part_of(name) == "image_encoder" else 1.0

    def prompt(self, batch: Sequence[Example], n_clicks: int) -> Prompted:
        """Click on the network's errors, on patches of one size; see `Learner.prompt`."""
        patch_hw, *others = {example.gt_mask.shape for example in batch}
        if others:
            raise ConfigError("all patches of a run must be of one size; prepare them again")
        clicks = [list(example.clicks) for example in batch]
        embeddings, encoded = self._embed(batch)
        self.network.eval()
        mask_input = self._click_on_errors(batch, embeddings, clicks, n_clicks)
        points_xy, labels = self._pack(clicks, patch_hw)
        return Prompted(batch, embeddings, encoded, points_xy, labels, mask_input)

    def take_gradient(
        self, prompted: Prompted, n_in_all: int, backward: Callable[[Tensor], None]
    ) -> StepMeans:
        """Let the network answer once more and take the gradient; see `Learner.take_gradient`."""
        network, batch, config = self.network, prompted.batch, self._config
        gt_masks = np.stack([example.gt_mask for example in batch])
        target = torch.from_numpy(gt_masks)[:, None].to(network.device)
        set_training_mode(network, self._scenario)

        def pass_through(part: slice) -> Tensor:
            features = self._with_gradient(prompted, part)
            mask_input = None if prompted.mask_input is None else prompted.mask_input[part]
            with self._compute.autocast():
                low_res, quality = network.decode(
                    features, prompted.points_xy[part], prompted.labels[part], mask_input
                )
            logits = to_image_size(network, low_res.float(), gt_masks.shape[1:])
            overlap = batch_iou(logits, target[part])
            losses = normalized_focal_loss(
                logits,
                target[part],
                alpha=config.focal_alpha,
                gamma=config.focal_gamma,
                reduction="none",
            )
            if config.quality_weight:
                losses = losses + config.quality_weight * (quality[:, 0].float() - overlap) ** 2
            loss = losses.sum() / n_in_all
            backward(loss)
            return torch.stack((loss.detach(), overlap.sum() / n_in_all))

        def forget_encoded() -> None:
            prompted.encoded = None  # its gradient can be taken only once

        if self._compute.micro_batches.size < len(batch):
            forget_encoded()
        parameters = map(network.get_parameter, self.names)
        means = self._compute.take_gradient(
            parameters, len(batch), pass_through, restart=forget_encoded
        )
        forget_encoded()
        return means

    def embed_whole(
        self, patches: Sequence[TrainingPatch], index: int
    ) -> tuple[ImageEmbedding, NDArray[np.int8]]:
        """Embedding and (H, W) int8 mask of one validation patch, not augmented."""
        return self.encoder.embed_whole(patches, index)

    @torch.no_grad()
    def _click_on_errors(
        self,
        batch: Sequence[Example],
        embeddings: Tensor,
        clicks: list[list[Click]],
        n_clicks: int,
    ) -> Tensor | None:
        """Let the network answer, and `clicks` grow; return the mask input of the last answer.

        As RITM trains: each answer goes back in, by way of the patch's size, as in use.
        """
        patch_hw = batch[0].gt_mask.shape
        mask_input: Tensor | None = None

        def answer(part: slice) -> Tensor:
            before = None if mask_input is None else mask_input[part]
            low_res, _quality = self.network.decode(
                embeddings[part], points_xy[part], labels[part], before
            )
            return to_image_size(self.network, low_res.float(), patch_hw)

        with self._compute.autocast():
            for _ in range(n_clicks):
                points_xy, labels = self._pack(clicks, patch_hw)
                logits = click_on_errors(self._compute, batch, clicks, answer)
                mask_input = to_mask_input(self.network, logits)
        return mask_input

    def _pack(self, clicks: list[list[Click]], patch_hw: Any) -> tuple[Tensor, Tensor]:
        """Pack clicks, padded to the longest list in all processes."""
        (width,) = self._compute.processes.largest([max(1, *map(len, clicks))])
        return pack_clicks(clicks, patch_hw, self.network, int(width))

    def _embed(self, batch: Sequence[Example]) -> tuple[Tensor, Tensor | None]:
        """(B, C, h, w) without gradient; and with it, where the encoder learns in one pass."""
        if self.encoder.frozen:
            return self.encoder.embed(batch), None
        micro_batches = self._compute.micro_batches
        set_training_mode(self.network, self._scenario)
        images = [example.image for example in batch]
        if len(batch) <= micro_batches.size:
            try:
                with naming_a_full_memory(self.network.device):
                    encoded = self.encoder.encode(images)
                return encoded.detach(), encoded
            except OutOfMemoryError:
                if len(batch) == 1:
                    raise
            micro_batches.halve(len(batch))

        def encode(part: slice) -> Tensor:
            with torch.no_grad():
                return self.encoder.encode(images[part])

        return torch.cat(micro_batches.run(len(batch), encode)), None

    def _with_gradient(self, prompted: Prompted, part: slice) -> Tensor:
        if self.encoder.frozen:
            return prompted.embeddings[part]
        if prompted.encoded is not None:
            return prompted.encoded[part]
        # What errors were judged by has no gradient: the price of passes is a second encoding.
        return self.encoder.encode([example.image for example in prompted.batch[part]])
