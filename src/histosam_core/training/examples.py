"""What the training loop trains on: patches with augmentation and first clicks, in drawn order.

Every draw comes from a generator seeded by (seed, what for, epoch, patch), so an example does not
depend on which thread made it or on where a run was interrupted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from histosam_core.dataset.augment import AugmentSettings, augment
from histosam_core.training.crops import draw_crop
from histosam_core.training.focus import draw_focus
from histosam_core.training.prompts import PromptSettings, first_clicks

if TYPE_CHECKING:
    from torch import Tensor

    from histosam_core.clicks import Click
    from histosam_core.training.crops import CropSettings
    from histosam_core.training.focus import Focus
    from histosam_core.training.patch_embeddings import PatchEmbeddings

__all__ = ["CropExamples", "Example", "Examples", "TrainingPatch"]

ORDER, VARIANT, AUGMENT, CLICKS, STEP, ERRORS, FOCUS = range(7)
"""What a generator is for."""


class TrainingPatch(Protocol):
    """What training needs of a patch; `histosam_core.dataset.Patch` has it."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""

    @property
    def gt_mask(self) -> NDArray[Any]:
        """(H, W) whole numbers: 1 object, 0 background, -1 ignored."""


@dataclass(frozen=True, slots=True)
class Example:
    """One sample of a step.

    Parameters
    ----------
    index
        The patch's place among the training patches.
    key
        Names patch and variant in the embedding cache; None where there is none to reuse.
    image
        (H, W, 3) uint8 RGB, augmented; None when the embedding is at hand.
    gt_mask
        (H, W) int8: 1 object, 0 background, -1 ignored.
    clicks
        First clicks, patch pixels.
    embedding
        (C, h, w) from the cache, on the CPU, or None.
    focus
        What FocalClick's refiner sees of it; None for all else.
    """

    index: int
    key: tuple[int, int] | None
    image: NDArray[np.uint8] | None
    gt_mask: NDArray[np.int8]
    clicks: list[Click]
    embedding: Tensor | None = None
    focus: Focus | None = None


class Examples:
    """The training patches, epoch by epoch.

    Parameters
    ----------
    patches
        Training patches of one size.
    batch_size
        Patches a step, over all processes; the incomplete batch at an epoch's end is left out, as
        RITM does.
    max_steps_per_epoch
        End an epoch after so many steps, or None.
    augmentation
        Which augmentations are on.
    variants
        Augmented variants per patch; 0 draws each time afresh.
    prompts
        How first clicks are made.
    seed
        Of every draw.
    cache
        Where to look for embeddings; None when they change during training.
    workers
        Threads that work ahead; 0 works when asked.
    share
        (rank, count) of the process that trains: it gets every count-th patch of each batch.
    """

    def __init__(
        self,
        patches: Sequence[TrainingPatch],
        *,
        batch_size: int,
        max_steps_per_epoch: int | None,
        augmentation: AugmentSettings,
        variants: int,
        prompts: PromptSettings,
        seed: int,
        cache: PatchEmbeddings | None,
        workers: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.patches = patches
        self.share = share
        self.batch_size = min(batch_size, len(patches))
        whole = len(patches) // self.batch_size
        self.steps_per_epoch = min(whole, max_steps_per_epoch or whole)
        self.augmentation = augmentation
        # Without augmentation every patch is its own only variant.
        self.variants = variants if augmentation.any else 1
        self.prompts = prompts
        self.seed = seed
        self.cache = cache if self.variants else None
        self.workers = workers

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[list[Example]]:
        """Yield this process's share of the epoch's batches from step `first_step` on."""
        rank, count = self.share
        order = self._rng(ORDER, epoch).permutation(len(self.patches))
        steps = range(first_step, self.steps_per_epoch)
        jobs = [
            [
                (epoch, int(index))
                for index in order[step * self.batch_size :][: self.batch_size][rank::count]
            ]
            for step in steps
        ]
        if not self.workers:
            for batch in jobs:
                yield [self._example(*job) for job in batch]
            return
        with ThreadPoolExecutor(self.workers, "patches") as pool:
            ahead: deque[list[Future[Example]]] = deque()
            try:
                for batch in jobs:
                    ahead.append([pool.submit(self._example, *job) for job in batch])
                    if len(ahead) > 2:
                        yield [future.result() for future in ahead.popleft()]
                while ahead:
                    yield [future.result() for future in ahead.popleft()]
            finally:
                for future in (future for batch_ahead in ahead for future in batch_ahead):
                    future.cancel()

    def step_rng(self, epoch: int, step: int) -> np.random.Generator:
        """Source of what is drawn for a batch as a whole: how many error-region clicks."""
        return self._rng(STEP, epoch, step)

    def error_rng(self, epoch: int, example: Example) -> np.random.Generator:
        """Source of a sample's error-region clicks, whatever else is in its batch."""
        return self._rng(ERRORS, epoch, example.index)

    def augmented(self, index: int, variant: int) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Return image and mask of a variant of a patch; the same whenever it is asked for."""
        patch = self.patches[index]
        gt_mask = np.asarray(patch.gt_mask).astype(np.int8)
        draws = self._rng(AUGMENT, variant, index)
        return augment(patch.image, gt_mask, self.augmentation, draws)

    def _example(self, epoch: int, index: int) -> Example:
        key: tuple[int, int] | None = None
        image: NDArray[np.uint8] | None = None
        variant = epoch
        if self.variants:
            variant = int(self._rng(VARIANT, epoch, index).integers(self.variants))
            key = (index, variant)
        kept = self.cache.get(key) if self.cache is not None and key is not None else None
        if kept is not None:
            embedding, gt_mask = kept
        else:
            embedding = None
            image, gt_mask = self.augmented(index, variant)
        clicks = first_clicks(gt_mask, self.prompts, self._rng(CLICKS, epoch, index))
        return Example(index, key, image, gt_mask, clicks, embedding)

    def _rng(self, *what: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, *what))


class CropExamples(Examples):
    """Crops of the training patches, which may differ in size: drawn afresh in every epoch.

    Parameters
    ----------
    patches, batch_size, max_steps_per_epoch, augmentation, prompts, seed, workers, share
        As for `Examples`.
    crops
        How crops are cut.
    with_focus
        Draw what FocalClick's refiner sees, too.
    """

    def __init__(
        self,
        patches: Sequence[TrainingPatch],
        *,
        crops: CropSettings,
        with_focus: bool,
        batch_size: int,
        max_steps_per_epoch: int | None,
        augmentation: AugmentSettings,
        prompts: PromptSettings,
        seed: int,
        workers: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(
            patches,
            batch_size=batch_size,
            max_steps_per_epoch=max_steps_per_epoch,
            augmentation=augmentation,
            variants=0,
            prompts=prompts,
            seed=seed,
            cache=None,
            workers=workers,
            share=share,
        )
        self.crops, self.with_focus = crops, with_focus

    def _example(self, epoch: int, index: int) -> Example:
        patch = self.patches[index]
        image, gt_mask = draw_crop(
            patch.image,
            np.asarray(patch.gt_mask).astype(np.int8),
            self.crops,
            self.augmentation,
            self._rng(AUGMENT, epoch, index),
        )
        clicks = first_clicks(gt_mask, self.prompts, self._rng(CLICKS, epoch, index))
        focus = None
        if self.with_focus:
            focus = draw_focus(image, gt_mask, self._rng(FOCUS, epoch, index))
        return Example(index, None, image, gt_mask, clicks, focus=focus)
