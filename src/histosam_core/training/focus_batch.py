"""What FocalClick's refiner sees of a batch, and the two losses that it adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from histosam_core.training.click_tensors import image_planes, mask_planes, points_in_focus
from histosam_core.training.losses import bce_loss, weighted_normalized_focal_loss

if TYPE_CHECKING:
    from histosam_core.model.focalclick.network import FocalClickNetwork
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.focus import Focus
    from histosam_core.training.processes import Processes

__all__ = ["FocusBatch"]

OUTSIDE_WEIGHT = 0.5
"""What a pixel outside the trimap weighs in the loss of the refined mask; one inside weighs 1."""


class FocusBatch:
    """The parts of a batch's crops that are refined.

    Parameters
    ----------
    looks
        B of them.
    points
        (B, 2N, 3) clicks in pixels of the crops, on the CPU.
    config
        Alpha and gamma of the focal loss.
    network
        Refines.
    processes
        Who else has a part of the batch.
    """

    def __init__(
        self,
        looks: Sequence[Focus],
        points: Tensor,
        config: TrainConfig,
        network: FocalClickNetwork,
        processes: Processes,
    ) -> None:
        self._network = network
        self._alpha, self._gamma = config.focal_alpha, config.focal_gamma
        device = next(network.parameters()).device
        height, width = looks[0].gt_mask.shape
        boxes = np.array([look.box for look in looks], np.float32)
        self._images = image_planes([look.image for look in looks]).to(device)
        self._target = mask_planes([look.gt_mask for look in looks]).to(device)
        self._trimap = mask_planes([look.trimap for look in looks]).to(device)
        self._points = points_in_focus(points, boxes, (height, width)).to(device)
        self._boxes_xyxy = torch.from_numpy(boxes[:, [2, 0, 3, 1]]).to(device)
        self._weight = self._trimap.clamp(min=0) * (1 - OUTSIDE_WEIGHT) + OUTSIDE_WEIGHT
        total = self._weight.sum()[None]
        processes.sum_in_place([total])
        self._total_weight = total[0]

    def losses(self, answer: dict[str, Tensor], part: slice) -> tuple[Tensor, Tensor]:
        """Refine a part of the batch, and take the losses of that.

        Parameters
        ----------
        answer
            The coarse one on the part's crops.
        part
            Which samples.

        Returns
        -------
        of_mask : Tensor
            Scalar: the part's share of the batch's weighted focal loss.
        of_trimap : Tensor
            (B,) cross-entropies.
        """
        boxes = self._boxes_xyxy[part]
        indices = torch.arange(len(boxes), dtype=boxes.dtype, device=boxes.device)
        refined = self._network.refine(
            self._images[part],
            self._points[part],
            answer["feature"],
            answer["instances"],
            torch.cat((indices[:, None], boxes), 1),
        )
        of_mask = weighted_normalized_focal_loss(
            refined["instances_refined"],
            self._target[part],
            self._weight[part],
            alpha=self._alpha,
            gamma=self._gamma,
            total_weight=self._total_weight,
        )
        of_trimap = bce_loss(refined["trimap"], self._trimap[part], over="all", reduction="none")
        return of_mask, of_trimap
