"""FocalClick's networks (Chen et al. 2022): a coarse network and its refiner, six of them.

In the S1 variants the coarse network sees its input at half its size, in S2 as it is. Encoders are
SegFormer B0 and B3, and HRNet with OCR as RITM has it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from histosam_core.model.focalclick.refiner import Refiner
from histosam_core.model.focalclick.segformer import MIX_TRANSFORMERS, MixTransformer
from histosam_core.model.focalclick.segformer_head import SegFormerHead
from histosam_core.model.ritm.network import MapsTransform, initialise
from histosam_core.model.ritm.ocr import HrNetOcr
from histosam_core.model.specialists.click_network import ClickNetwork, normalised, resized
from histosam_core.model.specialists.click_points import disk_maps

REFINER_RADIUS = 5.0
"""Of click disks in the crop to refine, in its pixels."""


class FocalClickNetwork(ClickNetwork):
    """A coarse network that answers on the whole input, and a refiner for a crop of it.

    Parameters
    ----------
    halves_input
        Whether the coarse network sees its input at half its size (S1).
    click_radius
        Of click disks, drawn at the input's full size.
    """

    refiner: Refiner

    def __init__(self, *, halves_input: bool, click_radius: float) -> None:
        super().__init__()
        self.halves_input = halves_input
        self.click_radius = click_radius

    def prepare(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 -> (B, K, h, w) that does not depend on clicks, to be kept."""
        return self._prepare(self._at_input_size(normalised(image)))

    def answer(self, prepared: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """``instances``, ``instances_aux``, and ``feature`` for `refine`.

        The first two are (B, 1, H, W) logits, one and the same tensor where the encoder is
        SegFormer; the last is (B, C, h, w), at 1/4 of the coarse network's input.
        """
        size = maps.shape[-2:]
        logits, auxiliary, feature = self._answer(prepared, self._at_input_size(maps))
        instances = resized(logits, size)
        return {
            "instances": instances,
            "instances_aux": instances if auxiliary is logits else resized(auxiliary, size),
            "feature": feature,
        }

    def refine(
        self, image: Tensor, points: Tensor, feature: Tensor, logits: Tensor, box: Tensor
    ) -> dict[str, Tensor]:
        """Refine the answer in a crop of the input.

        Parameters
        ----------
        image
            (B, 3, S, S) RGB in 0..1, not normalised: the crop, brought to the size of the input.
        points
            (B, 2N, 3): clicks in pixels of the crop so resized; see `disk_maps`.
        feature, logits
            ``feature`` and ``instances`` of the coarse answer.
        box
            (B, 5) float32: index into the coarse answer's batch, then x1, y1, x2, y2 of the crop
            in pixels of the input.

        Returns
        -------
        dict of str to Tensor
            (B, 1, S, S) logits: ``instances_refined``; ``instances_coarse``, the coarse ones in
            the crop; ``trimap``, of where to believe the former.
        """
        size = image.shape[-2:]
        coarse = roi_align(logits, box, size, aligned=True)
        disks = disk_maps(points, (size[0], size[1]), REFINER_RADIUS)
        refined, trimap = self.refiner(image, disks, feature, coarse, box)
        return {"instances_refined": refined, "instances_coarse": coarse, "trimap": trimap}

    @abstractmethod
    def _prepare(self, image: Tensor) -> Tensor:
        """Normalised RGB at the coarse network's size -> what `_answer` goes on from."""

    @abstractmethod
    def _answer(self, prepared: Tensor, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, auxiliary logits and features at 1/4 of the coarse network's input."""

    def _at_input_size(self, x: Tensor) -> Tensor:
        if not self.halves_input:
            return x
        return functional.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=True)


class FocalClickSegFormer(FocalClickNetwork):
    """FocalClick on SegFormer. The click maps join after the encoder's first stage.

    `prepare` keeps that stage's output and its part of the decoder's features, side by side.

    Parameters
    ----------
    encoder
        "b0" or "b3".
    feature_channels
        Of the decoder.
    halves_input
        As for `FocalClickNetwork`.
    """

    def __init__(self, encoder: str, feature_channels: int, *, halves_input: bool) -> None:
        super().__init__(halves_input=halves_input, click_radius=3.0 if halves_input else 5.0)
        # The published checkpoints hold these; nothing goes through them.
        self.maps_transform = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ParameterDict({"scale": nn.Parameter(torch.full((1,), 0.05))}),
        )
        self.feature_extractor = _SegFormer(encoder, feature_channels)
        self.refiner = Refiner(feature_channels, with_gate=True)

    def _prepare(self, image: Tensor) -> Tensor:
        first = self.feature_extractor.backbone.first_stage(image)
        return torch.cat((first, self.feature_extractor.decode_head.first_part(first)), 1)

    def _answer(self, prepared: Tensor, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        backbone, head = self.feature_extractor.backbone, self.feature_extractor.decode_head
        first, first_part = prepared.tensor_split((backbone.widths[0],), dim=1)
        logits, feature = head(first_part, *backbone.later_stages(first, maps))
        return logits, logits, feature


class _SegFormer(nn.Module):
    def __init__(self, encoder: str, feature_channels: int) -> None:
        super().__init__()
        self.backbone = MixTransformer(MIX_TRANSFORMERS[encoder])
        self.decode_head = SegFormerHead(self.backbone.widths, feature_channels)


class FocalClickHrNet(FocalClickNetwork):
    """FocalClick on HRNet with OCR. The click maps join after the first convolution.

    Parameters
    ----------
    width, ocr_width, small
        As for `HrNetOcr`.
    halves_input
        As for `FocalClickNetwork`.
    """

    def __init__(self, width: int, ocr_width: int, *, small: bool, halves_input: bool) -> None:
        super().__init__(halves_input=halves_input, click_radius=2.0 if halves_input else 5.0)
        self.maps_transform = MapsTransform()
        self.feature_extractor = HrNetOcr(width, ocr_width, small=small)
        self.refiner = Refiner(2 * ocr_width)
        initialise(self)

    def _prepare(self, image: Tensor) -> Tensor:
        return self.feature_extractor.stem(image)

    def _answer(self, prepared: Tensor, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        answer: tuple[Tensor, Tensor, Tensor] = self.feature_extractor(
            prepared, self.maps_transform(maps)
        )
        return answer


FOCALCLICK_VARIANTS: dict[str, Callable[[], FocalClickNetwork]] = {
    "hrnet18s_S1": partial(FocalClickHrNet, 18, 48, small=True, halves_input=True),
    "hrnet18s_S2": partial(FocalClickHrNet, 18, 48, small=True, halves_input=False),
    "hrnet32_S2": partial(FocalClickHrNet, 32, 128, small=False, halves_input=False),
    "segformerB0_S1": partial(FocalClickSegFormer, "b0", 256, halves_input=True),
    "segformerB0_S2": partial(FocalClickSegFormer, "b0", 256, halves_input=False),
    "segformerB3_S2": partial(FocalClickSegFormer, "b3", 512, halves_input=False),
}
"""What builds each network, with random weights."""
