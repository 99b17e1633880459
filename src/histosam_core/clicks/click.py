"""A click, a box, a lasso, and an ordered sequence of clicks with undo and redo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Click:
    """One point prompt.

    Parameters
    ----------
    xy
        Position (x, y) in pixels of the frame the context names; pixel centres at whole numbers.
    is_positive
        True: this belongs to the object. False: it does not.
    """

    xy: tuple[float, float]
    is_positive: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "xy", (float(self.xy[0]), float(self.xy[1])))
        object.__setattr__(self, "is_positive", bool(self.is_positive))


@dataclass(frozen=True, slots=True)
class Box:
    """One box prompt: the object lies inside it.

    Parameters
    ----------
    xyxy
        Two opposite corners (x0, y0, x1, y1) in pixels of the frame the context names; kept with
        x0 <= x1 and y0 <= y1.
    """

    xyxy: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = (float(value) for value in self.xyxy)
        object.__setattr__(self, "xyxy", (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))


@dataclass(frozen=True, slots=True)
class Lasso:
    """One area drawn by hand: what lies in it belongs to the object, or does not.

    Parameters
    ----------
    points_xy
        Its corners (x, y) in order, at least three, in pixels of the frame the context names;
        pixel centres at whole numbers. The last one is joined to the first.
    is_positive
        True: this belongs to the object. False: it does not.
    """

    points_xy: tuple[tuple[float, float], ...]
    is_positive: bool = True

    def __post_init__(self) -> None:
        points = tuple((float(x), float(y)) for x, y in self.points_xy)
        object.__setattr__(self, "points_xy", points)
        object.__setattr__(self, "is_positive", bool(self.is_positive))


Prompt = Click | Box | Lasso


@dataclass(slots=True)
class ClickSequence(Sequence[Click]):
    """The clicks of one object, in order; `undo` and `redo` move along its history.

    Adding a click after an undo forgets what was undone.
    """

    _clicks: list[Click] = field(default_factory=list)
    _undone: list[Click] = field(default_factory=list)

    def add(self, click: Click) -> None:
        """Append `click`."""
        self._clicks.append(click)
        self._undone.clear()

    def undo(self) -> Click | None:
        """Take the last click back and return it; None when there is none."""
        if not self._clicks:
            return None
        self._undone.append(self._clicks.pop())
        return self._undone[-1]

    def redo(self) -> Click | None:
        """Put the last undone click back and return it; None when there is none."""
        if not self._undone:
            return None
        self._clicks.append(self._undone.pop())
        return self._clicks[-1]

    def __len__(self) -> int:
        return len(self._clicks)

    def __iter__(self) -> Iterator[Click]:
        return iter(self._clicks)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._clicks[index]
