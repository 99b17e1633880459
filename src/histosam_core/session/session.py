"""Session: outline objects on a slide by clicks and boxes; no GUI, no threads, no chance.

The object at hand is an `Outline` (outline.py); what was accepted are `AcceptedObject`s. See
docs/session.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from histosam_core.clicks import MASK_THRESHOLD, Box, Click, Lasso, Prompt
from histosam_core.errors import ConfigError
from histosam_core.model.interface import complete
from histosam_core.session.accepted import Accepted, Ended
from histosam_core.session.click_result import ClickResult
from histosam_core.session.history import History, State
from histosam_core.session.journal.record import (
    Record,
    object_record,
    prompt_record,
    start_record,
)
from histosam_core.session.journal.restore import RestoredState, restored_history
from histosam_core.session.outline import Outline
from histosam_core.session.session_objects import SessionObjects
from histosam_core.session.windows.predictor import Predictor
from histosam_core.session.windows.scale import slide_scale
from histosam_core.session.windows.windows import WindowGrid

if TYPE_CHECKING:
    from histosam_core.embeddings.memory import EmbeddingStore
    from histosam_core.model import InteractiveModel, TrainingGeometry
    from histosam_core.session.journal import JournalWriter
    from histosam_core.session.objects import AcceptedObject
    from histosam_core.slide import Slide

__all__ = ["ClickResult", "Session"]


class Session(SessionObjects):
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
    journal
        Where every operation is written before it is carried out; from `new_journal`.

    Raises
    ------
    MissingMppError
        Nothing tells the slide's mpp.
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
        self._accepted = Accepted(tuple(objects))
        self._ended: Ended | None = None
        self._told: tuple[str, ...] = ()
        self._record = Record(journal)
        self._record.begin(self)

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
        return self._add("click", Click(xy, is_positive))

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
        return self._add("box", Box(xyxy))

    def lasso(
        self, points_xy: Iterable[tuple[float, float]], is_positive: bool = True
    ) -> ClickResult:
        """Draw by hand: what lies inside belongs to the object, or does not, whatever a model says.

        No model is asked. Later answers leave the drawn area as it is until a click inside it says
        the opposite. The session is unchanged when this raises.

        Parameters
        ----------
        points_xy
            Corners (x, y) in order, level-0 pixels; cut at the slide's edge.
        is_positive
            True: the area belongs to the object. False: it does not.

        Raises
        ------
        ClickOutsideSlideError
            The area lies off the slide.
        ConfigError
            The corners enclose no area.
        """
        return self._add("lasso", Lasso(tuple(points_xy), is_positive))

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
        places = self._outline.places(indices)
        if not places:
            return None
        with self._record.ahead("remove", indices=places):
            return self._outline.remove(places)

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
        place, moved = self._outline.check_move(index, xy)
        with self._record.ahead("move", index=place, xy=list(moved.xy)):
            return self._outline.move(place, moved)

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

        Raises
        ------
        PredictionError, SlideError
            The mask of long ago is not kept and cannot be made again; the session is unchanged.
        """
        if self._outline.history.before is not None:
            with self._record.ahead("undo", undoes="click"):
                return self._outline.undo()
        if self._ended is not None:
            self._record.write("undo", undoes=self._ended.how)
            self._set(self._ended.accepted, self._ended.history)
        return None

    def redo(self) -> ClickResult | None:
        """Put back what was undone last; None when there is nothing.

        Raises
        ------
        PredictionError, SlideError
            As for `undo`.
        """
        if not self.can_redo:
            return None
        with self._record.ahead("redo"):
            return self._outline.redo()

    def drop(self) -> None:
        """Forget the object at hand: its prompts, its mask, and what could be undone.

        A reopened object goes back among the accepted ones unchanged. `undo` takes this back.
        """
        if not (self._outline.is_blank and self.reopened is None and not self.can_redo):
            self._record.write("drop")
            self._end("drop", self._accepted.closed())

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
        self._accepted.place_of(accepted.id)
        opened = self._accepted.closed().opened(accepted.id)
        one = opened.reopened
        if one is None:
            raise AssertionError("opened has one")
        start = self._outline.start(one.geometry, one.prompts, one.origin)
        self._record.write("reopen", id=one.id)
        self._set(opened, History(State.of(start)))

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
        self._record.write("refine", start=start_record(geometry, clicks, geometry))
        self._set(self._accepted.closed(), History(State.of(start)))

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
        state, theirs = other._outline.state, other._accepted
        given, prompts = state.start, [step.prompt for step in state.steps]
        start = self._outline.start(given.geometry, given.prompts, given.origin)
        with self._record.ahead(
            "take_over",
            start=start_record(given.geometry, given.prompts, given.origin),
            prompts=[prompt_record(prompt) for prompt in prompts],
            reopened=None if theirs.reopened is None else object_record(theirs.reopened),
            place=theirs.place,
        ):
            history = self._outline.replayed(start, prompts)
        mine = self._accepted.closed()
        self._set(Accepted(mine.objects, theirs.reopened, theirs.place), history)

    def restore(self, state: RestoredState, journal: JournalWriter | None = None) -> None:
        """Go on where a journal ends; this session must be fresh.

        The accepted objects come from the journal. The operations on the open object are carried
        out again, so that they can be undone as before; with another model than the journal's, or
        other windows, its prompts alone are answered again, and `notes` says so. An operation that
        the crash cut short is completed; where it cannot be, it is left out and `notes` says so.

        Parameters
        ----------
        state
            From `fold`.
        journal
            Write into this one from now on: the one that was read, from `resume_journal`. None:
            the session's own.

        Raises
        ------
        ConfigError
            This session has prompts or objects of its own, or its slide another size than the
            journal's.
        PredictionError, SlideError
            The open object cannot be made again; nothing is changed.
        JournalError
            The journal cannot be written.
        """
        if self.objects or self.reopened is not None or not self._outline.is_blank:
            raise ConfigError(
                "this session has clicks or objects of its own; restore into a new Session"
            )
        state.check_slide(self.slide)
        is_same = state.fits(self)
        history, failed, notes = restored_history(state, self._outline, is_same_model=is_same)
        if journal is not None:
            self._record = Record(journal)
            self._record.begin(self)
        self._record.restored(state, is_same_model=is_same)
        for n, error in failed:
            self._record.write("failed", of=n, error=error)
        self._set(Accepted(state.objects, state.reopened, state.place), history)
        self._told += notes

    def end(self) -> None:
        """Say in the journal that the session is over; the journal stays open."""
        self._record.end()
        self._record = Record()

    def _add(self, op: str, prompt: Prompt) -> ClickResult:
        prompt = self._outline.check(prompt)
        with self._record.ahead(op, **prompt_record(prompt)):
            return self._outline.add(prompt)
