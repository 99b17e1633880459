"""Where trials run: with a model on this machine, or on the workers of a cluster.

`evaluate` and `evaluate_slides` say what is to be done, a `Work`, and give it to a `Runner`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from histosam_core.model import TrainingGeometry
from histosam_core.model.interface import complete

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from histosam_core.clicks import User
    from histosam_core.embeddings.image_cache import EmbeddingCache
    from histosam_core.evaluation.protocol.click_loop import Clock
    from histosam_core.evaluation.protocol.trial import ProtocolSettings
    from histosam_core.evaluation.records import PatchRecord
    from histosam_core.model.interface import InteractiveModel

Key = tuple[int, int]
"""Index of a patch or region, and one of the user's repeats on it."""
Report = Callable[[str], None]
"""Called between steps on the caller's thread, with a message or none; may raise to stop."""
CHECKPOINT_FIELDS = (
    "name", "architecture", "decoder", "dense_prompts", "scenario", "sha256", "licence",
    "geometry", "preprocessing", "provenance",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one patch or region, in one of the user's repeats."""

    # Its rows, and its last mask, (H, W) bool; None where it could not be read.
    record: PatchRecord | None = None
    mask: NDArray[np.bool_] | None = None
    message: str = ""  # what progress says of it
    # What could not be read, and why.
    patch_id: str = ""
    error: str = ""


class Work(Protocol):
    """Patches or regions to click on; pickles, so that it can go to other machines.

    `settings` and `user` say when to stop and who clicks, `batch_size` how many trials advance
    together, `most_at_once` how many a worker of a cluster takes at once.
    """

    @property
    def settings(self) -> ProtocolSettings: ...
    @property
    def user(self) -> User: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def most_at_once(self) -> int: ...

    def run(self, here: LocalRunner, todo: Sequence[Key], report: Report) -> Iterator[Outcome]:
        """Click on some of them with the model that is here; yield outcomes as they come."""

    def example(self, index: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Read one's image, (h, w, 3) RGB, and truth, (H, W) of 1, 0, -1."""


class Runner(ABC):
    """Has a model click on what it is given."""

    @property
    @abstractmethod
    def described(self) -> Mapping[str, Any]:
        """The model's checkpoint as `describe_model` has it, wherever the model is."""

    @abstractmethod
    def run(self, work: Work, todo: Sequence[Key], report: Report) -> Iterator[Outcome]:
        """Do some of a work; yield what comes of each patch or region as soon as it is there."""


class LocalRunner(Runner):
    """Runs trials with a model on this machine, on threads where the model bears them.

    Parameters
    ----------
    model
        Any `InteractiveModel`; with batched forms, many patches advance together.
    workers
        Threads that click on patches; None: `default_workers`.
    cache
        Keeps embeddings of patches for the next model with the same encoder.
    clock
        Returns seconds.
    """

    def __init__(
        self,
        model: InteractiveModel,
        *,
        workers: int | None = None,
        cache: EmbeddingCache | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.model, self.workers, self.cache, self.clock = model, workers, cache, clock

    @property
    def described(self) -> Mapping[str, Any]:
        """See `describe_model`."""
        return describe_model(self.model)

    def run(self, work: Work, todo: Sequence[Key], report: Report) -> Iterator[Outcome]:
        """Do some of a work here."""
        return work.run(self, todo, report)


def describe_model(model: InteractiveModel) -> dict[str, Any]:
    """Return what is known of a model's checkpoint, such as its name, sha256 and geometry."""
    known = complete(model)
    facts = asdict(known.info)
    stated = {name: facts[name] for name in CHECKPOINT_FIELDS if facts.get(name) is not None}
    return {"class": type(model).__name__, **stated, "device": str(known.device)}


def stated_geometry(described: Mapping[str, Any]) -> TrainingGeometry:
    """Return the geometry of a described checkpoint; the default where it states none."""
    usual, stated = TrainingGeometry(), described.get("geometry", {})
    return TrainingGeometry(
        stated.get("mpp", usual.mpp), stated.get("patch_size_px", usual.patch_size_px)
    )
