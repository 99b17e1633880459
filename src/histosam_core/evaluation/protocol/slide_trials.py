"""The click protocol on tumour regions of slides, through sessions, window after window.

The user sees the whole region and one window's width round it, on the pixel grid of the session,
and clicks by the rule of the patches: in the middle of the deepest error, or where a less exact
hand hits that error. Which window answers a click, and what then stands on the canvas, is the
session's business: it is what somebody at work would get.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from histosam_core.clicks.users import IDEAL
from histosam_core.errors import AnnotationError, RegionError, SlideError
from histosam_core.evaluation.annotated_slide import AnnotatedSlide
from histosam_core.evaluation.protocol.click_loop import Clock, Each, Stopwatch, run_trials
from histosam_core.evaluation.protocol.runners import Outcome
from histosam_core.evaluation.protocol.trial import Clicker, ClickRun, ProtocolSettings, Trial
from histosam_core.evaluation.records import PatchRecord
from histosam_core.session import MemoryStore, Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from histosam_core.clicks import Click, User
    from histosam_core.evaluation.annotated_slide import SlideSource
    from histosam_core.evaluation.protocol.runners import Key, LocalRunner, Report
    from histosam_core.evaluation.slide_regions import RegionTruth, TumorRegion
    from histosam_core.model import InteractiveModel, TrainingGeometry
    from histosam_core.session import ClickResult, WindowGrid

ONE_FILE_FAILS = (AnnotationError, RegionError, SlideError)
"""What leaves out a slide or a region, while the rest goes on."""


@dataclass(frozen=True, slots=True)
class RegionJob:
    """One region to click on: its place among all of the run, its slide, and which of it."""

    index: int
    source: SlideSource
    region: TumorRegion

    @property
    def region_id(self) -> str:
        """The region's name in records, which also names the user's draws."""
        return f"{self.source.name}#{self.region.number}"


@dataclass(frozen=True, slots=True)
class Encoded:
    """The windows of one region that were encoded, for the user's next repeat on it."""

    # Their embeddings, and what reading and encoding each took, by its corner (x, y) in level-0
    # pixels. A repeat that finds a window encoded is charged the same, so that models and repeats
    # stay comparable.
    store: MemoryStore = field(default_factory=MemoryStore)
    seconds: dict[tuple[float, float], float] = field(default_factory=dict)

    def charge(self, trial: Trial, answer: ClickResult) -> None:
        """Charge a trial with the seconds that an answer's window costs, saved or not."""
        corner = answer.region.location_xy
        spent = answer.timings.read_s + answer.timings.encode_s
        if not answer.was_ready:
            self.seconds[corner] = spent
        elif answer.is_new_window:
            trial.saved_s = self.seconds.get(corner, 0.0)
        trial.encode_s += spent + trial.saved_s


@dataclass(frozen=True, slots=True)
class RegionWork:
    """Tumour regions of slides to click on: a `Work`."""

    jobs: Mapping[int, RegionJob]  # the regions by their index, slide by slide
    geometry: TrainingGeometry  # scale and windows
    # When to stop, and who clicks.
    settings: ProtocolSettings
    user: User
    batch_size: int = 1
    most_at_once: int = 1

    def run(self, here: LocalRunner, todo: Sequence[Key], report: Report) -> Iterator[Outcome]:
        """Click on some of the regions; repeats on one share what the model has encoded."""
        for source, of_slide in itertools.groupby(todo, key=lambda key: self.jobs[key[0]].source):
            waiting = list(of_slide)
            try:
                with AnnotatedSlide(source, self.geometry) as slide:
                    for index, keys in itertools.groupby(list(waiting), key=lambda key: key[0]):
                        repeats = [repeat for _, repeat in keys]
                        for outcome in self._run_region(slide, index, repeats, here, report):
                            yield outcome
                            waiting.pop(0)
            except ONE_FILE_FAILS as error:
                yield from (self._failed(*key, error) for key in waiting)

    def _run_region(
        self,
        slide: AnnotatedSlide,
        index: int,
        repeats: Sequence[int],
        here: LocalRunner,
        report: Report,
    ) -> Iterator[Outcome]:
        job, truth, encoded = self.jobs[index], None, Encoded()
        for repeat in repeats:
            title = self._title(index, repeat)

            def on_click(trial: Trial, title: str = title) -> None:
                report(f"{title}: click {len(trial.clicks)}, IoU {trial.ious[-1]:.2f}")

            try:
                truth = slide.truth(job.region) if truth is None else truth
                run = click_on_region(
                    open_session(slide, here.model, self.settings, encoded, here.clock),
                    truth,
                    self.settings,
                    user=self.user,
                    rng=self.user.rng(job.region_id, repeat),
                    repeat=repeat,
                    encoded=encoded,
                    on_click=on_click,
                    clock=here.clock,
                )
            except ONE_FILE_FAILS as error:
                yield self._failed(index, repeat, error)
                continue
            record = PatchRecord.of_run(
                run,
                index=index,
                patch_id=job.region_id,
                slide=job.source.name,
                location_xy=truth.region(slide.grid).location_xy,
                tumor_fraction=truth.tumor_fraction,
            )
            message = f"{title}: {len(run.clicks)} clicks, IoU {run.ious[-1]:.2f}"
            yield Outcome(record, run.mask, message)

    def example(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Read a region's thumbnail, and draw its truth."""
        with AnnotatedSlide(self.jobs[index].source, self.geometry) as slide:
            return slide.example(self.jobs[index].region)

    def _title(self, index: int, repeat: int) -> str:
        return self.jobs[index].region_id + (f" ({repeat + 1})" if repeat else "")

    def _failed(self, index: int, repeat: int, error: Exception) -> Outcome:
        return Outcome(
            message=f"{self._title(index, repeat)} left out",
            patch_id=self.jobs[index].region_id,
            error=str(error),
        )


def open_session(
    slide: AnnotatedSlide,
    model: InteractiveModel,
    settings: ProtocolSettings,
    encoded: Encoded | None = None,
    clock: Clock = time.perf_counter,
) -> Session:
    """Return a session on a slide as the protocol has it, at the slide's own geometry."""
    return Session(
        slide.slide,
        model,
        mpp=slide.source.mpp,
        mask_threshold=settings.mask_threshold,
        geometry=slide.geometry,
        store=None if encoded is None else encoded.store,
        clock=clock,
    )


def click_on_region(
    session: Session,
    truth: RegionTruth,
    settings: ProtocolSettings,
    *,
    user: Clicker = IDEAL,
    rng: np.random.Generator | None = None,
    repeat: int = 0,
    encoded: Encoded | None = None,
    on_click: Callable[[Trial], None] | None = None,
    clock: Clock = time.perf_counter,
) -> ClickRun:
    """Click on a region until its mask reaches the target or the budget is spent.

    Parameters
    ----------
    session
        Without a current object; the clicks are left in it.
    truth
        The region. What lies beyond its box is neither seen nor counted.
    settings, user, rng, repeat
        See `Trial`. The user's pixels are those of the truth: of the windows' scale, not level 0.
    encoded
        What the session's store already holds of the region; None: nothing.
    on_click, clock
        Called after each click, whose time does not count; returns seconds.

    Returns
    -------
    ClickRun
        Clicks in pixels of the truth; `encode_s` is for reading and encoding all windows.

    Raises
    ------
    PredictionError
        The model's answer cannot be used.
    SlideError
        The slide cannot be read.
    """
    charged = Encoded() if encoded is None else encoded

    def answer(trials: Sequence[Trial], _: Each) -> None:
        (trial,) = trials
        click = trial.clicks[-1]
        result = session.click(_on_slide(session.grid, truth, click), click.is_positive)
        charged.charge(trial, result)
        if settings.grow_windows:
            session.grow(settings.grow_windows)
            mask = session.mask_region(truth.region(session.grid))[0]
        else:
            window_xy, mask = session.grid.location_of(result.region), trial.mask
            _put(mask, truth.location_xy, window_xy, result.mask)
        trial.take(mask, result.timings.decode_s)

    rng = IDEAL.rng("") if rng is None else rng
    trial = Trial(truth.mask, settings, user, rng, repeat=repeat)
    on_step = None if on_click is None else lambda: on_click(trial)
    for _ in run_trials(iter([[trial]]), answer, watch=Stopwatch(clock), on_step=on_step):
        pass
    return trial.result()


def _on_slide(grid: WindowGrid, truth: RegionTruth, click: Click) -> tuple[float, float]:
    """A click on the truth in level-0 pixels; the last grid pixel may be cut by the edge."""
    (x0, y0), (x, y) = truth.location_xy, click.xy
    at = grid.frame.to_level0((x0 + x, y0 + y))
    return min(at[0], grid.slide_wh[0] - 1.0), min(at[1], grid.slide_wh[1] - 1.0)


def _put(
    mask: NDArray[np.bool_],
    location_xy: tuple[int, int],
    window_xy: tuple[int, int],
    answer: NDArray[np.bool_],
) -> None:
    """Let a window's answer replace what stands in the part of it that the mask covers."""
    height, width = mask.shape
    left, top = window_xy[0] - location_xy[0], window_xy[1] - location_xy[1]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + answer.shape[1], width), min(top + answer.shape[0], height)
    if x0 < x1 and y0 < y1:
        mask[y0:y1, x0:x1] = answer[y0 - top : y1 - top, x0 - left : x1 - left]
