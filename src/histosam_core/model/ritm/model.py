"""`RitmModel`: RITM's networks (Sofiiuk et al. 2022) as an interactive model, with zoom-in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from histosam_core.model.device import naming_a_full_memory
from histosam_core.model.interface import Prediction
from histosam_core.model.ritm.zoom_in import View, ZoomIn
from histosam_core.model.specialists.click_model import (
    ClickModel,
    ClickSettings,
    pasted,
    to_logits,
    to_probability,
)
from histosam_core.model.specialists.click_points import Roi, click_points, pixel_yx, points_in

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.model.interface import Box
    from histosam_core.model.specialists.click_image import ClickImage

RITM_ZOOM_IN = ZoomIn()


@dataclass(frozen=True, slots=True)
class ZoomState:
    """What the next click must know of an answer besides its logits."""

    roi: Roi | None  # the region that the answer fills; None: the whole image


class RitmModel(ClickModel):
    """An `InteractiveModel` over a network of RITM's.

    It answers as RITM's evaluation does: the network sees the previous answer's probability, from
    the second click on the object's region alone, and the mirrored input besides.

    Parameters
    ----------
    net, settings
        As for `ClickModel`.
    zoom_in
        Where the network looks. None: always at the whole image.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        zoom_in: ZoomIn | None = RITM_ZOOM_IN,
        **settings: Unpack[ClickSettings],
    ) -> None:
        super().__init__(net, **settings)
        self.zoom_in = zoom_in

    def decode(
        self,
        embedding: ClickImage,
        clicks: Sequence[Click],
        previous: Prediction | ArrayLike | None = None,
        *,
        box_xyxy: Box | None = None,
    ) -> Prediction:
        """Predict a mask from all clicks so far; see `ClickModel.decode`."""
        before = self._checked(embedding, clicks, previous, box_xyxy)
        pixels_yx = [pixel_yx(click, embedding.image_hw) for click in clicks]
        positive_yx = [p for p, c in zip(pixels_yx, clicks, strict=True) if c.is_positive]
        points = click_points(clicks, self.max_net_clicks)
        zoom_in, n, image_hw = self.zoom_in, len(clicks), embedding.image_hw
        with torch.inference_mode(), naming_a_full_memory(self.device):
            probability = None if before is None else to_probability(before.logits)
            view = View(None, None)
            if zoom_in is not None:
                shown, roi = None, None
                # Where the first click looks does not depend on what stands there already.
                if before is not None and probability is not None and n > 1:
                    shown = probability[0, 0].numpy()
                    roi = before.state.roi if isinstance(before.state, ZoomState) else None
                view = zoom_in.look(n, positive_yx, shown, roi, image_hw)
            logits = self._answer(embedding, view, probability, points)
            if zoom_in is not None and zoom_in.skip_clicks <= 0 and view.answered is None:
                shown = torch.sigmoid(logits)[0, 0].numpy()
                if zoom_in.shows_small_object(shown):
                    view = zoom_in.look(n, positive_yx, shown, None, image_hw)
                    logits = self._answer(embedding, view, probability, points)
            # A copy, since a network may go on using the tensor that it answered with.
            return Prediction(logits[0, 0].numpy().copy(), None, ZoomState(view.answered))

    def _answer(
        self,
        image: ClickImage,
        view: View,
        probability: Tensor | None,
        points: NDArray[np.float64],
    ) -> Tensor:
        """Return (1, 1, H, W) logits, the image's size, on the CPU."""
        size_hw = image.image_hw
        if self.zoom_in is not None and view.seen is not None:
            size_hw = self.zoom_in.size_of(view.seen)
            points = points_in(points, view.seen, size_hw)
        answer = self._ask(image, view.seen, size_hw, probability, points)
        logits = self._averaged(answer["instances"], size_hw)
        if view.answered is not None:
            # Probabilities are resized, not logits, and end at the region's border.
            logits = to_logits(pasted(torch.sigmoid(logits), view.answered, image.image_hw))
        return logits.cpu()
