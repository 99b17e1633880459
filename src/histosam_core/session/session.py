"""Session: outline objects on a slide by clicks and boxes; no GUI, no threads, no chance.

What a session holds is a `State` (apply.py), which operations (operations.py) change; the mask of
its current object is an `Outline` (outline.py). See docs/session.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from histosam_core.annotation import write_geojson
from histosam_core.clicks import MASK_THRESHOLD, Box, Click, Lasso, Prompt
from histosam_core.errors import ConfigError, EmptyMaskError, HistoSamError
from histosam_core.model.interface import complete
from histosam_core.session.apply import State, accepting, apply, taking_over
from histosam_core.session.growth.growing import WINDOWS_A_CLICK
from histosam_core.session.header import Header
from histosam_core.session.journal.fold import RestoredState, fold
from histosam_core.session.journal.recorder import Recorder
from histosam_core.session.objects import AcceptedObject, OverlapRule, Start, without
from histosam_core.session.operations import (
    Accept,
    Delete,
    Drop,
    Grow,
    Import,
    MoveClick,
    Operation,
    Redo,
    Refine,
    RemovePrompts,
    Reopen,
    SetClass,
    Undo,
)
from histosam_core.session.outline import ClickResult, Outline, mean_quality
from histosam_core.session.windows.predictor import Predictor
from histosam_core.session.windows.scale import slide_scale
from histosam_core.session.windows.windows import WindowGrid

if TYPE_CHECKING:
    from histosam_core.annotation import AnnotatedRegion
    from histosam_core.annotation.regions import Color
    from histosam_core.embeddings.memory import EmbeddingStore
    from histosam_core.geometry import Region
    from histosam_core.model import InteractiveModel, TrainingGeometry
    from histosam_core.session.canvas.canvas import CanvasSnapshot
    from histosam_core.session.growth.growing import Growth
    from histosam_core.session.journal.file import JournalWriter
    from histosam_core.slide import Slide

__all__ = ["Session"]

XY = tuple[float, float]


class Session:
    """Clicks on one slide with one model, object after object.

    What changes a session is an `Operation`: `click`, `undo`, `accept` and the like each make one,
    and `apply` carries any of them out, which is written in the journal before. See there for what
    they raise.

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
    journal
        Where every operation is written before it is carried out; from `new_journal`.

    Raises
    ------
    MissingMppError
        Neither the user nor the file states the mpp or a magnification.
    ConfigError
        A setting is out of range.
    JournalError
        The journal cannot be written.
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
        journal: JournalWriter | None = None,
    ) -> None:
        if not 0 < mask_threshold < 1:
            raise ConfigError(f"mask_threshold {mask_threshold} must lie between 0 and 1")
        self.slide = slide
        self.model = complete(model)
        geometry = geometry or self.model.info.geometry
        self.mask_threshold = mask_threshold
        self.scale = slide_scale(slide, mpp)
        self.grid = WindowGrid(slide.size_wh, self.scale.mpp, geometry.mpp, geometry.patch_size_px)
        self.predictor = Predictor(slide, self.model, self.scale.mpp, store=store, clock=clock)
        self._outline = Outline(self.predictor, self.grid, mask_threshold)
        self._state = State(tuple(objects))
        self._notes: tuple[str, ...] = ()
        self._header = Header.of(slide, self.model.info, self.scale, self.grid, mask_threshold)
        self._recorder = self._begun(journal)

    def apply(self, operation: Operation) -> ClickResult | None:
        """Carry an operation out. Where it raises, the session is unchanged.

        Parameters
        ----------
        operation
            A prompt (`Click`, `Box`, `Lasso`) or another of histosam_core.session.operations.

        Returns
        -------
        ClickResult or None
            The mask where the prompt was answered that was made, undone or put back, or the last
            one after an edit; None where there is none, or nothing was to be done.

        Raises
        ------
        ConfigError
            The operation does not fit: a box or lasso has no area, a box takes too many windows,
            there is no such prompt or object, the prompt to be moved is no click, or the reopened
            object is among those to add.
        ClickOutsideSlideError
            A prompt lies off the slide.
        EmptyMaskError
            There is nothing to accept.
        PredictionError, SlideError, OutOfMemoryError
            The model's answer cannot be used; the slide cannot be read; memory is full.
        JournalError
            The journal cannot be written. That is raised once, see `notes`.
        """
        before, settled = self._state, self._settled(operation)
        if settled is None:
            return None
        after = apply(before, settled)
        with self._recorder.ahead(settled):
            self._outline.show(after.draft)
        self._state = after
        match settled:
            case Undo("click"):
                shown = before.shown
            case Redo():
                shown = after.shown
            case Click() | Box() | Lasso() | RemovePrompts() | MoveClick():
                shown = after.draft if after.draft.n else None
            case _:
                shown = None
        return None if shown is None else self._outline.result(shown)

    def click(self, xy: XY, is_positive: bool = True) -> ClickResult:
        """Answer a click at a level-0 pixel (x, y), pixel centres at whole numbers."""
        return self._answered(Click(xy, is_positive))

    def box(self, xyxy: tuple[float, float, float, float]) -> ClickResult:
        """Answer a box (x0, y0, x1, y1), level-0 pixels: the object lies inside it.

        It is cut at the slide's edge; one larger than a window is answered window by window. It
        holds for later clicks in its windows until a positive click beside it.
        """
        return self._answered(Box(xyxy))

    def lasso(self, points_xy: Iterable[XY], is_positive: bool = True) -> ClickResult:
        """Draw by hand: what lies inside belongs to the object, or does not, whatever a model says.

        The corners (x, y), level-0 pixels, are joined in order. No model is asked. Later answers
        leave the drawn area as it is until a click inside it says the opposite.
        """
        return self._answered(Lasso(tuple(points_xy), is_positive))

    def remove_prompts(self, indices: Iterable[int]) -> ClickResult | None:
        """Make the object what it would be without some of its prompts, by places in `prompts`.

        What came before them stays; what came after is answered again, in order. Of a reopened
        object every prompt can be taken out: it is then made anew from its origin. None when no
        prompt is left, or none was to be taken out.
        """
        return self.apply(RemovePrompts(tuple(indices)))

    def move_click(self, index: int, xy: XY) -> ClickResult:
        """Make the object what it would be had a click been made at another level-0 pixel (x, y).

        `index` is its place in `prompts`. See `remove_prompts`.
        """
        return self._answered(MoveClick(index, xy))

    def grow(self, windows: int = WINDOWS_A_CLICK) -> int:
        """Let the current object go on beyond the windows that were clicked in.

        Where it reaches a window's edge the next window is answered without a click, nearest to
        the last click first, until the object ends by itself or `windows` have been answered. A
        further call goes on. Clicks and lassos hold; `undo` takes the growth back with the click
        that it followed. An object grows after a click, from a positive one; not one that was
        begun with a box, which says where it ends.

        Returns
        -------
        int
            Windows answered; fewer than asked for where the object has ended.
        """
        before = self.growth
        self.apply(Grow(windows))
        after = self.growth
        return (after.n_windows if after else 0) - (before.n_windows if before else 0)

    def undo(self) -> ClickResult | None:
        """Take the last click, box or edit back, and the canvas to what it was, bit for bit.

        With nothing left to undo in the current object, the last `accept` or `drop` is taken back:
        its object is the current one again and the accepted ones are what they were. A second
        accept before it, or one followed by `reopen`, `refine` or a change of the accepted objects,
        is not.

        The answer is the mask as it now is where the undone prompt was answered; None where there
        is no such place, or nothing to undo.
        """
        return self.apply(Undo())

    def redo(self) -> ClickResult | None:
        """Put back what was undone last; None when there is nothing."""
        return self.apply(Redo())

    def accept(
        self,
        label: str | None = None,
        *,
        min_island_px: int = 0,
        overlap: OverlapRule = "allow",
        color: Color | None = None,
    ) -> AcceptedObject:
        """Keep the current object and start a new one.

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
            Nothing is left to accept; the current object stays.
        """
        operation = Accept(label, color, overlap, min_island_px)
        one = self._outlined(operation)
        self.apply(accepting(self._state, operation, one))
        return one

    def drop(self) -> None:
        """Forget the current object: its prompts, its mask, and what could be undone.

        A reopened object goes back among the accepted ones unchanged. `undo` takes this back.
        """
        self.apply(Drop())

    def reopen(self, accepted: AcceptedObject) -> None:
        """Take an accepted object, known by its id, back to correct it.

        Its mask and prompts are the new starting point; `undo` goes back as far as that. Further
        prompts go on from there; taking out or moving one of its own makes it anew from its origin.
        `accept` puts it back where it was, `drop` puts it back unchanged. What was current is
        dropped.
        """
        self.apply(Reopen(accepted.id))

    def refine(self, geometry: Any, clicks: Sequence[Prompt] = ()) -> None:
        """Start the current object from an outline; what was current is dropped.

        `geometry` is a shapely Polygon or MultiPolygon, level-0 pixels (x, y), pixel centres at
        whole numbers. The `clicks` that have led to it go to the model where they lie in a window.
        """
        self.apply(Refine(Start(geometry, tuple(clicks), geometry)))

    def relabel(
        self, accepted: AcceptedObject, label: str, color: Color | None = None
    ) -> AcceptedObject:
        """Give an accepted object, known by its id, another class; return it as it now is.

        Without a colour (red, green, blue) it gets the class's usual one.
        """
        self.apply(SetClass(accepted.id, label, color))
        return self.objects[self._state.place_of(accepted.id)]

    def delete(self, accepted: AcceptedObject) -> None:
        """Remove an accepted object, known by its id."""
        self.apply(Delete(accepted.id))

    def add_objects(self, regions: Iterable[AnnotatedRegion]) -> tuple[AcceptedObject, ...]:
        """Add outlines, as `read_geojson` gives them, to the accepted objects; return the new ones.

        Where this tool wrote them, their clicks come with them. An outline whose id is there
        already replaces that object.
        """
        new = tuple(AcceptedObject.imported(region, self.slide_mpp) for region in regions)
        self.apply(Import(new))
        return new

    def take_over(self, other: Session) -> None:
        """Go on with the current object of another session on this slide, which stays as it is.

        Its prompts are answered again, by this session's model; what was current is dropped.
        """
        self.apply(taking_over(other.state))

    def save_geojson(self, path: str | os.PathLike[str]) -> Path:
        """Write the accepted objects as a FeatureCollection that QuPath opens; return the path.

        Raises
        ------
        EmptyMaskError
            Nothing has been accepted yet.
        OutputWriteError
            The file cannot be written.
        """
        if not self.objects:
            raise EmptyMaskError("no object has been accepted; call accept() before saving")
        written = write_geojson(path, [accepted.region for accepted in self.objects])
        self._recorder.write("export", path=str(written), objects=len(self.objects))
        return written

    def restore(self, restored: RestoredState, journal: JournalWriter | None = None) -> None:
        """Go on where a journal ends; this session must be fresh.

        The accepted objects come from the journal. The current object's prompts are answered again,
        and its steps can be undone as before; with another model than the journal's, or other
        windows, its prompts alone are taken, and `notes` says so. An operation that the crash cut
        short is completed; where it cannot be, it is left out and `notes` says so.

        Parameters
        ----------
        restored
            From `fold`.
        journal
            Write into this one from now on: the one that was read, from `resume_journal`. None:
            the session's own.

        Raises
        ------
        ConfigError
            This session has prompts or objects of its own, or its slide another size than the
            journal's.
        PredictionError, SlideError, JournalError
            As for `apply`; nothing is changed.
        """
        if self.objects or not self._state.is_blank:
            raise ConfigError(
                "this session has clicks or objects of its own; restore into a new Session"
            )
        restored.header.check_size(self.slide, restored.path)
        is_same = self._header.gives_masks_of(restored.header)
        state = restored.state if is_same else restored.state.collapsed()
        notes, last, left_out = restored.notes, restored.last, ""
        if state.draft.n and not is_same:
            notes += (
                f"the current object was outlined with {restored.model}; its prompts were answered "
                "again by the model in use",
            )
        try:
            self._outline.canvas_of(state.draft)
        except HistoSamError as error:
            if last is None or not is_same:
                raise
            state = fold(restored.journal, without=last.n).state
            self._outline.canvas_of(state.draft)
            left_out = f"{type(error).__name__}: {error}"
            notes += (f"the last operation ({last.op}) was left out: {error}",)
        if journal is not None:
            self._recorder = self._begun(journal)
        self._recorder.restored(restored.path, state, is_same_model=is_same)
        if last is not None and left_out and not self._recorder.is_elsewhere(restored.path):
            self._recorder.write("failed", of=last.n, error=left_out)
        self.go_to(state)
        self._notes += notes

    def go_to(self, state: State) -> None:
        """Make another state of this slide this session's, past its journal."""
        self._outline.show(state.draft)
        self._state = state

    def end(self) -> None:
        """Say in the journal that the session is over; the journal stays open."""
        self._recorder.end()
        self._recorder = Recorder()

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
                f"the slide has {self.slide_mpp:g} um per pixel, the model was trained at "
                f"{self.grid.mpp:g}; windows are enlarged and show less detail"
            )
        notes += self._notes
        if self._recorder.note:
            notes.append(self._recorder.note)
        return tuple(notes)

    @property
    def state(self) -> State:
        """The accepted objects, and the current one with its undo; never changes in place."""
        return self._state

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The clicks, boxes and lassos of the current object, in order, level-0 pixels."""
        return self._state.draft.prompts

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks among `prompts`."""
        return tuple(prompt for prompt in self.prompts if isinstance(prompt, Click))

    @property
    def windows(self) -> tuple[Region, ...]:
        """The windows that the current object has used, in order of first use."""
        return tuple(map(self.grid.region, self._outline.latest()))

    @property
    def quality(self) -> float | None:
        """Mean of the model's own estimates, the latest of each window; None without any."""
        return mean_quality(tuple(self._outline.latest().values()))

    @property
    def area_mm2(self) -> float:
        """Area of the current object's mask in square millimetres."""
        return self._outline.canvas.area_um2 / 1e6

    @property
    def canvas_snapshot(self) -> CanvasSnapshot:
        """The canvas of the current object: tile (x, y) -> `Tile`.

        Tiles never change: what differs between two snapshots are the tiles that are not the same
        objects.
        """
        return self._outline.canvas.tiles

    @property
    def objects(self) -> tuple[AcceptedObject, ...]:
        """What has been accepted, in order, without the one that is `reopened`."""
        return self._state.objects

    @property
    def reopened(self) -> AcceptedObject | None:
        """The accepted object that is being corrected, as it was."""
        return self._state.reopened

    @property
    def can_undo(self) -> bool:
        """Whether `undo` does anything."""
        return self._state.undoes is not None

    @property
    def can_redo(self) -> bool:
        """Whether `redo` does anything."""
        return self._state.can_redo

    @property
    def can_grow(self) -> bool:
        """Whether `grow` does anything."""
        since, growth = self._state.draft.since, self.growth
        return (
            bool(since)
            and isinstance(since[-1], Click)
            and any(one.is_positive for one in self.clicks)
            and not any(isinstance(one, Box) for one in self.prompts)
            and not (growth is not None and growth.is_finished)
        )

    @property
    def growth(self) -> Growth | None:
        """How far the current object has grown since its last click; None: not at all."""
        return self._outline.growth()

    def window_for(self, xy: XY) -> Region:
        """Return the window that a click at a level-0 pixel (x, y) of the slide would go to."""
        return self.grid.region(self._outline.window_for(xy))

    def mask_region(self, region: Region | None = None) -> tuple[NDArray[np.bool_], Region]:
        """Return the current object's mask, (h, w) bool, and the region where it lies.

        Parameters
        ----------
        region
            A region of this session (`ClickResult.region`, `windows`); None: the mask's bounding
            box.

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
        """Return how likely each pixel of a region, as for `mask_region`, belongs to the object.

        (h, w) float32, 0 to 1; nearly 0 where no window has answered.
        """
        part = self._outline.canvas.read(self.grid.location_of(region), region.size_wh)
        probability: NDArray[np.float32] = expit(part.logits)
        return probability

    def geometry(self, *, min_island_px: int = 0) -> Any:
        """Return the current object's mask as a shapely MultiPolygon; see `Outline.geometry`."""
        return self._outline.geometry(min_island_px=min_island_px)

    def _begun(self, journal: JournalWriter | None) -> Recorder:
        """Begin to write into a journal."""
        recorder = Recorder(journal)
        if journal is not None:
            recorder.begin(self._header, self.objects)
        return recorder

    def _answered(self, operation: Operation) -> ClickResult:
        answer = self.apply(operation)
        if answer is None:
            raise AssertionError("a prompt is answered")
        return answer

    def _settled(self, operation: Operation) -> Operation | None:
        """Return an operation as it is carried out and written; None where it does nothing."""
        state = self._state
        match operation:
            case Click() | Box() | Lasso():
                return self._outline.check(operation)
            case RemovePrompts(indices):
                return operation if indices else None
            case MoveClick(_, xy):
                self.grid.to_grid(xy)
                return operation
            case Undo():
                return None if state.undoes is None else Undo(state.undoes)
            case Grow():
                return operation if self.can_grow and operation.windows > 0 else None
            case Redo():
                return operation if state.can_redo else None
            case Drop():
                return None if state.is_blank else operation
            case Accept(object=None):
                return accepting(state, operation, self._outlined(operation))
            case SetClass(key, label, color):
                changed = self.objects[state.place_of(key)].with_class(label, color)
                return SetClass(key, label, color, changed)
            case _:
                return operation

    def _outlined(self, operation: Accept) -> AcceptedObject:
        """Make the object that an accept keeps."""
        return AcceptedObject.make(
            self._accepted_geometry(operation),
            self._header,
            label=operation.label,
            color=operation.color,
            prompts=self.prompts,
            windows=self.windows,
            quality=self.quality,
            origin=self._state.draft.start.origin,
            replaces=self.reopened,
        )

    def _accepted_geometry(self, operation: Accept) -> Any:
        geometry = self.geometry(min_island_px=operation.min_island_px)
        if geometry.is_empty:
            raise EmptyMaskError(
                "the mask is empty, so there is nothing to accept; click on the object, or undo"
            )
        if operation.overlap == "keep_earlier":
            island = operation.min_island_px * self.grid.downsample**2
            others = [one.geometry for one in self.objects]
            geometry = without(geometry, others, min_area_px=island)
            if geometry.is_empty:
                raise EmptyMaskError(
                    "accepted objects cover the whole mask and keep what they have, so nothing is "
                    "left to accept; allow overlaps, or delete one of them"
                )
        return geometry
