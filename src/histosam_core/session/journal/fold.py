"""What a journal comes to: its operations followed in order, without a model and without a slide.

Objects are the records that `accept` and the like have written (their GeoJSON feature, prompts and
origin); the object that was open is a start and the operations since. Nothing is predicted here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from histosam_core.errors import JournalError
from histosam_core.session.journal.file import Event, Journal

__all__ = [
    "PROMPT_OPS",
    "JournalState",
    "OpenObject",
    "follow",
    "object_id",
    "open_object_in",
    "open_object_record",
    "steps_of",
]

Record = Mapping[str, Any]
NOTHING: Record = {"geometry": None, "prompts": [], "origin": None}
PROMPT_OPS = frozenset(("click", "box", "lasso"))
"""Operations that give the object at hand one more prompt."""
_STEPS = PROMPT_OPS | {"remove", "move", "redo"}
_OUTSIDE = frozenset(("begin", "back", "restore", "take_over", "failed", "export", "end"))
Ended = tuple[list[Record], "OpenObject"] | None


@dataclass(frozen=True, slots=True)
class OpenObject:
    """The object that was not accepted yet.

    Parameters
    ----------
    start
        ``geometry``, ``prompts`` and ``origin`` that it began from.
    operations
        What was done to it since.
    reopened
        The accepted object that is being corrected; None for a new one.
    place
        Where that one was among the objects.
    """

    start: Record = field(default_factory=lambda: NOTHING)
    operations: tuple[Event, ...] = ()
    reopened: Record | None = None
    place: int = 0

    def settled(self) -> tuple[Record, list[Record]]:
        """Return the start and the prompts since, every undo and edit carried out."""
        done: list[Event] = []
        at = 0
        for event in self.operations:
            if event.op == "undo":
                at = max(0, at - 1)
            elif event.op == "redo":
                at = min(len(done), at + 1)
            else:
                done[at:] = [event]
                at += 1
        start, since = self.start, list[Record]()
        for event in done[:at]:
            if event.op in PROMPT_OPS:
                since.append(event.facts)
            else:
                start, since = _edited(start, since, event)
        return start, since

    def collapsed(self) -> OpenObject:
        """Return the object with nothing but its prompts: no undo, no edits."""
        start, prompts = self.settled()
        n = self.operations[-1].n if self.operations else 0
        return replace(self, start=start, operations=steps_of(prompts, n))

    @property
    def prompts(self) -> list[Record]:
        """All its prompts, as ``record.prompt_record`` writes them."""
        start, since = self.settled()
        return [*start["prompts"], *since]

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to bring back."""
        return not self.operations and self.reopened is None and self.start is NOTHING


@dataclass(frozen=True, slots=True)
class JournalState:
    """What there was at the journal's end.

    Parameters
    ----------
    begin
        The facts of the ``begin`` whose model made the open object.
    objects
        Records of the accepted objects, in order.
    open
        The object at hand.
    n_clicks
        Clicks, boxes and lassos made in all.
    """

    begin: Record
    objects: tuple[Record, ...]
    open: OpenObject
    n_clicks: int


def open_object_record(one: OpenObject) -> dict[str, Any]:
    """Return an open object as JSON values."""
    return {
        "start": one.start,
        "operations": [{"n": e.n, "op": e.op, **e.facts} for e in one.operations],
        "reopened": one.reopened,
        "place": one.place,
    }


def open_object_in(record: Record) -> OpenObject:
    """Read what `open_object_record` wrote."""
    operations = tuple(
        Event(e["n"], "", e["op"], {k: v for k, v in e.items() if k not in ("n", "op")})
        for e in record["operations"]
    )
    return OpenObject(record["start"], operations, record["reopened"], record["place"])


def steps_of(prompts: Sequence[Record], n: int) -> tuple[Event, ...]:
    """Return prompts as the operations that would make them, numbered `n`."""
    return tuple(Event(n, "", _op_of(one), one) for one in prompts)


def _op_of(prompt: Record) -> str:
    return "box" if "xyxy" in prompt else "lasso" if "points" in prompt else "click"


def follow(journal: Journal) -> JournalState:
    """Follow a journal to its end.

    Raises
    ------
    JournalError
        It does not begin with a session, or an operation does not fit what came before.
    """
    failed = {event.facts.get("of") for event in journal.events if event.op == "failed"}
    walk = _Walk()
    for event in journal.events:
        if event.n in failed or event.op == "failed":
            continue
        try:
            walk.take(event)
        except (LookupError, TypeError, ValueError) as error:
            raise JournalError(
                f"{journal.path}: operation {event.n} ({event.op}) does not fit what came before "
                f"({error}); restore an earlier journal, or the objects from an exported file"
            ) from error
    if walk.begin is None:
        raise JournalError(f"{journal.path} holds no session; choose another journal")
    walk.settle()
    return JournalState(walk.begin, tuple(walk.objects), walk.open, walk.n_clicks)


def object_id(record: Record) -> str:
    """Return the id in an object's record."""
    return str(record["feature"]["id"])


class _Walk:
    """The state between two operations."""

    def __init__(self) -> None:
        self.begin: Record | None = None
        self.objects: list[Record] = []
        self.open = OpenObject()
        self.n_clicks = 0
        self._known: dict[str, Record] = {}
        self._ended: Ended = None
        # What stood before a later `begin`, until it is clear that it is not gone on with.
        self._before: tuple[Record, list[Record], OpenObject, Ended] | None = None

    def take(self, event: Event) -> None:
        """Carry one operation out."""
        if self.begin is None and event.op != "begin":
            raise ValueError("nothing has begun")
        if event.op not in _OUTSIDE:
            self._before = None
        self.n_clicks += event.op in PROMPT_OPS
        is_step = event.op in _STEPS or (
            event.op == "undo" and event.facts.get("undoes", "click") == "click"
        )
        if is_step:
            self.open = replace(self.open, operations=(*self.open.operations, event))
            return
        handlers: dict[str, Callable[[Event], None]] = {
            "begin": self._take_begin,
            "back": lambda _: self.settle(),
            "undo": self._undo_end,
            "drop": lambda _: self._drop(),
            "accept": self._accept,
            "reopen": self._reopen,
            "refine": self._refine,
            "relabel": self._relabel,
            "delete": self._delete,
            "import": self._import,
            "take_over": self._take_over,
            "restore": self._restore,
        }
        if event.op in handlers:
            handlers[event.op](event)

    def settle(self) -> None:
        """Go back from a session that had only begun to the one before it."""
        if self._before is not None:
            self.begin, self.objects, self.open, self._ended = self._before
            self._before = None

    def _take_begin(self, event: Event) -> None:
        self._learn(event.facts.get("records", ()))
        if self.begin is not None and self._before is None:
            self._before = self.begin, self.objects, self.open, self._ended
        self.begin = event.facts
        self.objects = [self._known[key] for key in event.facts["objects"] if key in self._known]
        self.open, self._ended = OpenObject(), None

    def _undo_end(self, _: Event) -> None:
        if self._ended is None:
            raise ValueError("there is nothing to take back")
        self.objects, self.open = self._ended
        self._ended = None

    def _drop(self) -> None:
        self._ended = list(self.objects), self.open
        if self.open.reopened is not None:
            self.objects.insert(self.open.place, self.open.reopened)
        self.open = OpenObject()

    def _accept(self, event: Event) -> None:
        self._ended = list(self.objects), self.open
        record = event.facts["object"]
        changed = event.facts.get("changed", [])
        self._learn([record, *changed])
        if self.open.reopened is None:
            self.objects.append(record)
        else:
            self.objects.insert(self.open.place, record)
        now = {object_id(one): one for one in changed}
        gone = set(event.facts.get("removed", ()))
        self.objects = [now.get(object_id(o), o) for o in self.objects if object_id(o) not in gone]
        self.open = OpenObject()

    def _reopen(self, event: Event) -> None:
        self._drop()
        place = self._place(event.facts["id"])
        record = self.objects.pop(place)
        start = {
            "geometry": record["feature"]["geometry"],
            "prompts": record["prompts"],
            "origin": record["origin"],
        }
        self.open, self._ended = OpenObject(start, (), record, place), None

    def _refine(self, event: Event) -> None:
        self._drop()
        self.open, self._ended = OpenObject(event.facts["start"]), None

    def _relabel(self, event: Event) -> None:
        place = self._place(event.facts["id"])
        feature = {**self.objects[place]["feature"], "properties": event.facts["properties"]}
        self.objects[place] = {**self.objects[place], "feature": feature}
        self._learn([self.objects[place]])
        self._ended = None

    def _delete(self, event: Event) -> None:
        place = self._place(event.facts["id"])
        del self.objects[place]
        if self.open.reopened is not None and place < self.open.place:
            self.open = replace(self.open, place=self.open.place - 1)
        self._ended = None

    def _import(self, event: Event) -> None:
        new = {object_id(one): one for one in event.facts["objects"]}
        self._learn(new.values())
        held = {object_id(one) for one in self.objects}
        self.objects = [new.get(object_id(one), one) for one in self.objects]
        self.objects += [one for key, one in new.items() if key not in held]
        self._ended = None

    def _take_over(self, event: Event) -> None:
        self._drop()
        facts = event.facts
        steps = steps_of(facts["prompts"], event.n)
        self.open = OpenObject(facts["start"], steps, facts["reopened"], facts["place"])
        self._before, self._ended = None, None

    def _restore(self, event: Event) -> None:
        if "open" in event.facts:
            self.objects = list(event.facts["objects"])
            self._learn(self.objects)
            self.open = open_object_in(event.facts["open"])
        elif self._before is not None:
            _, self.objects, self.open, _ = self._before
            if not event.facts["is_same_model"]:
                self.open = self.open.collapsed()
        self._before, self._ended = None, None

    def _learn(self, records: Any) -> None:
        self._known.update({object_id(record): record for record in records})

    def _place(self, key: str) -> int:
        for place, record in enumerate(self.objects):
            if object_id(record) == key:
                return place
        raise ValueError(f"there is no object {key}")


def _edited(start: Record, since: list[Record], event: Event) -> tuple[Record, list[Record]]:
    """Carry out a move or a removal."""
    facts = event.facts
    given = list(start["prompts"])
    prompts = [*given, *since]
    if event.op == "move":
        first = int(facts["index"])
        prompts[first] = {**prompts[first], "xy": facts["xy"]}
        now: list[Record] = prompts
    else:
        gone = set(facts["indices"])
        first = min(gone)
        now = [one for place, one in enumerate(prompts) if place not in gone]
    if first < len(given):
        return {"geometry": start["origin"], "prompts": [], "origin": start["origin"]}, now
    return start, now[len(given) :]
