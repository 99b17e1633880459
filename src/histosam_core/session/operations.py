"""What a user does to a session, as values: each operation, and the line that a journal has of it.

A prompt (`Click`, `Box`, `Lasso`) is itself an operation. `apply` says what an operation does to
the state of a session; `Session.apply` carries it out, `to_json` writes it, `from_json` reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from histosam_core.annotation import feature_of
from histosam_core.annotation.formats.geojson import region_of
from histosam_core.clicks import Box, Click, Lasso, Prompt
from histosam_core.errors import ConfigError
from histosam_core.session.as_json import (
    TRIANGLE,
    Facts,
    object_from_json,
    object_to_json,
    prompt_from_json,
    prompt_to_json,
    prompts_from_json,
    start_from_json,
    start_to_json,
)
from histosam_core.session.objects import AcceptedObject, OverlapRule, Start

if TYPE_CHECKING:
    from histosam_core.annotation.regions import Color

ReadObject = Callable[[Facts], AcceptedObject]
Undone = Literal["click", "accept", "drop"]


@dataclass(frozen=True, slots=True)
class RemovePrompts:
    """Make the current object what it would be without the prompts at these places."""

    indices: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", tuple(sorted(set(self.indices))))


@dataclass(frozen=True, slots=True)
class MoveClick:
    """Make the current object what it would be had a click, by its place, been made elsewhere.

    `xy` is in level-0 pixels.
    """

    index: int
    xy: tuple[float, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "xy", (float(self.xy[0]), float(self.xy[1])))


@dataclass(frozen=True, slots=True)
class Grow:
    """Let the current object grow into so many windows more; it belongs to the step before it."""

    windows: int


@dataclass(frozen=True, slots=True)
class Undo:
    """Take back the last step of the current object; without any, the last accept or drop.

    `undoes` says which, "click" for any step; the session finds out.
    """

    undoes: Undone | None = None


@dataclass(frozen=True, slots=True)
class Redo:
    """Put back what was undone last."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Keep the current object and start a new one.

    Raises
    ------
    ConfigError
        There is no such rule.
    """

    label: str | None = None  # its class; None: "Tumor", or what a reopened object had
    color: Color | None = None  # (red, green, blue), 0 to 255; None: the class's usual colour
    overlap: OverlapRule = "allow"  # what becomes of places that accepted objects cover
    min_island_px: int = 0  # islands of fewer window pixels are left out
    # What comes of it: the new object, others that it makes smaller, as they then are, and the ids
    # of others of which nothing is left. None: the session outlines the object.
    object: AcceptedObject | None = None
    changed: tuple[AcceptedObject, ...] = ()
    removed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.overlap not in get_args(OverlapRule):
            rules = ", ".join(get_args(OverlapRule))
            raise ConfigError(f"overlap {self.overlap!r} must be one of {rules}")


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget the current object; a reopened one goes back unchanged."""


@dataclass(frozen=True, slots=True)
class Reopen:
    """Take an accepted object back, by its id, to correct it; the current object is dropped."""

    id: str


@dataclass(frozen=True, slots=True)
class Refine:
    """Begin the current object from an outline; what was current is dropped."""

    start: Start


@dataclass(frozen=True, slots=True)
class SetClass:
    """Give an accepted object, by its id, another class; without a colour, that class's usual one.

    `object` is what it then is; None: the session finds out.
    """

    id: str
    label: str
    color: Color | None = None
    object: AcceptedObject | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an accepted object, by its id."""

    id: str


@dataclass(frozen=True, slots=True)
class Import:
    """Add objects to the accepted ones; one whose id is there takes that one's place."""

    objects: tuple[AcceptedObject, ...]


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Go on with another session's current object; what was current is dropped.

    It began from `start`, was given `prompts` since, and corrects `reopened`, whose place among the
    accepted objects was `place`.
    """

    start: Start
    prompts: tuple[Prompt, ...]
    reopened: AcceptedObject | None
    place: int


Edit = Prompt | RemovePrompts | MoveClick
"""A step of the current object, which can be undone."""
Operation = (
    Edit
    | Grow
    | Undo
    | Redo
    | Accept
    | Drop
    | Reopen
    | Refine
    | SetClass
    | Delete
    | Import
    | TakeOver
)
NAMES: dict[type[Any], str] = {
    Click: "click",
    Box: "box",
    Lasso: "lasso",
    RemovePrompts: "remove",
    MoveClick: "move",
    Grow: "grow",
    Undo: "undo",
    Redo: "redo",
    Accept: "accept",
    Drop: "drop",
    Reopen: "reopen",
    Refine: "refine",
    SetClass: "relabel",
    Delete: "delete",
    Import: "import",
    TakeOver: "take_over",
}
"""What a journal calls each kind of operation."""
_KINDS = {name: kind for kind, name in NAMES.items()}


def to_json(operation: Operation) -> dict[str, Any]:
    """Return ``op`` and facts as JSON values; an `Accept` and a `SetClass` must have an object."""
    name = {"op": NAMES[type(operation)]}
    match operation:
        case Click() | Box() | Lasso():
            return name | prompt_to_json(operation)
        case Accept(object=None) | SetClass(object=None):
            raise ValueError(f"{operation} has no object yet")
        case SetClass(object=AcceptedObject() as one):
            return name | {"id": one.id, "properties": feature_of(one.region)["properties"]}
    left_out = ("label", "color") if isinstance(operation, Accept) else ()
    names = [one.name for one in fields(operation) if one.name not in left_out]
    return name | {key: _written(getattr(operation, key)) for key in names}


def from_json(facts: Facts, read_object: ReadObject = object_from_json) -> Operation:
    """Read what `to_json` returned, with another reader of accepted objects if need be.

    Raises
    ------
    LookupError, TypeError, ValueError
        It is no operation, or not whole.
    """
    kind = _KINDS.get(facts["op"])
    if kind is None:
        raise ValueError(f"{facts['op']!r} is no operation that this program knows")
    if kind in (Click, Box, Lasso):
        return prompt_from_json(facts)
    if kind is SetClass:
        return SetClass(facts["id"], *_class_in(facts["properties"]))
    readers: dict[str, Callable[[Any], Any]] = {
        "start": start_from_json,
        "prompts": prompts_from_json,
        "object": read_object,
        "objects": lambda listed: tuple(map(read_object, listed)),
        "changed": lambda listed: tuple(map(read_object, listed)),
        "removed": tuple,
        "reopened": lambda one: None if one is None else read_object(one),
    }
    known = [one.name for one in fields(kind) if one.name in facts]
    read = {key: readers.get(key, lambda value: value)(facts[key]) for key in known}
    if kind is Accept:
        read |= {"label": read["object"].label, "color": read["object"].region.color}
    operation: Operation = kind(**read)
    return operation


def _written(value: Any) -> Any:
    match value:
        case AcceptedObject():
            return object_to_json(value)
        case Start():
            return start_to_json(value)
        case Click() | Box() | Lasso():
            return prompt_to_json(value)
        case tuple():
            return [_written(one) for one in value]
    return value


def _class_in(properties: Facts) -> tuple[str, Color | None]:
    """Read class and colour as the annotation reader does, which wants an area."""
    region, _ = region_of({"type": "Feature", "geometry": TRIANGLE, "properties": properties})
    if region is None:
        raise AssertionError("a triangle has an area")
    return region.label, region.color
