"""What a journal comes to: its lines followed in order, by the rules of the session itself.

Nothing is predicted here: accepted objects are in the journal as they were, and of the current
object the prompts and steps are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histosam_core.clicks import Box, Click, Lasso
from histosam_core.errors import JournalError
from histosam_core.session.apply import Draft, State, apply, taking_over
from histosam_core.session.as_json import (
    Facts,
    object_from_json,
    object_to_json,
    start_from_json,
    start_to_json,
)
from histosam_core.session.header import Header
from histosam_core.session.operations import (
    NAMES,
    Grow,
    Operation,
    ReadObject,
    TakeOver,
    Undo,
    from_json,
    to_json,
)

if TYPE_CHECKING:
    from histosam_core.clicks import Prompt
    from histosam_core.session.journal.file import Event, Journal
    from histosam_core.session.objects import AcceptedObject

OPERATIONS = frozenset(NAMES.values())


@dataclass(frozen=True, slots=True, eq=False)
class RestoredState:
    """What there was at a journal's end."""

    journal: Journal  # as it was read
    header: Header  # of the session whose model made the current object
    state: State  # the accepted objects, and the current one with its undo
    n_clicks: int  # clicks, boxes and lassos made in all
    # The last line that changed the current object; it may not have been carried out.
    last: Event | None

    @property
    def path(self) -> Path:
        """The journal."""
        return self.journal.path

    @property
    def notes(self) -> tuple[str, ...]:
        """On lines of the journal that could not be read."""
        return self.journal.notes

    @property
    def objects(self) -> tuple[AcceptedObject, ...]:
        """The accepted objects, in order."""
        return self.state.objects

    @property
    def reopened(self) -> AcceptedObject | None:
        """The accepted object that was being corrected."""
        return self.state.reopened

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts of the current object, level-0 pixels."""
        return self.state.draft.prompts

    @property
    def model(self) -> str:
        """The name of the model that made the current object."""
        return str(self.header.model["name"])


def carried_out(journal: Journal) -> tuple[Event, ...]:
    """Return the lines of a journal without those that failed."""
    failed = {event.facts.get("of") for event in journal.events if event.op == "failed"}
    return tuple(e for e in journal.events if e.op != "failed" and e.n not in failed)


def fold(
    journal: Journal, *, without: int | None = None, read_object: ReadObject = object_from_json
) -> RestoredState:
    """Follow a journal to its end, perhaps `without` the line of that number; nothing is predicted.

    Raises
    ------
    JournalError
        It holds no session, or an operation does not fit what came before.
    """
    walk = Walk(read_object)
    for event in carried_out(journal):
        if event.n == without:
            continue
        try:
            walk.take(event)
        except (LookupError, TypeError, ValueError) as error:
            raise JournalError(
                f"{journal.path}: operation {event.n} ({event.op}) does not fit what came before "
                f"({error}); restore an earlier journal, or the objects from an exported file"
            ) from error
    walk.go_back()
    if walk.header is None:
        raise JournalError(f"{journal.path} holds no session; choose another journal")
    return RestoredState(journal, walk.header, walk.state, walk.n_clicks, walk.last)


def current_to_json(state: State) -> dict[str, Any]:
    """Return the current object, with its undo, as JSON values."""
    operations: list[Operation] = []
    again = State(drafts=state.drafts[:1])
    for edit, draft in zip(state.edits, state.drafts[1:], strict=True):
        operations.append(edit)
        again = apply(again, edit)
        for grown in draft.line()[len(again.draft.line()) :]:
            operations.append(Grow(grown.windows))
            again = apply(again, operations[-1])
    operations += [Undo("click")] * (len(state.edits) - state.at)
    return {
        "start": start_to_json(state.drafts[0].start),
        "operations": [{"n": 0, **to_json(one)} for one in operations],
        "reopened": None if state.reopened is None else object_to_json(state.reopened),
        "place": state.place,
    }


class Walk:
    """What a session comes to as its journal goes on, line by line; see `RestoredState`.

    A replay overrides `carry_out`.
    """

    def __init__(self, read_object: ReadObject = object_from_json) -> None:
        self.header: Header | None = None
        self.state = State()
        self.n_clicks = 0
        self.last: Event | None = None
        self._read_object = read_object
        self._known: dict[str, AcceptedObject] = {}
        # What stood before a later `begin`, until it is clear that it is not gone on with.
        self._before: tuple[Header, State, Event | None] | None = None

    def carry_out(self, operation: Operation) -> State:
        """Return what an operation makes of `state`."""
        return apply(self.state, operation)

    def take(self, event: Event) -> None:
        """Follow one line; one that this program does not know is passed over."""
        facts = event.facts
        if event.op == "begin":
            self._begin(facts)
        elif self.header is None:
            raise ValueError("nothing has begun")
        elif event.op == "back":
            self.go_back()
        elif event.op == "restore":
            self._restore(facts)
        elif event.op in OPERATIONS:
            self._operate(event, from_json({"op": event.op, **facts}, self._read_object))

    def go_back(self) -> None:
        """Go back from a session that had only begun to the one before it."""
        if self._before is not None:
            self.header, self.state, self.last = self._before
            self._before = None

    def _begin(self, facts: Facts) -> None:
        self._learn(map(self._read_object, facts.get("records", ())))
        if self.header is not None and self._before is None:
            self._before = self.header, self.state, self.last
        known = self._known
        self.header, self.last = Header.read(facts), None
        self.state = State(tuple(known[key] for key in facts["objects"] if key in known))

    def _operate(self, event: Event, operation: Operation) -> None:
        if isinstance(operation, TakeOver) and self._before is not None:
            operation = taking_over(self._before[1])
        before, self._before = self.state, None
        self.state = self.carry_out(operation)
        self.n_clicks += isinstance(operation, Click | Box | Lasso)
        if self.state.draft is not before.draft:
            self.last = event
        if self.state.objects is not before.objects:
            self._learn(self.state.objects)

    def _restore(self, facts: Facts) -> None:
        before, self._before = self._before, None
        if "open" in facts:
            objects = tuple(map(self._read_object, facts["objects"]))
            self._learn(objects)
            self.state = self._current_in(facts["open"], objects)
        elif before is not None:
            _, state, self.last = before
            state = state if facts["is_same_model"] else state.collapsed()
            self.state = replace(state, ended=None)

    def _current_in(self, facts: Facts, objects: tuple[AcceptedObject, ...]) -> State:
        """Read what `current_to_json` returned, into a state with these accepted objects."""
        reopened = None if facts["reopened"] is None else self._read_object(facts["reopened"])
        begun = (Draft(start_from_json(facts["start"])),)
        state = State(objects, reopened, facts["place"], begun)
        for operation in facts["operations"]:
            state = apply(state, from_json(operation))
        return state

    def _learn(self, objects: Iterable[AcceptedObject]) -> None:
        self._known.update({one.id: one for one in objects})
