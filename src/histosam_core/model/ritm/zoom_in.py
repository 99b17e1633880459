"""RITM's zoom-in (Sofiiuk et al. 2022): from a click on, the network sees the object's region.

Where it looks follows from the mask so far, the positive clicks, and where it looked before; none
of that is kept here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histosam_core.errors import ConfigError

if TYPE_CHECKING:
    from histosam_core.model.specialists.click_points import Roi


@dataclass(frozen=True, slots=True)
class View:
    """Where the network looks, and where its answer belongs."""

    seen: Roi | None  # The region that is cut out and resized. None: the whole image, as it is.
    # The region that the answer fills; nothing is foreground outside of it. None: the whole image.
    # The next click's `ZoomIn.look` needs it.
    answered: Roi | None


@dataclass(frozen=True, slots=True)
class ZoomIn:
    """The rule, with RITM's settings.

    Parameters
    ----------
    skip_clicks
        Clicks that see the whole image as it is. Below 0 the network never does: without a mask
        it sees the whole image resized.
    target_size
        What a region is resized to: its longer side in pixels, aspect kept, or (height, width).
        None: it is not resized.
    min_crop_size
        The smallest side of a region in pixels of the image; the image's border may cut it.
    expansion_ratio
        How many times its bounding box an object's region is.
    recompute_iou
        The region is kept until the object's present one overlaps it by less than this, or a
        positive click falls outside of it. `math.inf`: a new one at every click.
    prob_threshold
        The object is where the probability exceeds this.

    Raises
    ------
    ConfigError
        A value is out of range.
    """

    skip_clicks: int = 1
    target_size: int | tuple[int, int] | None = 400
    min_crop_size: int = 200
    expansion_ratio: float = 1.4
    recompute_iou: float = 0.5
    prob_threshold: float = 0.5

    def __post_init__(self) -> None:
        target = self.target_size
        sides = (target, target) if isinstance(target, int) else tuple(target or (1, 1))
        if not isinstance(target, int | None):
            object.__setattr__(self, "target_size", sides)
        wrong = []
        if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
            wrong.append(
                f"target_size {target} must be a number of pixels, (height, width) or None"
            )
        if self.min_crop_size < 1:
            wrong.append(f"min_crop_size {self.min_crop_size} must be at least 1")
        if not self.expansion_ratio >= 1:
            wrong.append(f"expansion_ratio {self.expansion_ratio} must be at least 1")
        if not self.recompute_iou >= 0:
            wrong.append(f"recompute_iou {self.recompute_iou} must be at least 0")
        if not 0 < self.prob_threshold < 1:
            wrong.append(f"prob_threshold {self.prob_threshold} must lie between 0 and 1")
        if wrong:
            raise ConfigError("zoom-in: " + "; ".join(wrong))

    def look(
        self,
        n_clicks: int,
        positive_yx: Collection[tuple[int, int]],
        probability: NDArray[np.float32] | None,
        roi: Roi | None,
        image_hw: tuple[int, int],
    ) -> View:
        """Choose the view for a click.

        Parameters
        ----------
        n_clicks
            How many there are, this one included.
        positive_yx
            Pixels (row, column) of the positive ones.
        probability
            (H, W) of the last answer; None where there is none.
        roi
            `View.answered` of the last answer.
        image_hw
            Size of the image.
        """
        if n_clicks <= self.skip_clicks:
            return View(None, None)
        around = None if probability is None else self._around(probability, positive_yx)
        if around is None:
            if self.skip_clicks >= 0:
                # As RITM does: an answer to the whole image still goes where the zoom was.
                return View(None, roi)
            around = whole(image_hw)
        if (
            roi is None
            or not all(_holds(roi, point) for point in positive_yx)
            or box_iou(around, roi) < self.recompute_iou
        ):
            roi = around
        return View(roi, roi)

    def shows_small_object(self, probability: NDArray[np.float32]) -> bool:
        """Whether there is an object whose region is much smaller than the image.

        Parameters
        ----------
        probability
            (H, W) of an answer to the whole image.
        """
        around = self._around(probability, ())
        image_hw = probability.shape[0], probability.shape[1]
        return around is not None and box_iou(around, whole(image_hw)) < 0.5

    def size_of(self, roi: Roi) -> tuple[int, int]:
        """Return the (height, width) that a region is resized to."""
        height, width = roi[1] - roi[0] + 1, roi[3] - roi[2] + 1
        if self.target_size is None:
            return height, width
        if isinstance(self.target_size, tuple):
            return self.target_size
        scale = self.target_size / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _around(
        self, probability: NDArray[np.float32], positive_yx: Collection[tuple[int, int]]
    ) -> Roi | None:
        """Expand the bounding box of the mask and the positive clicks; None for an empty mask."""
        mask = probability > self.prob_threshold
        extents = []
        for axis in (0, 1):
            there = np.flatnonzero(mask.any(axis=1 - axis))
            if not there.size:
                return None
            ends = [int(there[0]), int(there[-1]), *(point[axis] for point in positive_yx)]
            low, high = min(ends), max(ends)
            middle = 0.5 * (low + high)
            half = 0.5 * max(self.expansion_ratio * (high - low + 1), self.min_crop_size)
            extents += [
                max(0, round(middle - half)),
                min(mask.shape[axis] - 1, round(middle + half)),
            ]
        top, bottom, left, right = extents
        return top, bottom, left, right


def whole(image_hw: tuple[int, int]) -> Roi:
    """Return the region that is the whole image."""
    return 0, image_hw[0] - 1, 0, image_hw[1] - 1


def box_iou(one: Roi, other: Roi) -> float:
    """Return the product of the overlaps (intersection over hull) of rows and of columns."""
    overlap = 1.0
    for first in (0, 2):
        a, b = one[first], one[first + 1]
        c, d = other[first], other[first + 1]
        overlap *= max(0, min(b, d) - max(a, c) + 1) / (max(b, d) - min(a, c) + 1)
    return overlap


def _holds(roi: Roi, point_yx: tuple[int, int]) -> bool:
    """Whether a point lies in a region, whose last row and column do not count."""
    return roi[0] <= point_yx[0] < roi[1] and roi[2] <= point_yx[1] < roi[3]
