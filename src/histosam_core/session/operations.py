"""What a user does to a session, as values: each operation, and the line that a journal has of it.

A prompt (`Click`, `Box`, `Lasso`) is itself an operation. `apply` says what an operation does to
the state of a session; `Session.apply` carries it out, `to_json` writes it, `from_json` reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

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
from histosam_core.session.objects import AcceptedObject, Color, Start
from histosam_core.session.overlap import OverlapRule

__all__ = [
    "NAMES",
    "Accept",
    "Delete",
    "Drop",
    "Edit",
    "Import",
    "MoveClick",
    "Operation",
    "Redo",
    "Refine",
    "RemovePrompts",
    "Reopen",
    "SetClass",
    "TakeOver",
    "Undo",
    "from_json",
    "to_json",
]

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

    Parameters
    ----------
    label
        Its class; None: "Tumor", or what a reopened object had.
    color
        (red, green, blue), 0 to 255; None: the class's usual colour.
    overlap
        What becomes of places that accepted objects cover.
    min_island_px
        Islands of fewer window pixels are left out.
    object, changed, removed
        What comes of it: the new object, others that it makes smaller, as they then are, and the
        ids of others of which nothing is left. None: the session outlines the object.

    Raises
    ------
    ConfigError
        There is no such rule.
    """

    label: str | None = None
    color: Color | None = None
    overlap: OverlapRule = "allow"
    min_island_px: int = 0
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
    Edit | Undo | Redo | Accept | Drop | Reopen | Refine | SetClass | Delete | Import | TakeOver
)
NAMES: dict[type[Any], str] = {
    Click: "click",
    Box: "box",
    Lasso: "lasso",
    RemovePrompts: "remove",
    MoveClick: "move",
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


def to_json(operation: Operation) -> dict[str, Any]:
    """Return ``op`` and facts as JSON values; an `Accept` and a `SetClass` must have an object."""
    return {"op": NAMES[type(operation)], **_facts(operation)}


def _facts(operation: Operation) -> dict[str, Any]:
    match operation:
        case Click() | Box() | Lasso():
            return prompt_to_json(operation)
        case RemovePrompts(indices):
            return {"indices": list(indices)}
        case MoveClick(index, xy):
            return {"index": index, "xy": list(xy)}
        case Undo(undoes):
            return {"undoes": undoes or "click"}
        case Accept(object=AcceptedObject() as one):
            return {
                "object": object_to_json(one),
                "overlap": operation.overlap,
                "min_island_px": operation.min_island_px,
                "changed": [object_to_json(other) for other in operation.changed],
                "removed": list(operation.removed),
            }
        case Reopen(key) | Delete(key):
            return {"id": key}
        case Refine(start):
            return {"start": start_to_json(start)}
        case SetClass(key, object=AcceptedObject() as one):
            return {"id": key, "properties": feature_of(one.region)["properties"]}
        case Import(objects):
            return {"objects": [object_to_json(one) for one in objects]}
        case TakeOver(start, prompts, reopened, place):
            return {
                "start": start_to_json(start),
                "prompts": [prompt_to_json(prompt) for prompt in prompts],
                "reopened": None if reopened is None else object_to_json(reopened),
                "place": place,
            }
        case Redo() | Drop():
            return {}
    raise ValueError(f"{type(operation).__name__} does not say yet what comes of it")


def from_json(facts: Facts, read_object: ReadObject = object_from_json) -> Operation:
    """Read what `to_json` returned, with another reader of accepted objects if need be.

    Raises
    ------
    LookupError, TypeError, ValueError
        It is no operation, or not whole.
    """
    match facts["op"]:
        case "click" | "box" | "lasso":
            return prompt_from_json(facts)
        case "remove":
            return RemovePrompts(tuple(facts["indices"]))
        case "move":
            x, y = facts["xy"]
            return MoveClick(facts["index"], (x, y))
        case "undo":
            return Undo(facts.get("undoes", "click"))
        case "redo":
            return Redo()
        case "accept":
            one = read_object(facts["object"])
            return Accept(
                one.label,
                one.region.color,
                facts.get("overlap", "allow"),
                facts.get("min_island_px", 0),
                one,
                tuple(map(read_object, facts.get("changed", ()))),
                tuple(facts.get("removed", ())),
            )
        case "drop":
            return Drop()
        case "reopen":
            return Reopen(facts["id"])
        case "refine":
            return Refine(start_from_json(facts["start"]))
        case "relabel":
            return SetClass(facts["id"], *_class_in(facts["properties"]))
        case "delete":
            return Delete(facts["id"])
        case "import":
            return Import(tuple(map(read_object, facts["objects"])))
        case "take_over":
            reopened = facts["reopened"]
            return TakeOver(
                start_from_json(facts["start"]),
                prompts_from_json(facts["prompts"]),
                None if reopened is None else read_object(reopened),
                facts["place"],
            )
    raise ValueError(f"{facts['op']!r} is no operation that this program knows")


def _class_in(properties: Facts) -> tuple[str, Color | None]:
    """Read class and colour as the annotation reader does, which wants an area."""
    region, _ = region_of({"type": "Feature", "geometry": TRIANGLE, "properties": properties})
    if region is None:
        raise AssertionError("a triangle has an area")
    return region.label, region.color
