"""Bring a session back from its journal: the objects as they were, the open one made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histosam_core.errors import ConfigError, HistoSamError
from histosam_core.session.history import History, State
from histosam_core.session.journal.fold import PROMPT_OPS, follow
from histosam_core.session.journal.record import begin_record, geometry_in, object_in, prompt_in
from histosam_core.session.outline import Outline

if TYPE_CHECKING:
    from histosam_core.clicks import Prompt
    from histosam_core.session.journal import Event, Journal
    from histosam_core.session.journal.fold import JournalState
    from histosam_core.session.objects import AcceptedObject
    from histosam_core.session.session import Session
    from histosam_core.slide import Slide

__all__ = ["RestoredState", "carry_out", "fold", "restored_history"]


@dataclass(frozen=True, slots=True, eq=False)
class RestoredState:
    """What there was at a journal's end.

    Parameters
    ----------
    path
        The journal.
    objects
        The accepted objects, in order.
    reopened, place
        The one that was being corrected, and where it was among the objects.
    prompts
        Of the open object, level-0 pixels.
    notes
        On lines of the journal that could not be read.
    journalled
        The same as the journal has it: the operations on the open object, and which model made it.
    """

    path: Path
    objects: tuple[AcceptedObject, ...]
    reopened: AcceptedObject | None
    place: int
    prompts: tuple[Prompt, ...]
    notes: tuple[str, ...]
    journalled: JournalState

    @property
    def model(self) -> str:
        """The name of the model that made the open object."""
        return str(self.journalled.begin["model"]["name"])

    @property
    def operations(self) -> tuple[Event, ...]:
        """What was done to the open object, every undo included."""
        return self.journalled.open.operations

    def check_slide(self, slide: Slide) -> None:
        """Refuse a slide on which the journal's prompts would lie elsewhere.

        Raises
        ------
        ConfigError
            It has another size than the one that the journal was recorded on.
        """
        then = self.journalled.begin["slide"]
        if list(slide.size_wh) != then["size_wh"]:
            w, h = then["size_wh"]
            raise ConfigError(
                f"the journal {self.path.name} was recorded on {then['name']}, {w} x {h} px, and "
                f"{slide.path.name} is {slide.size_wh[0]} x {slide.size_wh[1]}; open the slide "
                "that it was recorded on"
            )

    def fits(self, session: Session) -> bool:
        """Whether a session has the journal's model, windows and threshold, so gives its masks."""
        mine, theirs = begin_record(session), self.journalled.begin
        return (
            all(mine["model"][key] == theirs["model"][key] for key in ("name", "sha256", "decoder"))
            and all(mine[key] == theirs[key] for key in ("geometry", "threshold"))
            and mine["slide"]["mpp"] == theirs["slide"]["mpp"]
        )


def fold(journal: Journal) -> RestoredState:
    """Follow a journal to its end; nothing is predicted.

    Raises
    ------
    JournalError
        It holds no session, or an operation does not fit what came before.
    """
    state = follow(journal)
    reopened = state.open.reopened
    return RestoredState(
        path=journal.path,
        objects=tuple(object_in(record) for record in state.objects),
        reopened=None if reopened is None else object_in(reopened),
        place=state.open.place,
        prompts=tuple(prompt_in(record) for record in state.open.prompts),
        notes=journal.notes,
        journalled=state,
    )


def restored_history(
    state: RestoredState, outline: Outline, *, is_same_model: bool
) -> tuple[History, list[tuple[int, str]], tuple[str, ...]]:
    """Make the open object again.

    Parameters
    ----------
    state
        From `fold`.
    outline
        Whose windows and model to use; it is left as it is.
    is_same_model
        True: carry its operations out again. False: answer its prompts.

    Returns
    -------
    history
        To be undone and redone as before.
    failed
        Number and error of an operation that was not carried out: at most the last one, which may
        never have been.
    notes
        What the user should know.

    Raises
    ------
    HistoSamError
        An operation that was carried out before cannot be now.
    """
    there = state.journalled.open
    there = there if is_same_model else there.collapsed()
    fresh = Outline(outline.predictor, outline.grid, outline.canvas.mask_threshold)
    given = tuple(prompt_in(record) for record in there.start["prompts"])
    geometry, origin = (geometry_in(there.start[key]) for key in ("geometry", "origin"))
    fresh.begin(History(State.of(fresh.start(geometry, given, origin))))
    failed: list[tuple[int, str]] = []
    notes = list(state.notes)
    if there.operations and not is_same_model:
        notes.append(
            f"the open object was outlined with {state.model}; its prompts were answered again by "
            "the model in use"
        )
    for event in there.operations:
        try:
            carry_out(fresh, event)
        except HistoSamError as error:
            if event is not there.operations[-1] or not is_same_model:
                raise
            failed.append((event.n, f"{type(error).__name__}: {error}"))
            notes.append(f"the last operation ({event.op}) was left out: {error}")
    return fresh.history, failed, tuple(notes)


def carry_out(outline: Outline, event: Event) -> None:
    """Do to an object what an operation of the journal says.

    Raises
    ------
    HistoSamError
        As `Session.click` and the like.
    """
    facts = event.facts
    if event.op in PROMPT_OPS:
        outline.add(outline.check(prompt_in(facts)))
    elif event.op == "remove":
        outline.remove(outline.places(facts["indices"]))
    elif event.op == "move":
        x, y = facts["xy"]
        outline.move(*outline.check_move(facts["index"], (x, y)))
    elif event.op == "undo":
        outline.undo()
    elif event.op == "redo":
        outline.redo()
