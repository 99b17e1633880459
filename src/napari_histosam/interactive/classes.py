"""The classes that objects are accepted as: names and colours, kept from session to session."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from histosam_core.atomic import new_file
from histosam_core.errors import ConfigError
from histosam_core.paths import data_folder
from histosam_core.session.objects import CLASS_COLORS

if TYPE_CHECKING:
    from histosam_core.session import AcceptedObject

Color = tuple[int, int, int]
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


def write_classes(path: Path, classes: Mapping[str, Color]) -> None:
    """Write classes.

    Raises
    ------
    OutputWriteError
        The operating system refused.
    """
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(dict(classes), indent=1), encoding="utf-8")


class ClassList:
    """Classes by name, one of them chosen.

    Parameters
    ----------
    save
        Called with the classes when they have changed.

    Attributes
    ----------
    colors
        (red, green, blue), 0 to 255, by class.
    label
        The chosen class.
    changed
        Emitted with the chosen class, also when another colour or class is new.
    """

    changed = Signal(str)

    def __init__(self, save: Callable[[dict[str, Color]], None]) -> None:
        self.colors: dict[str, Color] = dict(CLASS_COLORS)
        self.label = next(iter(self.colors))
        self._save = save
        self._corrected: str | None = None
        self._before = ""

    def load(self, colors: dict[str, Color]) -> None:
        """Take the classes of earlier sessions; the first of them is chosen."""
        self.colors = colors
        self._choose(next(iter(colors)))

    def choose(self, label: str, color: Color | None = None) -> None:
        """Choose a class; a new one is added, with a hue of its own where no colour is given.

        Raises
        ------
        ConfigError
            The name is empty.
        """
        label = label.strip()
        if not label:
            raise ConfigError("a class needs a name; type one")
        color = color or self.colors.get(label) or _hue(len(self.colors))
        self._set({**self.colors, label: color}, label)

    def rename(self, label: str) -> None:
        """Give the chosen class another name, in its place.

        Raises
        ------
        ConfigError
            The name is empty or taken.
        """
        old, label = self.label, label.strip()
        if not label or (label != old and label in self.colors):
            raise ConfigError(
                f"no class can be named {label!r}: it is taken or empty; choose another"
            )
        renamed = {label if name == old else name: color for name, color in self.colors.items()}
        self._set(renamed, label)

    def remove(self) -> None:
        """Take the chosen class off the list; objects of that class keep it.

        Raises
        ------
        ConfigError
            It is the last one.
        """
        left = {name: color for name, color in self.colors.items() if name != self.label}
        if not left:
            raise ConfigError("one class must stay; add another first")
        self._set(left, next(iter(left)))

    def begin_correction(self, accepted: AcceptedObject) -> None:
        """Choose the class of an object that is being corrected, so that it stays of that class."""
        if self._corrected is not None or not accepted.label.strip():
            return
        self._corrected, self._before = accepted.label.strip(), self.label
        known = self.colors.get(self._corrected)
        self.choose(self._corrected, known or accepted.region.color)

    def end_correction(self) -> None:
        """Choose what was chosen before the correction, unless the user has chosen since."""
        corrected, self._corrected = self._corrected, None
        if corrected is not None and self.label == corrected and self._before in self.colors:
            self._choose(self._before)

    def _set(self, colors: dict[str, Color], label: str) -> None:
        if colors != self.colors:
            self.colors = colors
            self._save(colors)
        self._choose(label)

    def _choose(self, label: str) -> None:
        self.label = label
        self.changed.emit(label)


def _color(value: object) -> Color:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("a colour is [red, green, blue]")
    red, green, blue = (min(255, max(0, int(part))) for part in value)
    return red, green, blue


def _hue(number: int) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN % 1.0, 0.65, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)
