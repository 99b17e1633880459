"""The classes that objects are accepted as: names and colours, kept from session to session."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from histosam_core.atomic import new_file
from histosam_core.errors import ConfigError
from histosam_core.paths import data_folder
from histosam_core.session.objects import CLASS_COLORS

__all__ = [
    "CLASS_COLORS",
    "Color",
    "added",
    "classes_file",
    "read_classes",
    "removed",
    "renamed",
    "write_classes",
]

Color = tuple[int, int, int]
Classes = Mapping[str, Color]
GOLDEN = 0.618  # of a turn: hues of classes made one after another lie far apart


def classes_file() -> Path:
    """Where the user's classes are kept."""
    return data_folder() / "classes.json"


def read_classes(path: Path) -> dict[str, Color]:
    """Read classes; those to start with where there is no file, or one that cannot be read."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        listed = json.loads(path.read_text(encoding="utf-8"))
        classes = {str(name): _color(color) for name, color in listed.items()}
        if classes:
            return classes
    return dict(CLASS_COLORS)


def write_classes(path: Path, classes: Classes) -> None:
    """Write classes.

    Raises
    ------
    OutputWriteError
        The operating system refused.
    """
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(dict(classes), indent=1), encoding="utf-8")


def added(classes: Classes, name: str, color: Color | None = None) -> dict[str, Color]:
    """Return the classes with one more, or with another colour of one; None picks a new hue.

    Raises
    ------
    ConfigError
        The name is empty.
    """
    name = name.strip()
    if not name:
        raise ConfigError("a class needs a name; type one")
    if color is None:
        color = classes.get(name) or _hue(len(classes))
    return {**classes, name: color}


def renamed(classes: Classes, old: str, new: str) -> dict[str, Color]:
    """Return the classes with one under another name, in its place.

    Raises
    ------
    ConfigError
        The new name is empty or taken.
    """
    new = new.strip()
    if not new or (new != old and new in classes):
        raise ConfigError(f"no class can be named {new!r}: it is taken or empty; choose another")
    return {new if name == old else name: color for name, color in classes.items()}


def removed(classes: Classes, name: str) -> dict[str, Color]:
    """Return the classes without one; objects of that class keep it.

    Raises
    ------
    ConfigError
        It is the last one.
    """
    left = {other: color for other, color in classes.items() if other != name}
    if not left:
        raise ConfigError("one class must stay; add another first")
    return left


def _color(value: object) -> Color:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("a colour is [red, green, blue]")
    red, green, blue = (min(255, max(0, int(part))) for part in value)
    return red, green, blue


def _hue(number: int) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN % 1.0, 0.65, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)
