"""Session: outline objects on a slide by clicks and boxes; no GUI, no threads, no chance.

The object at hand is an `Outline` (outline.py); what was accepted are `AcceptedObject`s. See
docs/session.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from histosam_core.annotation import write_geojson
from histosam_core.clicks import Box, Click, Prompt
from histosam_core.errors import ConfigError, EmptyMaskError
from histosam_core.inference.history import History, State
from histosam_core.inference.objects import AcceptedObject, Provenance
from histosam_core.inference.outline import ClickResult, Outline
from histosam_core.inference.overlap import OverlapRule, check_rule, cut_objects, without
from histosam_core.inference.predictor import Predictor
from histosam_core.inference.scale import SlideScale, slide_scale
from histosam_core.inference.windows import WindowGrid
from histosam_core.model import TrainingGeometry

if TYPE_CHECKING:
    from histosam_core.annotation import AnnotatedRegion
    from histosam_core.geometry import Region
    from histosam_core.inference.canvas import CanvasSnapshot
    from histosam_core.inference.embedding_store import EmbeddingStore
    from histosam_core.model import InteractiveModel
    from histosam_core.slide import Slide

__all__ = ["ClickResult", "Session"]

MASK_THRESHOLD = 0.49
"""The evaluation's, so that a session shows the masks that were evaluated."""

DEFAULT_LABEL = "Tumor"
Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Ended:
    """What `undo` brings back when the object at hand has nothing to undo.

    Parameters
    ----------
    how
        "accept" or "drop".
    objects
        What was accepted before.
    history, reopened, place
        The object that was at hand; see `Session`.
    """

    how: Literal["accept", "drop"]
    objects: tuple[AcceptedObject, ...]
    history: History
    reopened: AcceptedObject | None
    place: int


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
    objects
        What another session on this slide has accepted.

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
        objects: Iterable[AcceptedObject] = (),
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
        self._outline = Outline(self.predictor, self.grid, mask_threshold)
        self._objects = tuple(objects)
        self._reopened: AcceptedObject | None = None
        self._place = 0
        self._ended: _Ended | None = None

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
    def prompts(self) -> tuple[Prompt, ...]:
        """The clicks and boxes of the object at hand, in order, level-0 pixels."""
        return self._outline.state.prompts

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks among `prompts`."""
        return tuple(prompt for prompt in self.prompts if isinstance(prompt, Click))

    @property
    def windows(self) -> tuple[Region, ...]:
        """The windows that the object at hand has used, in order of first use."""
        return tuple(self.grid.region(window) for window in self._outline.state.windows)

    @property
    def quality(self) -> float | None:
        """Mean of the model's own estimates, the latest of each window; None without any."""
        return self._outline.state.quality

    @property
    def area_mm2(self) -> float:
        """Area of the mask at hand in square millimetres."""
        return self._outline.canvas.area_um2 / 1e6

    @property
    def canvas_snapshot(self) -> CanvasSnapshot:
        """The canvas of the object at hand: tile (x, y) -> `Tile`.

        Tiles never change: what differs between two snapshots are the tiles that are not the same
        objects.
        """
        return self._outline.state.canvas

    @property
    def objects(self) -> tuple[AcceptedObject, ...]:
        """What has been accepted, in order, without the one that is `reopened`."""
        return self._objects

    @property
    def reopened(self) -> AcceptedObject | None:
        """The accepted object that is being corrected, as it was."""
        return self._reopened

    @property
    def can_undo(self) -> bool:
        """Whether `undo` does anything."""
        return self._outline.history.can_undo or self._ended is not None

    @property
    def can_redo(self) -> bool:
        """Whether `redo` does anything."""
        return self._outline.history.can_redo

    def window_for(self, xy: tuple[float, float]) -> Region:
        """Return the window that a click at the level-0 point (x, y) would go to.

        Raises
        ------
        ClickOutsideSlideError
            The point lies off the slide.
        """
        return self.grid.region(self._outline.window_for(xy))

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
        return self._outline.add(self._outline.check(Click(xy, is_positive)))

    def box(self, xyxy: tuple[float, float, float, float]) -> ClickResult:
        """Answer a box: the object lies inside it. The session is unchanged when this raises.

        A box larger than a window is answered window by window. It holds for later clicks in its
        windows until a positive click beside it.

        Parameters
        ----------
        xyxy
            Two opposite corners (x0, y0, x1, y1), level-0 pixels; cut at the slide's edge.

        Raises
        ------
        ClickOutsideSlideError
            The box lies off the slide.
        ConfigError
            The box has no area, or takes too many windows.
        PredictionError, SlideError
            As for a click.
        """
        return self._outline.add(self._outline.check(Box(xyxy)))

    def remove_prompts(self, indices: Iterable[int]) -> ClickResult | None:
        """Make the object what it would be without some of its prompts.

        What came before them stays; what came after is answered again, in order. Of a reopened
        object every prompt can be taken out: it is then made anew from its origin.

        Parameters
        ----------
        indices
            Places in `prompts`.

        Returns
        -------
        ClickResult or None
            Of the last prompt; None when no prompt is left, or nothing was to be taken out.

        Raises
        ------
        ConfigError
            There is no such prompt.
        PredictionError, SlideError
            As for a click; the session is unchanged.
        """
        return self._outline.remove(self._outline.places(indices))

    def move_click(self, index: int, xy: tuple[float, float]) -> ClickResult:
        """Make the object what it would be had a click been made elsewhere.

        See `remove_prompts`.

        Parameters
        ----------
        index
            Place of the click in `prompts`.
        xy
            Where it should be, level-0 pixels.

        Raises
        ------
        ConfigError
            There is no such prompt, or it is a box.
        ClickOutsideSlideError, PredictionError, SlideError
            As for a click; the session is unchanged.
        """
        return self._outline.move(*self._outline.check_move(index, xy))

    def undo(self) -> ClickResult | None:
        """Take the last click, box or edit back, and the canvas to what it was, bit for bit.

        With nothing left to undo in the object at hand, the last `accept` or `drop` is taken back:
        its object is at hand again and the accepted ones are what they were. A second accept
        before it, or one followed by `reopen`, `refine` or a change of the accepted objects, is
        not.

        Returns
        -------
        ClickResult or None
            The mask as it now is where the undone prompt was answered; None where there is no such
            place, or nothing to undo.
        """
        if not self._outline.history.can_undo and self._ended is not None:
            ended = self._ended
            self._set(ended.objects, ended.history, ended.reopened, ended.place)
            return None
        return self._outline.undo()

    def redo(self) -> ClickResult | None:
        """Put back what was undone last, without asking the model; None when there is nothing."""
        return self._outline.redo()

    def drop(self) -> None:
        """Forget the object at hand: its prompts, its mask, and what could be undone.

        A reopened object goes back among the accepted ones unchanged. `undo` takes this back.
        """
        if self._outline.is_blank and self._reopened is None and not self.can_redo:
            return
        ended = self._ending("drop")
        objects = self._objects if self._reopened is None else self._placed(self._reopened)
        self._set(objects, History())
        self._ended = ended

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
        canvas = self._outline.canvas
        if region is None:
            box = canvas.bounding_box
            if box is None:
                raise EmptyMaskError("the mask is empty; click on the object first")
            region = canvas.region(box)
        return canvas.read(self.grid.location_of(region), region.size_wh).mask, region

    def probability_region(self, region: Region) -> NDArray[np.float32]:
        """Return how likely each pixel of a region belongs to the object at hand.

        Parameters
        ----------
        region
            A region of this session, as for `mask_region`.

        Returns
        -------
        (h, w) float32, 0 to 1; nearly 0 where no window has answered.

        Raises
        ------
        ConfigError
            The region does not lie on the session's pixel grid.
        """
        part = self._outline.canvas.read(self.grid.location_of(region), region.size_wh)
        probability: NDArray[np.float32] = expit(part.logits)
        return probability

    def geometry(self, *, min_island_px: int = 0) -> Any:
        """Return the mask at hand as a shapely MultiPolygon; see `Canvas.to_geometry`."""
        return self._outline.canvas.to_geometry(min_island_px=min_island_px)

    def accept(
        self,
        label: str | None = None,
        *,
        min_island_px: int = 0,
        overlap: OverlapRule = "allow",
        color: Color | None = None,
    ) -> AcceptedObject:
        """Keep the object at hand and start a new one.

        A reopened object keeps its id and its place among the accepted ones.

        Parameters
        ----------
        label
            Its class; None: "Tumor", or what a reopened object had.
        min_island_px
            Islands of fewer window pixels are left out.
        overlap
            What becomes of places that accepted objects cover: "allow", both keep them;
            "keep_earlier", the new object is cut; "keep_later", the accepted ones are, and one
            of which nothing is left is removed.
        color
            (red, green, blue), 0 to 255; None: the class's usual colour.

        Raises
        ------
        EmptyMaskError
            Nothing is left to accept; the object at hand stays.
        ConfigError
            There is no such rule.
        """
        check_rule(overlap)
        geometry = self._accepted_geometry(min_island_px, overlap)
        old = self._reopened
        if label is None:
            label = DEFAULT_LABEL if old is None else old.label
        if color is None and old is not None and label == old.label:
            color = old.region.color
        before = () if old is None else old.windows
        quality = self.quality
        state = self._outline.state
        accepted = AcceptedObject.make(
            geometry,
            label=label,
            color=color,
            prompts=self.prompts,
            windows=tuple(dict.fromkeys((*before, *self.windows))),
            quality=old.quality if quality is None and old is not None else quality,
            provenance=self._provenance(),
            origin=state.start.origin,
            replaces=old,
        )
        objects = self._placed(accepted)
        if overlap == "keep_later":
            changed, removed = cut_objects(self._objects, accepted.geometry)
            now = {one.id: one for one in changed}
            gone = {one.id for one in removed}
            objects = tuple(now.get(one.id, one) for one in objects if one.id not in gone)
        ended = self._ending("accept")
        self._set(objects, History())
        self._ended = ended
        return accepted

    def relabel(
        self, accepted: AcceptedObject, label: str, color: Color | None = None
    ) -> AcceptedObject:
        """Give an accepted object another class; return it as it now is, of the same id.

        Parameters
        ----------
        accepted
            One of `objects`; its id counts.
        label
            The new class.
        color
            (red, green, blue), 0 to 255; None: the class's usual colour.

        Raises
        ------
        ConfigError
            The object is not one of `objects`.
        """
        place = self._place_of(accepted)
        changed = self._objects[place].with_class(label, color)
        self._objects = (*self._objects[:place], changed, *self._objects[place + 1 :])
        self._ended = None
        return changed

    def delete(self, accepted: AcceptedObject) -> None:
        """Remove an accepted object, known by its id.

        Raises
        ------
        ConfigError
            The object is not one of `objects`.
        """
        place = self._place_of(accepted)
        self._objects = self._objects[:place] + self._objects[place + 1 :]
        self._place -= place < self._place
        self._ended = None

    def add_objects(self, regions: Iterable[AnnotatedRegion]) -> tuple[AcceptedObject, ...]:
        """Add outlines from a file to the accepted objects.

        Where this tool wrote them, their clicks come with them. An outline whose id is there
        already replaces that object.

        Parameters
        ----------
        regions
            As `read_geojson` and the other readers give them.

        Returns
        -------
        tuple of AcceptedObject
            The new ones, in order.

        Raises
        ------
        ConfigError
            One is the object that is being corrected.
        """
        new = {r.id: AcceptedObject.imported(r, self.slide_mpp) for r in regions}
        if self._reopened is not None and self._reopened.id in new:
            raise ConfigError(
                "the object that is being corrected is among those to add; accept or drop it first"
            )
        held = {one.id for one in self._objects}
        kept = tuple(new.get(one.id, one) for one in self._objects)
        self._objects = kept + tuple(one for key, one in new.items() if key not in held)
        self._ended = None
        return tuple(new.values())

    def reopen(self, accepted: AcceptedObject) -> None:
        """Take an accepted object, known by its id, back to correct it.

        Its mask and prompts are the new starting point; `undo` goes back as far as that. Further
        prompts go on from there; taking out or moving one of its own makes it anew from its origin.
        `accept` puts it back where it was, `drop` puts it back unchanged. What was at hand is
        dropped.

        Raises
        ------
        ConfigError
            The object is not one of `objects`.
        """
        self._place_of(accepted)
        self.drop()
        place = self._place_of(accepted)
        accepted = self._objects[place]
        start = self._outline.start(accepted.geometry, accepted.prompts, accepted.origin)
        objects = self._objects[:place] + self._objects[place + 1 :]
        self._set(objects, History(State.of(start)), accepted, place)

    def refine(self, geometry: Any, clicks: Sequence[Prompt] = ()) -> None:
        """Start the object at hand from an outline instead of from nothing.

        What was at hand is dropped.

        Parameters
        ----------
        geometry
            shapely Polygon or MultiPolygon, level-0 pixels (x, y), pixel centres at whole numbers.
        clicks
            Prompts that have led to it; passed to the model where they lie in a window.
        """
        start = self._outline.start(geometry, clicks, geometry)
        self.drop()
        self._set(self._objects, History(State.of(start)))

    def take_over(self, other: Session) -> None:
        """Go on with the object that another session on this slide has at hand.

        Its prompts are answered again, by this session's model; what was at hand here is dropped.

        Parameters
        ----------
        other
            Left as it is.

        Raises
        ------
        PredictionError, SlideError
            As for a click; this session is unchanged.
        """
        state = other._outline.state
        given = state.start
        start = self._outline.start(given.geometry, given.prompts, given.origin)
        history = self._outline.replayed(start, [step.prompt for step in state.steps])
        self.drop()
        self._set(self._objects, history, other._reopened, other._place)

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

    def _accepted_geometry(self, min_island_px: int, overlap: OverlapRule) -> Any:
        geometry = self.geometry(min_island_px=min_island_px)
        if geometry.is_empty:
            raise EmptyMaskError(
                "the mask is empty, so there is nothing to accept; click on the object, or undo"
            )
        if overlap == "keep_earlier":
            island = min_island_px * self.grid.downsample**2
            others = [one.geometry for one in self._objects]
            geometry = without(geometry, others, min_area_px=island)
            if geometry.is_empty:
                raise EmptyMaskError(
                    "accepted objects cover the whole mask and keep what they have, so nothing is "
                    "left to accept; allow overlaps, or delete one of them"
                )
        return geometry

    def _ending(self, how: Literal["accept", "drop"]) -> _Ended:
        return _Ended(how, self._objects, self._outline.history, self._reopened, self._place)

    def _set(
        self,
        objects: tuple[AcceptedObject, ...],
        history: History,
        reopened: AcceptedObject | None = None,
        place: int = 0,
    ) -> None:
        """Make this the state; an accept or drop before it cannot be undone."""
        self._objects, self._reopened, self._place = objects, reopened, place
        self._outline.begin(history)
        self._ended = None

    def _placed(self, accepted: AcceptedObject) -> tuple[AcceptedObject, ...]:
        """Return the objects with one more: last, or where the reopened one was."""
        place = len(self._objects) if self._reopened is None else self._place
        return (*self._objects[:place], accepted, *self._objects[place:])

    def _place_of(self, accepted: AcceptedObject) -> int:
        for place, one in enumerate(self._objects):
            if one.id == accepted.id:
                return place
        raise ConfigError("the object is not one of this session's; pass one of its objects")

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
