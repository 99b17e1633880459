"""The gradient of one step of RITM, FocalClick or SimpleClick: clicks on errors, then the losses.

The network answers without gradient and in evaluation mode, and is clicked on where it errs; then
it answers once more in training mode. Losses are summed over processes and passes and divided by
the whole batch. What the batch norms see is what goes through together: more passes, or more
processes, normalise by fewer patches each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from histosam_core.model.focalclick.network import FocalClickNetwork
from histosam_core.model.specialists.click_disks import disk_maps
from histosam_core.training.click_tensors import image_planes, mask_planes, point_table
from histosam_core.training.focus_batch import FocusBatch
from histosam_core.training.learner import StepMeans
from histosam_core.training.losses import batch_iou, bce_loss, normalized_focal_loss
from histosam_core.training.prompts import click_on_errors

if TYPE_CHECKING:
    import numpy as np

    from histosam_core.clicks import Click
    from histosam_core.model.specialists.click_network import ClickNetwork
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.examples import Example
    from histosam_core.training.learner import Tools

__all__ = ["ClickStep"]


class ClickStep:
    """Leaves the gradient of a batch's mean loss in the parameters.

    Parameters
    ----------
    config
        Focal loss and, by the model's family, the other losses.
    network
        What is trained.
    tools
        Lent by the run.
    """

    def __init__(self, config: TrainConfig, network: ClickNetwork, tools: Tools) -> None:
        self._config, self._recipe = config, config.recipe
        self._network, self._tools = network, tools
        self._device = next(network.parameters()).device

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
            This process's share: crops of one size.
        n_in_all
            Patches in the batch over all processes.
        iterations
            Clicks drawn from the error region; the same in all processes.
        sources
            What each of them is drawn from.

        Raises
        ------
        OutOfMemoryError
            The memory does not suffice for the fewest patches that can be normalised.
        """
        network, tools = self._network, self._tools
        images = image_planes([e.image for e in batch if e.image is not None]).to(self._device)
        clicks = [list(example.clicks) for example in batch]
        network.eval()
        previous = self._click_on_errors(images, batch, clicks, iterations, sources)
        network.train()
        points = point_table(clicks)
        inputs = torch.cat((images, previous), 1)
        target = mask_planes([example.gt_mask for example in batch]).to(self._device)
        focus = self._focus(batch, points)
        points = points.to(self._device)
        norms = {name: value.clone() for name, value in network.named_buffers()}

        def take_gradient(part: slice) -> Tensor:
            with tools.precision():
                answer = network(inputs[part], points[part])
                losses = self._losses(answer, target[part])
                loss = losses.sum() / n_in_all
                if focus is not None:
                    of_mask, of_trimap = focus.losses(answer, part)
                    loss = loss + of_mask + of_trimap.sum() / n_in_all
            tools.scaled(loss).backward()  # type: ignore[no-untyped-call]
            overlap = batch_iou(answer["instances"].float(), target[part])
            return torch.stack((loss.detach(), overlap.sum() / n_in_all))

        def start_again() -> None:
            self._forget_gradients()
            for name, value in network.named_buffers():
                value.copy_(norms[name])

        self._forget_gradients()
        parts = tools.chunks.run(
            len(batch), take_gradient, at_least=self._recipe.least_at_a_time, restart=start_again
        )
        sums = torch.stack(parts).sum(0)
        given = [p.grad for p in network.parameters() if p.grad is not None]
        tools.processes.sum_in_place([*given, sums])
        self._share_norms()
        loss, iou = sums.tolist()
        return StepMeans(loss, iou)

    @torch.no_grad()
    def _click_on_errors(
        self,
        images: Tensor,
        batch: Sequence[Example],
        clicks: list[list[Click]],
        iterations: int,
        sources: Sequence[np.random.Generator],
    ) -> Tensor:
        """Let the network answer and click on its errors; return (B, 1, H, W) probabilities.

        The lists of clicks grow. Without iterations there is no answer, and all is zero.
        """
        network, tools = self._network, self._tools
        size = images.shape[-2:]
        previous = images.new_zeros((len(batch), 1, *size))
        if not iterations:
            return previous
        gt_masks = [example.gt_mask for example in batch]

        def prepare(part: slice) -> Tensor:
            return network.prepare(images[part])

        def answer(part: slice) -> Tensor:
            maps = torch.cat((previous[part], disks[part]), 1)
            return network.answer(prepared[part], maps)["instances"].float()

        with tools.precision():
            prepared = torch.cat(tools.chunks.run(len(batch), prepare))
            for _ in range(iterations):
                points = point_table(clicks).to(self._device)
                disks = disk_maps(points, (size[0], size[1]), network.click_radius)
                logits = torch.cat(tools.chunks.run(len(batch), answer))
                previous = torch.sigmoid(logits)
                click_on_errors(clicks, gt_masks, previous, sources)
        return previous

    def _losses(self, answer: dict[str, Tensor], target: Tensor) -> Tensor:
        """(B,) losses of the answer on the whole crop."""
        config, weight = self._config, self._recipe.auxiliary_weight
        losses = normalized_focal_loss(
            answer["instances"],
            target,
            alpha=config.focal_alpha,
            gamma=config.focal_gamma,
            reduction="none",
        )
        if weight:
            losses = losses + weight * bce_loss(
                answer["instances_aux"], target, over="all", reduction="none"
            )
        return losses

    def _share_norms(self) -> None:
        """Let all processes have the same running means: the mean of theirs."""
        processes = self._tools.processes
        if processes.count == 1:
            return
        running = [one for one in self._network.buffers() if one.is_floating_point()]
        processes.sum_in_place(running)
        for one in running:
            one /= processes.count

    def _focus(self, batch: Sequence[Example], points: Tensor) -> FocusBatch | None:
        looks = [example.focus for example in batch if example.focus is not None]
        if not (looks and isinstance(self._network, FocalClickNetwork)):
            return None
        return FocusBatch(looks, points, self._config, self._network, self._tools.processes)

    def _forget_gradients(self) -> None:
        for parameter in self._network.parameters():
            parameter.grad = None
