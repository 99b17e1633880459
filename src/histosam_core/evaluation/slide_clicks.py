"""Simulated clicks on one tumour region of a slide, through a session, window after window.

The user sees the whole region and one window's width round it, on the pixel grid of the session,
and clicks by the rule of the patches: in the middle of the deepest error, or where a less exact
hand hits that error. What a session does with a click, which window answers it and what then stands
on the canvas, is none of this module's business: it is what somebody at work would get.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from histosam_core.annotation import read_annotations
from histosam_core.annotation.files import slide_stem
from histosam_core.clicks.users import IDEAL, User
from histosam_core.evaluation.protocol import ClickRun, Clock, ProtocolSettings
from histosam_core.evaluation.slide_regions import (
    RegionTruth,
    TumorRegion,
    draw_truth,
    find_regions,
)
from histosam_core.metrics import iou
from histosam_core.session import MemoryStore, Session, WindowGrid, slide_scale
from histosam_core.slide import open_slide

if TYPE_CHECKING:
    from histosam_core.clicks import Click
    from histosam_core.model import InteractiveModel, TrainingGeometry
    from histosam_core.session import ClickResult

__all__ = [
    "AnnotatedSlide",
    "Encoded",
    "RegionExample",
    "SlideSource",
    "click_on_region",
    "click_on_slide",
    "put_answer",
]

THUMBNAIL_PX = 1024
"""Longest side of an example's image; its truth and masks are kept at full size."""

Told = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class SlideSource:
    """A slide and its annotation, by path, and what the user says of them.

    Parameters
    ----------
    slide, annotation
        The files.
    mpp
        Micrometres per level-0 pixel, stated by the user; None: the file's own.
    labels
        Classes that count as tumour; None: those whose name says so.
    """

    slide: Path
    annotation: Path
    mpp: float | None = None
    labels: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The slide file's name without its suffix."""
        return slide_stem(self.slide)


@dataclass(frozen=True, slots=True)
class RegionExample:
    """A region as the report shows it; see `EvaluationPatch`.

    Parameters
    ----------
    image
        (h, w, 3) uint8 RGB, no side longer than `THUMBNAIL_PX`.
    gt_mask
        (H, W) int8 at the resolution of the clicks: 1, 0, -1.
    id, slide
        As in the region's record.
    """

    image: NDArray[np.uint8]
    gt_mask: NDArray[np.int8]
    id: str
    slide: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """The windows of one region that were encoded, for the user's next repeat on it.

    Parameters
    ----------
    store
        Where their embeddings are kept.
    seconds
        What reading and encoding each took, by its corner (x, y) in level-0 pixels. A repeat that
        finds a window at hand is charged the same, so that models and repeats stay comparable.
    """

    store: MemoryStore = field(default_factory=MemoryStore)
    seconds: dict[tuple[float, float], float] = field(default_factory=dict)

    def charge(self, answer: ClickResult) -> tuple[float, float]:
        """Return the seconds that an answer's window costs, and those of them that were saved."""
        corner = answer.region.location_xy
        spent = answer.timings.read_s + answer.timings.encode_s
        if not answer.was_ready:
            self.seconds[corner] = spent
        saved = self.seconds.get(corner, 0.0) if answer.was_ready and answer.is_new_window else 0.0
        return spent + saved, saved


class AnnotatedSlide:
    """An open slide with its annotation, on the grid of a checkpoint; closes as a context.

    Parameters
    ----------
    source
        Which.
    geometry
        The checkpoint's.

    Raises
    ------
    AnnotationError
        The annotation cannot be read, or matches no part of the slide.
    MissingMppError
        Nothing tells the slide's mpp.
    SlideError
        The slide cannot be read.
    """

    def __init__(self, source: SlideSource, geometry: TrainingGeometry) -> None:
        self.source = source
        self.geometry = geometry
        self.slide = open_slide(source.slide)
        try:
            self.scale = slide_scale(self.slide, source.mpp)
            self.grid = WindowGrid(
                self.slide.size_wh, self.scale.mpp, geometry.mpp, geometry.patch_size_px
            )
            annotation = read_annotations(source.annotation, labels=source.labels)
            self.annotation = annotation.fitted(self.slide.size_wh, source.slide)
        except BaseException:
            self.slide.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.slide.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed of the slide, or repaired in its annotation."""
        said = [f"{self.source.annotation.name}: {note}" for note in self.annotation.notes]
        return (*([self.scale.note] if self.scale.note else []), *said)

    def regions(self, min_area_mm2: float) -> tuple[list[TumorRegion], int]:
        """Find the tumour regions of at least an area; see `find_regions`."""
        least_px = int(np.ceil(min_area_mm2 * 1e6 / self.grid.mpp**2))
        return find_regions(self.annotation, self.grid, min_area_px=max(1, least_px))

    def truth(self, region: TumorRegion) -> RegionTruth:
        """Draw a region and one window's width round it; see `draw_truth`.

        No window that answers a click in the region reaches farther.
        """
        return draw_truth(self.annotation, self.grid, region, self.grid.window_px)

    def example(self, region: TumorRegion, patch_id: str) -> RegionExample:
        """Read a region's thumbnail, and draw its truth."""
        truth = self.truth(region)
        place = truth.region(self.grid, max(1.0, max(truth.mask.shape) / THUMBNAIL_PX))
        image = self.slide.read_frame(place.frame(self.scale.mpp), place.size_wh)
        return RegionExample(image, truth.mask, patch_id, self.source.name)

    def click_on(
        self,
        model: InteractiveModel,
        truth: RegionTruth,
        settings: ProtocolSettings,
        *,
        user: User = IDEAL,
        region_id: str = "",
        repeat: int = 0,
        encoded: Encoded | None = None,
        told: Told | None = None,
        clock: Clock = time.perf_counter,
    ) -> ClickRun:
        """Click on a region with a session of its own; see `click_on_region`.

        Parameters
        ----------
        model, truth, settings, user, told, clock
            As there.
        region_id, repeat
            Name the user's draws: see `User.rng`.
        encoded
            What earlier repeats on this region have encoded; None: nothing.
        """
        encoded = Encoded() if encoded is None else encoded
        session = Session(
            self.slide,
            model,
            mpp=self.source.mpp,
            mask_threshold=settings.mask_threshold,
            geometry=self.geometry,
            store=encoded.store,
            clock=clock,
        )
        run = click_on_region(
            session,
            truth,
            settings,
            user=user,
            rng=user.rng(region_id, repeat),
            encoded=encoded,
            told=told,
            clock=clock,
        )
        return replace(run, repeat=repeat)


def click_on_region(
    session: Session,
    truth: RegionTruth,
    settings: ProtocolSettings,
    *,
    user: User = IDEAL,
    rng: np.random.Generator | None = None,
    encoded: Encoded | None = None,
    told: Told | None = None,
    clock: Clock = time.perf_counter,
) -> ClickRun:
    """Click on a region until its mask reaches the target or the budget is spent.

    Parameters
    ----------
    session
        With nothing at hand; the clicks are left in it.
    truth
        The region. What lies beyond its box is neither seen nor counted.
    settings
        When to stop.
    user
        Who clicks. Its pixels are those of the truth: of the windows' scale, not of level 0.
    rng
        The user's draws; None: ``user.rng("")``.
    encoded
        What the session's store already holds of the region; None: nothing.
    told
        Called after each click with the clicks so far and the IoU.
    clock
        Returns seconds.

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
    rng = user.rng("") if rng is None else rng
    encoded = Encoded() if encoded is None else encoded
    mask = np.zeros(truth.mask.shape, dtype=bool)
    clicks: list[Click] = []
    ious: list[float] = []
    decode_s: list[float] = []
    wall_s: list[float] = []
    encode_s = 0.0
    start = clock()
    while not _is_finished(ious, settings):
        click = user.next_click(truth.mask, mask, clicks, rng=rng)
        answer = session.click(click_on_slide(session.grid, truth, click), click.is_positive)
        put_answer(mask, truth.location_xy, session.grid.location_of(answer.region), answer.mask)
        clicks.append(click)
        ious.append(iou(truth.mask, mask))
        window_s, saved_s = encoded.charge(answer)
        encode_s += window_s
        decode_s.append(answer.timings.decode_s)
        now = clock()
        wall_s.append(now - start + saved_s)
        start = now
        if told is not None:
            told(len(clicks), ious[-1])
    return ClickRun(
        clicks=clicks,
        ious=np.array(ious, dtype=np.float32),
        mask=mask,
        encode_s=encode_s,
        decode_s=np.array(decode_s),
        wall_s=np.array(wall_s),
    )


def _is_finished(ious: list[float], settings: ProtocolSettings) -> bool:
    n = len(ious)
    if n >= settings.max_clicks:
        return True
    return n >= settings.min_clicks and ious[-1] >= settings.target_iou


def click_on_slide(grid: WindowGrid, truth: RegionTruth, click: Click) -> tuple[float, float]:
    """Return a click on the truth in level-0 pixels; the last grid pixel may be cut by the edge."""
    (x0, y0), (x, y) = truth.location_xy, click.xy
    at = grid.frame.to_level0((x0 + x, y0 + y))
    return min(at[0], grid.slide_wh[0] - 1.0), min(at[1], grid.slide_wh[1] - 1.0)


def put_answer(
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
