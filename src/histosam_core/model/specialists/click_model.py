"""What the models over RITM's, SimpleClick's and FocalClick's networks share.

A network sees a region of the image, the previous answer's probability in it, and the clicks as
points; mirrored too, where flips are averaged, in the same batch.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, TypedDict

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from histosam_core.errors import ConfigError, ImageError, PredictionError
from histosam_core.model.device import naming_a_full_memory, pick_device
from histosam_core.model.interface import ModelInfo, Prediction, as_prediction, check_image
from histosam_core.model.specialists.click_image import ClickImage
from histosam_core.model.specialists.click_network import ClickNetwork, resized
from histosam_core.model.specialists.click_points import Roi, disk_maps, mirrored
from histosam_core.model.specialists.folding import folded

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.model.interface import Box

EPSILON = 1e-7
CERTAIN = 16.118095
"""Logit of 1 - `EPSILON`: what stands where the reference has probability 1."""


class ClickSettings(TypedDict, total=False):
    """Settings of `ClickModel`, by keyword, that every family's model takes too."""

    flip: bool
    max_net_clicks: int | None
    device: str | torch.device
    info: ModelInfo | None
    fold: bool


class ClickModel:
    """An `InteractiveModel` over a network of RITM's line; several threads may call it at once.

    Parameters
    ----------
    net
        A `ClickNetwork`, of which is kept between clicks what does not depend on them, or another
        module with its `forward`.
    flip
        Average the logits with those of the mirrored input.
    max_net_clicks
        Only that many first clicks reach the network. None: all.
    device
        "auto" (a CUDA GPU where there is one, else the CPU), or a device of torch's.
    info
        What the model says of itself. None: its class's name, the paper's geometry.
    fold
        Compute with a copy of a `ClickNetwork` whose batch norms are folded into its convolutions,
        not with the network itself, moved to the device and set to evaluation mode.

    Raises
    ------
    ConfigError
        The device is not there, or `max_net_clicks` below 1.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        flip: bool = True,
        max_net_clicks: int | None = None,
        device: str | torch.device = "auto",
        info: ModelInfo | None = None,
        fold: bool = True,
    ) -> None:
        if max_net_clicks is not None and max_net_clicks < 1:
            raise ConfigError(f"max_net_clicks {max_net_clicks} must be 1 or more, or None")
        self.device = pick_device(device)
        self.network = net
        self.flip = flip
        self.max_net_clicks = max_net_clicks
        self.info = info or ModelInfo(
            type(self).__name__, takes_boxes=False, encodes_ahead=False, thread_safe=True
        )
        if fold and isinstance(net, ClickNetwork) and _has_batch_norms(net):
            net = folded(net)
        self._net: Any = net.to(self.device).eval()
        self._bytes_per_region = 0

    def over(self, network: nn.Module, device: str | torch.device) -> Self:
        """Return a model that answers as this one does, with `network` itself, not a folded copy.

        Its network may be trained meanwhile.
        """
        other = copy.copy(self)
        other.device = pick_device(device)
        other.network = network
        other._net = network.to(other.device).eval()
        return other

    def encode(self, image: NDArray[np.uint8]) -> ClickImage:
        """(H, W, 3) uint8 RGB -> its pixels on the device. What costs comes with the clicks."""
        check_image(image)
        with torch.inference_mode(), naming_a_full_memory(self.device):
            return ClickImage(image, self.device, self._bytes_per_region)

    @abstractmethod
    def decode(
        self,
        embedding: ClickImage,
        clicks: Sequence[Click],
        previous: Prediction | ArrayLike | None = None,
        *,
        box_xyxy: Box | None = None,
    ) -> Prediction:
        """Predict a mask from all clicks so far.

        Parameters
        ----------
        embedding
            From `encode`.
        clicks
            All clicks so far, at least one, in image pixels.
        previous
            The answer before the last click; one of another model, or an array of (H, W) logits
            will do. None: there is none.
        box_xyxy
            None; it takes no boxes.

        Returns
        -------
        Prediction
            Where the network has not looked, the logits say background, with near certainty.

        Raises
        ------
        ConfigError
            There is no click, or a box.
        ClickOutsideSlideError
            A click lies outside the image.
        ImageError
            `previous` has another size than the image.
        PredictionError
            The network answers with what is not a number.
        OutOfMemoryError
            The device has too little memory left.
        """

    def _checked(
        self,
        embedding: ClickImage,
        clicks: Sequence[Click],
        previous: Prediction | ArrayLike | None,
        box_xyxy: Box | None,
    ) -> Prediction | None:
        """Refuse what cannot be answered, and return `previous` as a `Prediction`."""
        if box_xyxy is not None:
            raise ConfigError(
                f"{self.info.name} takes no box; leave box_xyxy out and use clicks, such as "
                "a positive one in the middle of the box"
            )
        if not clicks:
            raise ConfigError(f"{self.info.name} answers clicks; give at least one")
        if previous is None:
            return None
        previous = as_prediction(previous)
        if previous.logits.shape != embedding.image_hw:
            raise ImageError(
                f"previous logits are {previous.logits.shape}, the image is {embedding.image_hw}; "
                "pass what decode returned for this image"
            )
        if np.isnan(previous.logits).any():
            raise ImageError(
                "previous logits hold values that are not numbers; pass what decode returned"
            )
        return previous

    def _ask(
        self,
        image: ClickImage,
        seen: Roi | None,
        size_hw: tuple[int, int],
        probability: Tensor | None,
        points: NDArray[np.float64],
    ) -> dict[str, Tensor]:
        """Call the network on a region of the image, resized to `size_hw`; None: on all of it.

        `probability`, (1, 1, H, W), is the previous answer's; `points`, (2N, 3), are in pixels of
        the input. ``instances`` of what the network answers is (B, 1, h, w) float32 and finite,
        and B is 2 with flips.
        """
        if probability is None:
            before = torch.zeros((1 + self.flip, 1, *size_hw), device=self.device)
        else:
            before = self._both(resized(cut_out(probability, seen).to(self.device), size_hw))
        tables = [points, mirrored(points, size_hw[1])] if self.flip else [points]
        at = self._points(*tables)
        net = self._net
        key = self, seen, size_hw
        prepared = image.prepared(key, lambda: self._prepare(image, seen, size_hw))
        if isinstance(net, ClickNetwork):
            disks = disk_maps(at, size_hw, net.click_radius)
            answer: dict[str, Tensor] = net.answer(prepared, torch.cat((before, disks), 1))
        else:
            answer = net(torch.cat((prepared, before), 1), at)
        return dict(answer) | {"instances": checked_logits(answer["instances"])}

    def _prepare(self, image: ClickImage, seen: Roi | None, size_hw: tuple[int, int]) -> Tensor:
        """Cut out, resize and mirror a region, and let the network prepare it where it can."""
        # Channel by channel: torch rounds three together otherwise than four, and the reference
        # resizes the previous answer with them.
        channels = cut_out(image.pixels, seen).transpose(0, 1)
        made = self._both(resized(channels, size_hw).transpose(0, 1))
        if isinstance(self._net, ClickNetwork):
            made = self._net.prepare(made)
        self._bytes_per_region = max(self._bytes_per_region, made.nbytes)
        return made

    def _points(self, *tables: NDArray[np.float64]) -> Tensor:
        """B tables of (2N, 3) -> (B, 2N, 3) on the device, float64 where it can, as RITM has it."""
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        return torch.from_numpy(np.stack(tables)).to(self.device, kind)

    def _both(self, one: Tensor) -> Tensor:
        """Add the mirror image where flips are averaged."""
        return torch.cat((one, one.flip(3))) if self.flip else one

    def _averaged(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(B, 1, h, w) logits -> (1, 1, H, W) at the size of the network's input."""
        logits = resized(logits, size_hw)
        if not self.flip:
            return logits
        straight, other = logits.chunk(2)
        return 0.5 * (straight + other.flip(3))


def cut_out(x: Tensor, roi: Roi | None) -> Tensor:
    """(B, C, H, W) -> its part in a region; None: all of it."""
    if roi is None:
        return x
    top, bottom, left, right = roi
    return x[..., top : bottom + 1, left : right + 1]


def pasted(x: Tensor, roi: Roi, image_hw: tuple[int, int]) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W) of zeros with x, resized, in a region."""
    top, bottom, left, right = roi
    canvas = x.new_zeros((*x.shape[:2], *image_hw))
    canvas[..., top : bottom + 1, left : right + 1] = resized(
        x, (bottom - top + 1, right - left + 1)
    )
    return canvas


def to_probability(logits: NDArray[np.float32]) -> Tensor:
    """(H, W) logits -> (1, 1, H, W) probability on the CPU."""
    return torch.sigmoid(torch.tensor(np.ascontiguousarray(logits)))[None, None]


def to_logits(probability: Tensor) -> Tensor:
    """Probabilities -> logits, of which 0 and 1 get `CERTAIN` ones."""
    return torch.logit(probability, EPSILON)


def checked_logits(logits: Tensor) -> Tensor:
    """Return a network's (B, 1, h, w) answer as float32; refuse what is not a number."""
    logits = logits.float()
    if not bool(torch.isfinite(logits).all()):
        raise PredictionError(
            "the network answered with values that are not numbers; try the CPU, or another "
            "checkpoint"
        )
    return logits


def _has_batch_norms(net: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
