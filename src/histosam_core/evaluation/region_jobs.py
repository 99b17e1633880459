"""Regions of slides, one after the other: here, or on the workers of a cluster."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from histosam_core.errors import AnnotationError, RegionError, SlideError
from histosam_core.evaluation.records import PatchRecord
from histosam_core.evaluation.slide_clicks import AnnotatedSlide, Encoded, SlideSource

if TYPE_CHECKING:
    from histosam_core.clicks import User
    from histosam_core.evaluation.distributed import RemoteModel
    from histosam_core.evaluation.protocol import ClickRun, Clock, ProtocolSettings
    from histosam_core.evaluation.slide_regions import RegionTruth, TumorRegion
    from histosam_core.model import InteractiveModel, TrainingGeometry

__all__ = ["ONE_FILE_FAILS", "RegionJob", "RegionOutcome", "RegionProtocol", "run_regions"]

ONE_FILE_FAILS = (AnnotationError, RegionError, SlideError)
"""What leaves out a slide or a region, while the rest goes on."""


@dataclass(frozen=True, slots=True)
class RegionProtocol:
    """How all regions are clicked on.

    Parameters
    ----------
    geometry
        Scale and windows.
    settings
        When to stop.
    user
        Who clicks.
    """

    geometry: TrainingGeometry
    settings: ProtocolSettings
    user: User


@dataclass(frozen=True, slots=True)
class RegionJob:
    """One region to click on, in one of the user's repeats.

    Parameters
    ----------
    index
        The region's place among all of the run; names its pictures.
    source, region
        The slide, and the region of it.
    repeat
        Which of the user's repeats, from 0.
    """

    index: int
    source: SlideSource
    region: TumorRegion
    repeat: int = 0

    @property
    def patch_id(self) -> str:
        """The region's name in records, which also names the user's draws."""
        return f"{self.source.name}#{self.region.number}"

    @property
    def title(self) -> str:
        """The same for people; later repeats with their number."""
        return self.patch_id + (f" ({self.repeat + 1})" if self.repeat else "")


@dataclass(frozen=True, slots=True)
class RegionOutcome:
    """A region's record and last mask, or why there is none.

    Parameters
    ----------
    job
        What was to be done.
    record, run
        What came of it; None where the region could not be read.
    error
        Why not.
    """

    job: RegionJob
    record: PatchRecord | None
    run: ClickRun | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Site:
    """The region at hand: what the user's repeats on it share."""

    region: TumorRegion
    truth: RegionTruth
    encoded: Encoded


def run_regions(
    model: InteractiveModel | RemoteModel,
    protocol: RegionProtocol,
    jobs: Sequence[RegionJob],
    *,
    told: Callable[[RegionJob, int, float], None] | None = None,
    clock: Clock = time.perf_counter,
) -> Iterator[RegionOutcome]:
    """Click on regions; yield each one's outcome as soon as it is there.

    Parameters
    ----------
    model
        Any `InteractiveModel`; a `RemoteModel` has its workers take a region and repeat at a time,
        and yields them in any order.
    protocol
        How.
    jobs
        Slide by slide, the repeats on a region after each other: they share what the model has
        encoded.
    told
        Called after each click here with the job, its clicks so far and the IoU.
    clock
        Returns seconds.
    """
    remote: Any = model
    if hasattr(model, "described"):
        for _, outcomes in remote.run(_on_a_worker, protocol, [[job] for job in jobs]):
            yield from outcomes
    else:
        yield from _here(model, protocol, jobs, told, clock)


def _on_a_worker(
    model: Any, protocol: RegionProtocol, jobs: list[RegionJob]
) -> list[RegionOutcome]:
    return list(_here(model, protocol, jobs, None, time.perf_counter))


def _here(
    model: Any, protocol: RegionProtocol, jobs: Iterable[RegionJob], told: Any, clock: Clock
) -> Iterator[RegionOutcome]:
    """Open one slide after the other; what cannot be read becomes an outcome without a record."""
    for source, group in itertools.groupby(jobs, key=lambda job: job.source):
        waiting = list(group)
        site: _Site | None = None
        try:
            with AnnotatedSlide(source, protocol.geometry) as slide:
                while waiting:
                    job = waiting[0]
                    try:
                        if site is None or site.region != job.region:
                            site = None  # first, so that two truths never lie in memory together
                            site = _Site(job.region, slide.truth(job.region), Encoded())
                        outcome = _click_on(slide, model, protocol, job, site, told, clock)
                    except ONE_FILE_FAILS as error:
                        outcome = RegionOutcome(job, None, None, str(error))
                    yield outcome
                    waiting.pop(0)
        except ONE_FILE_FAILS as error:
            yield from (RegionOutcome(job, None, None, str(error)) for job in waiting)


def _click_on(
    slide: AnnotatedSlide,
    model: Any,
    protocol: RegionProtocol,
    job: RegionJob,
    site: _Site,
    told: Any,
    clock: Clock,
) -> RegionOutcome:
    run = slide.click_on(
        model,
        site.truth,
        protocol.settings,
        user=protocol.user,
        region_id=job.patch_id,
        repeat=job.repeat,
        encoded=site.encoded,
        told=None if told is None else lambda n, iou: told(job, n, iou),
        clock=clock,
    )
    record = PatchRecord.of_run(
        run,
        index=job.index,
        patch_id=job.patch_id,
        slide=job.source.name,
        location_xy=site.truth.region(slide.grid).location_xy,
        tumor_fraction=site.truth.tumor_fraction,
    )
    return RegionOutcome(job, record, run)
