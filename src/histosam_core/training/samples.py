"""What the training loop trains on: patches or crops, augmented, with first clicks, in drawn order.

Every draw comes from a generator seeded by (seed, what for, epoch, patch), so an example does not
depend on which thread made it or on where a run was interrupted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from histosam_core.dataset import open_patches
from histosam_core.dataset.augment import RESIZE_RANGE, AugmentSettings, augment
from histosam_core.errors import ConfigError, EmptyDatasetError
from histosam_core.training.prompts import first_clicks

if TYPE_CHECKING:
    from torch import Tensor

    from histosam_core.clicks import Click
    from histosam_core.training.config import TrainConfig

    FindKept = Callable[[tuple[int, int]], tuple[Tensor, NDArray[np.int8]] | None]

ORDER, VARIANT, AUGMENT, CLICKS, STEP, ERRORS, FOCUS = range(7)
"""What a generator is for."""
BATCHES_AHEAD = 2
"""Batches that workers make before they are needed."""
WINDOW_RANGE = (0.3, 1.3)
WINDOW_MEAN, WINDOW_DEVIATION = 0.8, 0.4
"""FocalClick's window over the patch: a normal distribution cut off at the ends of the range."""
KEEP_EMPTY = 0.05
"""Chance that a crop without object is kept (RITM)."""
LEAST_OBJECT, MOST_OBJECT = 1000 / 256**2, 0.85
"""FocalClick's bounds on the object's share of a crop; RITM takes any."""
DRAWS = 10
"""After so many crops that were not kept, the last one is: the patch has none better."""

Image = NDArray[np.uint8]
Mask = NDArray[np.int8]
Crop = tuple[Image, Mask]
Draw = Callable[[Image, Mask, np.random.Generator], Crop]
Way = Literal["scaled", "window"]


class TrainingPatch(Protocol):
    """What training needs of a patch; `histosam_core.dataset.Patch` has it."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""

    @property
    def gt_mask(self) -> NDArray[Any]:
        """(H, W) whole numbers: 1 object, 0 background, -1 ignored."""


@dataclass(frozen=True, slots=True, eq=False)
class Focus:
    """A part of a crop, brought to the crop's size: what FocalClick's refiner is trained on."""

    image: NDArray[np.uint8]  # (H, W, 3) uint8 RGB
    gt_mask: NDArray[np.int8]  # (H, W) int8: 1 object, 0 background, -1 ignored
    trimap: NDArray[np.int8]  # (H, W) int8: 1 where the refiner is to act, 0 elsewhere, -1 ignored
    # Which part: y1, y2, x1, x2 in pixels of the crop, ends behind the last row and column.
    box: tuple[int, int, int, int]


DrawFocus = Callable[[Image, Mask, np.random.Generator], Focus]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One sample of a step."""

    index: int  # the patch's place among the training patches
    # (H, W, 3) uint8 RGB, augmented; None when the embedding is kept.
    image: NDArray[np.uint8] | None
    gt_mask: NDArray[np.int8]  # (H, W) int8: 1 object, 0 background, -1 ignored
    clicks: list[Click]  # first clicks, patch pixels
    rng: np.random.Generator  # source of the clicks on errors, whatever else is in the batch
    # Names patch and variant in the embedding cache; None where there is none to reuse.
    key: tuple[int, int] | None = None
    embedding: Tensor | None = None  # (C, h, w) from the cache, on the CPU, or None
    focus: Focus | None = None  # what FocalClick's refiner sees of it; None for all else


class Examples:
    """The training patches, all of one size, epoch by epoch.

    Of each patch there are so many augmented `variants`; 0 draws each time afresh. `draw_crop` cuts
    and augments crops instead, afresh in every epoch, and `draw_focus` draws what FocalClick's
    refiner sees of them. A process that trains gets its `share` (rank, count) of a batch: every
    count-th patch.

    Attributes
    ----------
    batch_size : int
        Patches a step, over all processes; the incomplete batch at an epoch's end is left out, as
        RITM does.
    find_kept : callable or None
        Finds embedding and mask of a patch and a variant; None when embeddings change in training.
    """

    def __init__(
        self,
        patches: Sequence[TrainingPatch],
        config: TrainConfig,
        *,
        variants: int = 0,
        draw_crop: Draw | None = None,
        draw_focus: DrawFocus | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.patches, self._config, self._share = patches, config, share
        self._draw_crop, self._draw_focus = draw_crop, draw_focus
        self.batch_size = min(config.batch_size * config.accumulate_steps, len(patches))
        whole = len(patches) // self.batch_size
        self.steps_per_epoch = min(whole, config.max_steps_per_epoch or whole)
        # Without augmentation every whole patch is its own only variant.
        self.variants = variants if config.augment.any or draw_crop else 1
        self.find_kept: FindKept | None = None

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[list[Example]]:
        """Yield this process's share of the epoch's batches from step `first_step` on."""
        rank, count = self._share
        order = self._rng(ORDER, epoch).permutation(len(self.patches))
        batches = (
            order[step * self.batch_size :][: self.batch_size]
            for step in range(first_step, self.steps_per_epoch)
        )
        mine = [[int(index) for index in batch[rank::count]] for batch in batches]
        if not self._config.workers:
            for batch in mine:
                yield [self._example(epoch, index) for index in batch]
            return
        with ThreadPoolExecutor(self._config.workers, "patches") as pool:
            ahead: deque[list[Future[Example]]] = deque()
            try:
                for batch in mine:
                    ahead.append([pool.submit(self._example, epoch, index) for index in batch])
                    if len(ahead) > BATCHES_AHEAD:
                        yield [future.result() for future in ahead.popleft()]
                while ahead:
                    yield [future.result() for future in ahead.popleft()]
            finally:
                for future in chain.from_iterable(ahead):
                    future.cancel()

    def n_error_clicks(self, epoch: int, step: int) -> int:
        """Draw how many clicks on errors the samples of a batch get."""
        return int(self._rng(STEP, epoch, step).integers(0, self._config.max_iterations + 1))

    def augmented(self, index: int, variant: int) -> Crop:
        """Return image and mask of a variant of a patch; the same whenever it is asked for."""
        patch = self.patches[index]
        gt_mask = np.asarray(patch.gt_mask).astype(np.int8)
        draws = self._rng(AUGMENT, variant, index)
        if self._draw_crop is not None:
            return self._draw_crop(patch.image, gt_mask, draws)
        return augment(patch.image, gt_mask, self._config.augment, draws)

    def _example(self, epoch: int, index: int) -> Example:
        image, key, embedding, focus, config = None, None, None, None, self._config
        if self.variants:
            key = index, int(self._rng(VARIANT, epoch, index).integers(self.variants))
        kept = self.find_kept(key) if self.find_kept is not None and key is not None else None
        if kept is not None:
            embedding, gt_mask = kept
        else:
            image, gt_mask = self.augmented(*(key or (index, epoch)))
            if self._draw_focus is not None:
                focus = self._draw_focus(image, gt_mask, self._rng(FOCUS, epoch, index))
        clicks = first_clicks(
            gt_mask,
            self._rng(CLICKS, epoch, index),
            max_clicks=config.max_random_clicks,
            first_at_centre=config.first_click_centre,
            single_click_share=config.single_click_share,
        )
        rng = self._rng(ERRORS, epoch, index)
        return Example(index, image, gt_mask, clicks, rng, key, embedding, focus)

    def _rng(self, *what: int) -> np.random.Generator:
        return np.random.default_rng((self._config.seed, *what))


def draw_crop(
    image: Image,
    gt_mask: Mask,
    rng: np.random.Generator,
    *,
    size_hw: tuple[int, int],
    augmentation: AugmentSettings,
    way: Way = "scaled",
) -> Crop:
    """Draw a crop, augmented, of (H, W, 3) uint8 RGB and its (H, W) int8 mask, -1 ignored.

    RITM and SimpleClick see patches "scaled" by 0.75 to 1.40 and cut to size; what is smaller than
    the crop is continued by reflection, so that the scale stays what was drawn. FocalClick sees a
    "window" of 0.3 to 1.3 of the patch's height and width, drawn apart and squashed to size, since
    its use squashes objects too. Without ``resize`` scaled crops keep the patch's scale, windows
    are the whole patch. A crop without object is drawn again, as a rule.
    """
    # Turned while it is still square, if it is.
    image, gt_mask = augment(image, gt_mask, replace(augmentation, resize=False), rng)
    cut = _scaled if way == "scaled" else _window
    drawn = cut(image, gt_mask, size_hw, augmentation.resize, rng)
    for _ in range(DRAWS - 1):
        if _is_kept(drawn[1], way, rng):
            break
        drawn = cut(image, gt_mask, size_hw, augmentation.resize, rng)
    return np.ascontiguousarray(drawn[0]), np.ascontiguousarray(drawn[1])


def _is_kept(gt_mask: Mask, way: str, rng: np.random.Generator) -> bool:
    share = float((gt_mask == 1).mean())
    if way == "window":
        return LEAST_OBJECT < share < MOST_OBJECT
    return share > 0 or bool(rng.random() < KEEP_EMPTY)


def _scaled(
    image: Image, gt_mask: Mask, size_hw: tuple[int, int], resize: bool, rng: np.random.Generator
) -> Crop:
    if resize:
        scale = float(rng.uniform(*RESIZE_RANGE))
        height, width = (max(1, round(side * scale)) for side in gt_mask.shape)
        shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image, gt_mask = _resized(image, gt_mask, (height, width), shrinks)
    return _cut_out(image, gt_mask, size_hw, rng)


def _window(
    image: Image, gt_mask: Mask, size_hw: tuple[int, int], resize: bool, rng: np.random.Generator
) -> Crop:
    height, width = gt_mask.shape
    if resize:
        shares = [_window_share(rng) for _ in range(2)]
        window = max(1, int(height * shares[0])), max(1, int(width * shares[1]))
        image, gt_mask = _cut_out(image, gt_mask, window, rng)
    return _resized(image, gt_mask, size_hw, cv2.INTER_LINEAR)


def _window_share(rng: np.random.Generator) -> float:
    low, high = WINDOW_RANGE
    while True:  # three draws of four lie inside
        share = float(rng.normal(WINDOW_MEAN, WINDOW_DEVIATION))
        if low <= share <= high:
            return share


def _cut_out(
    image: Image, gt_mask: Mask, size_hw: tuple[int, int], rng: np.random.Generator
) -> Crop:
    """Cut a window of that size at a random place, continued by reflection where it is larger."""
    missing = [max(0, side - have) for side, have in zip(size_hw, gt_mask.shape, strict=True)]
    if any(missing):
        top, left = (int(rng.integers(lack + 1)) for lack in missing)
        border = (top, missing[0] - top, left, missing[1] - left)
        image = cv2.copyMakeBorder(image, *border, cv2.BORDER_REFLECT)
        gt_mask = cv2.copyMakeBorder(gt_mask, *border, cv2.BORDER_REFLECT)
    y, x = (
        int(rng.integers(have - side + 1))
        for side, have in zip(size_hw, gt_mask.shape, strict=True)
    )
    there = np.s_[y : y + size_hw[0], x : x + size_hw[1]]
    return image[there], gt_mask[there]


def _resized(image: Image, gt_mask: Mask, size_hw: tuple[int, int], interpolation: int) -> Crop:
    size_wh = size_hw[::-1]
    image = cv2.resize(np.ascontiguousarray(image), size_wh, interpolation=interpolation)
    gt_mask = cv2.resize(
        np.ascontiguousarray(gt_mask), size_wh, interpolation=cv2.INTER_NEAREST_EXACT
    )
    return image, gt_mask


def open_training_patches(
    config: TrainConfig,
    train_patches: Sequence[TrainingPatch] | None = None,
    validation_patches: Sequence[TrainingPatch] | None = None,
) -> tuple[Sequence[TrainingPatch], Sequence[TrainingPatch]]:
    """Return training and validation patches: those given, else those that the settings name.

    Raises
    ------
    ConfigError
        None are named.
    EmptyDatasetError
        There are no training or no validation patches.
    """
    path = config.patches
    if path is None and (train_patches is None or validation_patches is None):
        raise ConfigError(
            "no patches are given; set patches to a folder made by `histosam prepare`"
        )
    if path is not None:
        is_store = path.suffix == ".zarr"
        if train_patches is None:
            train_patches = open_patches(path) if is_store else open_patches(path, "train")
    if validation_patches is None and config.validation_patches is not None:
        validation_patches = open_patches(config.validation_patches)
    elif validation_patches is None and path is not None:
        validation_patches = open_patches(path.parent if is_store else path, "validation")
    for name, patches in (("training", train_patches), ("validation", validation_patches)):
        if not patches:
            raise EmptyDatasetError(
                f"there are no {name} patches; prepare patches from more slides, or with a larger "
                "share for that split"
            )
    return train_patches or (), validation_patches or ()
