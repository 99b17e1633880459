"""The clicks that are to be seen while the session has not answered yet.

What was asked for is shown at once: a new click, a moved one where it was let go, none where one
was taken out. Clicks are known by their values, not by their places in a list that answers change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histosam_core.clicks import Click


@dataclass(frozen=True, slots=True)
class ClickEdit:
    """What a request does to one click."""

    old: Click | None  # the click that goes; None where one is only made
    # The click that comes, in the place of `old` or at the end; None where one is only taken out.
    new: Click | None


class PendingClicks:
    """Edits of requests that are not answered, by the requests' numbers."""

    def __init__(self) -> None:
        self._edits: dict[int, tuple[ClickEdit, ...]] = {}

    def __len__(self) -> int:
        """Return how many requests wait."""
        return len(self._edits)

    def add(self, number: int, *edits: ClickEdit) -> None:
        """Note what a request will do."""
        self._edits[number] = edits

    def answered(self, number: int) -> None:
        """Forget a request: the session's clicks say what became of it."""
        self._edits.pop(number, None)

    def clear(self) -> None:
        """Forget all requests."""
        self._edits.clear()

    def shown(self, clicks: Sequence[Click]) -> tuple[Click, ...]:
        """Return the session's clicks with all edits made; those of clicks that are gone are not.

        Parameters
        ----------
        clicks
            The session's, in order.
        """
        seen = list(clicks)
        for edits in self._edits.values():
            for edit in edits:
                if edit.old is None:
                    place = len(seen)
                elif edit.old in seen:
                    place = len(seen) - 1 - seen[::-1].index(edit.old)
                else:
                    continue
                seen[place : place + 1] = [] if edit.new is None else [edit.new]
        return tuple(seen)
