"""What the specialists' networks share: image, previous answer and click disks in, logits out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model.specialists.click_points import disk_maps

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ClickNetwork(nn.Module):
    """A network of RITM's line, in two steps: a second click repeats nothing of the first."""

    click_radius: float = 5.0
    """Of the disks, in pixels of the input."""

    def forward(self, x: Tensor, points: Tensor) -> dict[str, Tensor]:
        """Answer clicks: ``instances``, (B, 1, H, W) logits, and what else the family makes.

        Parameters
        ----------
        x
            (B, 4, H, W) float32: RGB in 0..1, and the previous answer's probability.
        points
            (B, 2N, 3); see `disk_maps`.
        """
        maps = disk_maps(points, (x.shape[-2], x.shape[-1]), self.click_radius)
        return self.answer(self.prepare(x[:, :3]), torch.cat((x[:, 3:], maps), 1))

    @abstractmethod
    def prepare(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 -> all that does not depend on clicks, to be kept."""

    @abstractmethod
    def answer(self, prepared: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """Answer clicks on what `prepare` made; see `forward`.

        `maps` are (B, 3, H, W) float32: previous probability, positive and negative disks.
        """


def normalised(image: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in 0..1 -> the same, normalised with ImageNet's mean and deviation."""
    mean = image.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = image.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return (image - mean) / std


def resized(x: Tensor, size_hw: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), bilinear, corners aligned; the same tensor where it fits."""
    if x.shape[-2:] == tuple(size_hw):
        return x
    return functional.interpolate(x, tuple(size_hw), mode="bilinear", align_corners=True)
