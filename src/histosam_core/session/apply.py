"""What there is in a session, and what each operation makes of it: no model, no slide, no file.

A session carries operations out on this state and asks the model for what changed; a journal that
is read goes through the same `apply`, so that its rules stand once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from histosam_core.clicks import Box, Click, Lasso, Prompt
from histosam_core.errors import ConfigError
from histosam_core.session.objects import AcceptedObject, Start, cut_objects
from histosam_core.session.operations import (
    Accept,
    Delete,
    Drop,
    Edit,
    Grow,
    Import,
    MoveClick,
    Operation,
    Redo,
    Refine,
    RemovePrompts,
    Reopen,
    SetClass,
    TakeOver,
    Undo,
)

__all__ = ["Draft", "State", "accepting", "apply", "taking_over"]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Draft:
    """The current object at one moment: its last prompt, and the draft that this was added to.

    Without a prompt it is what the object starts from, or, with `windows`, what `before` grew to in
    so many windows more. A draft is known by identity: two with the same `before` share all that
    came before, answers and masks included. `n` counts the prompts since the start.
    """

    start: Start = field(default_factory=Start)
    before: Draft | None = field(default=None, repr=False)
    prompt: Prompt | None = None
    n: int = 0
    windows: int = 0

    def then(self, *prompts: Prompt) -> Draft:
        """Return the draft with more prompts."""
        draft = self
        for prompt in prompts:
            draft = Draft(draft.start, draft, prompt, draft.n + 1)
        return draft

    def grown(self, windows: int) -> Draft:
        """Return the draft grown into some windows more."""
        return Draft(self.start, self, None, self.n, windows)

    def line(self) -> list[Draft]:
        """List the drafts from the start to this one, each with a prompt more or grown farther."""
        found = [self]
        while found[-1].before is not None:
            found.append(found[-1].before)
        return found[::-1]

    def chain(self) -> list[Draft]:
        """List the drafts from the start to this one, each with a prompt more, fully grown."""
        return list({draft.n: draft for draft in self.line()}.values())

    @property
    def since(self) -> tuple[Prompt, ...]:
        """The prompts since the start."""
        return tuple(step.prompt for step in self.line() if step.prompt is not None)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All prompts, those of the start first."""
        return (*self.start.prompts, *self.since)

    def edited(self, first: int, later: Iterable[Prompt]) -> Draft:
        """Return the draft with other prompts from the `first` on.

        Where that is a prompt of the start, the object is made anew from its origin.
        """
        given = self.start.prompts
        if first < len(given):
            anew = Draft(Start(self.start.origin, (), self.start.origin))
            return anew.then(*given[:first], *later)
        return self.chain()[first - len(given)].then(*later)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What there is in a session at one moment.

    Parameters
    ----------
    objects
        What was accepted, in order, without the one that is being corrected.
    reopened, place
        The accepted object that is being corrected, as it was, and its place among the objects.
    drafts, edits
        The current object from its start on, a draft after each step, those undone at the end; and
        the steps between them.
    at
        Which of the drafts is the current one.
    ended
        What ended the object before, and the state that undo then goes back to; None: nothing.
    """

    objects: tuple[AcceptedObject, ...] = ()
    reopened: AcceptedObject | None = None
    place: int = 0
    drafts: tuple[Draft, ...] = field(default_factory=lambda: (Draft(),))
    edits: tuple[Edit, ...] = ()
    at: int = 0
    ended: tuple[Literal["accept", "drop"], State] | None = None

    @property
    def draft(self) -> Draft:
        """The current object."""
        return self.drafts[self.at]

    @property
    def can_redo(self) -> bool:
        """Whether a step was undone."""
        return self.at + 1 < len(self.drafts)

    @property
    def is_blank(self) -> bool:
        """Whether there is no current object, not even one that could be put back by redo."""
        start = self.draft.start
        is_begun = self.draft.n or start.prompts or start.geometry is not None
        return not (is_begun or self.reopened is not None or self.can_redo)

    @property
    def undoes(self) -> Literal["click", "accept", "drop"] | None:
        """What undo takes back, "click" for any step of the current object; None: nothing."""
        if self.at:
            return "click"
        return None if self.ended is None else self.ended[0]

    @property
    def shown(self) -> Draft | None:
        """The draft whose prompt is to be looked at when this state is reached or left by undo."""
        nearest = (d for d in self.drafts[max(0, self.at - 1) : self.at + 1][::-1] if d.n)
        return next(nearest, None)

    def place_of(self, key: str) -> int:
        """Return an accepted object's place by its id; ConfigError where no object has it."""
        for place, one in enumerate(self.objects):
            if one.id == key:
                return place
        raise ConfigError("the object is not one of this session's; pass one of its objects")

    def collapsed(self) -> State:
        """Return the state with nothing of the current object but its prompts: no undone steps."""
        draft = self.draft
        return replace(self, drafts=tuple(draft.chain()), edits=draft.since, at=draft.n)

    def stepped(self, edit: Edit, draft: Draft) -> State:
        """Go on to another draft; what was undone is forgotten."""
        return replace(
            self,
            drafts=(*self.drafts[: self.at + 1], draft),
            edits=(*self.edits[: self.at], edit),
            at=self.at + 1,
        )

    def closed(self, one: AcceptedObject | None = None) -> tuple[AcceptedObject, ...]:
        """Return the objects with one more: last, or where the one was that is being corrected.

        Without an object that one goes back as it was.
        """
        one = one or self.reopened
        if one is None:
            return self.objects
        place = len(self.objects) if self.reopened is None else self.place
        return (*self.objects[:place], one, *self.objects[place:])


def apply(state: State, operation: Operation) -> State:
    """Return the state after an operation; an `Accept` must say what comes of it.

    Raises
    ------
    ConfigError
        The operation does not fit: there is no such prompt or object, the prompt to be moved is no
        click, or the object that is being corrected is among those to add.
    """
    match operation:
        case Click() | Box() | Lasso():
            return state.stepped(operation, state.draft.then(operation))
        case RemovePrompts() | MoveClick():
            return state.stepped(operation, _edited(state.draft, operation))
        case Grow(windows):
            drafts = (*state.drafts[: state.at], state.draft.grown(windows))
            return replace(state, drafts=drafts, edits=state.edits[: state.at])
        case Undo(undoes):
            return _undone(state, undoes or state.undoes)
        case Redo():
            return replace(state, at=min(state.at + 1, len(state.drafts) - 1))
        case Accept():
            return State(_accepted(state, operation), ended=("accept", replace(state, ended=None)))
        case Drop():
            return State(state.closed(), ended=("drop", replace(state, ended=None)))
        case Reopen(key):
            state.place_of(key)  # fails for the object that is being corrected already
            return _reopened(state.closed(), key)
        case Refine(start):
            return State(state.closed(), drafts=(Draft(start),))
        case SetClass(key):
            place = state.place_of(key)
            one = state.objects[place].with_class(operation.label, operation.color)
            return _with_objects(state, (*state.objects[:place], one, *state.objects[place + 1 :]))
        case Delete(key):
            place = state.place_of(key)
            objects = state.objects[:place] + state.objects[place + 1 :]
            is_before = state.reopened is not None and place < state.place
            return replace(_with_objects(state, objects), place=state.place - is_before)
        case Import(objects):
            return _with_objects(state, _merged(state, objects))
        case TakeOver(start, prompts, reopened, place):
            draft = Draft(start).then(*prompts)
            return State(state.closed(), reopened, place, (draft,)).collapsed()


def accepting(state: State, operation: Accept, one: AcceptedObject) -> Accept:
    """Say what comes of an accept: the object, and what its overlap rule does to the others."""
    if operation.overlap != "keep_later":
        return replace(operation, object=one)
    changed, removed = cut_objects(state.objects, one.geometry)
    gone = tuple(other.id for other in removed)
    return replace(operation, object=one, changed=tuple(changed), removed=gone)


def taking_over(state: State) -> TakeOver:
    """Return the operation that makes a state's current object another session's."""
    return TakeOver(state.draft.start, state.draft.since, state.reopened, state.place)


def _edited(draft: Draft, edit: RemovePrompts | MoveClick) -> Draft:
    prompts = draft.prompts
    places = edit.indices if isinstance(edit, RemovePrompts) else (edit.index,)
    for place in places:
        if not 0 <= place < len(prompts):
            held = f"0 to {len(prompts) - 1}" if prompts else "none"
            raise ConfigError(f"there is no prompt {place}; the current object has {held}")
    first = places[0]
    if isinstance(edit, RemovePrompts):
        later = [p for i, p in enumerate(prompts) if i > first and i not in places]
        return draft.edited(first, later)
    old = prompts[first]
    if not isinstance(old, Click):
        kind = type(old).__name__.lower()
        raise ConfigError(f"prompt {first} is a {kind}, not a click; take it out and draw another")
    return draft.edited(first, (Click(edit.xy, old.is_positive), *prompts[first + 1 :]))


def _undone(state: State, undoes: str | None) -> State:
    if undoes == "click":
        return replace(state, at=max(0, state.at - 1))
    if state.ended is None:
        raise ConfigError("there is nothing to undo")
    return state.ended[1]


def _accepted(state: State, operation: Accept) -> tuple[AcceptedObject, ...]:
    if operation.object is None:
        raise ValueError("the accept has no object yet")
    now = {one.id: one for one in operation.changed}
    objects = state.closed(operation.object)
    return tuple(now.get(one.id, one) for one in objects if one.id not in operation.removed)


def _reopened(objects: tuple[AcceptedObject, ...], key: str) -> State:
    place = State(objects).place_of(key)
    one = objects[place]
    start = Start(one.geometry, one.prompts, one.origin)
    return State(objects[:place] + objects[place + 1 :], one, place, (Draft(start),))


def _merged(state: State, new: Iterable[AcceptedObject]) -> tuple[AcceptedObject, ...]:
    added = {one.id: one for one in new}
    if state.reopened is not None and state.reopened.id in added:
        raise ConfigError(
            "the object that is being corrected is among those to add; accept or drop it first"
        )
    replaced = tuple(added.pop(one.id, one) for one in state.objects)
    return (*replaced, *added.values())


def _with_objects(state: State, objects: tuple[AcceptedObject, ...]) -> State:
    """Change the accepted objects; an accept or drop before cannot be undone any more."""
    return replace(state, objects=objects, ended=None)
