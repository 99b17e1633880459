"""SimpleClick's networks (Liu et al. 2023): a plain ViT that takes clicks and the previous mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.nn import functional

from histosam_core.errors import UnknownModelError
from histosam_core.model.simpleclick.plain_vit import PatchEmbedding, PlainViT
from histosam_core.model.simpleclick.pyramid import PyramidHead, SimplePyramid
from histosam_core.model.specialists.click_network import ClickNetwork, normalised

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SIMPLECLICK_VARIANTS", "SimpleClickNetwork", "SimpleClickVariant", "build_simpleclick"]


@dataclass(frozen=True, slots=True)
class SimpleClickVariant:
    """The numbers that tell one network from another.

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

    dim: int
    depth: int
    heads: int
    widths: tuple[int, int, int, int]
    channels: int = 256
    patch_px: int = 16


SIMPLECLICK_VARIANTS = {
    "xtiny448": SimpleClickVariant(160, 8, 4, (96, 192, 288, 384), channels=128),
    "vitb448": SimpleClickVariant(768, 12, 12, (128, 256, 512, 1024)),
    "vitl448": SimpleClickVariant(1024, 24, 16, (192, 384, 768, 1536)),
    "vith448": SimpleClickVariant(1280, 32, 16, (240, 480, 960, 1920), patch_px=14),
}


class SimpleClickNetwork(ClickNetwork):
    """A plain ViT to whose image tokens those of the clicks and the previous answer are added.

    `prepare` keeps the tokens of the image with their positions, (B, h, w, C): the maps enter
    before the first block, so all that follows depends on them.

    Parameters
    ----------
    variant
        Its size.
    """

    def __init__(self, variant: SimpleClickVariant) -> None:
        super().__init__()
        self.patch_embed_coords = PatchEmbedding(variant.dim, variant.patch_px)
        self.backbone = PlainViT(
            variant.dim, variant.depth, variant.heads, patch_px=variant.patch_px
        )
        self.neck = SimplePyramid(variant.dim, variant.widths)
        self.head = PyramidHead(variant.widths, variant.channels)

    def prepare(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 -> the image's tokens with their positions."""
        return self.backbone.embed(normalised(image))

    def answer(self, prepared: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """Answer clicks on a prepared image.

        Parameters
        ----------
        prepared, maps
            As for `ClickNetwork.answer`.

        Returns
        -------
        dict of str to Tensor
            ``instances``: (B, 1, H, W) logits.

        Raises
        ------
        ImageError
            The windows of the ViT do not fit the size; every multiple of 224 px does.
        """
        features = self.backbone(prepared + self.patch_embed_coords(maps))
        logits = functional.interpolate(
            self.head(self.neck(features)), maps.shape[-2:], mode="bilinear", align_corners=True
        )
        return {"instances": logits}


def build_simpleclick(name: str) -> SimpleClickNetwork:
    """Build a network with random weights, in evaluation mode.

    Parameters
    ----------
    name
        "xtiny448", "vitb448", "vitl448" or "vith448", with or without "simpleclick_" before it.

    Raises
    ------
    UnknownModelError
        No variant of that name.
    """
    variant = SIMPLECLICK_VARIANTS.get(name.removeprefix("simpleclick_"))
    if variant is None:
        names = ", ".join(SIMPLECLICK_VARIANTS)
        raise UnknownModelError(f"no SimpleClick network {name!r}; there are {names}")
    return SimpleClickNetwork(variant).eval()
