"""How FocalClick learns: as the specialists, and its refiner on an enlarged part of each crop.

As in FocalClick's training (Chen et al. 2022) that part is now the largest object with some margin,
shifted at random, now a window on the object's border. The trimap marks what a mask loses at an
eighth of its size: the fine structures that the refiner is there for. One addition: ignored pixels
stay ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.model.focalclick.focus import mask_box
from histosam_core.training.families.specialist import (
    MoreLosses,
    Prompted,
    SpecialistLearner,
    image_planes,
    mask_planes,
)
from histosam_core.training.losses import bce_loss, weighted_normalized_focal_loss
from histosam_core.training.samples import Focus

BORDER_PROBABILITY = 0.4
SMALL_OBJECT = 3600 / 256**2
"""Objects that cover less of the crop are always looked at as a whole."""
MARGINS = (11, 17)
"""A window on an object is 1.1 to 1.6 times as long as its box, in tenths."""
LEAST_SIDE, MOST_SHIFT = 32, 0.3
ENLARGEMENTS = (15, 40)
"""A window on the border is 1/1.5 to 1/3.9 of the crop, in tenths."""
TRIMAP_STEP, TRIMAP_GROWTH = 8, 2
HALF = 128
OUTSIDE_WEIGHT = 0.5
"""What a pixel outside the trimap weighs in the loss of the refined mask; one inside weighs 1."""

Bool = NDArray[np.bool_]
Box = tuple[int, int, int, int]


def points_in_focus(points: Tensor, boxes: NDArray[Any], size_hw: tuple[int, int]) -> Tensor:
    """Bring clicks, (B, 2N, 3) from `point_table`, to pixels of an enlarged part of their crop.

    `boxes` are (B, 4): y1, y2, x1, x2 of the part, which is enlarged to `size_hw`. A click above
    and left of the part gets two negative coordinates, and so counts for none, as in FocalClick's
    training.
    """
    y1, y2, x1, x2 = torch.from_numpy(np.asarray(boxes, np.float32)).to(points.device).unbind(1)
    origin = torch.stack((y1, x1), 1)[:, None]
    scale = torch.stack((size_hw[0] / (y2 - y1), size_hw[1] / (x2 - x1)), 1)[:, None]
    moved = (points[..., :2] - origin) * scale
    is_there = points[..., 2:] >= 0
    return torch.cat((torch.where(is_there, moved, points[..., :2]), points[..., 2:]), -1)


def draw_focus(
    image: NDArray[np.uint8], gt_mask: NDArray[np.int8], rng: np.random.Generator
) -> Focus:
    """Draw the part of a crop that the refiner sees.

    The crop is (H, W, 3) uint8 RGB and (H, W) int8: 1 object, 0 background, -1 ignored.
    """
    is_object = gt_mask == 1
    small = np.count_nonzero(is_object) < SMALL_OBJECT * is_object.size
    if not small and rng.random() < BORDER_PROBABILITY:
        box = _on_border(is_object, rng)
    else:
        box = _round_object(is_object, rng)
    y1, y2, x1, x2 = box
    height, width = is_object.shape

    def enlarged(plane: NDArray[np.uint8], how: int = cv2.INTER_LINEAR) -> NDArray[np.uint8]:
        cut = np.ascontiguousarray(plane[y1:y2, x1:x2])
        bigger: NDArray[np.uint8] = cv2.resize(cut, (width, height), interpolation=how)
        return bigger

    ignored = enlarged((gt_mask == -1).astype(np.uint8), cv2.INTER_NEAREST_EXACT) > 0
    mask, trimap = (
        np.where(ignored, -1, enlarged(_grey(one)) > HALF).astype(np.int8)
        for one in (is_object, trimap_of(is_object))
    )
    return Focus(enlarged(image), mask, trimap, box)


def trimap_of(is_object: Bool) -> Bool:
    """(H, W) bool: where a mask differs from itself at an eighth of its size, and 2 px round."""
    height, width = is_object.shape
    small_wh = max(1, width // TRIMAP_STEP), max(1, height // TRIMAP_STEP)
    small = cv2.resize(_grey(is_object), small_wh) > HALF
    back = cv2.resize(_grey(small), (width, height)) > HALF
    lost = (is_object ^ back).astype(np.uint8)
    grown: Bool = cv2.dilate(lost, np.ones((3, 3), np.uint8), iterations=TRIMAP_GROWTH) > 0
    return grown


def _round_object(is_object: Bool, rng: np.random.Generator) -> Box:
    """A window on the largest object, or on all of the crop where there is next to none."""
    y1, y2, x1, x2 = mask_box(_largest(is_object))
    ratio = int(rng.integers(*MARGINS)) / 10
    ends = []
    for low, high, length in ((y1, y2, is_object.shape[0]), (x1, x2, is_object.shape[1])):
        middle, side = 0.5 * (low + high), max(ratio * (high - low + 1), LEAST_SIDE)
        most = int(side * MOST_SHIFT)
        shift = int(rng.integers(-most, most + 1))
        ends += [
            max(0, int(middle - side * 0.5) + shift),
            min(length, int(middle + side * 0.5) + shift),
        ]
    return ends[0], ends[1], ends[2], ends[3]


def _on_border(is_object: Bool, rng: np.random.Generator) -> Box:
    """A window about a pixel just outside the object."""
    height, width = is_object.shape
    sides = [int(side / (int(rng.integers(*ENLARGEMENTS)) / 10)) for side in (height, width)]
    half_h, half_w = sides[0] // 2, sides[1] // 2
    grown = cv2.dilate(is_object.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    border = grown & ~is_object
    inner = np.zeros_like(border)
    inner[half_h : height - half_h, half_w : width - half_w] = True
    in_the_middle = np.array([[half_h, half_w]])
    candidates = (np.argwhere(border & inner), np.argwhere(border), in_the_middle)
    places = next(found for found in candidates if len(found))
    y, x = (int(v) for v in places[rng.integers(len(places))])
    top = min(max(y - half_h, 0), height - sides[0])
    left = min(max(x - half_w, 0), width - sides[1])
    return top, top + sides[0], left, left + sides[1]


def _largest(is_object: Bool) -> Bool:
    """The largest connected part (8 neighbours)."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(is_object.astype(np.uint8))
    if count < 2:
        return is_object
    largest: Bool = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return largest


def _grey(mask: Bool) -> NDArray[np.uint8]:
    return mask.astype(np.uint8) * np.uint8(255)


class FocalClickLearner(SpecialistLearner):
    """Trains FocalClick's coarse network and its refiner; parameters as for `SpecialistLearner`."""

    crop_way = "window"
    draw_focus = staticmethod(draw_focus)

    def more_losses(self, prompted: Prompted, n_in_all: int) -> MoreLosses:
        """Return what refines the enlarged parts of the crops, and takes the losses of that."""
        looks = [example.focus for example in prompted.batch if example.focus is not None]
        boxes = np.array([look.box for look in looks], np.float32)
        images = image_planes([look.image for look in looks]).to(self._device)
        target = mask_planes([look.gt_mask for look in looks]).to(self._device)
        trimap = mask_planes([look.trimap for look in looks]).to(self._device)
        height, width = looks[0].gt_mask.shape
        points = points_in_focus(prompted.points, boxes, (height, width))
        boxes_xyxy = torch.from_numpy(boxes[:, [2, 0, 3, 1]]).to(self._device)
        weight = trimap.clamp(min=0) * (1 - OUTSIDE_WEIGHT) + OUTSIDE_WEIGHT
        total_weight = weight.sum()[None]
        self._compute.processes.sum_in_place([total_weight])

        def refine(answer: Mapping[str, Tensor], part: slice) -> Sequence[Tensor]:
            where = boxes_xyxy[part]
            indices = torch.arange(len(where), dtype=where.dtype, device=where.device)
            refined = self.network.refine(
                images[part],
                points[part],
                answer["feature"],
                answer["instances"],
                torch.cat((indices[:, None], where), 1),
            )
            of_mask = weighted_normalized_focal_loss(
                refined["instances_refined"],
                target[part],
                weight[part],
                alpha=self._config.focal_alpha,
                gamma=self._config.focal_gamma,
                total_weight=total_weight[0],
            )
            of_trimap = bce_loss(refined["trimap"], trimap[part], over="all", reduction="none")
            return of_mask, of_trimap.sum() / n_in_all

        return refine
