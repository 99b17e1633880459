"""`FocalClickModel`: FocalClick's networks (Chen et al. 2022) as an interactive model.

A click is answered in two steps. The coarse network sees the object's region, squashed to a square;
the refiner then corrects a crop round what the click has changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from histosam_core.errors import ConfigError
from histosam_core.model.device import naming_a_full_memory
from histosam_core.model.focalclick.focus import box_in_input, focus_crop, progressive_merge
from histosam_core.model.interface import Prediction
from histosam_core.model.ritm.zoom_in import View, ZoomIn, whole
from histosam_core.model.specialists.click_model import (
    CERTAIN,
    ClickModel,
    ClickSettings,
    checked_logits,
    cut_out,
    pasted,
    to_logits,
)
from histosam_core.model.specialists.click_network import resized
from histosam_core.model.specialists.click_points import Roi, click_points, pixel_yx

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.model.interface import Box
    from histosam_core.model.specialists.click_image import ClickImage

TARGET_CROP = ZoomIn(
    skip_clicks=1, target_size=None, min_crop_size=10, recompute_iou=math.inf, prob_threshold=0.49
)
"""FocalClick's: anew at every click."""
CHANGED = 0.49
"""Above it a pixel belongs to a mask whose change is looked for."""
LATE = 10
"""After so many clicks only the crop that is refined changes."""


@dataclass(frozen=True, slots=True, eq=False)
class Overruled:
    """Pixels where the merge into an earlier mask shows something else than the network said."""

    pixels: NDArray[np.int64]  # (K,) int64, indices into the flattened image
    # (K,) float32 logits. The network goes on from what it said, unless somebody has changed what
    # is shown.
    shown: NDArray[np.float32]
    said: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FocalState:
    """What the next click must know of an answer besides its logits."""

    roi: Roi | None  # the region that the coarse answer fills; None: the whole image
    from_mask: bool = False  # whether the first click was made on a mask that stood there already
    overruled: Overruled | None = None  # set where the merge into that mask has changed the answer


class _Before(NamedTuple):
    """The answer before the last click: (1, 1, H, W) logits as shown and as the network said."""

    shown: Tensor
    said: Tensor
    state: FocalState | None


class FocalClickModel(ClickModel):
    """An `InteractiveModel` over a network of FocalClick's; answers as its evaluation does.

    Parameters
    ----------
    net
        As for `ClickModel`; its answer also has ``feature``, and ``net.refine(image, points,
        feature, logits, box)`` returns a dict with ``instances_refined``; see `FocalClickNetwork`.
    infer_size
        Side of the network's square inputs in pixels.
    focus_ratio
        How many times the box of what a click has changed the refined crop is.
    zoom_in
        The target crop that the coarse network sees. None: always the whole image.
    merge_threshold
        Of the mask, for the progressive merge: where the first click is made on a mask that stands
        there already, each answer changes that mask only round the click.
    settings
        As for `ClickModel`, but `flip` is False by default. The refiner sees all clicks.

    Raises
    ------
    ConfigError
        A value is out of range, the network has no ``refine``, or the device is not there.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        infer_size: int = 256,
        focus_ratio: float = 1.4,
        zoom_in: ZoomIn | None = TARGET_CROP,
        merge_threshold: float = 0.5,
        **settings: Unpack[ClickSettings],
    ) -> None:
        wrong = []
        if infer_size < 1:
            wrong.append(f"infer_size {infer_size} must be at least 1")
        if not 0 < focus_ratio < math.inf:
            wrong.append(f"focus_ratio {focus_ratio} must be above 0")
        if not 0 < merge_threshold < 1:
            wrong.append(f"merge_threshold {merge_threshold} must lie between 0 and 1")
        if not callable(getattr(net, "refine", None)):
            wrong.append(f"{type(net).__name__} has no refine; RitmModel takes a network without")
        if wrong:
            raise ConfigError("FocalClick: " + "; ".join(wrong))
        settings.setdefault("flip", False)
        super().__init__(net, **settings)
        self.infer_size = infer_size
        self.focus_ratio = focus_ratio
        self.zoom_in = zoom_in
        self.merge_threshold = merge_threshold

    def decode(
        self,
        embedding: ClickImage,
        clicks: Sequence[Click],
        previous: Prediction | ArrayLike | None = None,
        *,
        box_xyxy: Box | None = None,
    ) -> Prediction:
        """Predict a mask from all clicks so far; see `ClickModel.decode`.

        At the first click `previous` is a mask to be corrected, and stays but for what the clicks
        change.
        """
        given = self._checked(embedding, clicks, previous, box_xyxy)
        pixels_yx = [pixel_yx(click, embedding.image_hw) for click in clicks]
        with torch.inference_mode(), naming_a_full_memory(self.device):
            before = None if given is None else _read(given)
            from_mask = before is not None and (
                len(clicks) == 1 if before.state is None else before.state.from_mask
            )
            view = self._look(embedding.image_hw, clicks, pixels_yx, before)
            logits = self._answer(embedding, view, clicks, pixels_yx[-1], before)
            overruled = None
            if from_mask and before is not None:
                logits, overruled = self._merged(logits, before.shown, pixels_yx[-1])
            return Prediction(
                logits[0, 0].numpy(), None, FocalState(view.answered, from_mask, overruled)
            )

    def _look(
        self,
        image_hw: tuple[int, int],
        clicks: Sequence[Click],
        pixels_yx: Sequence[tuple[int, int]],
        before: _Before | None,
    ) -> View:
        """Choose the target crop."""
        if self.zoom_in is None:
            return View(None, None)
        shown, roi = None, None
        # Where the first click looks does not depend on what stands there already.
        if before is not None and len(clicks) > 1:
            probability = torch.sigmoid(before.shown)
            if before.state is not None:
                roi = before.state.roi
                if before.state.from_mask:
                    probability = (probability > self.merge_threshold).float()
            shown = probability[0, 0].numpy()
        positive_yx = [p for p, c in zip(pixels_yx, clicks, strict=True) if c.is_positive]
        return self.zoom_in.look(len(clicks), positive_yx, shown, roi, image_hw)

    def _answer(
        self,
        image: ClickImage,
        view: View,
        clicks: Sequence[Click],
        last_yx: tuple[int, int],
        before: _Before | None,
    ) -> Tensor:
        """Return (1, 1, H, W) logits, the image's size, on the CPU."""
        image_hw, side = image.image_hw, self.infer_size
        probability = None if before is None else torch.sigmoid(before.said)
        seen = view.seen or whole(image_hw)
        seen_hw = seen[1] - seen[0] + 1, seen[3] - seen[2] + 1
        points = _scaled(
            click_points(clicks, self.max_net_clicks),
            (seen[0], seen[2]),
            (side / seen_hw[0], side / seen_hw[1]),
        )
        answer = self._ask(image, view.seen, (side, side), probability, points)
        coarse = torch.sigmoid(self._averaged(answer["instances"], (side, side)))
        coarse = resized(coarse, seen_hw)
        if view.answered is not None:
            coarse = pasted(coarse, view.answered, image_hw)
        logits = to_logits(coarse).cpu()

        y1, y2, x1, x2 = view.answered or whole(image_hw)
        bounds = y1, y2 + 1, x1, x2 + 1
        mask = logits[0, 0].numpy() > CHANGED  # of the logits, as in FocalClick's code
        earlier = np.zeros_like(mask)
        if probability is not None:
            earlier = probability[0, 0].numpy() > CHANGED
        crop = focus_crop(mask, earlier, bounds, last_yx, self.focus_ratio)
        if len(clicks) > LATE:
            logits = torch.full_like(logits, -CERTAIN) if before is None else before.said.clone()
        y1, y2, x1, x2 = crop
        refined = self._refine(image, clicks, crop, bounds, answer)
        logits[..., y1:y2, x1:x2] = resized(refined, (y2 - y1, x2 - x1)).cpu()
        return logits

    def _refine(
        self,
        image: ClickImage,
        clicks: Sequence[Click],
        crop: tuple[int, int, int, int],
        bounds: tuple[int, int, int, int],
        answer: dict[str, Tensor],
    ) -> Tensor:
        """Return (1, 1, S, S) logits of a crop."""
        side = self.infer_size
        y1, y2, x1, x2 = crop
        pixels = resized(cut_out(image.pixels, (y1, y2 - 1, x1, x2 - 1)), (side, side))
        points = click_points(clicks)
        points[points[:, 2] >= 0, 2] = 0  # the refiner's clicks have no order
        points = _scaled(points, (y1, x1), (side / (y2 - y1), side / (x2 - x1)))
        top, bottom, left, right = box_in_input(crop, bounds, side)
        box = torch.tensor([[0, left, top, right, bottom]], dtype=torch.float32, device=self.device)
        refined = self._net.refine(
            pixels, self._points(points), answer["feature"], answer["instances"], box
        )
        return checked_logits(refined["instances_refined"])

    def _merged(
        self, said: Tensor, stands: Tensor, last_yx: tuple[int, int]
    ) -> tuple[Tensor, Overruled | None]:
        """Take of an answer only the change that holds the last click.

        Parameters
        ----------
        said, stands
            (1, 1, H, W) logits: the network's, and what is shown so far.
        last_yx
            Pixel of the click.

        Returns
        -------
        Tensor
            (1, 1, H, W) logits to show.
        Overruled or None
            Where they are not the network's.
        """
        new, old = (torch.sigmoid(x)[0, 0].numpy() > self.merge_threshold for x in (said, stands))
        merged = progressive_merge(new, old, last_yx)
        pixels = np.flatnonzero(merged != new)
        if not pixels.size:
            return said, None
        mask = merged.reshape(-1)[pixels]
        shown = said.clone()
        flat = shown.view(-1).numpy()
        before = stands.clamp(-CERTAIN, CERTAIN).view(-1).numpy()[pixels]
        certain = np.where(mask, np.float32(CERTAIN), np.float32(-CERTAIN))
        network = flat[pixels].copy()
        flat[pixels] = np.where(mask == old.reshape(-1)[pixels], before, certain)
        return shown, Overruled(pixels, flat[pixels].copy(), network)


def _read(previous: Prediction) -> _Before:
    """Tell what is shown from what the network said."""
    shown = torch.tensor(np.ascontiguousarray(previous.logits))[None, None]
    state = previous.state if isinstance(previous.state, FocalState) else None
    if state is None or state.overruled is None:
        return _Before(shown, shown, state)
    there = state.overruled
    said = shown.clone()
    flat = said.view(-1).numpy()
    now = flat[there.pixels]
    flat[there.pixels] = np.where(now == there.shown, there.said, now)
    return _Before(shown, said, state)


def _scaled(
    points: NDArray[np.float64], origin_yx: tuple[int, int], scale_yx: tuple[float, float]
) -> NDArray[np.float64]:
    """Bring points from `click_points` to pixels of a square that a crop is squashed to."""
    real = points[:, 2] >= 0
    moved = points.copy()
    moved[real, :2] = (points[real, :2] - origin_yx) * scale_yx
    return moved
