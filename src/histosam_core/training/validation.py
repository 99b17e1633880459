"""Validation by simulated clicks, by the rules of the evaluation, on the model as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.clicks.users import IDEAL
from histosam_core.evaluation.protocol.click_loop import ModelAnswers, run_trials
from histosam_core.evaluation.protocol.trial import ProtocolSettings, Trial
from histosam_core.metrics import miou_per_click, noc
from histosam_core.model.interface import complete

if TYPE_CHECKING:
    from histosam_core.model.interface import InteractiveModel
    from histosam_core.training.compute import Compute
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.families.learner import Learner
    from histosam_core.training.samples import TrainingPatch

TARGET_IOU = 0.90


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """How the model answers clicks on the validation patches."""

    # Mean number of clicks to an IoU of 0.80, 0.85, 0.90; a patch that fails counts the budget.
    noc80: float
    noc85: float
    noc90: float
    miou_per_click: tuple[float, ...]  # mean IoU after click 1, 2, ... up to the budget
    n_patches: int  # clicked on

    @property
    def mean_iou(self) -> float:
        """Mean of `miou_per_click`: the area under the curve."""
        return float(np.mean(self.miou_per_click))

    def miou_after(self, clicks: int) -> float:
        """Mean IoU after so many clicks; after the last one when the budget is smaller."""
        return self.miou_per_click[min(clicks, len(self.miou_per_click)) - 1]

    def figures(self) -> dict[str, float]:
        """What logs and events give of it, by name."""
        return {
            "noc80": self.noc80,
            "noc85": self.noc85,
            "noc90": self.noc90,
            "iou_1_click": self.miou_after(1),
            "iou_5_clicks": self.miou_after(5),
            "iou_last_click": self.miou_per_click[-1],
        }

    def is_better_than(self, other: ValidationScores | None) -> bool:
        """Whether NoC@85 is lower, or equal and the mean IoU higher."""
        if other is None:
            return True
        return (self.noc85, -self.mean_iou) < (other.noc85, -other.mean_iou)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ValidationScores:
        """Rebuild from its fields as JSON holds them."""
        return cls(**{**values, "miou_per_click": tuple(values["miou_per_click"])})


def validate(
    learner: Learner,
    patches: Sequence[TrainingPatch],
    indices: Sequence[int],
    config: TrainConfig,
    compute: Compute,
    *,
    on_batch: Callable[[], None],
    on_click: Callable[[], None],
) -> ValidationScores:
    """Click on the validation patches of those indices, in batches over all processes.

    The learner's model answers, with the network as it is. All processes get the same scores.
    `on_batch` is called before each batch, in all processes, `on_click` between clicks; both may
    raise to stop.
    """
    processes = compute.processes
    curves: list[tuple[int, NDArray[np.float32]]] = []
    learner.network.eval()
    for start in range(0, len(indices), config.batch_size):
        on_batch()
        batch = indices[start : start + config.batch_size]
        mine = batch[processes.rank :: processes.count]

        def click_on(part: slice, mine: Sequence[int] = mine) -> list[NDArray[np.float32]]:
            pairs = [learner.embed_whole(patches, index) for index in mine[part]]
            with compute.autocast():
                return click_batch(
                    learner.model,
                    [embedding for embedding, _ in pairs],
                    [gt_mask for _, gt_mask in pairs],
                    max_clicks=config.validation_clicks,
                    check=on_click,
                )

        parts = compute.micro_batches.run(len(mine), click_on)
        curves += zip(mine, [curve for part in parts for curve in part], strict=True)
    all_curves = sorted(processes.gather(curves), key=lambda pair: pair[0])
    return score([curve for _, curve in all_curves], config.validation_clicks)


def click_batch(
    model: InteractiveModel,
    embeddings: Sequence[Any],
    gt_masks: Sequence[NDArray[np.int8]],
    *,
    max_clicks: int = 20,
    check: Callable[[], None] | None = None,
) -> list[NDArray[np.float32]]:
    """Click on B embeddings together, each until IoU 0.90 or the budget is spent.

    The model's network should be in evaluation mode. `gt_masks` are B masks, (H, W) int8: 1 object,
    0 background, -1 ignored. `check` is called between clicks and may raise to stop. Of each patch
    the IoU after each click is returned, (n,) float32.
    """
    settings = ProtocolSettings(TARGET_IOU, max_clicks)
    trials = [
        Trial(gt_mask, settings, IDEAL, IDEAL.rng(""), index, embedding=embedding)
        for index, (gt_mask, embedding) in enumerate(zip(gt_masks, embeddings, strict=True))
    ]
    # A network that overflows on one patch has a bad score; it does not end the run.
    answer = ModelAnswers(complete(model), accepts_nan=True)
    if check is not None:
        check()
    for _ in run_trials(iter([trials]), answer, width=len(trials), on_step=check):
        pass
    return [np.asarray(trial.ious, dtype=np.float32) for trial in trials]


def score(iou_curves: Sequence[NDArray[np.float32]], max_clicks: int) -> ValidationScores:
    """Sum up the curves of `click_batch`."""
    return ValidationScores(
        noc80=noc(iou_curves, 0.80, max_clicks),
        noc85=noc(iou_curves, 0.85, max_clicks),
        noc90=noc(iou_curves, 0.90, max_clicks),
        miou_per_click=tuple(float(v) for v in miou_per_click(iou_curves, max_clicks)),
        n_patches=len(iou_curves),
    )


def evenly_spread(count: int, limit: int | None) -> list[int]:
    """Indices of at most `limit` of `count` patches, evenly spread, first one included."""
    if limit is None or limit >= count:
        return list(range(count))
    return [int(i) for i in np.arange(limit) * count // limit]
