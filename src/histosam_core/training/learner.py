"""What differs between kinds of models in a run: how they learn a step, and are clicked on.

`Trainer` runs epochs, validation, checkpoints and the state; a `Learner` does the rest. SAM's line
has image embeddings that are kept and a decoder (sam_learner.py); RITM, FocalClick and SimpleClick
are networks as a whole (click_learner.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from histosam_core.training.prompts import PromptSettings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from histosam_core.training.chunks import Chunks
    from histosam_core.training.config import TrainConfig
    from histosam_core.training.examples import Example, Examples, TrainingPatch
    from histosam_core.training.processes import Processes

__all__ = ["Learner", "StepMeans", "Tools", "prompt_settings"]


@dataclass(frozen=True, slots=True)
class StepMeans:
    """A step's loss and IoU, means over the batch of all processes."""

    loss: float
    iou: float


@dataclass(frozen=True, slots=True)
class Tools:
    """What a run lends its learner.

    Parameters
    ----------
    processes, chunks
        Who trains together, and how much fits into memory at a time.
    precision
        Makes the context in which the network computes.
    scaled
        What the loss is multiplied by before its gradient is taken (half precision); or itself.
    on_encode
        Called before a frozen image encoder encodes; may raise to stop.
    notice
        Called with a line that the user should read.
    """

    processes: Processes
    chunks: Chunks
    precision: Callable[[], AbstractContextManager[Any]]
    scaled: Callable[[Tensor], Tensor]
    on_encode: Callable[[], None]
    notice: Callable[[str], None]


class Learner(Protocol):
    """A model that learns.

    Attributes
    ----------
    names : list of str
        Parameters that learn, as the network's state dict has them.
    buffers : list of str
        What else changes in the network while it learns, such as running means.
    """

    names: list[str]
    buffers: list[str]

    @property
    def examples(self) -> Examples:
        """The training patches, epoch by epoch."""

    def share_of(self, name: str) -> float:
        """Share of the learning rate that a parameter gets."""

    def make(
        self,
        batch: Sequence[Example],
        *,
        n_in_all: int,
        iterations: int,
        sources: Sequence[np.random.Generator],
    ) -> StepMeans:
        """Leave the gradient of a batch's mean loss in the parameters; see `StepGradients.make`."""

    def embed_whole(
        self, patches: Sequence[TrainingPatch], index: int
    ) -> tuple[Any, NDArray[np.int8]]:
        """What the model's `decode` takes, and (H, W) int8 mask, of one patch, not augmented."""


def prompt_settings(config: TrainConfig) -> PromptSettings:
    """How training clicks are made, of a run's settings."""
    return PromptSettings(
        config.max_random_clicks,
        config.max_iterations,
        config.first_click_centre,
        config.single_click_share,
    )
