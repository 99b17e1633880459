"""The class that objects are accepted as, and the list it is chosen from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_histosam.interactive import classes as class_list

if TYPE_CHECKING:
    from histosam_core.session import AcceptedObject
    from napari_histosam.interactive.classes import Color

__all__ = ["ClassChoice"]


class ClassChoice:
    """Classes by name, one of them chosen.

    Parameters
    ----------
    save
        Called with the classes when they have changed.
    """

    changed = Signal(str)

    def __init__(self, save: Callable[[dict[str, Color]], None]) -> None:
        self.colors = dict(class_list.CLASS_COLORS)
        self.label = next(iter(self.colors))
        self._save = save
        self._corrected: str | None = None
        self._before = ""

    @property
    def color(self) -> Color | None:
        """The chosen class's colour."""
        return self.colors.get(self.label)

    def load(self, colors: dict[str, Color]) -> None:
        """Take the classes of earlier sessions; the first of them is chosen."""
        self.colors = colors
        self._choose(next(iter(colors)))

    def choose(self, label: str, color: Color | None = None) -> None:
        """Choose a class; a new one is added.

        Raises
        ------
        ConfigError
            The name is empty.
        """
        self._set(class_list.added(self.colors, label, color), label.strip())

    def rename(self, label: str) -> None:
        """Give the chosen class another name.

        Raises
        ------
        ConfigError
            The name is empty or taken.
        """
        self._set(class_list.renamed(self.colors, self.label, label), label.strip())

    def remove(self) -> None:
        """Take the chosen class off the list.

        Raises
        ------
        ConfigError
            It is the last one.
        """
        left = class_list.removed(self.colors, self.label)
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
