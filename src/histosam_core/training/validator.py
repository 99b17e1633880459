"""Validation while a run goes on: in batches, over all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.training.validation import ValidationScores, click_batch, evenly_spread, score

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import nn

    from histosam_core.model.interface import InteractiveModel
    from histosam_core.training.chunks import Chunks
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.examples import TrainingPatch
    from histosam_core.training.learner import Learner
    from histosam_core.training.processes import Processes

__all__ = ["Validator"]


class Validator:
    """Clicks on the validation patches with a model as it stands.

    Parameters
    ----------
    config
        Says how many patches and clicks.
    model
        Answers.
    network
        What it answers with.
    patches
        All validation patches; those used are spread evenly over them.
    processes, chunks
        Who shares them, and how many fit into memory at a time.
    precision
        Makes the context in which the network computes.
    agree, check
        Called before each batch, in all processes; called between clicks. May raise to stop.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: InteractiveModel,
        network: nn.Module,
        patches: Sequence[TrainingPatch],
        *,
        processes: Processes,
        chunks: Chunks,
        precision: Callable[[], AbstractContextManager[Any]],
        agree: Callable[[], None],
        check: Callable[[], None],
    ) -> None:
        self.patches = patches
        self.indices = evenly_spread(len(patches), config.validation_limit)
        self._model, self._network = model, network
        self._batch_size, self._max_clicks = config.batch_size, config.validation_clicks
        self._processes, self._chunks = processes, chunks
        self._precision, self._agree, self._check = precision, agree, check

    def run(self, learner: Learner) -> ValidationScores:
        """Return the scores, the same in every process; `learner` gives the embeddings."""
        self._network.eval()
        curves: list[tuple[int, NDArray[np.float32]]] = []
        for start in range(0, len(self.indices), self._batch_size):
            self._agree()
            batch = self.indices[start : start + self._batch_size]
            mine = batch[self._processes.rank :: self._processes.count]

            def click_on(part: slice, mine: list[int] = mine) -> list[NDArray[np.float32]]:
                return self._click_on(mine[part], learner)

            parts = self._chunks.run(len(mine), click_on)
            curves += zip(mine, [curve for part in parts for curve in part], strict=True)
        everyones = sorted(self._processes.gather(curves), key=lambda pair: pair[0])
        return score([curve for _, curve in everyones], self._max_clicks)

    def _click_on(self, indices: Sequence[int], learner: Learner) -> list[NDArray[np.float32]]:
        pairs = [learner.embed_whole(self.patches, index) for index in indices]
        with self._precision():
            return click_batch(
                self._model,
                [embedding for embedding, _ in pairs],
                [gt_mask for _, gt_mask in pairs],
                max_clicks=self._max_clicks,
                check=self._check,
            )
