"""The faces of settings: what a form, a help text and an error message are made from."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic_core import PydanticUndefined

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

PathKind = Literal["", "file", "folder", "save", "model", "slides"]
"""What a path is chosen with; "model" is a text that may be a path, "slides" a folder or files."""

_BOUNDS = ("ge", "gt", "le", "lt")
_KINDS: Mapping[Any, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path",
    dict: "settings by name",
}  # fmt: skip
_SEVERAL = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}
_COUNTS = {2: "two", 3: "three", 4: "four"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """How a setting looks to people: what a form or a help text is made from."""

    name: str  # as in the class and the JSON file; "GROUP.NAME" for a member of a group
    type: Any  # of a value that is not None
    is_optional: bool  # whether None, left out, is a value
    is_required: bool  # whether it has no default
    default: Any  # None where it is required, or where other settings decide it
    caption: str  # a few words, for the row of a form
    help: str  # one or two sentences
    unit: str = ""  # of a number, such as "px"; empty where it has none
    # Bounds of a number; None: none.
    lower: float | None = None
    upper: float | None = None
    # Whether the bound itself is excluded.
    lower_is_open: bool = False
    upper_is_open: bool = False
    choices: tuple[str, ...] = ()  # all values that there are; empty where any of the type may be
    suggestions: tuple[Any, ...] = ()  # some usual values, where others may be too
    default_text: str = ""  # what the default is in words, where no value says it
    advanced: bool = False  # whether a form shows it only on request
    group: str = ""  # heading that it stands under
    options: tuple[str, ...] = ()  # of the command, such as ("--epochs",)
    path: PathKind = ""  # see `PathKind`
    only: str = ""  # kind of model that it is for, such as "sam"; empty: all
    # What people write where it is a text that `JobSettings.tidy` reads, such as "HEIGHTxWIDTH".
    form: str = ""

    @property
    def is_by_others(self) -> bool:
        """Whether other settings decide the default, so that None stands for it."""
        return self.default is None and not (self.is_optional or self.is_required)

    def rule(self, *, of_type: bool = False) -> str:
        """Return what a value must be, in words: within its bounds, or of its type."""
        kind = self.form or kind_in_words(self.type)
        words = kind if of_type else self._bounds() or kind
        if self.choices:
            words = f"one of {', '.join(self.choices)}"
        return f"{words}, or left out" if self.is_optional else words

    def _bounds(self) -> str:
        words = []
        if self.lower is not None:
            words.append(f"{'above' if self.lower_is_open else 'at least'} {self.lower:g}")
        if self.upper is not None:
            words.append(f"{'below' if self.upper_is_open else 'at most'} {self.upper:g}")
        return " and ".join(words)


@cache
def faces(settings: type[BaseModel]) -> tuple[Face, ...]:
    """Return the settings of a class in the order of their declaration, groups by their members."""
    found: list[Face] = []
    group = ""
    for name, declared in settings.model_fields.items():
        about: Any = declared.json_schema_extra
        if declared.title is None or about is None:
            raise TypeError(f"{settings.__name__}.{name} must be declared by `setting`")
        about = dict(about)
        option = about.pop("option") or name.replace("_", "-")
        group = about.pop("group") or group
        kind, is_optional = without_none(declared.annotation)
        is_required = declared.default is PydanticUndefined
        bounds = bounds_of(declared)
        face = Face(
            name=name,
            type=kind,
            is_optional=is_optional,
            is_required=is_required,
            default=None if is_required else declared.default,
            caption=declared.title,
            help=declared.description or "",
            lower=bounds.get("ge", bounds.get("gt")),
            upper=bounds.get("le", bounds.get("lt")),
            lower_is_open="gt" in bounds,
            upper_is_open="lt" in bounds,
            choices=_literals(kind),
            group=group,
            options=tuple(f"--{one}" for one in ((option,) if isinstance(option, str) else option)),
            **about,
        )
        found += [face] if not dataclasses.is_dataclass(kind) else _members(face)
    return tuple(found)


def _members(group: Face) -> list[Face]:
    """Faces of a group, whose dataclass says `caption` and `help` in its fields' metadata."""
    hints = get_type_hints(group.type)
    return [
        dataclasses.replace(
            group,
            name=f"{group.name}.{member.name}",
            type=hints[member.name],
            is_optional=False,
            default=getattr(group.default, member.name),
            caption=member.metadata["caption"],
            help=member.metadata["help"],
            group=group.caption,
            options=("--" + member.name.replace("_", "-"),),
        )
        for member in dataclasses.fields(group.type)
    ]


def bounds_of(declared: FieldInfo) -> dict[str, float]:
    """Return the bounds of a declared setting by pydantic's names, such as "ge"."""
    return {b: getattr(m, b) for m in declared.metadata for b in _BOUNDS if hasattr(m, b)}


def without_none(annotation: Any) -> tuple[Any, bool]:
    """A type without None, and whether None was one of its values."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    members = tuple(one for one in get_args(annotation) if one is not type(None))
    return (members[0] if len(members) == 1 else Union[members]), True  # noqa: UP007


def _literals(kind: Any) -> tuple[str, ...]:
    return tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()


def kind_in_words(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) is tuple:
        first, *others = get_args(kind)
        several = _SEVERAL.get(first, "values")
        return (
            f"a list of {several}" if others == [...] else f"{_COUNTS[1 + len(others)]} {several}"
        )
    return _KINDS.get(get_origin(kind) or kind, "settings by name")
