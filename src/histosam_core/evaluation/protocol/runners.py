"""Where trials run: with a model on this machine, or on the workers of a cluster.

`evaluate` and `evaluate_slides` give their work to a `Runner` and know nothing else of the model.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from histosam_core.evaluation.protocol.patches import run_patches
from histosam_core.model import TrainingGeometry
from histosam_core.model.interface import complete
from histosam_core.model.registry.model_choice import load_choice

if TYPE_CHECKING:
    from histosam_core.clicks import User
    from histosam_core.embeddings.image_cache import EmbeddingCache
    from histosam_core.evaluation.protocol.loop import Clock
    from histosam_core.evaluation.protocol.patches import EvaluationPatch
    from histosam_core.evaluation.protocol.regions import (
        RegionJob,
        RegionOutcome,
        RegionProtocol,
    )
    from histosam_core.evaluation.protocol.trial import ClickRun, ProtocolSettings, Trial
    from histosam_core.model.interface import InteractiveModel

__all__ = ["LocalRunner", "Runner", "describe_model", "runner_of", "stated_geometry"]

CHECKPOINT_FIELDS = (
    "name", "architecture", "decoder", "dense_prompts", "scenario", "sha256", "licence",
    "geometry", "preprocessing", "provenance",
)  # fmt: skip


class Runner(ABC):
    """Lets users click on patches and regions, and a model answer them."""

    @property
    @abstractmethod
    def described(self) -> Mapping[str, Any]:
        """The model's checkpoint as `describe_model` has it, wherever the model is."""

    @abstractmethod
    def run_patches(
        self,
        patches: Sequence[EvaluationPatch],
        todo: Sequence[tuple[int, int]],
        settings: ProtocolSettings,
        *,
        user: User,
        batch_size: int,
        on_step: Callable[[], None],
    ) -> Iterator[tuple[int, ClickRun]]:
        """Click on patches, (index, repeat) each; yield index and run as they are finished.

        `on_step` may be called in between, on the caller's thread, and may raise to stop.
        """

    @abstractmethod
    def run_regions(
        self,
        protocol: RegionProtocol,
        jobs: Sequence[RegionJob],
        *,
        on_click: Callable[[RegionJob, Trial], None],
    ) -> Iterator[RegionOutcome]:
        """Click on regions of slides; yield each one's outcome as soon as it is there.

        `on_click` may be called after each click, on the caller's thread, and may raise to stop.
        """


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
        self.model = model
        self._workers, self._cache, self._clock = workers, cache, clock

    @property
    def described(self) -> Mapping[str, Any]:
        """The model's checkpoint as `describe_model` has it."""
        return describe_model(self.model)

    def run_patches(
        self,
        patches: Sequence[EvaluationPatch],
        todo: Sequence[tuple[int, int]],
        settings: ProtocolSettings,
        *,
        user: User,
        batch_size: int,
        on_step: Callable[[], None],
    ) -> Iterator[tuple[int, ClickRun]]:
        """Click on patches; see `histosam_core.evaluation.protocol.patches.run_patches`."""
        return run_patches(
            self.model,
            patches,
            todo,
            settings,
            user=user,
            batch_size=batch_size,
            workers=self._workers,
            cache=self._cache,
            clock=self._clock,
            on_step=on_step,
        )

    def run_regions(
        self,
        protocol: RegionProtocol,
        jobs: Sequence[RegionJob],
        *,
        on_click: Callable[[RegionJob, Trial], None],
    ) -> Iterator[RegionOutcome]:
        """Click on regions; see `histosam_core.evaluation.protocol.regions.run_regions`."""
        # What reads slides takes as long to import as all the rest.
        from histosam_core.evaluation.protocol.regions import run_regions

        return run_regions(self.model, protocol, jobs, on_click=on_click, clock=self._clock)


@contextmanager
def runner_of(
    model: InteractiveModel | Runner | str,
    scheduler: str | None = None,
    *,
    device: str = "auto",
    cache: EmbeddingCache | None = None,
    clock: Clock = time.perf_counter,
) -> Iterator[Runner]:
    """Yield what runs a model.

    Parameters
    ----------
    model
        A model; its name or path, with its decoder or without (see `parse_model`), which is loaded
        where it runs; or a runner, which is yielded as it is.
    scheduler
        Address of a dask.distributed scheduler, whose workers then run it; None: this machine.
    device
        Where a model that is loaded is put.
    cache, clock
        See `LocalRunner`; without effect on a scheduler's workers.

    Raises
    ------
    SchedulerError
        No scheduler answers, or it has no worker, or one that does not fit.
    """
    if isinstance(model, Runner):
        yield model
    elif scheduler is not None:
        from histosam_core.evaluation.protocol.cluster import ClusterRunner

        with ClusterRunner(scheduler, model, device=device) as runner:
            yield runner
    else:
        loaded = load_choice(model, device) if isinstance(model, str) else model
        yield LocalRunner(loaded, cache=cache, clock=clock)


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
