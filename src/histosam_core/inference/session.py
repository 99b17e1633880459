"""Session: outline objects on a slide by clicks; no GUI, no threads, no chance.

A click goes to a window (windows.py), the model answers for that window, and the answer replaces
what stood there on the object's canvas (canvas.py). The model sees all clicks of the object that
lie in the window and, as mask prompt, what the canvas shows there. A window's first answer, where
the object has not reached it, has no mask prompt: so the clicks of one window give exactly what
`run_clicks` of the evaluation gives on its patch. See docs/session.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histosam_core.annotation import write_geojson
from histosam_core.clicks import Click
from histosam_core.errors import ConfigError, EmptyMaskError
from histosam_core.inference.canvas import Canvas
from histosam_core.inference.history import History, Step
from histosam_core.inference.objects import AcceptedObject, Provenance
from histosam_core.inference.predictor import Predictor, Timings
from histosam_core.inference.scale import SlideScale, slide_scale
from histosam_core.inference.windows import Window, WindowGrid
from histosam_core.model import TrainingGeometry

if TYPE_CHECKING:
    from histosam_core.geometry import Region
    from histosam_core.inference.embedding_store import EmbeddingStore
    from histosam_core.model import InteractiveModel
    from histosam_core.slide import Slide

__all__ = ["ClickResult", "Session"]

MASK_THRESHOLD = 0.49
"""The evaluation's, so that a session shows the masks that were evaluated."""


@dataclass(frozen=True, slots=True, eq=False)
class ClickResult:
    """The mask after a click, an undo or a redo, where it changed; unpacks as mask, region.

    Parameters
    ----------
    mask
        (h, w) bool, the object's mask in the window.
    region
        The window: level-0 corner, size, mpp. Its frame: ``region.frame(session.slide_mpp)``.
    click
        The click that was made, undone or redone; level-0 pixels.
    quality
        The model's own estimate of the window's IoU; None where it gives none.
    timings
        Seconds the answer took when it was made.
    is_new_window
        Whether the object had not used the window before.
    was_ready
        Whether the window's embedding was at hand.
    """

    mask: NDArray[np.bool_]
    region: Region
    click: Click
    quality: float | None
    timings: Timings
    is_new_window: bool
    was_ready: bool

    def __iter__(self) -> Iterator[Any]:
        """Yield the mask and its region."""
        yield self.mask
        yield self.region


class Session:
    """Clicks on one slide with one model, object after object.

    Parameters
    ----------
    slide
        From `open_slide`.
    model
        Any `InteractiveModel`; its ``info.geometry`` decides the windows.
    mpp
        The slide's micrometres per level-0 pixel, stated by the user; overrides the file. Where
        neither the user nor the file states it, 10 / magnification is assumed and `notes` says so.
    mask_threshold
        A pixel belongs to the object where its probability exceeds this.
    geometry
        Windows of another scale than the checkpoint was trained at.
    store
        Where embeddings are kept; one store may serve many sessions.
    clock
        Returns seconds.

    Raises
    ------
    MissingMppError
        Nothing tells the slide's mpp.
    ConfigError
        A setting is out of range.
    """

    def __init__(
        self,
        slide: Slide,
        model: InteractiveModel,
        *,
        mpp: float | None = None,
        mask_threshold: float = MASK_THRESHOLD,
        geometry: TrainingGeometry | None = None,
        store: EmbeddingStore | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not 0 < mask_threshold < 1:
            raise ConfigError(f"mask_threshold {mask_threshold} must lie between 0 and 1")
        info = getattr(model, "info", None)
        geometry = geometry or getattr(info, "geometry", None) or TrainingGeometry()
        self.slide = slide
        self.model = model
        self.mask_threshold = mask_threshold
        self.scale: SlideScale = slide_scale(slide, mpp)
        self.grid = WindowGrid(slide.size_wh, self.scale.mpp, geometry.mpp, geometry.patch_size_px)
        self.predictor = Predictor(slide, model, self.scale.mpp, store=store, clock=clock)
        self._canvas = Canvas(self.grid, mask_threshold)
        self._history = History()
        self._objects: list[AcceptedObject] = []

    @property
    def slide_mpp(self) -> float:
        """Micrometres per level-0 pixel in use; where they come from: `scale`."""
        return self.scale.mpp

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of this slide with this model; nothing in the usual case."""
        notes = [self.scale.note] if self.scale.note else []
        if self.grid.downsample < 1 - 1e-3:
            notes.append(
                f"the slide has {self.slide_mpp:g} um per pixel, the model wants "
                f"{self.grid.mpp:g}; windows are enlarged, with less detail than it was trained on"
            )
        return tuple(notes)

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks of the object at hand, in order, level-0 pixels."""
        return self._history.clicks

    @property
    def windows(self) -> tuple[Region, ...]:
        """The windows that the object at hand has used, in order of first use."""
        return tuple(self.grid.region(window) for window in self._history.windows)

    @property
    def quality(self) -> float | None:
        """Mean of the model's own estimates, the latest of each window; None without any."""
        return self._history.quality

    @property
    def area_mm2(self) -> float:
        """Area of the mask at hand in square millimetres."""
        return self._canvas.area_um2 / 1e6

    @property
    def objects(self) -> tuple[AcceptedObject, ...]:
        """What has been accepted, in order."""
        return tuple(self._objects)

    @property
    def can_undo(self) -> bool:
        """Whether `undo` does anything."""
        return bool(self._history.steps)

    @property
    def can_redo(self) -> bool:
        """Whether `redo` does anything."""
        return bool(self._history.undone)

    def window_for(self, xy: tuple[float, float]) -> Region:
        """Return the window that a click at the level-0 point (x, y) would go to.

        Raises
        ------
        ClickOutsideSlideError
            The point lies off the slide.
        """
        return self.grid.region(self._window_for(xy))

    def click(self, xy: tuple[float, float], is_positive: bool = True) -> ClickResult:
        """Answer a click; the session is unchanged when this raises.

        Parameters
        ----------
        xy
            Level-0 pixels (x, y), pixel centres at whole numbers.
        is_positive
            True: this belongs to the object. False: it does not.

        Raises
        ------
        ClickOutsideSlideError
            The click lies off the slide.
        PredictionError
            The model's answer cannot be used.
        SlideError
            The slide cannot be read.
        """
        click = Click(xy, is_positive)
        window = self._window_for(click.xy)
        before = self._canvas.read_window(window)
        known = self._history.windows
        has_prompt = window in known or bool(before.mask.any())
        prediction = self.predictor.predict(
            self.grid.region(window),
            [c for c in (*self.clicks, click) if self._lies_in(window, c)],
            before.logits if has_prompt else None,
        )
        self._canvas.write_window(window, prediction.logits)
        step = Step(
            click,
            window,
            prediction.quality,
            prediction.timings,
            window not in known,
            prediction.was_ready,
            self._canvas.snapshot(),
        )
        self._history.add(step)
        return self._result(step)

    def undo(self) -> ClickResult | None:
        """Take the last click back, and the canvas to what it was before, bit for bit.

        Returns the mask as it now is in the window of that click; None when there is no click.
        """
        return self._moved(self._history.undo())

    def redo(self) -> ClickResult | None:
        """Put the last undone click back, without asking the model; None when there is none."""
        return self._moved(self._history.redo())

    def drop(self) -> None:
        """Forget the object at hand: its clicks, its mask, and what could be undone."""
        self._begin(History())

    def mask_region(self, region: Region | None = None) -> tuple[NDArray[np.bool_], Region]:
        """Return the mask at hand, whole or in one window.

        Parameters
        ----------
        region
            A region of this session (`ClickResult.region`, `windows`); None: the mask's bounding
            box.

        Returns
        -------
        mask
            (h, w) bool.
        region
            Where it lies.

        Raises
        ------
        EmptyMaskError
            The bounding box of an empty mask was asked for.
        ConfigError
            The region does not lie on the session's pixel grid.
        """
        if region is None:
            box = self._canvas.bounding_box
            if box is None:
                raise EmptyMaskError("the mask is empty; click on the object first")
            region = self._canvas.region(box)
        x, y = self.grid.location_of(region)
        return self._canvas.read((x, y), region.size_wh).mask, region

    def geometry(self, *, min_island_px: int = 0) -> Any:
        """Return the mask at hand as a shapely MultiPolygon; see `Canvas.to_geometry`."""
        return self._canvas.to_geometry(min_island_px=min_island_px)

    def accept(self, label: str = "Tumor", *, min_island_px: int = 0) -> AcceptedObject:
        """Keep the object at hand and start a new one.

        Parameters
        ----------
        label
            Its class.
        min_island_px
            Islands of fewer window pixels are left out.

        Raises
        ------
        EmptyMaskError
            Nothing is left to accept; the object at hand stays.
        """
        geometry = self.geometry(min_island_px=min_island_px)
        if geometry.is_empty:
            raise EmptyMaskError(
                "the mask is empty, so there is nothing to accept; click on the object, or undo"
            )
        accepted = AcceptedObject.make(
            geometry,
            label=label,
            clicks=self.clicks,
            windows=self.windows,
            quality=self.quality,
            provenance=self._provenance(),
        )
        self._objects.append(accepted)
        self.drop()
        return accepted

    def reopen(self, accepted: AcceptedObject) -> None:
        """Take an accepted object back to correct it with further clicks.

        Its mask and clicks are the new starting point; `undo` goes back as far as that. The object
        at hand, if any, is dropped.

        Raises
        ------
        ConfigError
            The object is not one of `objects`.
        """
        if accepted not in self._objects:
            raise ConfigError("the object is not one of this session's; pass one of its objects")
        self._objects.remove(accepted)
        self.refine(accepted.geometry, accepted.clicks)

    def refine(self, geometry: Any, clicks: Sequence[Click] = ()) -> None:
        """Start the object at hand from an outline instead of from nothing.

        Parameters
        ----------
        geometry
            shapely Polygon or MultiPolygon, level-0 pixels (x, y), pixel centres at whole numbers.
        clicks
            Clicks that belong to it; passed to the model where they lie in a window.
        """
        fresh = Canvas(self.grid, self.mask_threshold)
        fresh.write_geometry(geometry)
        self._begin(History(fresh.snapshot(), tuple(clicks)))

    def save_geojson(self, path: str | os.PathLike[str]) -> Path:
        """Write the accepted objects as a FeatureCollection that QuPath opens; return the path.

        Raises
        ------
        EmptyMaskError
            Nothing has been accepted yet.
        OutputWriteError
            The file cannot be written.
        """
        if not self._objects:
            raise EmptyMaskError("no object has been accepted; call accept() before saving")
        return write_geojson(path, [accepted.region for accepted in self._objects])

    def _begin(self, history: History) -> None:
        self._history = history
        self._canvas.restore(history.canvas)

    def _moved(self, step: Step | None) -> ClickResult | None:
        if step is None:
            return None
        self._canvas.restore(self._history.canvas)
        return self._result(step)

    def _window_for(self, xy: tuple[float, float]) -> Window:
        return self.grid.serving(xy, self._history.current_window, self._history.windows)

    def _lies_in(self, window: Window, click: Click) -> bool:
        return self.grid.contains(window, self.grid.to_grid(click.xy))

    def _result(self, step: Step) -> ClickResult:
        return ClickResult(
            self._canvas.read_window(step.window).mask,
            self.grid.region(step.window),
            step.click,
            step.quality,
            step.timings,
            step.is_new_window,
            step.was_ready,
        )

    def _provenance(self) -> Provenance:
        info = getattr(self.model, "info", None)
        return Provenance(
            model=getattr(info, "name", type(self.model).__name__),
            sha256=getattr(info, "sha256", ""),
            decoder=getattr(info, "decoder", ""),
            window_mpp=self.grid.mpp,
            window_px=self.grid.window_px,
            scale=self.scale,
            mask_threshold=self.mask_threshold,
            slide=self.slide.path.name,
        )
