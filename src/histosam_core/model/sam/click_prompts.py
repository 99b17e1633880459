"""Dense click prompts: where the clicks are, and where it looks like what was clicked.

A subclass of SAM's prompt encoder that adds to its dense embedding (a) disks at the clicks, as RITM
draws them, and (b) click-similarity maps: the cosine similarity between the image embedding at the
clicks and everywhere else. With `zero_init` it starts exactly as SAM's own prompt encoder.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import PromptEncoder
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from histosam_core.model.specialists.click_points import click_disks

SIMILARITY_MAPS = 5


class DenseClickPromptEncoder(PromptEncoder):  # type: ignore[misc]
    """SAM's prompt encoder plus dense click prompts.

    Parameters
    ----------
    embed_dim, image_embedding_size, input_image_size, mask_in_chans
        As in SAM's prompt encoder.
    similarity_dim
        Channels to which the image embedding is projected before comparing.
    disk_radius
        Radius of the click disks in pixels of the mask input (a quarter of an embedding cell).
    zero_init
        Start as SAM: the dense click prompts add nothing until trained.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int = 16,
        similarity_dim: int = 32,
        disk_radius: float = 3.0,
        zero_init: bool = False,
    ) -> None:
        super().__init__(embed_dim, image_embedding_size, input_image_size, mask_in_chans)
        self.disk_radius = disk_radius
        self.click_similarity_projection = nn.Conv2d(embed_dim, similarity_dim, 1)
        self.click_downscaling = nn.Sequential(
            nn.Conv2d(2, 16, 2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, 32, 2, stride=2),
            nn.GELU(),
        )
        self.click_fusion = nn.Sequential(
            nn.Conv2d(32 + SIMILARITY_MAPS, 64, 3, padding=1),
            LayerNorm2d(64),
            nn.GELU(),
            nn.Conv2d(64, embed_dim, 1),
        )
        if zero_init:
            for parameter in self.click_fusion[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        image_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Embed prompts; shapes as in SAM, `image_embeddings` (B, C, h, w) for the similarity."""
        sparse, dense = super().forward(points, boxes, masks)
        if points is None or image_embeddings is None:
            return sparse, dense
        return sparse, dense + self._click_embedding(points[0], points[1], image_embeddings)

    def _click_embedding(self, points_xy: Tensor, labels: Tensor, image: Tensor) -> Tensor:
        """(B, N, 2) model-input pixels, (B, N), (B, C, h, w) -> (B, C, h, w)."""
        scale = self.mask_input_size[0] / self.input_image_size[0]
        grid_xy = (points_xy + 0.5) * scale - 0.5
        disks = click_disks(grid_xy, labels, self.mask_input_size, self.disk_radius)
        features = functional.normalize(self.click_similarity_projection(image), dim=1)
        relative_xy = (points_xy + 0.5) * (2.0 / self.input_image_size[0]) - 1.0
        similarity = click_similarity(features, relative_xy, labels)
        return self.click_fusion(  # type: ignore[no-any-return]
            torch.cat([self.click_downscaling(disks), similarity.to(image.dtype)], dim=1)
        )


def click_similarity(features: Tensor, relative_xy: Tensor, labels: Tensor) -> Tensor:
    """Cosine similarity of every place to the clicked places.

    Parameters
    ----------
    features
        (B, D, h, w), L2-normalised along D.
    relative_xy
        (B, N, 2) in -1..1 over the image's edges (``align_corners=False``).
    labels
        (B, N): 1 positive, 0 negative, -1 padding.

    Returns
    -------
    Tensor
        (B, 5, h, w) float32: maximum and mean over positive clicks, maximum and mean over negative
        clicks, positive minus negative maximum. A sign without clicks gives zeros.
    """
    batch, _, height, width = features.shape
    if relative_xy.shape[1] == 0:
        return features.new_zeros((batch, SIMILARITY_MAPS, height, width), dtype=torch.float32)
    features = features.float()
    sampled = functional.grid_sample(
        features,
        relative_xy[:, None].float(),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )[:, :, 0]
    sampled = functional.normalize(sampled, dim=1)
    similarity = torch.bmm(sampled.transpose(1, 2), features.flatten(2))
    maps = []
    for sign in (1, 0):
        of_sign = (labels == sign)[..., None]
        count = of_sign.sum(1)
        maximum = similarity.masked_fill(~of_sign, -1.0).amax(1)
        mean = (similarity * of_sign).sum(1) / count.clamp(min=1)
        maps += [torch.where(count > 0, maximum, torch.zeros_like(maximum)), mean]
    maps.append(maps[0] - maps[2])
    return torch.stack(maps, 1).view(batch, SIMILARITY_MAPS, height, width)
