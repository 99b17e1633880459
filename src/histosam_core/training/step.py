"""The gradient of one step: embeddings, clicks on the model's own errors, the loss, all processes.

The result does not depend on how a batch is divided over processes and passes: losses are summed
and divided by the whole batch, click lists are padded to the longest one anywhere, and each sample
has its own source of clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from histosam_core.errors import ConfigError, OutOfMemoryError
from histosam_core.model.device import naming_a_full_memory
from histosam_core.model.sam.interactive import to_image_size
from histosam_core.training.learner import StepMeans
from histosam_core.training.losses import batch_iou, normalized_focal_loss
from histosam_core.training.parts import set_training_mode
from histosam_core.training.prompts import add_error_clicks, pack_clicks

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from histosam_core.model.sam.network import SamNetwork
    from histosam_core.training.chunks import Chunks
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.embeddings import PatchEncoder
    from histosam_core.training.examples import Example
    from histosam_core.training.processes import Processes
    from histosam_core.training.scenarios import Scenario

__all__ = ["StepGradients", "StepMeans"]


class StepGradients:
    """Leaves the gradient of a batch's mean loss in the parameters that learn.

    Parameters
    ----------
    config, scenario
        How is trained, and what.
    network, encoder
        What is trained, and what gives embeddings.
    parameters
        Those that learn.
    processes, chunks
        Who trains together, and how much fits into memory at a time.
    precision
        Makes the context in which the network computes.
    scaled
        What the loss is multiplied by before its gradient is taken (half precision); or itself.
    """

    def __init__(
        self,
        config: TrainConfig,
        scenario: Scenario,
        network: SamNetwork,
        encoder: PatchEncoder,
        parameters: Sequence[Tensor],
        *,
        processes: Processes,
        chunks: Chunks,
        precision: Callable[[], AbstractContextManager[Any]],
        scaled: Callable[[Tensor], Tensor],
    ) -> None:
        self._config, self._scenario = config, scenario
        self._network, self._encoder, self._parameters = network, encoder, parameters
        self._processes, self._chunks = processes, chunks
        self._precision, self._scaled = precision, scaled
        self._whole: Tensor | None = None

    def make(
        self,
        batch: Sequence[Example],
        *,
        n_in_all: int,
        iterations: int,
        sources: Sequence[np.random.Generator],
    ) -> StepMeans:
        """Take the gradient of a batch.

        Parameters
        ----------
        batch
            This process's share.
        n_in_all
            Patches in the batch over all processes.
        iterations
            Clicks drawn from the error region; the same in all processes.
        sources
            What each of them is drawn from.

        Raises
        ------
        ConfigError
            The patches differ in size.
        OutOfMemoryError
            The memory does not suffice for a single patch.
        """
        network, processes = self._network, self._processes
        gt_masks = [example.gt_mask for example in batch]
        if len({mask.shape for mask in gt_masks}) > 1:
            raise ConfigError("all patches of a run must be of one size; prepare them again")
        patch_hw = (gt_masks[0].shape[0], gt_masks[0].shape[1])

        def agree(width: int) -> int:
            return int(processes.largest([width])[0])

        embeddings = self._embeddings(batch)
        network.eval()
        with self._precision():
            clicks, previous = add_error_clicks(
                network,
                embeddings,
                gt_masks,
                [e.clicks for e in batch],
                iterations,
                sources,
                in_parts=self._chunks.run,
                agree=agree,
            )
        set_training_mode(network, self._scenario)
        points_xy, labels = pack_clicks(
            clicks, patch_hw, network, agree(max(len(sample) for sample in clicks))
        )
        target = torch.from_numpy(np.stack(gt_masks))[:, None].to(network.device)

        def take_gradient(part: slice) -> Tensor:
            features = self._with_gradient(batch, embeddings, part)
            with self._precision():
                low_res, quality = network.decode(
                    features,
                    points_xy[part],
                    labels[part],
                    None if previous is None else previous[part],
                )
            logits = to_image_size(network, low_res.float(), patch_hw)
            losses, overlap = self._losses(logits, quality, target[part])
            loss = losses.sum() / n_in_all
            self._scaled(loss).backward()  # type: ignore[no-untyped-call]
            return torch.stack((loss.detach(), overlap.sum() / n_in_all))

        if self._chunks.size < len(batch):
            self._whole = None  # its gradient could be taken only once
        self._forget_gradients()
        parts = self._chunks.run(len(batch), take_gradient, restart=self._start_again)
        self._whole = None
        sums = torch.stack(parts).sum(0)
        given = [p.grad for p in self._parameters if p.grad is not None]
        processes.sum_in_place([*given, sums])
        loss, iou = sums.tolist()
        return StepMeans(loss, iou)

    def _losses(self, logits: Tensor, quality: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) losses, and the (B,) IoUs; no gradient through the latter."""
        config = self._config
        overlap = batch_iou(logits, target)
        losses = normalized_focal_loss(
            logits, target, alpha=config.focal_alpha, gamma=config.focal_gamma, reduction="none"
        )
        if config.quality_weight:
            losses = losses + config.quality_weight * (quality[:, 0].float() - overlap) ** 2
        return losses, overlap

    def _embeddings(self, batch: Sequence[Example]) -> Tensor:
        """(B, C, h, w), what errors are judged by; one that can be trained through is kept."""
        if self._encoder.frozen:
            return self._encoder.embed(batch)
        set_training_mode(self._network, self._scenario)
        images = [example.image for example in batch]
        if len(batch) <= self._chunks.size:
            try:
                with naming_a_full_memory(self._network.device):
                    self._whole = self._encoder.encode(images)
                return self._whole.detach()
            except OutOfMemoryError:
                if len(batch) == 1:
                    raise
            self._chunks.halve(len(batch))

        def encode(part: slice) -> Tensor:
            with torch.no_grad():
                return self._encoder.encode(images[part])

        return torch.cat(self._chunks.run(len(batch), encode))

    def _with_gradient(self, batch: Sequence[Example], embeddings: Tensor, part: slice) -> Tensor:
        if self._encoder.frozen:
            return embeddings[part]
        if self._whole is not None:
            return self._whole[part]
        # What errors were judged by has no gradient: the price of passes is a second encoding.
        return self._encoder.encode([example.image for example in batch[part]])

    def _start_again(self) -> None:
        self._whole = None
        self._forget_gradients()

    def _forget_gradients(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None
