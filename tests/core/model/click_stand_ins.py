"""Networks of a few lines with the interface of RITM's, FocalClick's and SimpleClick's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from histosam_core.model.specialists.click_network import ClickNetwork

__all__ = ["BlobNetwork", "PreparingNetwork", "RefiningNetwork"]


class BlobNetwork(nn.Module):
    """Blobs round the clicks over what the image and the previous answer say. Notes its calls.

    Attributes
    ----------
    inputs, points : list of Tensor
        What it was called with.
    """

    def __init__(self, reach: float = 0.15, bias: float = -1.0) -> None:
        super().__init__()
        self.reach, self.bias = reach, bias
        self.inputs: list[Tensor] = []
        self.points: list[Tensor] = []

    def forward(self, x: Tensor, points: Tensor) -> dict[str, Tensor]:
        self.inputs.append(x.clone())
        self.points.append(points.clone())
        height, width = x.shape[-2:]
        ys = torch.arange(height, dtype=torch.float64)[:, None]
        xs = torch.arange(width, dtype=torch.float64)
        n = points.shape[1] // 2
        logits = self.bias + x[:, :1].double() + 0.5 * x[:, 3:].double()
        for b, table in enumerate(points.double()):
            for i, (y, x0, number) in enumerate(table.tolist()):
                if y < 0 and x0 < 0 and number < 0:
                    continue
                squared = (ys - y) ** 2 + (xs - x0) ** 2
                blob = torch.exp(-squared / (2 * (self.reach * min(height, width)) ** 2))
                logits[b, 0] += 4 * blob if i < n else -4 * blob
        return {"instances": logits.float()}


class RefiningNetwork(BlobNetwork):
    """The same for FocalClick: its refiner moves the coarse answer up where the crop is green.

    Attributes
    ----------
    crops : list of tuple
        Image, points and box of each call of `refine`.
    """

    def __init__(self, reach: float = 0.15, bias: float = -1.0) -> None:
        super().__init__(reach, bias)
        self.crops: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, x: Tensor, points: Tensor) -> dict[str, Tensor]:
        answer = super().forward(x, points)
        return answer | {"feature": nn.functional.avg_pool2d(answer["instances"], 4)}

    def refine(
        self, image: Tensor, points: Tensor, feature: Tensor, logits: Tensor, box: Tensor
    ) -> dict[str, Tensor]:
        self.crops.append((image.clone(), points.clone(), box.clone()))
        coarse = roi_align(logits, box, (image.shape[-2], image.shape[-1]), aligned=True)
        return {"instances_refined": coarse + 4 * (image[:, 1:2] - 0.5)}


class PreparingNetwork(ClickNetwork):
    """A `ClickNetwork` with a batch norm. Counts how often it prepares an image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(7, 1, 3, padding=1)
        self.n_prepared: list[tuple[int, ...]] = []

    def prepare(self, image: Tensor) -> Tensor:
        self.n_prepared.append(tuple(image.shape))
        return self.bn(self.conv(image))

    def answer(self, prepared: Tensor, maps: Tensor) -> dict[str, Tensor]:
        return {"instances": self.head(torch.cat((prepared, maps), 1))}
