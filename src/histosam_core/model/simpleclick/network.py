"""SimpleClick's networks (Liu et al. 2023): a plain ViT that takes clicks and the previous mask."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from histosam_core.model.simpleclick.plain_vit import PatchEmbedding, PlainViT
from histosam_core.model.simpleclick.pyramid import PyramidHead, SimplePyramid, Widths
from histosam_core.model.specialists.click_network import ClickNetwork, normalised, resized

if TYPE_CHECKING:
    from torch import Tensor


class SimpleClickNetwork(ClickNetwork):
    """A plain ViT to whose image tokens those of the clicks and the previous answer are added.

    `prepare` keeps the tokens of the image with their positions, (B, h, w, C): the maps enter
    before the first block, so all that follows depends on them.

    Parameters
    ----------
    dim, depth, heads
        Width of the ViT, number of blocks, attention heads.
    widths
        Channels of the pyramid's maps at 1/4, 1/8, 1/16 and 1/32.
    channels
        Of the head.
    patch_px
        Side of a patch in pixels.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        widths: Widths,
        *,
        channels: int = 256,
        patch_px: int = 16,
    ) -> None:
        super().__init__()
        self.patch_embed_coords = PatchEmbedding(dim, patch_px)
        self.backbone = PlainViT(dim, depth, heads, patch_px=patch_px)
        self.neck = SimplePyramid(dim, widths)
        self.head = PyramidHead(widths, channels)

    def prepare(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 -> the image's tokens with their positions."""
        return self.backbone.embed(normalised(image))

    def answer(self, prepared: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """``instances``: (B, 1, H, W) logits.

        Raises
        ------
        ImageError
            The windows of the ViT do not fit the size; every multiple of 224 px does.
        """
        features = self.backbone(prepared + self.patch_embed_coords(maps))
        return {"instances": resized(self.head(self.neck(features)), maps.shape[-2:])}


SIMPLECLICK_VARIANTS: dict[str, Callable[[], SimpleClickNetwork]] = {
    "xtiny448": partial(SimpleClickNetwork, 160, 8, 4, (96, 192, 288, 384), channels=128),
    "vitb448": partial(SimpleClickNetwork, 768, 12, 12, (128, 256, 512, 1024)),
    "vitl448": partial(SimpleClickNetwork, 1024, 24, 16, (192, 384, 768, 1536)),
    "vith448": partial(SimpleClickNetwork, 1280, 32, 16, (240, 480, 960, 1920), patch_px=14),
}
"""What builds each network, with random weights."""
