"""Which canvases are kept: of the latest drafts, and of every so many before.

A canvas follows from the prompts, so one that is not kept can be made again, bit for bit, from the
nearest before it that is. What is kept here bounds both: the memory of an object with thousands of
prompts, and the answers that going back to any of its drafts takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from histosam_core.session.apply import Draft
    from histosam_core.session.canvas.canvas import Canvas

RECENT = 64
"""Of so many drafts, the last that were drawn, the canvas is kept."""
EVERY = 32
"""Of the others it is kept at every so many prompts."""
MILESTONES = 256
"""So many of those at most, the latest; prompts taken out or moved make drafts anew."""


class KeptCanvases:
    """Canvases of drafts; when a draft is let go, its canvas goes with it.

    A canvas shares the tiles that did not change with the one before it; a prompt in a window of
    400 px adds about 1.5 MB.
    """

    def __init__(self) -> None:
        self._recent: WeakKeyDictionary[Draft, Canvas] = WeakKeyDictionary()
        self._milestones: WeakKeyDictionary[Draft, Canvas] = WeakKeyDictionary()

    def keep(self, draft: Draft, canvas: Canvas) -> None:
        """Keep the canvas of a draft; drop what is too old."""
        if draft.n % EVERY == 0:
            _put(self._milestones, MILESTONES, draft, canvas)
        _put(self._recent, RECENT, draft, canvas)

    def find(self, draft: Draft) -> Canvas | None:
        """Return the canvas of a draft; None where it is not kept."""
        canvas = self._recent.get(draft)
        return self._milestones.get(draft) if canvas is None else canvas

    def forget(self, draft: Draft) -> None:
        """Drop the canvas of a draft that is not gone back to."""
        self._recent.pop(draft, None)
        self._milestones.pop(draft, None)

    def __len__(self) -> int:
        return len({*self._recent, *self._milestones})


def _put(held: WeakKeyDictionary[Draft, Canvas], most: int, draft: Draft, canvas: Canvas) -> None:
    held.pop(draft, None)
    held[draft] = canvas
    if len(held) > most:
        del held[next(iter(held))]
