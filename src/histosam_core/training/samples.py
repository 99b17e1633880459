"""What the training loop trains on: patches with augmentation and first clicks, in drawn order.

Every draw comes from a generator seeded by (seed, what for, epoch, patch), so an example does not
depend on which thread made it or on where a run was interrupted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from histosam_core.dataset import open_patches
from histosam_core.dataset.augment import augment
from histosam_core.errors import ConfigError, EmptyDatasetError
from histosam_core.training.prompts import first_clicks

if TYPE_CHECKING:
    from torch import Tensor

    from histosam_core.clicks import Click
    from histosam_core.training.config import TrainConfig

    FindKept = Callable[[tuple[int, int]], tuple[Tensor, NDArray[np.int8]] | None]
    Augment = Callable[
        [NDArray[np.uint8], NDArray[np.int8], np.random.Generator],
        tuple[NDArray[np.uint8], NDArray[np.int8]],
    ]

ORDER, VARIANT, AUGMENT, CLICKS, STEP, ERRORS, FOCUS = range(7)
"""What a generator is for."""
BATCHES_AHEAD = 2
"""Batches that workers make before they are needed."""


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


DrawFocus = Callable[[NDArray[np.uint8], NDArray[np.int8], np.random.Generator], Focus]


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
    """The training patches, epoch by epoch.

    Parameters
    ----------
    patches
        Training patches of one size.
    config
        Sizes of batches and epochs, augmentation, first clicks, seed and workers.
    variants
        Augmented variants per patch; 0 draws each time afresh.
    draw_crop, draw_focus
        Cuts and augments a crop of (H, W, 3) uint8 and (H, W) int8, afresh in every epoch; draws
        what FocalClick's refiner sees of it. None: patches are augmented whole, and have no focus.
    share
        (rank, count) of the process that trains: it gets every count-th patch of each batch.

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
        draw_crop: Augment | None = None,
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

    def augmented(self, index: int, variant: int) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
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
