"""Where windows stand along one axis of a slide, and which of them cover an interval of it.

All in grid pixels, pixel centres at whole numbers. The windows of the grid are numbered by their
step: number k begins at pixel ``k * step_px``; the last is shifted to end where the slide ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class WindowAxis:
    """The windows along x, or along y."""

    length: int  # of the slide
    side_px: int  # of a window
    step_px: int  # from one window to the next, at most the length of an inner part
    margin_px: int  # width of the rim; there is none along the slide's own edge

    @property
    def room(self) -> int:
        """Where the last window begins; negative on a slide smaller than a window."""
        return self.length - self.side_px

    @property
    def last(self) -> int:
        """Number of the last window; that of the first is 0."""
        return max(0, -(-self.room // self.step_px))

    def steps(self, at: float) -> float:
        """Where a window round a pixel would stand, in steps: its number, unrounded."""
        return (at + 0.5 - self.side_px / 2) / self.step_px

    def number(self, at: float) -> int:
        """Which window serves a pixel: the nearest."""
        return min(max(math.floor(self.steps(at) + 0.5), 0), self.last)

    def begin(self, number: int) -> int:
        """First pixel of a window. A slide that is smaller lies in the middle of its only one."""
        if self.room <= 0:
            return -(-self.room // 2)
        return min(max(number * self.step_px, 0), self.room)

    def inner(self, begin: int) -> tuple[float, float]:
        """Edges of the inner part of the window that begins at a pixel."""
        end = begin + self.side_px
        low = self.margin_px if begin > 0 else 0
        high = self.margin_px if end < self.length else 0
        return begin + low - 0.5, end - high - 0.5

    def depth(self, begin: int) -> NDArray[np.uint8]:
        """How deep each pixel of a window lies: 1 at an edge, ``margin_px + 1`` off the rim."""
        depth, steps = np.full(self.side_px, self.margin_px + 1), np.arange(1, self.side_px + 1)
        if begin > 0:
            depth = np.minimum(depth, steps)
        if begin + self.side_px < self.length:
            depth = np.minimum(depth, steps[::-1])
        return depth.astype(np.uint8)

    def nearest(self, at: float, low: float, high: float, limit: int) -> list[tuple[float, int]]:
        """List the windows that serve the pixels from `low` to `high`, nearest to `at` first.

        Returns
        -------
        list of (float, int)
            Distance in steps and first pixel of at most `limit` windows.
        """
        first, last = self.number(low), self.number(high)
        steps = min(max(self.steps(at), 0.0), float(self.last))
        middle = min(max(math.floor(steps + 0.5), first), last)
        numbers = range(max(first, middle - limit), min(last, middle + limit) + 1)
        ranked = sorted((abs(number - steps), -number) for number in numbers)
        return [(off, self.begin(-negative)) for off, negative in ranked[:limit]]

    def covering(self, low: float, high: float) -> list[int]:
        """List the first pixels of as few windows as cover the pixels from `low` to `high`.

        They are the grid's unless windows between the steps need one fewer. One window stands as
        near to the middle as it can; several leave as much on one side as on the other.
        """
        low, high = max(low, -0.5), min(high, self.length - 0.5)
        middle = self.number((low + high) / 2)
        if self._covers([middle], low, high):
            return [self.begin(middle)]
        fine = replace(self, step_px=1)
        numbers, between = self._fewest(low, high), fine._fewest(low, high)
        if len(numbers) <= len(between):
            return [self.begin(number) for number in self._centred(numbers, low, high)]
        return [fine.begin(number) for number in fine._centred(between, low, high)]

    def _fewest(self, low: float, high: float) -> list[int]:
        """Take, from `low` on, the farthest window that leaves no gap, until `high` is covered."""
        numbers: list[int] = []
        reached = low
        while not numbers or reached < high:
            number = math.floor((reached + 0.5 - self.margin_px) / self.step_px)
            numbers.append(min(max(number, 0), self.last))
            reached = self.inner(self.begin(numbers[-1]))[1]
        return numbers

    def _centred(self, numbers: list[int], low: float, high: float) -> list[int]:
        """Move windows back by half of what they reach too far, or by less where that uncovers."""
        beyond = self.inner(self.begin(numbers[-1]))[1] - high
        for shift in range(math.floor(beyond / 2 / self.step_px + 0.5), 0, -1):
            moved = [max(0, number - shift) for number in numbers]
            if self._covers(moved, low, high):
                return moved
        return numbers

    def _covers(self, numbers: list[int], low: float, high: float) -> bool:
        reached = low
        for number in numbers:
            first, end = self.inner(self.begin(number))
            if first > reached:
                return False
            reached = max(reached, end)
        return reached >= high and self.inner(self.begin(numbers[0]))[0] <= low
